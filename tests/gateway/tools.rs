//! Tools that a provider does not take as the caller names them: sent otherwise, and given back as they were, whole, streamed
//! and in the next turn.

#![expect(clippy::unwrap_used, reason = "a test that finds something else has failed")]

use penstock_tests::{Reply, World, words};
use serde_json::{Value, json};

/// A name of an MCP server's tool: longer than OpenAI's copies take, with a character that they refuse.
fn long() -> String {
    format!("mcp.{}", "x".repeat(90))
}

/// An answer that calls a tool by the name that was sent; whole, or as chunks.
fn calls(name: &str, arguments: &str) -> [Reply; 2] {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}});
    let chunk = |call: Value| {
        words::event(&json!({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}).to_string(), "null")
    };
    let (first, rest) = arguments.split_at(arguments.len() / 2);
    let begun = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}});
    let piece = |text: &str| chunk(json!({"index": 0, "function": {"arguments": text}}));
    let last = words::event(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#, "null");
    let stream = [words::role(), chunk(begun), piece(first), piece(rest), last, words::usage(), words::DONE.to_owned()];
    [Reply::whole(200, whole.to_string()), Reply::stream(stream)]
}

/// The last event of a stream of a response, or the response.
fn response(raw: &str) -> Value {
    let last = raw.lines().rfind(|line| line.starts_with("data: {"));
    let last: Value = serde_json::from_str(last.map_or(raw, |line| &line[6..])).unwrap();
    if last["response"].is_object() { last["response"].clone() } else { last }
}

#[tokio::test]
async fn a_name_that_is_too_long_for_a_provider_is_sent_shorter_and_comes_back_as_it_was() {
    let world = World::start().await;
    let tools = json!([{"name": long(), "input_schema": {"type": "object"}}]);
    let ask = |messages: &Value| {
        let body = json!({"model": "alpha/m", "max_tokens": 9, "tools": tools, "messages": messages});
        world.ask("alpha/m").path("/v1/messages").header("anthropic-version", "2023-06-01").body(body.to_string())
    };
    let user = json!({"role": "user", "content": "Hi"});
    assert_eq!(ask(&json!([user])).await.status, 200);
    let sent = world.upstream("alpha").received(1).await.json();
    let name = sent["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
    assert!(name.len() <= 64 && name.starts_with("mcp_xxx"), "{name}");
    let [whole, stream] = calls(&name, "{\"a\":1}");
    world.upstream("alpha").replies(whole).once();
    let message = ask(&json!([user])).await.json();
    assert_eq!(message["content"][0]["name"], long(), "{message}");
    let result = json!({"type": "tool_result", "tool_use_id": "call_1", "content": "1"});
    let turns =
        json!([user, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": [result]}]);
    world.upstream("alpha").answers("done").once();
    assert_eq!(ask(&turns).await.json()["content"][0]["text"], "done");
    let again = world.upstream("alpha").received(3).await.json();
    assert_eq!(again["messages"][1]["tool_calls"][0]["function"]["name"], name);
    assert_eq!(again["tools"][0]["function"]["name"], name, "the same each time: prompt caches hit");
    world.upstream("alpha").replies(stream).always();
    let mut body = json!({"model": "alpha/m", "max_tokens": 9, "tools": tools, "messages": [user], "stream": true});
    body["tool_choice"] = json!({"type": "tool", "name": long()});
    let ask = world.ask("alpha/m").path("/v1/messages").header("anthropic-version", "2023-06-01");
    let raw = ask.body(body.to_string()).await.raw();
    assert!(raw.contains(&long()) && !raw.contains(&name), "{raw}");
    assert_eq!(world.upstream("alpha").received(4).await.json()["tool_choice"]["function"]["name"], name);
}

#[tokio::test]
async fn a_tool_of_free_text_is_a_function_of_one_text_where_a_provider_knows_no_such_tool() {
    let world = World::start().await;
    let grammar = json!({"type": "grammar", "syntax": "lark", "definition": "start: line+"});
    let ask = |input: &Value, stream: bool| {
        let tool = json!({"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": grammar});
        let body = json!({"model": "alpha/m", "input": input, "tools": [tool], "stream": stream});
        world.ask("alpha/m").path("/v1/responses").body(body.to_string())
    };
    let [whole, stream] = calls("apply_patch", "{\"input\":\"*** Begin\\n+é\\u00e9\"}");
    world.upstream("alpha").replies(whole).once();
    world.upstream("alpha").replies(stream).once();
    let user = json!({"role": "user", "content": "Hi"});
    let first = response(&ask(&json!([user]), false).await.raw());
    let raw = ask(&json!([user]), true).await.raw();
    let second = response(&raw);
    for found in [&first, &second] {
        let item = &found["output"][0];
        assert_eq!((&item["type"], &item["name"]), (&json!("custom_tool_call"), &json!("apply_patch")), "{found}");
        assert_eq!((&item["input"], &item["call_id"]), (&json!("*** Begin\n+éé"), &json!("call_1")));
    }
    assert!(raw.contains("event: response.custom_tool_call_input.delta"), "{raw}");
    let done = raw.lines().find(|line| line.contains("response.custom_tool_call_input.done\"")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&done[6..]).unwrap()["input"], "*** Begin\n+éé");
    let sent = world.upstream("alpha").received(1).await.json();
    assert_eq!(sent["tools"][0]["type"], "function");
    let told = sent["tools"][0]["function"]["description"].as_str().unwrap();
    assert!(told.contains("Edits files.") && told.contains("start: line+"), "{told}");
    let result = json!({"type": "custom_tool_call_output", "call_id": "call_1", "output": "ok"});
    world.upstream("alpha").answers("done").always();
    let third = ask(&json!([user, first["output"][0], result]), false).await;
    assert_eq!(response(&third.raw())["output"][0]["content"][0]["text"], "done", "{}", third.raw());
    let sent = world.upstream("alpha").received(3).await.json();
    let call = &sent["messages"][1]["tool_calls"][0]["function"];
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!((&call["name"], &arguments["input"]), (&json!("apply_patch"), &json!("*** Begin\n+éé")));
    assert_eq!((&sent["messages"][2]["role"], &sent["messages"][2]["content"]), (&json!("tool"), &json!("ok")));
}

#[tokio::test]
async fn functions_in_namespaces_and_tools_that_come_as_items_reach_every_provider() {
    let world = World::start().await;
    let function =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}, "defer_loading": true});
    let space =
        json!({"type": "namespace", "name": "mcp__notes", "description": "Notes", "tools": [function("search")]});
    let more = json!({"type": "additional_tools", "tools": [function("shell")]});
    let ask = |input: &Value, stream: bool| {
        let body = json!({"model": "alpha/m", "input": input, "tools": [space, {"type": "web_search", "external_web_access": true}],
            "client_metadata": {"x": "y"}, "stream": stream, "tool_choice": "auto"});
        world.ask("alpha/m").path("/v1/responses").body(body.to_string())
    };
    let [whole, stream] = calls("mcp__notes__search", "{\"q\":\"x\"}");
    world.upstream("alpha").replies(whole).once();
    world.upstream("alpha").replies(stream).once();
    let user = json!({"role": "user", "content": "Hi"});
    let first = ask(&json!([more, user]), false).await;
    assert_eq!(first.header("x-penstock-dropped-params"), "tools[1]", "a copy has no search of its own");
    let first = response(&first.raw());
    let second = response(&ask(&json!([more, user]), true).await.raw());
    for found in [&first, &second] {
        let item = &found["output"][0];
        let told = ["type", "namespace", "name", "arguments"].map(|name| item[name].as_str().unwrap_or_default());
        assert_eq!(told, ["function_call", "mcp__notes", "search", "{\"q\":\"x\"}"], "{found}");
    }
    let sent = world.upstream("alpha").received(1).await.json();
    let names: Vec<&str> =
        sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mcp__notes__search", "shell"]);
    assert!(!sent.to_string().contains("client_metadata") && !sent.to_string().contains("defer_loading"), "{sent}");
    let result = json!({"type": "function_call_output", "call_id": "call_1", "output": "ok"});
    world.upstream("alpha").answers("done").always();
    ask(&json!([more, user, first["output"][0], result]), false).await;
    let sent = world.upstream("alpha").received(3).await.json();
    assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["name"], "mcp__notes__search");
    let odd = json!({"model": "alpha/m", "input": "Hi", "never_heard_of": 1});
    let refused = world.ask("alpha/m").path("/v1/responses").body(odd.to_string()).await;
    assert_eq!(refused.error(), "400 invalid_request_error unsupported (never_heard_of)");
}

