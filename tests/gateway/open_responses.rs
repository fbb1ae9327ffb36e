//! What Open Responses demands of `/v1/responses` and `/v1/responses/compact`, in front of providers of other dialects: each
//! field of a response, of its items and of its events. The rules are those of its schema, in our own words.
//! Source: <https://www.openresponses.org/specification>, <https://www.openresponses.org/compliance>.

#![expect(clippy::unwrap_used, reason = "a test that finds something else has failed")]

use penstock_tests::{Reply, Upstream, World};
use serde_json::{Value, json};

const IMAGE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const PDF: &str = "data:application/pdf;base64,JVBERi0xLjEKJSVFT0Y=";

/// A provider per dialect, each with its own words for a text and for a call.
struct Worlds {
    world: World,
    claude: Upstream,
    gemini: Upstream,
}

async fn worlds() -> Worlds {
    let (claude, gemini) = (Upstream::start("claude").await, Upstream::start("gemini").await);
    let provider = |upstream: &Upstream, dialect: &str| {
        let (name, url) = (upstream.name(), upstream.url());
        let base = if dialect == "google" { url.as_str() } else { url.strip_suffix("/v1").unwrap() };
        format!("[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{base}\"\nkeys = [\"env:BETA_KEY\"]\n")
    };
    let config = provider(&claude, "anthropic") + &provider(&gemini, "google");
    Worlds { world: World::setup().config(&config).start().await, claude, gemini }
}

/// What each provider answers, whole and streamed: a text, or a call of `get_weather`.
fn replies(dialect: &str, calls: bool) -> [Reply; 2] {
    match dialect {
        "anthropic" => of_anthropic(calls),
        "google" => of_google(calls),
        _ => of_openai(calls),
    }
}

fn sse(events: &[Value], named: bool) -> Reply {
    let event = |event: &Value| match event["type"].as_str().filter(|_| named) {
        Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    Reply::stream(events.iter().map(event).collect::<Vec<_>>())
}

fn arguments() -> Value {
    json!({"location": "San Francisco, CA"})
}

fn of_anthropic(calls: bool) -> [Reply; 2] {
    let arguments = arguments();
    let block = if calls {
        json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": arguments})
    } else {
        json!({"type": "text", "text": "Hello there, friend."})
    };
    let reason = if calls { "tool_use" } else { "end_turn" };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block],
                "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 5}});
    let mut begun = message.clone();
    (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
    let (start, delta) = if calls {
        let start = json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}});
        (start, json!({"type": "input_json_delta", "partial_json": arguments.to_string()}))
    } else {
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": "Hello there, friend."}))
    };
    let events = [
        json!({"type": "message_start", "message": begun}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    [Reply::whole(200, message.to_string()), sse(&events, true)]
}

fn of_google(calls: bool) -> [Reply; 2] {
    let arguments = arguments();
    let part = if calls {
        json!({"functionCall": {"name": "get_weather", "args": arguments}})
    } else {
        json!({"text": "Hello there, friend."})
    };
    let answer = json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
                "modelVersion": "m", "responseId": "r"});
    [Reply::whole(200, answer.to_string()), sse(&[answer], false)]
}

fn of_openai(calls: bool) -> [Reply; 2] {
    let arguments = arguments();
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments.to_string()}});
    let (mut said, reason) = if calls {
        (json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls")
    } else {
        (json!({"role": "assistant", "content": "Hello there, friend."}), "stop")
    };
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                "choices": [{"index": 0, "message": said, "finish_reason": reason}]});
    if calls {
        said["tool_calls"][0]["index"] = json!(0);
    }
    let chunk = |delta: &Value, reason: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let events = [chunk(&said, Value::Null), chunk(&json!({}), json!(reason))];
    [Reply::whole(200, whole.to_string()), sse(&events, false)]
}

