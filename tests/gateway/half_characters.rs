//! JSON that no text can hold, such as half a character: a request or an answer with it is refused or passed on, and no
//! handler fails over it.

use penstock_tests::{Ask, Reply, World, until};
use serde_json::json;

/// Half a character, as JSON writes it.
const HALF: &str = r"half \ud800";

/// A request whose body is this text.
fn send(world: &World, path: &str, body: &str) -> Ask {
    world.post(path, &json!({})).body(body.to_owned())
}

fn chat(words: &str) -> Reply {
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "WORDS" } });
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    let answer = json!({ "id": "chatcmpl-half", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [choice], "usage": usage });
    Reply::whole(200, answer.to_string().replace("WORDS", words))
}

#[tokio::test]
async fn half_a_character_in_a_request_is_refused_or_passed_on_wherever_it_stands() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let batch = |metadata: &str| {
        format!(
            r#"{{"batch":{{"displayName":"d","inputConfig":{{"requests":{{"requests":[{{"request":{{"contents":[{{"parts":[{{"text":"Hi"}}]}}]}},"metadata":{metadata}}}]}}}}}}}}"#
        )
    };
    let (generate, list) = ("/v1beta/models/alpha/m:batchGenerateContent", "/v1/chat/completions");
    for (path, body) in [
        ("/v1/responses", format!(r#"{{"model":"alpha/m","input":"{HALF}"}}"#)),
        ("/v1/responses/input_tokens", format!(r#"{{"model":"alpha/m","input":"{HALF}"}}"#)),
        (generate, batch(&format!(r#"{{"key":"{HALF}"}}"#))),
        (generate, batch(&format!(r#""{HALF}""#))),
        (generate, batch(r#"{"key":1e999}"#)),
        (list, format!(r#"{{"model":"alpha/m","store":true,"messages":[{{"role":"user","content":"{HALF}"}}]}}"#)),
    ] {
        let answer = send(&world, path, &body).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{path} {body}: {}", answer.raw());
    }
    let stored = world.get(list).key(world.key()).await.json();
    for kept in stored["data"].as_array().unwrap_or_else(|| panic!("{stored}")) {
        let id = kept["id"].as_str().unwrap_or_else(|| panic!("{kept}"));
        let said = world.get(&format!("{list}/{id}/messages")).key(world.key()).await.json();
        assert_eq!(said["data"][0]["content"], "half \u{fffd}", "{said}");
    }
}

#[tokio::test]
async fn half_a_character_in_an_answer_is_shown_as_what_a_text_can_hold_wherever_it_is_kept() {
    let world = World::start().await;
    world.upstream("alpha").replies(chat(HALF)).always();
    let job = world.ask("alpha/m").header("prefer", "respond-async").await.json();
    let job = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_else(|| panic!("{job}")));
    let shown = until("the job to be over", async || {
        let shown = world.get(&job).key(world.key()).await;
        assert_eq!(shown.status.as_u16(), 200, "{}", shown.raw());
        (shown.json()["status"] == "completed").then(|| shown.json())
    })
    .await;
    let said = &shown["response"]["body"]["choices"][0]["message"]["content"];
    assert_eq!(said, "half \u{fffd}", "{shown}");
    let stored = world.ask("alpha/m").field("store", json!(true)).await;
    assert_eq!(stored.status.as_u16(), 200, "{}", stored.raw());
    let list = world.get("/v1/chat/completions").key(world.key()).await;
    assert_eq!(list.status.as_u16(), 200, "{}", list.raw());
}