#[tokio::test]
async fn limits_as_copies_write_them_pass_and_are_understood_elsewhere() {
    let world = World::start().await;
    for (limit, sent) in [("-1", json!(-1)), ("100.0", json!(100.0))] {
        let body =
            format!(r#"{{"model":"alpha/m","messages":[{{"role":"user","content":"Hi"}}],"max_tokens":{limit}}}"#);
        assert_eq!(world.ask("alpha/m").body(body).await.status, 200, "{limit}");
        assert_eq!(world.upstream("alpha").calls().pop().unwrap().json()["max_tokens"], sent);
    }
    let body = r#"{"model":"alpha/m","messages":[{"role":"user","content":"Hi"}],"max_tokens":-2}"#;
    assert_eq!(world.ask("alpha/m").body(body).await.error(), "400 invalid_request_error invalid_value (max_tokens)");
}

#[tokio::test]
async fn a_stream_to_an_anthropic_client_begins_with_what_its_request_was_counted_to_be() {
    let world = World::start().await;
    let ask = world.ask("alpha/m").path("/v1/messages").header("anthropic-version", "2023-06-01");
    let body = json!({"model": "alpha/m", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "word ".repeat(50)}]});
    // The vocabulary is loaded by the first that counts.
    let count = world.post("/v1/messages/count_tokens", &json!({"model": "alpha/m", "messages": body["messages"]}));
    let counted = count.header("anthropic-version", "2023-06-01").await.json()["input_tokens"].as_u64().unwrap();
    let gate = penstock_tests::Gate::new();
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).always();
    let asked = ask.body(body.to_string());
    let (raw, ()) = tokio::join!(async { asked.await.raw() }, async {
        world.upstream("alpha").received(1).await;
        gate.open();
    });
    let start = raw.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let usage = &serde_json::from_str::<Value>(start).unwrap()["message"]["usage"];
    assert_eq!(usage["input_tokens"].as_u64(), Some(counted), "{raw}");
    assert_eq!((&usage["cache_creation_input_tokens"], &usage["cache_read_input_tokens"]), (&json!(0), &json!(0)));
}