/// What the schema says of a value: a kind each, `|null` where it may be null, `?` where it may be absent.
fn check(value: &Value, rules: &[(&str, &str)], place: &str) {
    for (name, rule) in rules {
        let found = value.get(*name);
        let (rule, may_lack) = (rule.trim_end_matches('?'), rule.ends_with('?'));
        let Some(found) = found else {
            assert!(may_lack, "{place}.{name} is missing: {value}");
            continue;
        };
        let kind = match found {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "list",
            Value::Object(_) => "object",
        };
        let fits = rule.split('|').any(|one| one == kind || one == "any" || (one == "number" && kind == "integer"));
        assert!(fits, "{place}.{name} is {kind}, not {rule}: {value}");
    }
}

fn check_item(item: &Value, place: &str) {
    check(item, &[("type", "string"), ("id", "string")], place);
    match item["type"].as_str().unwrap() {
        "message" => {
            check(item, &[("status", "string"), ("role", "string"), ("content", "list")], place);
            for part in item["content"].as_array().unwrap() {
                check(
                    part,
                    &[("type", "string"), ("text", "string"), ("annotations", "list"), ("logprobs", "list?")],
                    place,
                );
            }
        }
        "function_call" => {
            check(
                item,
                &[("call_id", "string"), ("name", "string"), ("arguments", "string"), ("status", "string")],
                place,
            );
        }
        "reasoning" => {
            check(item, &[("summary", "list"), ("content", "list?"), ("encrypted_content", "string?")], place);
        }
        "compaction" => check(item, &[("encrypted_content", "string")], place),
        other => panic!("{place} is an item of the kind {other}"),
    }
}

fn check_response(response: &Value) {
    let rules = [
        ("id", "string"),
        ("object", "string"),
        ("created_at", "integer"),
        ("completed_at", "integer|null"),
        ("status", "string"),
        ("incomplete_details", "object|null"),
        ("model", "string"),
        ("previous_response_id", "string|null"),
        ("instructions", "string|null"),
        ("output", "list"),
        ("error", "object|null"),
        ("tools", "list"),
        ("tool_choice", "string|object"),
        ("truncation", "string"),
        ("parallel_tool_calls", "bool"),
        ("text", "object"),
        ("top_p", "number"),
        ("presence_penalty", "number"),
        ("frequency_penalty", "number"),
        ("top_logprobs", "integer"),
        ("temperature", "number"),
        ("reasoning", "object|null"),
        ("usage", "object|null"),
        ("max_output_tokens", "integer|null"),
        ("max_tool_calls", "integer|null"),
        ("store", "bool"),
        ("background", "bool"),
        ("service_tier", "string"),
        ("metadata", "any"),
        ("safety_identifier", "string|null"),
        ("prompt_cache_key", "string|null"),
    ];
    check(response, &rules, "response");
    check(&response["text"], &[("format", "object"), ("verbosity", "string?")], "text");
    for tool in response["tools"].as_array().unwrap() {
        let rules = [
            ("name", "string"),
            ("description", "string|null"),
            ("parameters", "object|null"),
            ("strict", "bool|null"),
        ];
        check(tool, &rules, "tools");
    }
    if response["status"] == "completed" {
        check(response, &[("completed_at", "integer")], "response");
        check_usage(&response["usage"]);
    }
    response["output"].as_array().unwrap().iter().for_each(|item| check_item(item, "output"));
}

fn check_usage(usage: &Value) {
    check(usage, &[("input_tokens", "integer"), ("output_tokens", "integer"), ("total_tokens", "integer")], "usage");
    check(&usage["input_tokens_details"], &[("cached_tokens", "integer")], "usage");
    check(&usage["output_tokens_details"], &[("reasoning_tokens", "integer")], "usage");
}

/// The events of a stream; each has what its kind demands.
fn check_stream(raw: &str) -> Vec<Value> {
    let data = raw.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    for event in &events {
        check(event, &[("type", "string"), ("sequence_number", "integer")], "event");
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        let of_item = [("item_id", "string"), ("output_index", "integer")];
        match kind {
            "created" | "in_progress" | "completed" => check_response(&event["response"]),
            "output_item.added" | "output_item.done" => check_item(&event["item"], kind),
            "content_part.added" | "content_part.done" => {
                check(event, &[of_item[0], of_item[1], ("part", "object")], kind);
            }
            "output_text.delta" => {
                check(event, &[of_item[0], of_item[1], ("content_index", "integer"), ("delta", "string")], kind);
            }
            "output_text.done" => {
                check(event, &[of_item[0], of_item[1], ("content_index", "integer"), ("text", "string")], kind);
            }
            "function_call_arguments.delta" => check(event, &[of_item[0], of_item[1], ("delta", "string")], kind),
            "function_call_arguments.done" => check(event, &[of_item[0], of_item[1], ("arguments", "string")], kind),
            other => panic!("an event of the kind {other}"),
        }
    }
    events
}

