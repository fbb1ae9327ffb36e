//! Requests into the agnostic form and answers out of it, as tables.

use super::{Messages, agnostic, read};
use crate::client::Writer;
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::usage::{Usage, UsageSource};
use serde_json::{Value, json};

fn translated(request: &Value) -> Value {
    let body = Bytes::from(request.to_string());
    read(Operation::Chat, body.clone()).unwrap();
    serde_json::from_slice(&agnostic(&body).unwrap()).unwrap()
}

fn with(field: &str, value: Value) -> Value {
    let mut request = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    request[field] = value;
    request
}

#[test]
fn fields_have_their_agnostic_names() {
    let schema = json!({ "type": "object", "properties": {} });
    let tool =
        json!({ "name": "f", "description": "d", "input_schema": schema, "cache_control": { "type": "ephemeral" } });
    let own = json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": 5 });
    for (field, value, expected) in [
        ("max_tokens", json!(5), json!({ "max_tokens": 5 })),
        ("stop_sequences", json!(["a"]), json!({ "stop": ["a"] })),
        ("top_k", json!(5), json!({ "top_k": 5 })),
        ("metadata", json!({ "user_id": "ann" }), json!({ "user": "ann" })),
        (
            "thinking",
            json!({ "type": "enabled", "budget_tokens": 2048 }),
            json!({ "reasoning": { "max_tokens": 2048, "enabled": true } }),
        ),
        ("thinking", json!({ "type": "adaptive" }), json!({ "reasoning": { "enabled": true } })),
        ("thinking", json!({ "type": "disabled" }), json!({ "reasoning": { "enabled": false } })),
        ("output_config", json!({ "effort": "max" }), json!({ "reasoning_effort": "xhigh" })),
        (
            "output_config",
            json!({ "format": { "type": "json_schema", "schema": schema } }),
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": schema, "strict": true } } }),
        ),
        (
            "tools",
            json!([tool, own]),
            json!({ "tools": [
                { "type": "function", "function": { "name": "f", "description": "d", "parameters": schema }, "cache_control": { "type": "ephemeral" } },
                own,
            ] }),
        ),
        (
            "tool_choice",
            json!({ "type": "any", "disable_parallel_tool_use": true }),
            json!({ "tool_choice": "required", "parallel_tool_calls": false }),
        ),
        (
            "tool_choice",
            json!({ "type": "tool", "name": "f" }),
            json!({ "tool_choice": { "type": "function", "function": { "name": "f" } } }),
        ),
        ("service_tier", json!("standard_only"), json!({ "service_tier": "default" })),
        ("context_management", json!({ "edits": [] }), json!({ "context_management": { "edits": [] } })),
        ("mcp_servers", json!([]), json!({})),
        ("billing_policy", json!({ "type": "billing_policy", "bill_to": "self" }), json!({})),
        ("not_yet_known", json!({ "a": 1 }), json!({ "not_yet_known": { "a": 1 } })),
    ] {
        let mut found = translated(&with(field, value));
        let fields = found.as_object_mut().unwrap();
        fields.remove("model");
        assert_eq!(fields.remove("messages").unwrap(), json!([{ "role": "user", "content": "hi" }]));
        assert_eq!(found, expected, "{field}");
    }
}

#[test]
fn a_mark_where_another_model_went_on_is_none_of_what_was_said() {
    let mark = json!({ "type": "fallback", "from": { "model": "a" }, "to": { "model": "b" }, "trigger": { "type": "refusal" } });
    let listing = json!({ "type": "mcp_tool_listing", "mcp_server_name": "notes", "tools": [] });
    let answer = json!([listing, mark, { "type": "text", "text": "b" }]);
    let messages = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": answer }]);
    assert_eq!(translated(&with("messages", messages))["messages"][1], json!({ "role": "assistant", "content": "b" }));
}

#[test]
fn a_call_may_give_its_arguments_back_as_the_text_that_was_streamed() {
    let called = |input: Value| {
        let call = json!({ "type": "tool_use", "id": "t1", "name": "f", "input": input });
        let messages = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": [call] }]);
        translated(&with("messages", messages))["messages"][1]["tool_calls"][0]["function"]["arguments"].clone()
    };
    assert_eq!(called(json!("{\"a\": 1}")), "{\"a\": 1}");
    assert_eq!(called(json!({ "a": 1 })), "{\"a\":1}");
}

