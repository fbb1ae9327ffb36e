//! What was reported of other gateways' streams, figures and tools, asked of this one: each report's bytes in
//! our own words, its source beside it.

use crate::bedrock::{begin, event, stream};
use crate::reported_agents::{claude, function, last, messages, named, said, user, world};
use penstock_tests::{Gate, Part, Reply, World};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

const GOOGLE: &str = "dialect = \"google\"";

const BEDROCK: &str = "dialect = \"bedrock\"\nregion = \"us-east-1\"";

const CLAUDE_AT_BEDROCK: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

const PRICE: &str = "[[prices]]\nmodel = \"house/m\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"10\"\ncache_read_usd_per_million = \"0.1\"\ncache_write_usd_per_million = \"1.25\"\ncache_write_1h_usd_per_million = \"2\"\n";

fn events(pieces: &[Value]) -> Reply {
    sent(pieces.iter().map(|piece| Part::from(data(piece))))
}

fn sent(parts: impl IntoIterator<Item = Part>) -> Reply {
    Reply::stream(parts).header("content-type", "text/event-stream")
}

fn data(piece: &Value) -> String {
    let name = piece["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {piece}\n\n")
}

fn chunk(delta: &Value, reason: &Value) -> Value {
    json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
}

fn with_usage(mut piece: Value, usage: &Value) -> Value {
    piece["usage"] = usage.clone();
    piece
}

/// Every value of this name anywhere in the body.
fn all<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, inner)| (key == name).then_some(inner).into_iter().chain(all(inner, name)))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| all(item, name)).collect(),
        _ => Vec::new(),
    }
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

/// What the ledger says of every attempt, once there are so many.
async fn rows(world: &World, count: usize) -> Vec<Value> {
    let sql = "SELECT input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens, toString(cost_usd) AS cost FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    world.sql_until(sql, |rows| rows.len() == count && rows.iter().all(|row| row["cost"] != Value::Null)).await
}

/// <https://github.com/trefeon/freebuff-proxy/issues/83>: a silent stream gets comments, also before its first content, and a late failure is an event with the provider's message.
#[tokio::test]
async fn a_silent_stream_has_signs_of_life_and_what_fails_late_is_told() {
    let quick = "dialect = \"openai\"\n[ingress]\nkeep_alive = \"100ms\"";
    let (world, house) = world(quick, "/v1").await;
    let told = json!({ "error": { "message": "Upstream provider error (429): Model is at capacity.", "type": "upstream_error" } });
    let [first, second] = [Gate::new(), Gate::new()];
    let parts = [
        Part::from(": connecting\n\n"),
        Part::Wait(first.clone()),
        Part::from(data(&chunk(&json!({ "role": "assistant", "content": "sun" }), &Value::Null))),
        Part::Wait(second.clone()),
        Part::from(data(&told)),
        Part::from("data: [DONE]\n\n"),
    ];
    house.replies(sent(parts)).once();
    let mut answer = world.post(CHAT, &streamed(user("house/m"))).open().await;
    assert_eq!(answer.status, 200);
    answer.until(": ").await;
    first.open();
    answer.until("sun").await;
    answer.until("\n\n: ").await;
    second.open();
    let rest = answer.rest().await;
    assert!(rest.raw().contains("Model is at capacity") && !rest.raw().contains("\"stop\""), "{}", rest.raw());
    // What is refused after the beginning is an event, in each client's words.
    let refused = json!({ "error": { "message": "no such tool", "type": "invalid_request_error", "code": null } });
    let response = json!({ "model": "house/m", "input": "a", "stream": true });
    for ask in [
        world.post(CHAT, &streamed(user("house/m"))),
        messages(&world, &streamed(claude("house/m"))),
        world.post("/v1/responses", &response),
    ] {
        let gate = Gate::new();
        house.replies(Reply::whole(400, refused.to_string()).held(&gate)).once();
        let mut answer = ask.open().await;
        answer.until(": waiting").await;
        gate.open();
        let events = answer.rest().await.events();
        let error = events.last().unwrap_or_else(|| panic!("there is no error: {events:?}"));
        assert!(error["error"]["message"].as_str().is_some_and(|words| words.contains("no such tool")), "{error}");
    }
    // Who does not wait for events gets the status.
    let gate = Gate::new();
    house.replies(Reply::whole(400, refused.to_string()).held(&gate)).once();
    let (answer, ()) = tokio::join!(async { world.post(CHAT, &user("house/m")).await }, async {
        house.received(5).await;
        gate.open();
    });
    assert_eq!(answer.status, 400, "{}", answer.raw());
}

