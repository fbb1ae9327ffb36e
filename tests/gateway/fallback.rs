//! Retry and fallback: who is asked, how often, and what the caller and the ledger learn of it.

use penstock_tests::{Gate, Part, Reply, World, in_short, words};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Like `fast`, but one attempt at `alpha`; and `hasty`, which waits for little.
const ONCE: &str = r#"
[models.once]
targets = [{ model = "alpha/m", retries = 0 }, { model = "beta/m" }]
[models.hasty]
targets = [{ model = "alpha/m", first_token = "200ms", idle = "200ms" }, { model = "beta/m" }]
"#;

async fn once() -> World {
    World::setup().config(ONCE).start().await
}

#[tokio::test]
async fn an_overloaded_provider_is_tried_three_times_and_then_the_next_one_serves() {
    let world = World::start().await;
    world.upstream("alpha").fails(529).always();
    world.upstream("beta").answers("hello");
    let answer = world.ask("fast").await;
    assert_eq!(answer.text(), "hello");
    assert_eq!((answer.header("x-penstock-target"), answer.header("x-penstock-attempts")), ("beta/m", "4"));
    assert_eq!(world.attempts(4).await, ["alpha 529", "alpha 529", "alpha 529", "beta 200"]);
    let rows = world
        .sql("SELECT number, link, outcome, failure, toString(cost_usd) AS cost FROM attempts ORDER BY number")
        .await;
    let refused = |number: u64| json!({ "number": number, "link": 0, "outcome": "refused", "failure": "overloaded", "cost": Value::Null });
    // 10 tokens at $0.000002 a million and 5 at $0.333333, to the picodollar.
    let served =
        json!({ "number": 4, "link": 1, "outcome": "served", "failure": Value::Null, "cost": "0.000001666685" });
    assert_eq!(rows, [refused(1), refused(2), refused(3), served]);
}

#[tokio::test]
async fn a_provider_that_recovers_is_not_left() {
    let world = World::start().await;
    world.upstream("alpha").fails(503).once();
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("fast").stream().await.text(), "hello");
    assert_eq!(world.attempts(2).await, ["alpha 503", "alpha 200"]);
}

#[tokio::test]
async fn the_wait_that_a_provider_asks_for_is_kept() {
    let world = World::start().await;
    let limited = Reply::error(429).header("retry-after", "60").header("retry-after-ms", "700");
    world.upstream("alpha").replies(limited).once();
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    let calls = world.upstream("alpha").calls();
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
}

#[tokio::test]
async fn when_nobody_serves_the_caller_learns_of_the_last_failure_and_when_to_come_again() {
    let world = once().await;
    world.upstream("alpha").fails(500).always();
    world.upstream("beta").replies(Reply::error(429).header("retry-after", "61")).always();
    let answer = world.ask("once").await;
    assert_eq!(answer.error(), "429 rate_limit_error rate_limited");
    assert_eq!(answer.header("retry-after"), "61");
    assert_eq!(world.attempts(2).await, ["alpha 500", "beta 429"], "nobody waits a minute");
    let requests = world.requests(1).await;
    assert_eq!((&requests[0]["outcome"], &requests[0]["status"]), (&json!("refused"), &json!(429)));
}

#[tokio::test]
async fn a_bad_request_is_tried_once_and_keeps_the_providers_words() {
    let world = World::start().await;
    let error =
        words::error("Unsupported value: 'x'", "invalid_request_error", Some("messages[0]"), Some("unsupported_value"));
    world.upstream("alpha").replies(Reply::whole(400, error.to_string())).always();
    for ask in [world.ask("fast"), world.ask("fast").stream()] {
        let answer = ask.await;
        assert_eq!(answer.error(), "400 invalid_request_error unsupported_value (messages[0])");
        assert_eq!(answer.message(), "Unsupported value: 'x'");
    }
    assert_eq!(world.attempts(2).await, ["alpha 400", "alpha 400"]);
}