#[test]
fn blocks_are_parts_calls_and_results() {
    let mark = json!({ "type": "ephemeral" });
    let request = json!({ "model": "m", "system": "s", "messages": [
        { "role": "user", "content": [
            { "type": "text", "text": "a", "cache_control": mark },
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } },
            { "type": "image", "source": { "type": "url", "url": "https://a.example/b" } },
            { "type": "document", "title": "t", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVA=" } },
            { "type": "document", "title": "t", "source": { "type": "text", "media_type": "text/plain", "data": "x" } },
        ] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "sig" },
            { "type": "redacted_thinking", "data": "xyz" },
            { "type": "text", "text": "b" },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "n": 9_007_199_254_740_993_u64 } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [
                { "type": "text", "text": "c" },
                { "type": "image", "source": { "type": "url", "url": "https://a.example/c" } },
            ] },
            { "type": "text", "text": "d" },
        ] },
    ] });
    let expected = json!([
        { "role": "system", "content": "s" },
        { "role": "user", "content": [
            { "type": "text", "text": "a", "cache_control": mark },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
            { "type": "image_url", "image_url": { "url": "https://a.example/b" } },
            { "type": "file", "file": { "file_data": "data:application/pdf;base64,JVA=", "filename": "t" } },
            { "type": "text", "text": "t\n\nx" },
        ] },
        { "role": "assistant", "content": "b", "reasoning_content": "hm",
            "reasoning_details": [
                { "type": "reasoning.text", "text": "hm", "signature": "sig", "format": "anthropic-claude-v1", "index": 0 },
                { "type": "reasoning.encrypted", "data": "xyz", "format": "anthropic-claude-v1", "index": 1 },
            ],
            "tool_calls": [{ "id": "t1", "type": "function", "function": { "name": "f", "arguments": "{\"n\":9007199254740993}" } }] },
        { "role": "tool", "tool_call_id": "t1", "is_error": true, "content": [
            { "type": "text", "text": "c" },
            { "type": "image_url", "image_url": { "url": "https://a.example/c" } },
        ] },
        { "role": "user", "content": [{ "type": "text", "text": "d" }] },
    ]);
    assert_eq!(translated(&request)["messages"], expected);
}

#[test]
fn what_is_wrong_is_named() {
    let block = |block: Value| with("messages", json!([{ "role": "user", "content": [block] }]));
    for (request, param) in [
        (block(json!("x")), "messages[0].content[0]"),
        (block(json!({ "text": "x" })), "messages[0].content[0].type"),
        (block(json!({ "type": "text", "text": 5 })), "messages[0].content[0].text"),
        (block(json!({ "type": "image" })), "messages[0].content[0].source"),
        (block(json!({ "type": "image", "source": { "type": "fax" } })), "messages[0].content[0].source.type"),
        (block(json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} })), "messages[0].content[0].type"),
        (block(json!({ "type": "tool_result" })), "messages[0].content[0].tool_use_id"),
        (with("messages", json!([{ "role": "robot", "content": "x" }])), "messages[0].role"),
        (with("system", json!([{ "type": "image" }])), "system[0].source"),
        (with("tools", json!(["x"])), "tools[0]"),
        (with("tools", json!([{ "input_schema": {} }])), "tools[0].name"),
        (with("tools", json!([{ "name": "f", "input_schema": 5 }])), "tools[0].input_schema"),
        (with("tool_choice", json!({ "type": "some" })), "tool_choice.type"),
        (with("thinking", json!({ "type": "enabled", "budget_tokens": -1 })), "thinking.budget_tokens"),
        (with("output_config", json!({ "format": { "type": "xml" } })), "output_config.format.type"),
    ] {
        let refusal = agnostic(&Bytes::from(request.to_string())).unwrap_err();
        assert_eq!(refusal.param(), Some(param), "{request}");
    }
}

fn writer() -> Messages {
    Messages::new(RequestId::parse("01900000-0000-7000-8000-000000000007").unwrap(), "m".to_owned())
}

fn summary() -> Summary {
    let usage = Usage { input: Some(1), output: Some(2), searches: Some(3), ..Usage::default() };
    Summary { usage, usage_source: UsageSource::Provider, cost: None }
}