/// <https://github.com/envoyproxy/ai-gateway/pull/2677>: what is written to the cache for an hour is charged at that price, whole and streamed.
#[tokio::test]
async fn writes_to_the_cache_are_charged_by_how_long_they_are_kept() {
    let (world, house) = world(&format!("dialect = \"anthropic\"\n{PRICE}"), "").await;
    let usage = |output: u64| json!({ "input_tokens": 10, "cache_creation_input_tokens": 1100, "cache_read_input_tokens": 0, "cache_creation": { "ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 1000 }, "output_tokens": output });
    let message = |usage: Value| json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{ "type": "text", "text": "one two three four five" }], "stop_reason": "end_turn", "stop_sequence": null, "usage": usage });
    let mut body = claude("house/m");
    body["messages"][0]["content"] = json!([{ "type": "text", "text": "word ".repeat(1100), "cache_control": { "type": "ephemeral", "ttl": "1h" } }]);
    house.replies(Reply::whole(200, message(usage(5)).to_string())).times(2);
    assert_eq!(messages(&world, &body).await.header("x-penstock-cost-usd"), "0.002185");
    assert_eq!(world.post(CHAT, &body).await.header("x-penstock-cost-usd"), "0.002185");
    let mut begun = message(usage(1));
    begun["content"] = json!([]);
    // Newer answers say all figures once more at their end, without how long the cache is kept.
    for last in [
        json!({ "output_tokens": 5 }),
        json!({ "input_tokens": 10, "cache_creation_input_tokens": 1100, "cache_read_input_tokens": 0, "output_tokens": 5 }),
    ] {
        house
            .replies(events(&[
                json!({ "type": "message_start", "message": begun }),
                json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "one two three four five" } }),
                json!({ "type": "content_block_stop", "index": 0 }),
                json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": last }),
                json!({ "type": "message_stop" }),
            ]))
            .once();
        messages(&world, &streamed(body.clone())).await;
    }
    for row in rows(&world, 4).await {
        let figures =
            ["input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "cost"].map(|name| row[name].clone());
        assert_eq!(figures, [json!(10), json!(100), json!(1000), json!("0.002185")], "{row}");
    }
}