fn user(content: &Value) -> Value {
    json!({"type": "message", "role": "user", "content": content})
}

/// The requests of the compliance tests, by their names, and whether the model calls the tool.
fn requests() -> Vec<(&'static str, Value, bool)> {
    let parameters =
        json!({"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]});
    let tool =
        json!({"type": "function", "name": "get_weather", "description": "The weather", "parameters": parameters});
    let text = json!({"type": "input_text", "text": "What is this?"});
    let said = |role: &str, said: &str| json!({"type": "message", "role": role, "content": said});
    let weather = json!({"input": [user(&json!("What is the weather?"))], "tools": [tool]});
    let call = json!({"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "call_1", "output": "72F"});
    vec![
        ("basic", json!({"input": [user(&json!("Say hello."))]}), false),
        ("a text as input", json!({"input": "Say hello."}), false),
        ("system", json!({"input": [said("system", "You are a pirate."), user(&json!("Say hello."))]}), false),
        ("developer", json!({"input": [said("developer", "You are a pirate."), user(&json!("Say hello."))]}), false),
        ("tools", weather, true),
        ("a tool's result", json!({"input": [user(&json!("Weather?")), call, result], "tools": [tool]}), false),
        ("image", json!({"input": [user(&json!([text, {"type": "input_image", "image_url": IMAGE}]))]}), false),
        (
            "file",
            json!({"input": [user(&json!([text, {"type": "input_file", "filename": "a.pdf", "file_data": PDF}]))]}),
            false,
        ),
        (
            "turns",
            json!({"input": [user(&json!("I am Alice.")), said("assistant", "Hello Alice!"), user(&json!("Who am I?"))]}),
            false,
        ),
        (
            "phases",
            json!({"input": [user(&json!("Hi")), {"type": "message", "role": "assistant", "phase": "commentary",
            "content": [{"type": "output_text", "text": "Hm."}]}, user(&json!("And?"))]}),
            false,
        ),
    ]
}

#[tokio::test]
async fn each_request_of_the_compliance_tests_is_answered_as_its_schema_demands() {
    let Worlds { world, claude, gemini } = worlds().await;
    for (dialect, model, upstream) in [
        ("openai", "alpha/m", world.upstream("alpha")),
        ("anthropic", "claude/claude-sonnet-4-5", &claude),
        ("google", "gemini/gemini-2.5-flash", &gemini),
    ] {
        for (name, mut body, calls) in requests() {
            body["model"] = json!(model);
            let [whole, stream] = replies(dialect, calls);
            upstream.replies(whole).once();
            upstream.replies(stream).once();
            let answer = world.ask(model).path("/v1/responses").body(body.to_string()).await;
            assert_eq!(answer.status, 200, "{name} of {dialect}: {}", answer.raw());
            let response = answer.json();
            check_response(&response);
            let kind = if calls { "function_call" } else { "message" };
            assert_eq!(response["output"][0]["type"], kind, "{name} of {dialect}: {response}");
            body["stream"] = json!(true);
            let raw = world.ask(model).path("/v1/responses").body(body.to_string()).await.raw();
            let events = check_stream(&raw);
            assert_eq!(events.last().unwrap()["type"], "response.completed", "{name} of {dialect}: {raw}");
        }
    }
}

#[tokio::test]
async fn a_conversation_is_compacted_and_goes_on_in_front_of_every_provider() {
    let Worlds { world, claude, gemini } = worlds().await;
    for (dialect, model, upstream) in [
        ("openai", "alpha/m", world.upstream("alpha")),
        ("anthropic", "claude/claude-sonnet-4-5", &claude),
        ("google", "gemini/gemini-2.5-flash", &gemini),
    ] {
        upstream.replies(replies(dialect, false)[0].clone()).always();
        let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"});
        let result = json!({"type": "function_call_output", "call_id": "c", "output": "42"});
        let body =
            json!({"model": model, "instructions": "Be brief.", "input": [user(&json!("Look it up.")), call, result]});
        let compacted = world.ask(model).path("/v1/responses/compact").body(body.to_string()).await;
        assert_eq!(compacted.status, 200, "{dialect}: {}", compacted.raw());
        let compacted = compacted.json();
        check(
            &compacted,
            &[("id", "string"), ("object", "string"), ("created_at", "integer"), ("output", "list")],
            "compacted",
        );
        assert_eq!(compacted["object"], "response.compaction");
        check_usage(&compacted["usage"]);
        let item = &compacted["output"][0];
        check_item(item, "output");
        assert_eq!(item["type"], "compaction");
        let sent = upstream.calls().pop().unwrap().json().to_string();
        assert!(sent.contains("42") && sent.contains("Summarize") && !sent.contains("\"tool"), "{dialect}: {sent}");
        let next = json!({"model": model, "input": [item, user(&json!("Go on."))]});
        let answer = world.ask(model).path("/v1/responses").body(next.to_string()).await;
        check_response(&answer.json());
        let sent = upstream.calls().pop().unwrap().json().to_string();
        assert!(sent.contains("Hello there, friend.") && sent.contains("Go on."), "{dialect}: {sent}");
    }
    assert_eq!(world.attempts(6).await.len(), 6, "what compaction costs stands in the ledger");
}

#[tokio::test]
async fn the_tokens_of_a_request_are_counted_without_calling_a_provider() {
    let world = World::start().await;
    let ask = |body: Value| world.ask("alpha/m").path("/v1/responses/input_tokens").body(body.to_string());
    let short = ask(json!({"model": "alpha/m", "input": "Hi"})).await;
    assert_eq!((short.status.as_u16(), short.header("x-penstock-usage")), (200, "counted"));
    let (short, long) = (short.json(), ask(json!({"model": "alpha/m", "input": "Hi ".repeat(100)})).await.json());
    assert_eq!(short["object"], "response.input_tokens");
    assert!(long["input_tokens"].as_u64() > short["input_tokens"].as_u64(), "{short} {long}");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn what_is_said_back_of_a_request_is_what_it_asked() {
    let world = World::start().await;
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true});
    let body = json!({"model": "alpha/m", "input": "Hi", "tools": [function], "service_tier": "flex", "prompt_cache_key": "k",
        "safety_identifier": "s", "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}});
    let response = world.ask("alpha/m").path("/v1/responses").body(body.to_string()).await.json();
    let said = ["service_tier", "prompt_cache_key", "safety_identifier"]
        .map(|name| response[name].as_str().unwrap_or_default());
    assert_eq!(said, ["flex", "k", "s"]);
    assert_eq!((&response["tools"][0]["strict"], &response["tools"][0]["description"]), (&json!(true), &Value::Null));
    assert_eq!(
        (&response["text"]["format"]["strict"], &response["text"]["format"]["description"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn a_websocket_is_refused_at_once_and_unknown_paths_answer_in_the_clients_own_shape() {
    let world = World::start().await;
    let upgrade =
        world.get("/v1/responses").key(world.key()).header("connection", "upgrade").header("upgrade", "websocket");
    let refused = upgrade.await;
    assert_eq!(refused.error(), "426 invalid_request_error websocket_not_supported");
    let plain = world.get("/v1/responses").key(world.key()).await;
    assert_eq!(plain.error(), "405 invalid_request_error method_not_allowed");
    let skills = world.get("/v1/skills").key(world.key());
    assert_eq!(skills.await.error(), "404 invalid_request_error unknown_url");
    let skills = world.get("/v1/skills").key(world.key()).header("anthropic-version", "2023-06-01").await.json();
    assert_eq!((&skills["type"], &skills["error"]["type"]), (&json!("error"), &json!("not_found_error")));
}
