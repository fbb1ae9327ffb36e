//! What was reported of other gateways in front of agents, asked of this one: each report's bytes in our own words, its source
//! beside it.

use penstock_tests::{Ask, Call, Reply, Upstream, World};
use serde_json::{Value, json};
use std::fmt::Write;

const CHAT: &str = "/v1/chat/completions";

const SAYS: &str = r#"{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"sunny"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":2}}"#;

/// A world with one more provider of this name, whose section says this besides; it takes anything.
pub(crate) async fn named(name: &str, section: &str, path: &str) -> (World, Upstream) {
    let house = Upstream::start(name).await;
    house.accepts_anything();
    let url = house.url();
    let base = url.strip_suffix("/v1").expect("an upstream's URL ends so");
    let mut config = String::new();
    writeln!(config, "[providers.{name}]\nbase_url = \"{base}{path}\"\nkeys = [\"env:K\"]\nprobe = false\n{section}")
        .expect("a String can be written to");
    (World::setup().config(&config).env("K", "sk-the-only").start().await, house)
}

pub(crate) async fn world(section: &str, path: &str) -> (World, Upstream) {
    named("house", section, path).await
}

pub(crate) fn messages(world: &World, body: &Value) -> Ask {
    world.post("/v1/messages", body).header("anthropic-version", "2023-06-01")
}

pub(crate) fn user(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "a" }] })
}

pub(crate) fn claude(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 9000, "messages": [{ "role": "user", "content": "a" }] })
}

pub(crate) fn last(house: &Upstream) -> Call {
    house.calls().pop().expect("the provider was called")
}

pub(crate) fn said(message: &Value, reason: &str) -> Reply {
    Reply::whole(200, json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{ "index": 0, "message": message, "finish_reason": reason }], "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 } }).to_string())
}

fn gemini(parts: &Value) -> Reply {
    Reply::whole(200, json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP", "index": 0 }], "usageMetadata": { "promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5 }, "modelVersion": "m", "responseId": "r" }).to_string())
}

