//! Alerts end to end: a budget is spent by requests, and somebody is told: the API, the command line, a webhook.

use http::Method;
use penstock_tests::{Reply, World, wait};
use ring::hmac;
use serde_json::{Value, json};

#[tokio::test]
async fn who_spends_a_budget_is_told_about_at_each_share_once_everywhere() {
    let world = World::setup().env("HOOK_SECRET", "s3cret").start().await;
    world.upstream("alpha").answers("hi").always();
    let receiver = world.upstream("beta");
    receiver.replies(Reply::whole(503, "")).once();
    receiver.replies(Reply::whole(204, "")).always();
    // A call costs 0.00006 dollars: eight are 80 % of it, and ten are all.
    let team = json!({ "name": "team", "limit_usd": "0.0006", "cycle": "total", "per": ["key"], "on_exceed": "alert" });
    world.manage(
        json!({
            "budgets": { "team": team },
            "webhooks": { "ops": { "name": "ops", "url": format!("{}/hooks/models", receiver.url()), "secret": "env:HOOK_SECRET", "events": ["budget_threshold", "budget_exceeded"] } },
        }),
        &[world.address()],
    )
    .await;
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    for _ in 0..8 {
        assert_eq!(ask().await.text(), "hi");
    }
    // Of this kind: the disk of the machine that runs the test may have alerts of its own.
    let alerts = async || {
        world.get("/admin/v1/alerts?kind=budget_threshold").key(world.admin_key()).await.json()["alerts"].clone()
    };
    let alert =
        wait::until("an alert", async || alerts().await.as_array().filter(|all| !all.is_empty()).cloned()).await;
    let of_team = |alert: &Value| alert["subject"].as_str().is_some_and(|subject| subject.starts_with("team["));
    assert!(alert.len() == 1 && of_team(&alert[0]), "{alert:?}");
    assert_eq!((&alert[0]["kind"], &alert[0]["window"]), (&json!("budget_threshold"), &json!("all")));
    assert_eq!((&alert[0]["details"]["threshold"], &alert[0]["details"]["spent"]), (&json!("80"), &json!("0.00048")));
    // Refused once, and then taken; both times the same, and signed.
    receiver.received(2).await;
    for post in receiver.calls() {
        let signed = [post.header("x-penstock-timestamp").as_bytes(), b".", &post.body].concat();
        let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"s3cret"), &signed);
        let made: String = made.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(post.header("x-penstock-signature"), format!("v1={made}"));
        assert_eq!((post.json(), post.path.as_str()), (alert[0].clone(), "hooks/models"));
    }
    for _ in 0..2 {
        assert_eq!(ask().await.text(), "hi");
    }
    let kinds = async || {
        let mut kinds: Vec<String> = Vec::new();
        let told = world.tool(&["alerts"]).await;
        let of_budgets = told["alerts"].as_array().expect("a list").iter().filter(|alert| of_team(alert));
        for alert in of_budgets {
            kinds.push(format!(
                "{} {}",
                alert["kind"].as_str().unwrap(),
                alert["details"]["threshold"].as_str().unwrap()
            ));
        }
        kinds.sort();
        kinds
    };
    let all = ["budget_exceeded 100", "budget_threshold 80", "budget_threshold 90"];
    wait::until("all alerts", async || (kinds().await == all).then_some(())).await;
    receiver.received(4).await;
    let forecast = world.get("/admin/v1/spend?by=budget&forecast=true").key(world.admin_key()).await.json();
    assert!(forecast["rows"][0]["for"]["budget"].as_str().unwrap().starts_with("team["), "{forecast}");
    assert_eq!((&forecast["rows"][0]["spent"], &forecast["rows"][0]["limit"]), (&json!("0.0006"), &json!("0.0006")));
    let wrong = world.get("/admin/v1/alerts").method(Method::POST).key(world.admin_key()).await;
    assert_eq!(wrong.status, 405);
}

#[tokio::test]
async fn a_session_that_asks_without_end_is_an_alert_and_others_are_none() {
    let world = World::setup().config("[analytics]\nsession_requests = 4\nsession_usd = \"1\"\n").start().await;
    world.upstream("alpha").answers("hi").always();
    let ask = |session: &str| world.ask("alpha/m").header("x-penstock-session", session);
    for _ in 0..4 {
        assert_eq!(ask("loop").await.text(), "hi");
    }
    assert_eq!(ask("calm").await.text(), "hi");
    let found = world.sql_until("SELECT * FROM alerts WHERE kind = 'session_runaway'", |rows| !rows.is_empty()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["subject"], "default/loop");
    assert!(found[0]["message"].as_str().is_some_and(|text| text.contains("sent 4 requests")), "{found:?}");
}

#[tokio::test]
async fn a_model_without_a_price_is_told_once_and_named_when_it_is_to_be_priced() {
    let world = World::start().await;
    world.upstream("beta").answers("hi").always();
    for _ in 0..3 {
        assert_eq!(world.ask("beta/without").await.text(), "hi");
    }
    world.attempts(3).await;
    let alerts = async || world.tool(&["alerts", "--kind", "unpriced_model"]).await["alerts"].clone();
    let found =
        wait::until("an alert", async || alerts().await.as_array().filter(|all| !all.is_empty()).cloned()).await;
    assert_eq!((found.len(), &found[0]["subject"]), (1, &json!("beta/without")));
    let repriced = world.get("/admin/v1/spend?reprice=1m").key(world.admin_key()).await.json();
    assert_eq!(repriced["unpriced"], json!([{ "target": "beta/without", "attempts": 3, "cost_usd": "0" }]));
    assert_eq!((&repriced["total"]["unpriced"], &repriced["total"]["attempts"]), (&json!(3), &json!(3)));
}
