//! Retry and fallback: who is asked, how often, and what the caller and the ledger learn of it.

use penstock_tests::{Reply, World, words};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Like `fast`, but with one attempt at `alpha`.
const ONCE: &str = "[models.once]\ntargets = [{ model = \"alpha/m\", retries = 0 }, { model = \"beta/m\" }]";

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
    let world = World::setup().config(ONCE).start().await;
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
    // The first call tried both of its keys, the second one of them, as there is no better one.
    assert_eq!(world.attempts(4).await, ["alpha 401", "alpha 401", "alpha 401", "beta 200"]);
}

#[tokio::test]
async fn a_providers_key_reaches_no_caller_in_an_error_that_comes_with_a_200_nor_in_an_answer() {
    let config = "[models.one]\ntargets = [{ model = \"beta/m\", retries = 0 }]";
    let world = World::setup().config(config).start().await;
    let error = words::error("sk-beta-the-only is bad", "server_error", None, Some("sk-beta-the-only")).to_string();
    let event = format!("data: {error}\n\n");
    let said = words::content("your key is sk-beta-the-only");
    let choice = json!({ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": "used sk-beta-the-only" } });
    let echo = json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice] });
    for (name, reply, is_stream) in [
        ("an error in one piece", Reply::whole(200, error.clone()), false),
        ("an error before the first content", Reply::stream([event.clone()]), true),
        ("an error after it", Reply::stream([words::content("hello"), event]), true),
        ("an answer", Reply::whole(200, echo.to_string()), false),
        ("a stream", Reply::stream([said, words::finish(), words::DONE.to_owned()]), true),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            world.upstream("beta").replies(reply.clone()).once();
            let ask = world.ask("one").path(path).field("max_tokens", json!(9));
            let answer = if is_stream { ask.stream().await } else { ask.await };
            assert!(answer.raw().contains("***"), "{name} {path}: {}", answer.raw());
            assert!(!answer.raw().contains("sk-beta"), "{name} {path}: {}", answer.raw());
        }
    }
}

#[tokio::test]
async fn a_providers_key_is_struck_out_however_it_is_spelt_and_stands_in_no_row() {
    let key = "a/very+secret=key";
    let world = World::setup().env("BETA_KEY", key).start().await;
    let answer = |spelt: &str| {
        format!(
            r#"{{"id":"{spelt}","object":"chat.completion","created":1,"model":"{spelt}","system_fingerprint":"{spelt}",
            "choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"your {spelt}"}}}}]}}"#
        )
    };
    let spelt = [key, r"a\/very+secret=key", r"a/very\u002bsecret\u003dkey", "a%2Fvery%2Bsecret%3Dkey"];
    for spelt in spelt {
        world.upstream("beta").replies(Reply::whole(200, answer(spelt))).once();
        let told = world.ask("beta/m").await;
        assert!(told.raw().contains("your ***"), "{spelt}: {}", told.raw());
        assert!(!told.raw().contains("secret"), "{spelt}: {}", told.raw());
    }
    let rows = "SELECT model_version, provider_request_id, system_fingerprint FROM attempts WHERE outcome = 'served'";
    for row in world.sql_until(rows, |rows| rows.len() == spelt.len()).await {
        assert!(!row.to_string().contains("very"), "{row}");
    }
    let sound = Reply::whole(200, "sound").header("content-type", &format!("audio/mpeg; k={key}"));
    world.upstream("beta").replies(sound).once();
    let answer = world.post("/v1/audio/speech", &json!({ "model": "beta/m", "input": "a", "voice": "b" })).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "audio/mpeg; ***"));
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
    assert_eq!(world.ask("gone/m").header("x-penstock-timeout-ms", "20000").await.error(), "502 server_error connect");
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
