//! Google's dialect on both sides: its clients in front of other providers, other clients in front of it, and itself.

use penstock_tests::{Ask, Gate, Part, Reply, Upstream, World, words};
use serde_json::{Value, json};

const HELLO: &str = r#"{"contents":[{"parts":[{"text":"Hello!"}]}]}"#;

/// A whole answer of Google's, as it might print it.
const WHOLE: &str = r#"{ "candidates": [ { "content": { "parts": [ { "text": "hello" } ], "role": "model" }, "finishReason": "STOP" } ],
  "usageMetadata": { "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 1, "thoughtsTokenCount": 2, "totalTokenCount": 13 },
  "modelVersion": "gemini-x", "responseId": "r1" }"#;

fn event(text: &str, more: &str) -> String {
    format!(
        r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}}{more}}}],"usageMetadata":{{"promptTokenCount":10,"candidatesTokenCount":3,"totalTokenCount":13}},"modelVersion":"gemini-x","responseId":"r1"}}"#
    ) + "\r\n\r\n"
}

/// A world with `gem`, which speaks Google's dialect.
async fn with_gem() -> (World, Upstream) {
    let gem = Upstream::start("gem").await;
    let config = format!(
        "[providers.gem]\ndialect = \"google\"\nbase_url = \"{}\"\nkeys = [\"AIza-gem-key\"]\n[[prices]]\nmodel = \"gem/g\"\n\
         input_usd_per_million = \"1\"\noutput_usd_per_million = \"10\"\n",
        gem.url()
    );
    (World::setup().config(&config).start().await, gem)
}

fn ask(world: &World, path: &str) -> Ask {
    let key = world.key().to_owned();
    world.ask("x").path(path).header("authorization", "").header("x-goog-api-key", &key).body(HELLO)
}

