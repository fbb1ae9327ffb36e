//! Programs that speak Ollama's API, in front of any provider.

use crate::made::key;
use penstock_tests::{Answer, Gate, Part, Reply, World, words};
use serde_json::{Value, json};

fn lines(answer: &Answer) -> Vec<Value> {
    answer.raw().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }], "options": { "num_ctx": 2048, "temperature": 0.5 } })
}

#[tokio::test]
async fn a_chat_is_answered_in_lines_or_whole_and_stands_in_the_ledger() {
    let world = World::start().await;
    let answer =
        world.post("/api/chat", &chat("fast")).header("content-type", "application/x-www-form-urlencoded").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/x-ndjson"));
    let lines = lines(&answer);
    let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    let last = &lines[lines.len() - 1];
    assert_eq!((text.as_str(), &last["done"], &last["done_reason"]), ("hello", &json!(true), &json!("stop")));
    assert_eq!(
        (&last["prompt_eval_count"], &last["eval_count"], &last["model"]),
        (&json!(10), &json!(5), &json!("fast"))
    );
    let sent = world.upstream("alpha").received(1).await.json();
    assert_eq!((&sent["temperature"], &sent["options"], &sent["stream"]), (&json!(0.5), &Value::Null, &json!(true)));

    let mut whole = chat("alpha/m");
    whole["stream"] = false.into();
    let answer = world.post("/api/chat", &whole).await.json();
    assert_eq!(
        (&answer["message"]["content"], &answer["done"], &answer["eval_count"]),
        (&json!("hello"), &json!(true), &json!(5))
    );
    let prompt = json!({ "model": "alpha/m", "prompt": "Hello!", "stream": false });
    assert_eq!(world.post("/api/generate", &prompt).await.json()["response"], "hello");
    assert_eq!(world.attempts(3).await, ["alpha 200", "alpha 200", "alpha 200"]);
}

#[tokio::test]
async fn texts_are_embedded_in_both_forms() {
    let world = World::start().await;
    let vectors = r#"{"object":"list","data":[{"index":0,"embedding":[0.10,-1.5]}],"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    world.upstream("alpha").replies(Reply::whole(200, vectors)).always();
    let answer = world.post("/api/embed", &json!({ "model": "alpha/m", "input": "Hello!" })).await.json();
    assert_eq!(
        (&answer["embeddings"], &answer["prompt_eval_count"], &answer["model"]),
        (&json!([[0.1, -1.5]]), &json!(3), &json!("alpha/m"))
    );
    let answer = world.post("/api/embeddings", &json!({ "model": "alpha/m", "prompt": "Hello!" })).await.json();
    assert_eq!(answer, json!({ "embedding": [0.1, -1.5] }));
}

#[tokio::test]
async fn the_models_are_listed_and_shown_to_a_key_and_the_version_to_anyone() {
    let world = World::start().await;
    let get = |path: &str| world.get(path).key(world.key());
    assert!(world.get("/api/version").await.json()["version"].is_string());
    assert_eq!(get("/api/ps").await.json(), json!({ "models": [] }));
    let list = get("/api/tags").await.json();
    let names: Vec<&str> =
        list["models"].as_array().expect("models").iter().filter_map(|model| model["name"].as_str()).collect();
    assert_eq!(names, ["fast", "alpha/m", "beta/m"]);
    for model in ["fast", "alpha/m"] {
        let shown = world.post("/api/show", &json!({ "model": model })).await.json();
        assert_eq!(shown["capabilities"][0], "completion", "{shown}");
    }
    for path in ["/api/tags", "/api/ps"] {
        let stranger = world.get(path).await;
        assert!(stranger.status == 401 && stranger.json()["error"].is_string(), "{path}: {}", stranger.raw());
    }
}

#[tokio::test]
async fn errors_are_one_text_before_an_answer_and_a_line_within_it() {
    let world = World::start().await;
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    for (body, status) in [
        (chat("nothing"), 404),
        (json!({ "model": "alpha/m" }), 400),
        (json!({ "model": "alpha/m", "messages": [{ "role": "user", "content": 3 }] }), 400),
    ] {
        let answer = world.post("/api/chat", &body).await;
        assert!(answer.status == status && answer.json()["error"].is_string(), "{body}: {}", answer.raw());
    }
    assert_eq!(world.post("/api/chat", &chat("alpha/m")).key(&few).await.status, 403);
    assert_eq!(world.post("/api/show", &json!({ "model": "alpha/m" })).key(&few).await.status, 404);
    let gate = Gate::new();
    let cut = [Part::from(words::role()), words::content("hel").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(cut)).always();
    let mut open = world.post("/api/chat", &chat("alpha/m")).open().await;
    open.until("hel").await;
    gate.open();
    let lines = lines(&open.rest().await);
    assert!(lines.last().is_some_and(|line| line["error"].is_string()), "{lines:?}");
    assert!(lines.iter().all(|line| line["done"] != json!(true)), "{lines:?}");
}
