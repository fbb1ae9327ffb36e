//! What those who run it look at: health, readiness, metrics, models, and the demo that needs no provider.

use penstock_tests::{World, address_in};
use serde_json::json;

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let world = World::start().await;
    let health = world.get("/health").await;
    let json = health.json();
    assert_eq!((health.status.as_u16(), &json["status"], &json["ready"]), (200, &json!("alive"), &json!(true)));
    assert_eq!((&json["ledger"]["state"], &json["nats"]["connected"]), (&json!("healthy"), &json!(true)));
    let ready = world.get("/ready").await;
    assert_eq!((ready.status.as_u16(), ready.raw().as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn metrics_count_requests_and_attempts_and_tell_no_secrets() {
    let world = World::start().await;
    world.upstream("alpha").fails(529).times(3);
    world.upstream("alpha").answers("hello");
    let ask = world.ask("fast").field("user", json!("zoe"));
    for ask in [ask.clone(), ask.clone().stream(), ask.key("psk_0123456789abcdef")] {
        ask.await;
    }
    world.attempts(5).await;
    let metrics = world.get("/metrics").key(world.admin_key()).await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"), "{:?}", metrics.headers);
    let text = metrics.raw();
    for line in [
        "penstock_requests_total{status=\"200\"} 2",
        "penstock_requests_total{status=\"401\"} 1",
        "penstock_attempts_total{provider=\"alpha\",outcome=\"refused\",failure=\"overloaded\"} 3",
        "penstock_attempts_total{provider=\"alpha\",outcome=\"served\",failure=\"\"} 1",
        "penstock_attempts_total{provider=\"beta\",outcome=\"served\",failure=\"\"} 1",
        "penstock_calls_in_flight{provider=\"alpha\"} 0",
        "penstock_ledger_failing 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    for secret in [world.key(), "zoe", "Hello!", "sk-alpha"] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
}

#[tokio::test]
async fn the_models_are_listed_with_the_operators_own_names_first() {
    let world = World::start().await;
    let list = world.get("/v1/models").key(world.key()).await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((list["object"].as_str(), names), (Some("list"), vec!["fast", "alpha/m", "beta/m"]));
    let model = world.get("/v1/models/alpha/m").key(world.key()).await.json();
    assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("alpha")));
    assert_eq!(model["usd_per_million_tokens"]["output"], "10");
    assert!(list["data"].as_array().unwrap().iter().all(|model| model["created"].as_u64() == Some(1_677_628_800)));
    let cards = world.tool(&["models", "--provider", "beta"]).await;
    assert_eq!(cards[0]["models"][0]["model"], "m");
}

/// A price each for models of the two providers, two of which have the same name.
const NAMES: &str = "[[prices]]\nmodel = \"alpha/org/only-2025-09-29\"\ninput_usd_per_million = \"1\"\n\
    [[prices]]\nmodel = \"alpha/both\"\ninput_usd_per_million = \"1\"\n[[prices]]\nmodel = \"beta/both\"\ninput_usd_per_million = \"1\"";

#[tokio::test]
async fn a_model_is_shown_under_every_name_that_a_request_can_ask_for() {
    let world = World::setup().config(NAMES).start().await;
    for (name, owner) in [
        ("fast", "penstock"),
        ("alpha/m", "alpha"),
        ("alpha%2Fm", "alpha"),
        ("alpha/brand-new", "alpha"),
        ("org/only-2025-09-29", "alpha"),
        ("org%2Fonly-2025-09-29", "alpha"),
        ("alpha/org/only-2025-09-29", "alpha"),
    ] {
        let id = name.replace("%2F", "/");
        assert_eq!(world.ask(&id).await.status, 200, "{name}");
        let shown = world.get(&format!("/v1/models/{name}")).key(world.key()).await.json();
        assert_eq!((&shown["id"], &shown["owned_by"]), (&json!(id), &json!(owner)), "{shown}");
        let created = if name.ends_with("09-29") { 1_759_104_000 } else { 1_677_628_800 };
        assert_eq!(shown["created"], created, "{shown}");
        let ask = world.get(&format!("/v1/models/{name}")).header("x-api-key", world.key());
        let shown = ask.header("anthropic-version", "2023-06-01").await.json();
        let day = if name.ends_with("09-29") { "2025-09-29T00:00:00Z" } else { "2023-03-01T00:00:00Z" };
        assert_eq!((&shown["id"], &shown["created_at"]), (&json!(id), &json!(day)), "{shown}");
        let ask = world.get(&format!("/v1beta/models/{name}")).header("x-goog-api-key", world.key());
        assert_eq!(ask.await.json()["name"], format!("models/{id}"));
    }
    for name in ["nothing", "both", "gamma/m", "responses/compact"] {
        assert_eq!(world.ask(name).await.status, 404, "{name}");
        let shown = world.get(&format!("/v1/models/{name}")).key(world.key()).await;
        assert_eq!(shown.error(), "404 invalid_request_error model_not_found (model)", "{name}");
    }
    let both = world.get("/v1/models/both").key(world.key()).await.message();
    assert!(both.contains("`alpha/both` or `beta/both`"), "{both}");
}

#[tokio::test]
async fn the_demo_answers_offline_and_costs_as_the_catalogue_says() {
    let world = World::setup().demo().start().await;
    let answer = world.ask("demo/fast").await;
    assert!(!answer.text().is_empty());
    assert!(!world.ask("demo/fast").stream().await.text().is_empty());
    assert_eq!(world.attempts(2).await, ["demo 200", "demo 200"]);
    assert_eq!(world.count("SELECT count() FROM attempts WHERE cost_usd > 0").await, 2);
    let without = World::start().await;
    assert_eq!(without.ask("demo/fast").await.error(), "404 invalid_request_error model_not_found (model)");
}

#[tokio::test]
async fn a_worker_and_an_analytics_process_of_their_own_tell_their_metrics() {
    let mut world = World::setup().apart().start().await;
    let at = |name| [(name, "127.0.0.1:0".to_owned())];
    let _worker = world.role_with("worker", &at("PENSTOCK_WORKERS_METRICS")).await;
    let _analytics = world.role_with("analytics", &at("PENSTOCK_ANALYTICS_METRICS")).await;
    let logs = world.logs();
    let lines = logs.lines().filter(|line| line.contains("the metrics are told here"));
    let addresses: Vec<String> = lines.map(address_in).collect();
    assert_eq!(addresses.len(), 2, "{logs}");
    for address in addresses {
        let told = world.get("/metrics").at(&address).await;
        assert!(told.status == 200 && told.raw().contains("penstock_ledger_failing 0"), "{}", told.raw());
        assert_eq!(world.get("/else").at(&address).await.status, 404);
    }
}