/// <https://github.com/OpenSenseNova/SenseNova-Skills/pull/139>: an answer of Gemini without anything in it says why.
#[tokio::test]
async fn an_empty_answer_of_gemini_says_why() {
    let usage = json!({ "promptTokenCount": 19, "totalTokenCount": 19 });
    let model = "house/gemini-2.5-flash-image";
    let mut wrong = Vec::new();
    for (reason, is_refusal) in [("IMAGE_SAFETY", true), ("PROHIBITED_CONTENT", true), ("NO_IMAGE", false)] {
        let (world, house) = world(GOOGLE, "/v1beta").await;
        let answer = json!({ "candidates": [{ "finishReason": reason, "finishMessage": "Unable to show the generated image.", "index": 0 }], "usageMetadata": usage, "modelVersion": "m", "responseId": "r" });
        house.replies(Reply::whole(200, answer.to_string())).always();
        let chat = world.post(CHAT, &user(model)).await;
        let finish = chat.json()["choices"][0]["finish_reason"].clone();
        if chat.status == 200 && is_refusal && finish != "content_filter" {
            wrong.push(format!("{reason} to a chat: {} {}", chat.status, chat.raw()));
        }
        let message = messages(&world, &claude(model)).await;
        if message.status == 200 && is_refusal && message.json()["stop_reason"] != "refusal" {
            wrong.push(format!("{reason} to Claude's clients: {} {}", message.status, message.raw()));
        }
        let own = json!({ "contents": [{ "role": "user", "parts": [{ "text": "a" }] }] });
        let same = world.post(&format!("/v1beta/models/{model}:generateContent"), &own).await;
        if same.status != 200 || same.json()["candidates"][0]["finishReason"] != reason {
            wrong.push(format!("{reason} to Gemini's clients: {} {}", same.status, same.raw()));
        }
        house.replies(events(&[answer])).always();
        let chat = world.post(CHAT, &streamed(user(model))).await;
        if chat.status == 200 && is_refusal && !chat.raw().contains("content_filter") {
            wrong.push(format!("{reason} streamed: {} {}", chat.status, chat.raw()));
        }
    }
    let (world, house) = world(GOOGLE, "/v1beta").await;
    let blocked = json!({ "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" }, "usageMetadata": usage });
    house.replies(Reply::whole(200, blocked.to_string())).always();
    let chat = world.post(CHAT, &user(model)).await;
    if !chat.raw().contains("content_filter") && !chat.raw().contains("PROHIBITED_CONTENT") {
        wrong.push(format!("a blocked prompt: {} {}", chat.status, chat.raw()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// <https://github.com/anomalyco/opencode/pull/46065>: figures are no end of a stream of Bedrock's; before its end they are welcome.
#[tokio::test]
async fn figures_are_no_end_of_a_stream_of_bedrocks() {
    let (world, house) = world(BEDROCK, "").await;
    let model = format!("house/{CLAUDE_AT_BEDROCK}");
    let text = || {
        let delta = event("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": "sun" } }));
        [begin(), delta, event("contentBlockStop", &json!({ "contentBlockIndex": 0 }))].concat()
    };
    let figures = || event("metadata", &json!({ "usage": { "inputTokens": 3, "outputTokens": 2, "totalTokens": 5 } }));
    for is_chat in [true, false] {
        let gate = Gate::new();
        let parts = [Part::Send(text().into()), Part::Wait(gate.clone()), Part::Send(figures().into())];
        house.replies(Reply::stream(parts).header("content-type", "application/vnd.amazon.eventstream")).once();
        let ask = if is_chat {
            world.post(CHAT, &streamed(user(&model)))
        } else {
            messages(&world, &streamed(claude(&model)))
        };
        let mut answer = ask.open().await;
        answer.until("sun").await;
        gate.open();
        let raw = answer.rest().await.raw();
        assert!(raw.contains("\"error\"") && !raw.contains("\"stop\"") && !raw.contains("end_turn"), "{raw}");
    }
    let stop = event("messageStop", &json!({ "stopReason": "end_turn" }));
    house.replies(stream(&[text(), figures(), stop].concat())).once();
    let mut body = streamed(user(&model));
    body["stream_options"] = json!({ "include_usage": true });
    let answer = world.post(CHAT, &body).await;
    let events = answer.events();
    assert!(all(&json!(events), "finish_reason").contains(&&json!("stop")), "{}", answer.raw());
    assert_eq!(events.last().expect("there are events")["usage"]["completion_tokens"], 2, "{}", answer.raw());
}

/// <https://github.com/BerriAI/litellm/pull/40611>: tools are Ollama's own, also by their old name; none are none; and results come back as results.
#[tokio::test]
async fn tools_are_ollamas_own() {
    let (world, house) = named("ollama", "", "/v1").await;
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "f", "arguments": "{\"n\":1}" } });
    // Ollama's streams leave out a call's place.
    let streamed_call = [
        chunk(&json!({ "role": "assistant", "content": "", "tool_calls": [call] }), &Value::Null),
        chunk(&json!({}), &json!("stop")),
    ];
    let mut body = user("ollama/qwen3:8b");
    body["tools"] = function();
    house.replies(events(&streamed_call)).once();
    let answer = world.post(CHAT, &streamed(body.clone())).await;
    assert_eq!(last(&house).json()["tools"][0]["function"]["name"], "f");
    let seen = json!(answer.events());
    assert!(all(&seen, "finish_reason").contains(&&json!("tool_calls")), "{}", answer.raw());
    assert_eq!(all(&seen, "tool_calls")[0][0]["index"], 0, "{}", answer.raw());
    body["messages"] = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": "3 nodes" }
    ]);
    house.replies(said(&json!({ "role": "assistant", "content": "three" }), "stop")).times(2);
    assert_eq!(world.post(CHAT, &body).await.text(), "three");
    let sent = last(&house).json();
    assert_eq!((&sent["messages"][2]["role"], &sent["messages"][2]["content"]), (&json!("tool"), &json!("3 nodes")));
    assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["name"], "f", "{sent}");
    let mut body = user("ollama/qwen3:8b");
    body["tools"] = json!([]);
    assert_eq!(world.post(CHAT, &body).await.text(), "three");
    let sent = last(&house).json();
    assert!(
        sent.get("tools").is_none_or(|tools| tools == &json!([])) && sent.get("response_format").is_none(),
        "{sent}"
    );
    house.replies(said(&json!({ "role": "assistant", "content": "", "tool_calls": [call] }), "tool_calls")).once();
    let mut body = user("ollama/qwen3:8b");
    body["functions"] = json!([{ "name": "f", "description": "d", "parameters": { "type": "object", "properties": { "n": { "type": "integer" } } } }]);
    let answer = world.post(CHAT, &body).await;
    let sent = last(&house).json();
    assert_eq!(sent["tools"][0]["function"]["name"], "f", "{sent}");
    let message = &answer.json()["choices"][0]["message"];
    assert!(
        message["function_call"]["name"] == "f" || message["tool_calls"][0]["function"]["name"] == "f",
        "{message}"
    );
}