fn items(text: &str) -> Vec<Value> {
    let events = text.split_terminator("\r\n\r\n").map(|event| event.strip_prefix("data: ").expect("an event"));
    events.map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

#[tokio::test]
async fn googles_clients_are_answered_by_any_provider() {
    let world = World::start().await;
    for path in ["/v1beta/models/alpha/m", "/v1/models/alpha%2Fm", "/v1beta/models/models/alpha/m"] {
        let answer = ask(&world, &format!("{path}:generateContent")).await;
        let body = answer.json();
        assert_eq!(answer.status, 200, "{path} {body}");
        assert_eq!(body["candidates"][0]["content"], json!({"parts": [{"text": "hello"}], "role": "model"}));
        assert_eq!(body["candidates"][0]["finishReason"], "STOP");
        let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 15, "cachedContentTokenCount": 4, "thoughtsTokenCount": 2});
        assert_eq!(body["usageMetadata"], usage);
        assert_eq!(answer.header("x-penstock-target"), "alpha/m");
    }
    let call = world.upstream("alpha").received(1).await;
    assert_eq!(call.json()["messages"], json!([{"role": "user", "content": "Hello!"}]));

    let stream = ask(&world, "/v1beta/models/alpha/m:streamGenerateContent?alt=sse").await;
    let events = items(&stream.raw());
    let text: String =
        events.iter().filter_map(|e| e["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect();
    let last = events.last().expect("a stream has events");
    assert_eq!((text.as_str(), &last["candidates"][0]["finishReason"]), ("hello", &json!("STOP")));
    assert_eq!(last["usageMetadata"]["totalTokenCount"], 15);

    let key = format!("/v1beta/models/alpha/m:streamGenerateContent?key={}", world.key());
    let list = ask(&world, &key).header("x-goog-api-key", "").await;
    let list: Vec<Value> = serde_json::from_str(&list.raw()).expect("a JSON list");
    assert_eq!(list.len(), events.len());
}

#[tokio::test]
async fn between_google_and_google_bytes_pass_with_the_name_that_was_asked_for() {
    let (world, gem) = with_gem().await;
    gem.accepts_anything();
    gem.replies(Reply::whole(200, WHOLE)).once();
    let odd = r#"{ "contents":[{"parts":[{"text":"caf\u00e9"}]}], "generation_config": {"temperature": 1.0}, "unknown": [1.50] }"#;
    let answer = ask(&world, "/v1beta/models/gem/g:generateContent").body(odd).await;
    assert_eq!(answer.raw(), WHOLE.replace("gemini-x", "gem/g"));
    let call = gem.received(1).await;
    assert_eq!((String::from_utf8_lossy(&call.body).as_ref(), call.header("x-goog-api-key")), (odd, "AIza-gem-key"));

    let events = [event("hel", ""), event("lo", r#","finishReason":"STOP""#)];
    gem.replies(Reply::stream(events.clone())).times(2);
    let answer = ask(&world, "/v1beta/models/gem/g:streamGenerateContent?alt=sse").await;
    let named = events.concat().replace("gemini-x", "gem/g");
    assert_eq!(answer.raw(), named);
    let list = ask(&world, "/v1beta/models/gem/g:streamGenerateContent").await;
    assert_eq!(list.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(serde_json::from_str::<Value>(&list.raw()).expect("a JSON list"), Value::Array(items(&named)));

    let rows = world.sql_until("SELECT input_tokens, cache_read_tokens, output_tokens, reasoning_tokens, toString(cost_usd) AS cost FROM attempts
        WHERE outcome = 'served' ORDER BY started_at", |rows| rows.len() == 3).await;
    let first = json!({"input_tokens": 6, "cache_read_tokens": 4, "output_tokens": 1, "reasoning_tokens": 2});
    for (name, value) in first.as_object().expect("an object") {
        assert_eq!(&rows[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn openais_clients_are_answered_by_google() {
    let (world, gem) = with_gem().await;
    gem.replies(Reply::whole(200, WHOLE)).once();
    assert_eq!(world.ask("gem/g").await.text(), "hello");
    gem.replies(Reply::stream([event("hel", ""), event("lo", r#","finishReason":"STOP""#)])).once();
    let answer = world.ask("gem/g").stream().field("stream_options", json!({"include_usage": true})).await;
    assert_eq!(answer.text(), "hello");
    assert!(answer.raw().ends_with("data: [DONE]\n\n"), "{}", answer.raw());
    let gate = Gate::new();
    gem.replies(Reply::stream([Part::from(event("hel", "")), Part::Wait(gate.clone())])).once();
    let mut cut = world.ask("gem/g").stream().open().await;
    cut.until("hel").await;
    gate.open();
    let rest = cut.rest().await.raw();
    assert!(rest.contains("ended before it was complete") && !rest.contains("[DONE]"), "{rest}");
    let refused = world.ask("gem/g").field("logit_bias", json!({"1": 2})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("logit_bias")));
}

#[tokio::test]
async fn errors_have_googles_shape_for_googles_clients() {
    let world = World::start().await;
    let error = |answer: &penstock_tests::Answer| {
        let body = answer.json();
        (answer.status.as_u16(), body["error"]["code"].as_u64(), body["error"]["status"].as_str().map(str::to_owned))
    };
    for (path, body, key, status, word) in [
        ("alpha/m:generateContent", "{}", true, 400, "INVALID_ARGUMENT"),
        ("alpha/m:generateContent", "{", true, 400, "INVALID_ARGUMENT"),
        ("alpha/m:generateContent", HELLO, false, 401, "UNAUTHENTICATED"),
        ("nothing:generateContent", HELLO, true, 404, "NOT_FOUND"),
        ("alpha/m:predict", HELLO, true, 404, "NOT_FOUND"),
    ] {
        let key = if key { world.key().to_owned() } else { "psk_wrong".to_owned() };
        let answer = ask(&world, &format!("/v1beta/models/{path}")).header("x-goog-api-key", &key).body(body).await;
        assert_eq!(error(&answer), (status, Some(u64::from(status)), Some(word.to_owned())), "{path} {body}");
    }
    for (status, seen, word) in
        [(429, 429, "RESOURCE_EXHAUSTED"), (401, 502, "UNAVAILABLE"), (400, 400, "INVALID_ARGUMENT")]
    {
        world.upstream("alpha").fails(status).always();
        let answer = ask(&world, "/v1beta/models/alpha/m:generateContent").await;
        assert_eq!(error(&answer), (seen, Some(u64::from(seen)), Some(word.to_owned())));
    }
    let gate = Gate::new();
    let cut = [Part::from(words::role()), words::content("hel").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(cut)).always();
    let mut cut = ask(&world, "/v1beta/models/alpha/m:streamGenerateContent?alt=sse").open().await;
    cut.until("hel").await;
    gate.open();
    let events = items(&cut.rest().await.raw());
    let last = events.last().expect("a stream has events");
    assert_eq!((&last["error"]["code"], &last["error"]["status"]), (&json!(502), &json!("UNAVAILABLE")));
}

#[tokio::test]
async fn googles_clients_see_the_models() {
    let world = World::start().await;
    for path in ["/v1beta/models", "/v1/models"] {
        let list = world.get(path).header("x-goog-api-key", world.key()).await.json();
        let names: Vec<&str> =
            list["models"].as_array().expect("models").iter().filter_map(|m| m["name"].as_str()).collect();
        assert!(names.contains(&"models/alpha/m") && names.contains(&"models/fast"), "{names:?}");
    }
    let one = world.get("/v1beta/models/alpha%2Fm").header("x-goog-api-key", world.key()).await.json();
    assert_eq!(one["name"], "models/alpha/m");
    let none = world.get("/v1beta/models/nothing").header("x-goog-api-key", world.key()).await;
    assert_eq!((none.status.as_u16(), &none.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn a_service_account_is_exchanged_for_a_token_once() {
    let (tokens, gem) = (Upstream::start("tokens").await, Upstream::start("vertex").await);
    let mut account: Value =
        serde_json::from_str(include_str!("../../workers/tests/service_account.json")).expect("the account is JSON");
    account["token_uri"] = format!("{}/token", tokens.url()).into();
    tokens
        .replies(Reply::whole(200, r#"{"access_token":"ya29.secret-token","expires_in":3599,"token_type":"Bearer"}"#))
        .always();
    gem.replies(Reply::whole(200, WHOLE)).always();
    let config = format!(
        "[providers.cloud]\ndialect = \"vertex\"\nbase_url = \"{}/projects/p/locations/l\"\nkeys = [\"env:ACCOUNT\"]\n",
        gem.url()
    );
    let world = World::setup().config(&config).env("ACCOUNT", &account.to_string()).start().await;
    for _ in 0..3 {
        assert_eq!(world.ask("cloud/gemini-x").await.text(), "hello");
    }
    assert_eq!(gem.received(3).await.header("authorization"), "Bearer ya29.secret-token");
    let asked = tokens.calls();
    let body = String::from_utf8_lossy(&asked[0].body).into_owned();
    assert!(
        body.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey"),
        "{body}"
    );
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn credentials_that_are_not_taken_are_the_operators_business() {
    let tokens = Upstream::start("tokens").await;
    let user = json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "1//r",
        "token_uri": format!("{}/token", tokens.url())});
    tokens.replies(Reply::whole(400, r#"{"error":"invalid_grant","error_description":"1//r is bad"}"#)).always();
    let config =
        "[providers.cloud]\ndialect = \"vertex\"\nbase_url = \"http://127.0.0.1:1/v1\"\nkeys = [\"env:USER_JSON\"]\n";
    let world = World::setup().config(config).env("USER_JSON", &user.to_string()).start().await;
    let answer = world.ask("cloud/gemini-x").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (502, &json!("provider_auth")));
    assert!(!answer.raw().contains("1//r"), "{}", answer.raw());
}