#[test]
fn a_whole_answer_is_a_message() {
    let answer = r#"{"id":"","model":"","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant",
        "content":"b","reasoning_content":"hm","annotations":[{"type":"url_citation","url_citation":{"url":"https://a.example","title":"A"}}],
        "tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"n\": 9007199254740993123}"}},
        {"id":"t2","type":"function","function":{"name":"g","arguments":""}}]}}]}"#;
    let whole = writer().whole(&Bytes::from(answer), &summary()).unwrap();
    let text = String::from_utf8(whole.to_vec()).unwrap();
    assert!(text.contains(r#""input":{"n": 9007199254740993123}"#), "{text}");
    let message: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<&str> = message["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(message["content"][1]["citations"][0]["url"], "https://a.example");
    assert_eq!((&message["stop_reason"], &message["model"]), (&json!("tool_use"), &json!("m")));
    assert_eq!(message["usage"]["server_tool_use"]["web_search_requests"], 3);
    assert!(writer().whole(&Bytes::from_static(b"{\"choices\":[]}"), &summary()).is_err());
}

/// The blocks of a stream, each with its start and all that was added.
fn blocks(chunks: &[Value]) -> Vec<Value> {
    let (mut writer, mut out) = (writer(), Vec::new());
    for chunk in chunks {
        let delta = json!({ "choices": [{ "index": 0, "delta": chunk, "finish_reason": null }] });
        writer.chunk(delta.to_string().as_bytes(), &mut out).unwrap();
    }
    writer.end(&summary(), &mut out);
    let mut blocks: Vec<Value> = Vec::new();
    for event in String::from_utf8(out).unwrap().split_terminator("\n\n") {
        let event: Value = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
        if let Some(start) = event.get("content_block") {
            assert_eq!(event["index"], blocks.len());
            blocks.push(start.clone());
        }
        if let Some(delta) = event.get("delta").filter(|_| event["type"] == "content_block_delta") {
            let block = blocks.last_mut().unwrap();
            for (from, to) in
                [("text", "text"), ("thinking", "thinking"), ("signature", "signature"), ("partial_json", "json")]
            {
                if let Some(text) = delta[from].as_str() {
                    block[to] = (block[to].as_str().unwrap_or_default().to_owned() + text).into();
                }
            }
        }
    }
    blocks
}

#[test]
fn streamed_thoughts_are_signed_at_their_end() {
    let detail = |detail: Value| json!({ "reasoning_details": [detail] });
    let claude = "anthropic-claude-v1";
    let found = blocks(&[
        json!({ "role": "assistant" }),
        json!({ "reasoning_content": "h", "reasoning_details": [{ "type": "reasoning.text", "text": "h", "format": claude, "index": 0 }] }),
        json!({ "reasoning_content": "m", "reasoning_details": [{ "type": "reasoning.text", "text": "m", "format": claude, "index": 0 }] }),
        detail(json!({ "type": "reasoning.text", "signature": "sig", "format": claude, "index": 0 })),
        detail(json!({ "type": "reasoning.encrypted", "data": "xyz", "format": claude, "index": 1 })),
        json!({ "content": "42" }),
    ]);
    let expected = [
        json!({ "type": "thinking", "thinking": "hm", "signature": "sig" }),
        json!({ "type": "redacted_thinking", "data": "xyz" }),
        json!({ "type": "text", "text": "42" }),
    ];
    assert_eq!(found, expected);
    let found =
        blocks(&[json!({ "reasoning_content": "h" }), json!({ "reasoning_content": "m" }), json!({ "content": "x" })]);
    assert_eq!((found.len(), &found[0]["thinking"]), (2, &json!("hm")));
    assert!(found[0]["signature"].as_str().unwrap().starts_with("psr1.unknown."));
}

#[test]
fn calls_in_turns_wait_for_each_other_and_lose_nothing() {
    let piece =
        |index: u32, json: &str| json!({ "tool_calls": [{ "index": index, "function": { "arguments": json } }] });
    let start = |index: u32| json!({ "tool_calls": [{ "index": index, "id": format!("c{index}"), "function": { "name": "f", "arguments": "" } }] });
    let found = blocks(&[
        start(0),
        start(1),
        piece(1, "{\"b\":\"\\\"}"),
        piece(0, "{\"a\":{}"),
        json!({ "content": "x" }),
        piece(1, "\"}"),
        piece(0, "}"),
        json!({ "content": "y" }),
        start(2),
    ]);
    let said: Vec<&str> =
        found.iter().map(|block| block["json"].as_str().or(block["text"].as_str()).unwrap_or("-")).collect();
    assert_eq!(said, ["{\"a\":{}}", "{\"b\":\"\\\"}\"}", "xy", "-"]);
}

#[test]
fn answers_that_follow_each_other_are_one_so_that_calls_keep_their_results() {
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "look", "input": {} });
    let thought = |text: &str| json!({ "type": "thinking", "thinking": text, "signature": "c2ln" });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "42" });
    let messages = json!([
        { "role": "user", "content": "Look." },
        { "role": "assistant", "content": [thought("Hm."), call("a")] },
        { "role": "assistant", "content": "Wait." },
        { "role": "assistant", "content": [thought("Ah."), { "type": "text", "text": "Now." }, call("b")] },
        { "role": "user", "content": [result("a"), result("b")] },
    ]);
    let found = translated(&with("messages", messages));
    let roles: Vec<&Value> = found["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    let answer = &found["messages"][1];
    assert_eq!((&answer["content"], &answer["reasoning_content"]), (&json!("Wait.\n\nNow."), &json!("Hm.Ah.")));
    let ids: Vec<&Value> = answer["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    let places: Vec<&Value> =
        answer["reasoning_details"].as_array().unwrap().iter().map(|detail| &detail["index"]).collect();
    assert_eq!((json!(ids), json!(places)), (json!(["a", "b"]), json!([0, 1])));
}

#[test]
fn a_conversation_that_anthropic_summed_up_goes_on_elsewhere() {
    let block = json!({ "type": "compaction", "content": "so far so good" });
    let turns = json!([{ "role": "assistant", "content": [block] }, { "role": "user", "content": "go on" }]);
    let said = translated(&with("messages", turns))["messages"][0]["content"].to_string();
    assert!(said.contains("so far so good") && !said.contains("compaction"), "{said}");
}