/// <https://github.com/BerriAI/litellm/issues/10388>: OpenRouter is asked for its figures, and its ids, figures and price reach the client and the books.
#[tokio::test]
async fn what_openrouter_says_of_its_price_is_heard() {
    let (world, house) = named("openrouter", "", "/v1").await;
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.00095, "cost_details": { "upstream_inference_cost": null }, "is_byok": false });
    let whole = json!({ "id": "gen-1", "provider": "Chutes", "object": "chat.completion", "created": 1, "model": "m", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "one two three four five" }, "finish_reason": "stop" }], "usage": usage });
    let mut body = user("openrouter/deepseek/deepseek-chat-v3");
    body["usage"] = json!({ "include": true });
    house.replies(Reply::whole(200, whole.to_string())).once();
    let answer = world.post(CHAT, &body).await;
    assert_eq!(last(&house).json()["usage"], json!({ "include": true }));
    assert_eq!((&answer.json()["id"], &answer.json()["usage"]["cost"]), (&json!("gen-1"), &json!(0.00095)));
    let piece = |delta: Value, reason: Value| {
        let mut piece = chunk(&delta, &reason);
        piece["id"] = json!("gen-2");
        piece
    };
    let pieces = [
        piece(json!({ "role": "assistant", "content": "one two three four five" }), Value::Null),
        with_usage(piece(json!({ "content": "" }), json!("stop")), &usage),
    ];
    house.replies(events(&pieces)).once();
    let answer = world.post(CHAT, &streamed(body)).await;
    let seen = json!(answer.events());
    assert_eq!((&seen[0]["id"], all(&seen, "cost")), (&json!("gen-2"), vec![&json!(0.00095)]), "{}", answer.raw());
    for row in rows(&world, 2).await {
        assert_eq!(row["cost"], "0.00095", "{row}");
    }
    // With a key of one's own at the provider behind it, what that one charges is beside its fee.
    let mut own = whole.clone();
    own["usage"]["is_byok"] = json!(true);
    own["usage"]["cost_details"]["upstream_inference_cost"] = json!(0.019);
    house.replies(Reply::whole(200, own.to_string())).once();
    let answer = world.post(CHAT, &user("openrouter/deepseek/deepseek-chat-v3")).await;
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.01995");
    let charged =
        "SELECT toString(charged_usd) AS charged, unpriced_usage FROM attempts ORDER BY started_at DESC LIMIT 1";
    let rows = world.sql_until(charged, |rows| rows[0]["charged"] == "0.01995").await;
    assert_eq!(rows[0]["unpriced_usage"], json!({}));
    // The currency of other servers' `cost` is not known.
    let (world, other) = named("house", "dialect = \"openai\"", "/v1").await;
    other.replies(Reply::whole(200, whole.to_string())).once();
    assert_eq!(world.post(CHAT, &user("house/m")).await.header("x-penstock-cost-usd"), "");
}