fn response(output: &Value) -> Reply {
    Reply::whole(200, json!({ "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": output, "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 } }).to_string())
}

pub(crate) fn tool() -> Value {
    json!([{ "name": "f", "description": "d", "input_schema": { "type": "object", "properties": { "n": { "type": "integer" } } } }])
}

pub(crate) fn function() -> Value {
    json!([{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object", "properties": { "n": { "type": "integer" } } } } }])
}

/// <https://github.com/router-for-me/CLIProxyAPI/issues/5375>: an output that belongs to no call is not given to Claude as a result of one.
#[tokio::test]
async fn an_output_without_a_call_is_no_result_of_a_made_up_one() {
    let (world, house) = world("dialect = \"anthropic\"", "").await;
    house.replies(Reply::whole(200, SAYS)).always();
    for orphan in [
        json!({ "type": "function_call_output", "output": "late news" }),
        json!({ "type": "function_call_output", "call_id": "call_gone", "output": "late news" }),
    ] {
        let input = json!([{ "role": "user", "content": "a" }, { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "b" }] }, orphan, { "role": "user", "content": "c" }]);
        let answer = world.post("/v1/responses", &json!({ "model": "house/claude-sonnet-4-5", "input": input })).await;
        assert_eq!(answer.status, 200, "{}", answer.raw());
        let sent = last(&house).json();
        assert!(!sent.to_string().contains("tool_result"), "{sent}");
        assert!(sent.to_string().contains("late news"), "{sent}");
    }
}

/// <https://github.com/weave-os/router/pull/866>: a result whose call is gone does not stop the conversation, wherever it goes.
#[tokio::test]
async fn a_result_whose_call_is_gone_does_not_stop_the_conversation() {
    let mut body = claude("house/m");
    body["tools"] = tool();
    body["messages"] = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }, { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_gone", "content": "late news" }, { "type": "text", "text": "c" }] }]);
    let done = json!([{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": "ok", "annotations": [] }] }]);
    let spoken = json!({ "output": { "message": { "role": "assistant", "content": [{ "text": "ok" }] } }, "stopReason": "end_turn", "usage": { "inputTokens": 3, "outputTokens": 2, "totalTokens": 5 } });
    let each = [
        ("dialect = \"anthropic\"", "", "claude-sonnet-4-5", Reply::whole(200, SAYS)),
        ("dialect = \"openai\"", "/v1", "m", said(&json!({ "role": "assistant", "content": "ok" }), "stop")),
        ("dialect = \"google\"", "/v1beta", "gemini-2.5-flash", gemini(&json!([{ "text": "ok" }]))),
        ("dialect = \"responses\"", "/v1", "gpt-5.5", response(&done)),
        (
            "dialect = \"bedrock\"\nregion = \"us-east-1\"",
            "",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Reply::whole(200, spoken.to_string()),
        ),
    ];
    let mut wrong = Vec::new();
    for (section, path, model, reply) in each {
        let (world, house) = world(section, path).await;
        if path.is_empty() && model.starts_with("claude") {
            // A caller's own bytes are mended once Claude has refused them.
            let why = "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_gone.";
            let refused = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": why } });
            house.replies(Reply::whole(400, refused.to_string())).once();
        }
        house.replies(reply).always();
        body["model"] = json!(format!("house/{model}"));
        let answer = messages(&world, &body).await;
        let sent = house.calls().pop().map(|call| call.json()).unwrap_or_default().to_string();
        let orphan = ["tool_result", "\"tool\"", "functionResponse", "function_call_output", "toolResult"];
        if answer.status != 200 || orphan.iter().any(|word| sent.contains(word)) || !sent.contains("late news") {
            wrong.push(format!("{section}: {} {} {sent}", answer.status, answer.raw()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// <https://github.com/MAXeaglet/commandcode-proxy/pull/5>: marks for the cache are kept on everything that may carry one, both ways.
#[tokio::test]
async fn marks_for_the_cache_are_kept_both_ways() {
    let mark = json!({ "type": "ephemeral" });
    let (world_of_claude, house) = world("dialect = \"anthropic\"", "").await;
    house.replies(Reply::whole(200, SAYS)).always();
    let mut body = user("house/claude-sonnet-4-5");
    body["messages"] = json!([
        { "role": "system", "content": [{ "type": "text", "text": "s", "cache_control": mark }] },
        { "role": "user", "content": "a", "cache_control": mark },
        { "role": "assistant", "content": "b", "cache_control": mark },
        { "role": "user", "content": "c" }
    ]);
    world_of_claude.post(CHAT, &body).await;
    let sent = last(&house).json();
    for at in ["/system/0/cache_control", "/messages/0/content/0/cache_control", "/messages/1/content/0/cache_control"]
    {
        assert_eq!(sent.pointer(at), Some(&mark), "{at}: {sent}");
    }
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" }, "cache_control": mark });
    body["messages"] = json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, image] }]);
    body["tools"] = function();
    body["tools"][0]["cache_control"] = mark.clone();
    world_of_claude.post(CHAT, &body).await;
    let sent = last(&house).json();
    for at in ["/tools/0/cache_control", "/messages/0/content/1/cache_control"] {
        assert_eq!(sent.pointer(at), Some(&mark), "{at}: {sent}");
    }
    let (world, house) = named("openrouter", "", "/v1").await;
    house.answers("ok").always();
    let mut body = claude("openrouter/anthropic/claude-sonnet-4.5");
    body["system"] = json!([{ "type": "text", "text": "s", "cache_control": mark }]);
    body["tools"] = tool();
    body["tools"][0]["cache_control"] = mark.clone();
    body["messages"] = json!([{ "role": "user", "content": [{ "type": "text", "text": "a", "cache_control": mark }] }]);
    messages(&world, &body).await;
    let sent = last(&house).json();
    for at in ["/messages/0/content/0/cache_control", "/messages/1/content/0/cache_control", "/tools/0/cache_control"] {
        assert_eq!(sent.pointer(at), Some(&mark), "{at}: {sent}");
    }
}

/// <https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1399>: what Claude Code's system says between turns reaches servers that know no such role there.
#[tokio::test]
async fn what_the_system_says_between_turns_reaches_servers_without_that_role() {
    let mut body = claude("house/qwen3-coder-30b");
    body["system"] = json!("You are Claude Code.");
    body["messages"] = json!([{ "role": "user", "content": "a" }, { "role": "system", "content": "A server of tools joined." }, { "role": "assistant", "content": "b" }, { "role": "user", "content": "c" }]);
    let (claudes, house) = world("dialect = \"anthropic\"", "").await;
    house.replies(Reply::whole(200, SAYS)).always();
    let answer = messages(&claudes, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let sent = last(&house).json();
    let roles: Vec<&str> =
        sent["messages"].as_array().expect("there are turns").iter().filter_map(|turn| turn["role"].as_str()).collect();
    assert!(roles.iter().all(|role| ["user", "assistant"].contains(role)), "{sent}");
    assert!(sent.to_string().contains("A server of tools joined."), "{sent}");
    let (chats, house) = world("dialect = \"openai\"", "/v1").await;
    house.answers("ok").always();
    let answer = messages(&chats, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    assert!(last(&house).json().to_string().contains("A server of tools joined."));
}
