//! Requests that name files of their project: the provider gets what is in them, whatever dialect it speaks.

use super::files::kept;
use penstock_tests::{Answer, World};
use serde_json::{Value, json};

/// What the provider got.
async fn sent(world: &World, count: usize) -> Value {
    serde_json::from_slice(&world.upstream("alpha").received(count).await.body).expect("a request is JSON")
}

async fn chat(world: &World, id: &str) -> Answer {
    let file = json!({ "type": "file", "file": { "file_id": id } });
    let content = json!([{ "type": "text", "text": "What is this?" }, file]);
    world.ask("alpha/m").field("messages", json!([{ "role": "user", "content": content }])).await
}

#[tokio::test]
async fn a_chat_a_response_a_message_and_a_content_say_what_is_in_a_file() {
    let world = World::start().await;
    world.upstream("alpha").answers("a file").always();
    let id = kept(&world, "user_data", "a.pdf", b"%PDF-1.4").await;
    let data = "data:application/pdf;base64,JVBERi0xLjQ=";
    assert_eq!(chat(&world, &id).await.text(), "a file");
    let file = json!({ "file_data": data, "filename": "a.pdf" });
    assert_eq!(sent(&world, 1).await["messages"][0]["content"][1]["file"], file);

    let input = json!([{ "role": "user", "content": [{ "type": "input_file", "file_id": id }] }]);
    let response = world.post("/v1/responses", &json!({ "model": "alpha/m", "input": input })).await;
    assert_eq!(response.status, 200, "{}", response.raw());
    assert_eq!(sent(&world, 2).await["messages"][0]["content"][0]["file"]["file_data"], data);
    let previous = response.json()["id"].clone();
    let next = json!({ "model": "alpha/m", "input": "And now?", "previous_response_id": previous });
    assert_eq!(world.post("/v1/responses", &next).await.status, 200);
    assert_eq!(sent(&world, 3).await["messages"][0]["content"][0]["file"]["file_data"], data, "it is kept by its id");

    let source = json!({ "type": "file", "file_id": id });
    let content = json!([{ "type": "document", "source": source }, { "type": "text", "text": "?" }]);
    let message = json!({ "model": "alpha/m", "max_tokens": 9, "messages": [{ "role": "user", "content": content }] });
    let message = world.post("/v1/messages", &message).await;
    assert_eq!(message.status, 200, "{}", message.raw());
    assert_eq!(sent(&world, 4).await["messages"][0]["content"][0]["file"]["file_data"], data);

    let uri = format!("{}/v1beta/files/{id}", world.url());
    let parts = json!([{ "text": "?" }, { "fileData": { "fileUri": uri, "mimeType": "application/pdf" } }]);
    let body = json!({ "contents": [{ "role": "user", "parts": parts }] });
    let content = world.post("/v1beta/models/alpha/m:generateContent", &body).await;
    assert_eq!(content.status, 200, "{}", content.raw());
    assert_eq!(sent(&world, 5).await["messages"][0]["content"][1]["file"]["file_data"], data);
}

#[tokio::test]
async fn a_file_that_cannot_be_named_is_refused_with_its_place() {
    let world = World::setup().env("PENSTOCK_INGRESS_BODY_LIMIT", "64KB").start().await;
    world.upstream("alpha").answers("hello").always();
    let other = super::made::key(&world, &json!({ "project": "other" })).await;
    let (mine, batch) = (kept(&world, "user_data", "a.txt", b"x").await, kept(&world, "batch", "b.jsonl", b"{}").await);
    let large = kept(&world, "vision", "c.png", &[0; 60_000]).await;
    let missing = "file-00000000000000000000000000000000";
    for (id, status, word) in [(missing, 400, "does not exist"), (&batch, 400, "`batch`"), (&large, 413, "body_limit")]
    {
        let answer = chat(&world, id).await;
        assert!(answer.status == status && answer.message().contains(word), "{id}: {}", answer.raw());
        if status == 400 {
            assert_eq!(answer.json()["error"]["param"], "messages[0].content[1].file.file_id");
        }
    }
    let file = json!({ "type": "file", "file": { "file_id": mine } });
    let messages = json!([{ "role": "user", "content": [file] }]);
    let answer = world.ask("alpha/m").key(&other).field("messages", messages).await;
    assert!(answer.status == 400 && answer.message().contains("does not exist"), "{}", answer.raw());
    assert!(world.upstream("alpha").calls().is_empty(), "no provider is called");
    let own = chat(&world, "file-abc123").await;
    assert_eq!(own.status, 200, "a provider's own file is the provider's: {}", own.raw());
    assert_eq!(sent(&world, 1).await["messages"][0]["content"][1]["file"]["file_id"], "file-abc123");
}