#[tokio::test]
async fn a_key_that_the_provider_refuses_is_the_operators_trouble_and_not_the_callers() {
    let world = World::start().await;
    let error =
        words::error("Incorrect API key: sk-alpha-the-first", "invalid_request_error", None, Some("invalid_api_key"));
    world.upstream("alpha").replies(Reply::whole(401, error.to_string())).always();
    let answer = world.ask("alpha/m").await;
    assert_eq!(answer.error(), "502 server_error provider_auth");
    assert!(!answer.raw().contains("sk-alpha"), "{}", answer.raw());
    assert_eq!(world.ask("fast").await.text(), "hello");
    assert_eq!(world.attempts(3).await, ["alpha 401", "alpha 401", "beta 200"]);
}

#[tokio::test]
async fn an_answer_that_is_an_error_or_is_not_json_is_had_from_elsewhere() {
    let world = once().await;
    let error = words::error("The engine is overloaded", "server_error", None, Some("engine_overloaded_error"));
    for (body, attempt) in [
        (error.to_string(), "alpha 200 overloaded"),
        ("{\"id\": \"chatcmpl-1\", \"choices\": [".to_owned(), "alpha 200 broken"),
        ("<html>Bad Gateway</html>".to_owned(), "alpha 200 broken"),
    ] {
        let before = world.attempts(0).await.len();
        world.upstream("alpha").replies(Reply::whole(200, body)).always();
        assert_eq!(world.ask("once").await.text(), "hello");
        assert_eq!(world.attempts(before + 2).await[before..], [attempt, "beta 200"]);
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_token_is_had_from_elsewhere() {
    let world = once().await;
    let error = words::error("The server had an error", "server_error", None, None);
    let event = |data: &str| Part::from(format!("data: {data}\n\n"));
    for (parts, attempt) in [
        (vec![event(&error.to_string())], "alpha 200 server_error"),
        (vec![words::role().into(), event(&error.to_string())], "alpha 200 server_error"),
        (vec![Part::from(format!("event: error\ndata: {error}\n\n"))], "alpha 200 server_error"),
        (vec![words::role().into(), event("{\"choices\": [")], "alpha 200 broken"),
        (vec![words::role().into(), Part::Cut], "alpha 200 broken"),
        (vec![words::role().into(), words::DONE.into()], "alpha 200 broken"),
    ] {
        let before = world.attempts(0).await.len();
        world.upstream("alpha").replies(Reply::stream(parts)).always();
        assert_eq!(world.ask("once").stream().await.text(), "hello");
        assert_eq!(world.attempts(before + 2).await[before..], [attempt, "beta 200"]);
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_stepped_over() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "[providers.gone]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n
        [models.chat]\ntargets = [{{ model = \"gone/m\", retries = 1 }}, {{ model = \"beta/m\" }}]"
    );
    let world = World::setup().config(&config).start().await;
    assert_eq!(world.ask("chat").await.text(), "hello");
    assert_eq!(world.attempts(3).await, ["gone connect", "gone connect", "beta 200"]);
    assert_eq!(world.ask("gone/m").header("x-penstock-timeout-ms", "5000").await.error(), "502 server_error connect");
}

#[tokio::test]
async fn a_link_that_nobody_serves_is_stepped_over_and_503_says_that_none_is() {
    let config = r#"[models.chat]
        targets = [{ model = "nobody/m" }, { model = "noone/m" }, { model = "beta/m" }]
        [models.none]
        targets = [{ model = "nobody/m" }, { model = "noone/m" }]"#;
    let world = World::setup().config(config).start().await;
    assert_eq!(world.ask("chat").await.text(), "hello");
    let answer = world.ask("none").await;
    assert_eq!(answer.error(), "503 service_unavailable_error no_pool");
    assert!(answer.message().contains("nobody/m") && answer.message().contains("noone/m"), "{}", answer.message());
    assert!(matches!(answer.header("retry-after"), "" | "1"), "{}", answer.header("retry-after"));
    assert_eq!(world.attempts(1).await, ["beta 200"], "a link without a pool costs no attempt");
}

#[tokio::test]
async fn fallback_stops_once_a_token_was_sent() {
    let world = World::start().await;
    let error = words::error("The server had an error", "server_error", None, None);
    let event = |data: String| Part::from(format!("data: {data}\n\n"));
    for (end, code) in
        [(Part::Cut, "broken"), (event(error.to_string()), "server_error"), (event("{".to_owned()), "broken")]
    {
        let gate = Gate::new();
        let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), end];
        world.upstream("alpha").replies(Reply::stream(parts)).always();
        let mut open = world.ask("fast").stream().open().await;
        open.until("one ").await;
        gate.open();
        let answer = open.rest().await;
        let error = &answer.events()[0]["error"];
        assert_eq!(in_short(error), format!("server_error {code}"));
        assert_eq!(error["request_id"], answer.header("x-request-id"));
        assert!(answer.status == 200 && !answer.raw().contains("[DONE]"), "{}", answer.raw());
    }
    assert_eq!(world.attempts(3).await, ["alpha 200 broken", "alpha 200 server_error", "alpha 200 broken"]);
    let rows = world.sql("SELECT DISTINCT outcome FROM attempts UNION ALL SELECT DISTINCT outcome FROM requests").await;
    assert_eq!(rows, [json!({ "outcome": "broken" }), json!({ "outcome": "broken" })]);
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_provider_that_is_silent_before_its_first_token_is_left() {
    let world = World::setup().config(ONCE).start().await;
    world.upstream("alpha").replies(Reply::stream([words::role().into(), Part::Silence])).once();
    world.upstream("alpha").replies(Reply::answer("late").held(&Gate::new())).always();
    assert_eq!(world.ask("hasty").stream().await.text(), "hello");
    assert_eq!(world.ask("hasty").stream().await.text(), "hello");
    assert_eq!(world.attempts(4).await, ["alpha 200 timeout", "beta 200", "alpha timeout", "beta 200"]);
    for call in world.upstream("alpha").calls() {
        call.closed().await;
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_after_a_token_ends_with_a_typed_error() {
    let world = World::setup().config(ONCE).start().await;
    world.upstream("alpha").replies(Reply::stream([words::content("one ").into(), Part::Silence])).always();
    let answer = world.ask("hasty").stream().await;
    let events = answer.events();
    assert_eq!(in_short(&events.last().unwrap()["error"]), "timeout_error timeout");
    assert!(!answer.raw().contains("[DONE]"));
    assert_eq!(world.attempts(1).await, ["alpha 200 timeout"]);
    assert_eq!(world.sql("SELECT outcome FROM attempts").await, [json!({ "outcome": "broken" })]);
}

#[tokio::test]
async fn the_callers_own_deadline_ends_the_request_with_504() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::answer("late").held(&Gate::new())).always();
    for ask in [world.ask("fast"), world.ask("fast").stream()] {
        let answer = ask.header("x-penstock-timeout-ms", "300").await;
        assert_eq!(answer.status, 504);
        assert!(answer.error().starts_with("504 timeout_error "), "{}", answer.error());
    }
    assert_eq!(world.attempts(2).await.len(), 2, "beta is not asked when nobody waits any more");
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_weighted_model_keeps_each_user_with_one_arm() {
    let config = "[models.split]\nstrategy = \"weighted\"\ntargets = [{ model = \"alpha/m\", weight = 1 }, { model = \"beta/m\", weight = 1 }]";
    let world = World::setup().config(config).start().await;
    let mut arms: HashMap<String, Vec<String>> = HashMap::new();
    for user in (0..20).chain(0..20) {
        let user = format!("user-{user}");
        let answer = world.ask("split").field("user", json!(user)).await;
        arms.entry(user).or_default().push(answer.header("x-penstock-target").to_owned());
    }
    assert!(arms.values().all(|targets| targets[0] == targets[1]), "{arms:?}");
    let alphas = arms.values().filter(|targets| targets[0] == "alpha/m").count();
    assert!((1..20).contains(&alphas), "both arms are used: {alphas} of 20 at alpha");

    world.upstream("alpha").fails(500).always();
    let (user, _) = arms.iter().find(|(_, targets)| targets[0] == "alpha/m").unwrap();
    let answer = world.ask("split").field("user", json!(user)).await;
    assert_eq!(answer.header("x-penstock-target"), "beta/m", "the other arm stands behind the first");
}
