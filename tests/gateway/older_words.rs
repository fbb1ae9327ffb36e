//! Chats in words that are not today's: functions as OpenAI had them first, blocks and tools of Anthropic's messages, the
//! responses' input. They are served by every provider, and answered as they were asked.

#![expect(clippy::unwrap_used, reason = "a test that finds something else has failed")]

use penstock_tests::{Reply, Upstream, World};
use serde_json::{Value, json};

/// A provider of Anthropic's dialect, in a world that knows it as `claude`.
async fn world() -> (World, Upstream) {
    let claude = Upstream::start("claude").await;
    let url = claude.url();
    let url = url.strip_suffix("/v1").unwrap();
    let config =
        format!("[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{url}\"\nkeys = [\"env:CLAUDE_KEY\"]\n");
    (World::setup().config(&config).env("CLAUDE_KEY", "sk-ant-the-only").start().await, claude)
}

const CALLS: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}"#;

const SAYS: &str = r#"{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"sunny"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}"#;

fn stream() -> Reply {
    let usage = json!({"input_tokens": 10, "output_tokens": 1});
    let message =
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage});
    let piece = |json: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json}});
    let tool = json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}});
    let events = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": tool}),
        piece("{\"city\":"),
        piece("\"Bern\"}"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    Reply::stream(events.map(|data| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())))
}

#[tokio::test]
async fn who_asks_with_functions_gets_a_function_call_of_any_provider_whole_and_streamed() {
    let (world, claude) = world().await;
    let functions =
        json!([{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]);
    let ask_for = |messages: &Value, stream: bool| {
        let body = json!({"model": "claude/m", "messages": messages, "functions": functions, "function_call": "auto",
            "stream": stream});
        world.ask("claude/m").body(body.to_string())
    };
    let ask = |messages: &Value| ask_for(messages, false);
    let user = json!({"role": "user", "content": "Bern?"});
    claude.replies(Reply::whole(200, CALLS)).once();
    let answer = ask(&json!([user])).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "function_call", "{answer}");
    assert_eq!(choice["message"]["function_call"], json!({"name": "weather", "arguments": "{\"city\":\"Bern\"}"}));
    assert_eq!((&choice["message"]["content"], choice["message"].get("tool_calls")), (&json!("Let me see."), None));
    let sent = claude.received(1).await.json();
    assert_eq!(sent["tools"][0]["name"], "weather");
    assert_eq!(sent["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));

    claude.replies(Reply::whole(200, SAYS)).once();
    let result = json!({"role": "function", "name": "weather", "content": "sun"});
    let answer = ask(&json!([user, choice["message"], result])).await;
    assert_eq!(answer.text(), "sunny", "{}", answer.raw());
    let sent = claude.received(2).await.json();
    let called = sent["messages"][1]["content"].as_array().unwrap().last().unwrap();
    let answered = &sent["messages"][2]["content"][0];
    assert_eq!((&called["type"], &called["input"]), (&json!("tool_use"), &json!({"city": "Bern"})));
    assert_eq!((&answered["tool_use_id"], &answered["content"]), (&called["id"], &json!("sun")));

    claude.replies(stream()).once();
    let raw = ask_for(&json!([user]), true).await.raw();
    let (mut name, mut arguments, mut reasons) = (String::new(), String::new(), Vec::new());
    for line in raw.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let choice = &chunk["choices"][0];
        name += choice["delta"]["function_call"]["name"].as_str().unwrap_or_default();
        arguments += choice["delta"]["function_call"]["arguments"].as_str().unwrap_or_default();
        reasons.extend(choice["finish_reason"].as_str().map(ToOwned::to_owned));
    }
    assert_eq!(
        (name.as_str(), arguments.as_str(), &reasons[..]),
        ("weather", "{\"city\":\"Bern\"}", &["function_call".to_owned()][..])
    );
    assert!(!raw.contains("tool_calls"), "{raw}");
}

#[tokio::test]
async fn blocks_and_tools_of_anthropics_in_a_chat_reach_claude_and_a_copy_of_openai() {
    let (world, claude) = world().await;
    claude.replies(Reply::whole(200, SAYS)).always();
    world.upstream("alpha").answers("sunny").always();
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}});
    let result = json!({"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sun"}]});
    let messages = json!([{"role": "user", "content": "Bern?"}, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]);
    let tools = json!([{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}]);
    for model in ["claude/m", "alpha/m"] {
        let body = json!({"model": model, "messages": messages, "tools": tools, "tool_choice": {"type": "auto"}});
        let answer = world.ask(model).body(body.to_string()).await;
        assert_eq!(answer.text(), "sunny", "{}", answer.raw());
    }
    let sent = claude.received(1).await.json();
    assert_eq!(sent["messages"][1]["content"], json!([call]));
    assert_eq!(sent["messages"][2]["content"][0]["content"], "sun");
    let sent = world.upstream("alpha").received(1).await.json();
    assert_eq!(sent["tools"][0]["function"]["name"], "weather");
    assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Bern\"}");
    assert_eq!(sent["messages"][2], json!({"role": "tool", "tool_call_id": "toolu_1", "content": "sun"}));
}

#[tokio::test]
async fn a_chat_with_the_input_of_a_response_is_answered_as_a_chat() {
    let world = World::start().await;
    world.upstream("alpha").answers("sunny").always();
    let tool = json!({"type": "function", "name": "weather", "parameters": {"type": "object"}});
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "Bern?"}]}]);
    let body =
        json!({"model": "alpha/m", "instructions": "Be brief.", "input": input, "tools": [tool], "store": false});
    let answer = world.ask("alpha/m").body(body.to_string()).await;
    assert_eq!(answer.text(), "sunny", "{}", answer.raw());
    let sent = world.upstream("alpha").received(1).await.json();
    let said = ["/messages/0/content", "/messages/1/content", "/tools/0/function/name"];
    let said = said.map(|place| sent.pointer(place).and_then(Value::as_str).unwrap_or_default());
    assert_eq!(said, ["Be brief.", "Bern?", "weather"], "{sent}");
}

#[tokio::test]
async fn a_conversation_with_calls_that_offers_no_tools_any_more_still_tells_claude_which_there_were() {
    let (world, claude) = world().await;
    claude.replies(Reply::whole(200, SAYS)).always();
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}});
    let messages = json!([{"role": "user", "content": "Bern?"}, {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"}, {"role": "user", "content": "Sum up."}]);
    let answer = world.ask("claude/m").body(json!({"model": "claude/m", "messages": messages}).to_string()).await;
    assert_eq!(answer.text(), "sunny", "{}", answer.raw());
    let sent = claude.received(1).await.json();
    assert_eq!((&sent["tools"][0]["name"], &sent["tool_choice"]), (&json!("weather"), &json!({"type": "none"})));
}
