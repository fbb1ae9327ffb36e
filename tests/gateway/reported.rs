//! What was reported of other gateways, asked of this one: each report's bytes in our own words, its source beside it.

use crate::batches::{create, line, over, results};
use crate::bedrock::{begin, event, stream};
use crate::files::{form, post};
use penstock_tests::{Answer, Ask, Call, Gate, Part, Reply, Upstream, World};
use serde_json::{Value, json};
use std::fmt::Write;

const CHAT: &str = "/v1/chat/completions";

const SAYS: &str = r#"{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"sunny"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"cache_read_input_tokens":100,"cache_creation_input_tokens":5,"output_tokens":2}}"#;

/// A world with one more provider, `house`, whose section says this besides; it takes anything.
async fn world(section: &str, path: &str) -> (World, Upstream) {
    let house = Upstream::start("house").await;
    house.accepts_anything();
    let url = house.url();
    let base = url.strip_suffix("/v1").expect("an upstream's URL ends so");
    let mut config = String::new();
    writeln!(config, "[providers.house]\nbase_url = \"{base}{path}\"\nkeys = [\"env:K\"]\nprobe = false\n{section}")
        .expect("a String can be written to");
    (World::setup().config(&config).env("K", "sk-the-only").start().await, house)
}

fn messages(world: &World, body: &Value) -> Ask {
    world.post("/v1/messages", body).header("anthropic-version", "2023-06-01")
}

fn user(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "a" }] })
}

fn last(house: &Upstream) -> Call {
    house.calls().pop().expect("the provider was called")
}

fn types(answer: &Answer) -> Vec<String> {
    answer.events().iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

/// <https://github.com/BerriAI/litellm/pull/37527>
#[tokio::test]
async fn a_batch_file_that_is_none_is_refused_when_it_is_sent() {
    let world = World::start().await;
    let body = form(&[("purpose", None, b"batch"), ("file", Some("notes.txt"), b"milk, eggs")]);
    let answer = post(&world, "/v1/files", body).await;
    assert_eq!(answer.status, 400, "{}", answer.raw());
    assert!(answer.message().contains("jsonl"), "{}", answer.raw());
    let no_method = r#"{"custom_id":"a","url":"/v1/chat/completions","body":{"model":"alpha/m","messages":[]}}"#;
    let body = form(&[("purpose", None, b"batch"), ("file", Some("bad.jsonl"), no_method.as_bytes())]);
    let answer = post(&world, "/v1/files", body).await;
    if answer.status == 200 {
        let id = answer.json()["id"].as_str().expect("a file has an id").to_owned();
        let batch = create(&world, &id, &json!({})).await.json();
        let batch = over(&world, batch["id"].as_str().expect("a batch has an id")).await;
        let error = &batch["errors"]["data"][0];
        assert_eq!(
            (&batch["status"], &error["line"], &error["param"]),
            (&json!("failed"), &json!(1), &json!("method"))
        );
    }
}

/// <https://github.com/BerriAI/litellm/issues/10117>
#[tokio::test]
async fn a_batch_runs_at_a_provider_that_has_no_files_whatever_else_the_form_says() {
    let (world, house) = world("dialect = \"openai\"", "/v1").await;
    house.answers("ok").always();
    let lines = [line("task-0", "house/deepseek-v3"), line("task-1", "house/deepseek-v3")].join("\n");
    let body = form(&[
        ("purpose", None, b"batch"),
        ("file", Some("1.jsonl"), lines.as_bytes()),
        ("custom_llm_provider", None, b"openai"),
        ("target_model_names", None, b"deepseek-v3"),
    ]);
    let file = post(&world, "/v1/files", body).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    let batch = create(&world, file.json()["id"].as_str().expect("a file has an id"), &json!({})).await.json();
    let batch = over(&world, batch["id"].as_str().expect("a batch has an id")).await;
    assert_eq!((&batch["status"], results(&world, &batch, "output_file_id").await.len()), (&json!("completed"), 2));
}

/// <https://github.com/diegosouzapw/OmniRoute/pull/13733>
#[tokio::test]
async fn documents_are_ranked_by_a_server_that_calls_them_texts_and_answers_a_bare_list() {
    let (world, house) = world("dialect = \"openai\"\nquirks = [\"ranked_texts\"]", "/model").await;
    house.replies(Reply::whole(200, r#"[{"index":0,"score":0.1},{"index":1,"score":0.9}]"#)).always();
    let body = json!({ "model": "house/bge", "query": "q", "documents": ["a", "b"], "top_n": 1 });
    let answer = world.post("/v1/rerank", &body).await;
    assert_eq!(last(&house).json()["texts"], json!(["a", "b"]), "{}", answer.raw());
    assert_eq!(answer.json()["results"], json!([{ "index": 1, "relevance_score": 0.9 }]), "{}", answer.raw());
}

/// <https://github.com/BerriAI/litellm/issues/11434>
#[tokio::test]
async fn the_kind_of_what_is_embedded_reaches_cohere_and_copies() {
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let (copies, house) = world("dialect = \"openai\"", "/v1").await;
    let floats = json!({ "object": "list", "model": "m", "data": [{ "object": "embedding", "index": 0, "embedding": [1.0] }], "usage": { "prompt_tokens": 1, "total_tokens": 1 } });
    house.replies(Reply::whole(200, floats.to_string())).always();
    let body = json!({ "model": "house/embed-v4", "input": [image], "input_type": "image" });
    assert_eq!(copies.post("/v1/embeddings", &body).await.status, 200);
    assert_eq!(last(&house).json()["input_type"], "image");
    let (cohere, house) = world("dialect = \"cohere\"", "/model/v2").await;
    let own = json!({ "id": "e", "embeddings": { "float": [[1.0]] }, "texts": ["a"], "meta": { "billed_units": { "input_tokens": 1 } }, "response_type": "embeddings_by_type" });
    house.replies(Reply::whole(200, own.to_string())).always();
    let body = json!({ "model": "house/embed-v4.0", "input": ["a"], "input_type": "search_query" });
    let answer = cohere.post("/v1/embeddings", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    assert_eq!(last(&house).json()["input_type"], "search_query");
    let body = json!({ "model": "house/embed-v4.0", "input": [image], "input_type": "image" });
    let answer = cohere.post("/v1/embeddings", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let sent = last(&house).json();
    assert_eq!(sent["input_type"], "image");
    let is_image = sent["images"] == json!([image]) || sent["inputs"][0]["content"][0]["image_url"]["url"] == image;
    assert!(is_image, "{sent}");
}

/// <https://github.com/api7/aisix/pull/1094>
#[tokio::test]
async fn an_effort_and_a_schema_of_claudes_clients_reach_openais_models_as_those_take_them() {
    let (world, house) = world("dialect = \"openai\"", "/v1").await;
    house.answers("{}").always();
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string", "minLength": 1 }, "note": { "type": "string" } }, "required": ["name"], "additionalProperties": false });
    let mut body = user("house/gpt-5-mini");
    body["max_tokens"] = json!(9000);
    body["output_config"] = json!({ "effort": "high", "format": { "type": "json_schema", "schema": schema } });
    let answer = messages(&world, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let sent = last(&house).json();
    assert_eq!(sent["reasoning_effort"], "high");
    let format = &sent["response_format"];
    assert_eq!((&format["type"], &format["json_schema"]["schema"]["type"]), (&json!("json_schema"), &json!("object")));
    assert!(format["json_schema"]["name"].is_string(), "{format}");
    // OpenAI's strict mode takes a schema only if every property is required.
    let is_complete = format["json_schema"]["schema"]["required"] == json!(["name", "note"]);
    assert!(format["json_schema"]["strict"] != true || is_complete, "{format}");
}

/// <https://github.com/pydantic/pydantic-ai/pull/4621>, <https://github.com/experientiallabs/experiential/pull/965>
#[tokio::test]
async fn thoughts_that_another_organisation_sealed_are_left_out_and_the_conversation_goes_on() {
    let (world, house) = world("dialect = \"responses\"", "/v1").await;
    let refused = r#"{"error":{"message":"The encrypted content rsn_...abcd could not be verified. Reason: Encrypted content could not be decrypted or parsed.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#;
    house.replies(Reply::whole(400, refused)).once();
    let done = json!({ "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": "ok", "annotations": [] }] }], "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 } });
    house.replies(Reply::whole(200, done.to_string())).always();
    let input = json!([
        { "role": "user", "content": "a" },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "rsn_of-somebody-else-abcd" },
        { "type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": "b", "annotations": [] }] },
        { "role": "user", "content": "c" }
    ]);
    let body =
        json!({ "model": "house/gpt-5.5", "input": input, "store": false, "include": ["reasoning.encrypted_content"] });
    let answer = world.post("/v1/responses", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let sent = String::from_utf8_lossy(&last(&house).body).into_owned();
    assert!(!sent.contains("somebody-else") && sent.contains("\"b\""), "{sent}");
}

/// <https://github.com/raine/claude-code-proxy/issues/36>
#[tokio::test]
async fn a_client_of_claude_may_be_given_several_calls_by_models_of_responses() {
    let (world, house) = world("dialect = \"responses\"", "/v1").await;
    let call = |id: &str| json!({ "type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "f", "arguments": "{}", "status": "completed" });
    let done = json!({ "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [call("c1"), call("c2")], "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 } });
    house.replies(Reply::whole(200, done.to_string())).always();
    let mut body = user("house/gpt-5.6-sol");
    body["max_tokens"] = json!(9000);
    body["tools"] = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
    let answer = messages(&world, &body).await;
    assert_ne!(last(&house).json()["parallel_tool_calls"], false);
    let said = answer.json();
    let ids: Vec<&Value> =
        said["content"].as_array().expect("it has content").iter().map(|block| &block["id"]).collect();
    assert_eq!((ids, &said["stop_reason"]), (vec![&json!("c1"), &json!("c2")], &json!("tool_use")));
    body["tool_choice"] = json!({ "type": "auto", "disable_parallel_tool_use": true });
    messages(&world, &body).await;
    assert_eq!(last(&house).json()["parallel_tool_calls"], false);
}

/// <https://github.com/BerriAI/litellm/pull/38997>
#[tokio::test]
async fn an_image_counts_where_the_provider_counts_a_responses_input() {
    let (world, house) = world("dialect = \"responses\"", "/model/v1").await;
    house.replies(Reply::whole(200, r#"{"object":"response.input_tokens","input_tokens":268}"#)).always();
    let content = json!([{ "type": "input_text", "text": "What is in this image?" }, { "type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=" }]);
    let body = json!({ "model": "house/gpt-4o", "input": [{ "role": "user", "content": content }] });
    let answer = world.post("/v1/responses/input_tokens", &body).await;
    assert_eq!(answer.json(), json!({ "object": "response.input_tokens", "input_tokens": 268 }));
    assert!(last(&house).path.ends_with("/v1/responses/input_tokens"));
}

/// <https://github.com/spring-projects/spring-ai/pull/6859>
#[tokio::test]
async fn bedrocks_thoughts_are_streamed_and_go_back_before_their_call() {
    let (world, house) = world("dialect = \"bedrock\"\nregion = \"us-east-1\"", "").await;
    let delta =
        |index: u8, delta: Value| event("contentBlockDelta", &json!({ "contentBlockIndex": index, "delta": delta }));
    let stop = |index: u8| event("contentBlockStop", &json!({ "contentBlockIndex": index }));
    let bytes = [
        begin(),
        delta(0, json!({ "reasoningContent": { "text": "h" } })),
        delta(0, json!({ "reasoningContent": { "text": "m" } })),
        delta(0, json!({ "reasoningContent": { "signature": "c2ln" } })),
        stop(0),
        delta(1, json!({ "reasoningContent": { "redactedContent": "c2VjcmV0" } })),
        stop(1),
        event(
            "contentBlockStart",
            &json!({ "contentBlockIndex": 2, "start": { "toolUse": { "toolUseId": "t1", "name": "f" } } }),
        ),
        delta(2, json!({ "toolUse": { "input": "{\"n\":" } })),
        delta(2, json!({ "toolUse": { "input": "1}" } })),
        stop(2),
        event("messageStop", &json!({ "stopReason": "tool_use" })),
        event("metadata", &json!({ "usage": { "inputTokens": 10, "outputTokens": 5, "totalTokens": 15 } })),
    ];
    house.replies(stream(&bytes.concat())).once();
    let tools =
        json!([{ "name": "f", "input_schema": { "type": "object", "properties": { "n": { "type": "integer" } } } }]);
    let mut body = json!({ "model": "house/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "max_tokens": 4000, "stream": true, "thinking": { "type": "enabled", "budget_tokens": 2000 }, "tools": tools, "messages": [{ "role": "user", "content": "a" }] });
    let answer = messages(&world, &body).await;
    let raw = answer.raw();
    for word in ["thinking_delta", "\"hm\"", "signature_delta", "c2ln", "redacted_thinking", "c2VjcmV0", "tool_use"] {
        assert!(
            raw.contains(word) || (word == "\"hm\"" && raw.contains("\"h\"") && raw.contains("\"m\"")),
            "{word}: {raw}"
        );
    }
    assert_eq!(types(&answer).last().map(String::as_str), Some("message_stop"));
    house
        .replies(stream(
            &[
                begin(),
                event("messageStop", &json!({ "stopReason": "end_turn" })),
                event("metadata", &json!({ "usage": { "inputTokens": 10, "outputTokens": 5, "totalTokens": 15 } })),
            ]
            .concat(),
        ))
        .once();
    let data = answer
        .events()
        .iter()
        .find_map(|event| event["content_block"]["data"].as_str().map(str::to_owned))
        .expect("it came");
    let turn = json!([{ "type": "thinking", "thinking": "hm", "signature": "c2ln" }, { "type": "redacted_thinking", "data": data }, { "type": "tool_use", "id": "t1", "name": "f", "input": { "n": 1 } }]);
    body["messages"] = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": turn }, { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "ok" }] }]);
    messages(&world, &body).await;
    let sent = last(&house).json();
    let turn = &sent["messages"][1]["content"];
    assert_eq!(turn[0]["reasoningContent"]["reasoningText"], json!({ "text": "hm", "signature": "c2ln" }), "{sent}");
    assert_eq!(turn[1]["reasoningContent"]["redactedContent"], "c2VjcmV0", "{sent}");
    assert_eq!(turn[2]["toolUse"]["input"], json!({ "n": 1 }), "{sent}");
}

/// <https://github.com/RageAgainstThePixel/OpenAI-DotNet/issues/457>
#[tokio::test]
async fn azures_responses_are_asked_for_without_a_deployment_in_the_path() {
    let (world, house) =
        world("dialect = \"azure\"\nalso = [\"responses\"]\napi_version = \"2025-04-01-preview\"", "/model").await;
    let done = json!({ "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": "ok", "annotations": [] }] }], "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 } });
    house.replies(Reply::whole(200, done.to_string())).always();
    let body = json!({ "model": "house/my-deployment", "input": "a" });
    let answer = world.post("/v1/responses", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let call = last(&house);
    assert!(
        call.path.ends_with("openai/responses")
            || call.path.ends_with("openai/v1/responses")
            || call.path.contains("openai/responses?api-version=2025-04-01-preview"),
        "{}",
        call.path
    );
    assert_eq!(call.json()["model"], "my-deployment");
    let asked =
        world.post("/openai/responses?api-version=2025-04-01-preview", &body).header("api-key", world.key()).await;
    assert_eq!(asked.status, 200, "{}", asked.raw());
}

/// <https://github.com/Kong/developer.konghq.com/pull/5952>
#[tokio::test]
async fn claude_codes_newer_fields_do_not_reach_claude_at_vertex() {
    let (tokens, account) = (Upstream::start("tokens").await, include_str!("../../workers/tests/service_account.json"));
    let token = r#"{"access_token":"ya29.t","expires_in":3599,"token_type":"Bearer"}"#;
    tokens.replies(Reply::whole(200, token)).always();
    let mut account: Value = serde_json::from_str(account).expect("the account is JSON");
    account["token_uri"] = format!("{}/token", tokens.url()).into();
    let cloud = Upstream::start("cloud").await;
    cloud.accepts_anything();
    cloud.replies(Reply::whole(200, SAYS)).always();
    let section = "dialect = \"vertex\"\nkeys = [\"env:ACCOUNT\"]\nprobe = false";
    let config = format!("[providers.cloud]\nbase_url = \"{}/projects/p/locations/l\"\n{section}\n", cloud.url());
    let world = World::setup().config(&config).env("ACCOUNT", &account.to_string()).start().await;
    let mut body = user("cloud/claude-sonnet-4-5@20250929");
    body["max_tokens"] = json!(9);
    body["output_config"] = json!({ "effort": "medium" });
    body["context_management"] = json!({ "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] });
    body["service_tier"] = json!("auto");
    let answer = messages(&world, &body).header("anthropic-beta", "context-management-2025-06-27").await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    let call = last(&cloud);
    assert!(call.path.ends_with("publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"), "{}", call.path);
    let sent = call.json();
    for name in ["model", "output_config", "context_management", "service_tier"] {
        assert_eq!(sent.get(name), None, "{sent}");
    }
    assert_eq!(sent["anthropic_version"], "vertex-2023-10-16");
}

/// <https://github.com/yym68686/uni-api/issues/41>
#[tokio::test]
async fn an_error_of_googles_that_stands_in_a_list_says_what_is_wrong() {
    let (world, house) = world("dialect = \"google\"", "/v1beta").await;
    let said = "Project `p` is not allowed to use Publisher Model `projects/p/locations/l/publishers/g/models/m`";
    let refused = json!([{ "error": { "code": 400, "message": said, "status": "FAILED_PRECONDITION" } }]);
    house.replies(Reply::whole(400, refused.to_string())).always();
    for is_stream in [false, true] {
        let mut body = user("house/gemini-2.5-flash");
        body["stream"] = json!(is_stream);
        let answer = world.post(CHAT, &body).await;
        assert!(
            answer.status == 400 && answer.message().contains("not allowed to use Publisher Model"),
            "{}",
            answer.raw()
        );
    }
}

/// <https://github.com/Kilo-Org/cloud/pull/4744>
#[tokio::test]
async fn an_error_in_a_stream_of_responses_is_one_to_vercels_sdk() {
    let (world, house) = world("dialect = \"openai\"", "/v1").await;
    let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "hel" }, "finish_reason": null }] });
    let error = json!({ "error": { "message": "the backend fell over", "type": "server_error" } });
    let gate = Gate::new();
    let parts =
        [Part::from(format!("data: {chunk}\n\n")), Part::Wait(gate.clone()), Part::from(format!("data: {error}\n\n"))];
    house.replies(Reply::stream(parts).header("content-type", "text/event-stream")).always();
    let body = json!({ "model": "house/m", "input": "a", "stream": true });
    let mut answer = world.post("/v1/responses", &body).open().await;
    answer.until("hel").await;
    gate.open();
    let events = answer.rest().await.events();
    let error =
        events.iter().find(|event| event["type"] == "error").unwrap_or_else(|| panic!("there is no error: {events:?}"));
    for at in ["/error/type", "/error/code", "/error/message", "/code", "/message"] {
        assert!(error.pointer(at).is_some_and(Value::is_string), "{at}: {error}");
    }
}

/// <https://github.com/ding113/claude-code-hub/issues/518>, <https://github.com/sifxprime/krouter/pull/17>
#[tokio::test]
async fn thoughts_that_claude_does_not_take_back_are_left_out_and_named() {
    let (world, house) = world("dialect = \"anthropic\"", "").await;
    let refused = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#;
    let thought = json!({ "type": "thinking", "thinking": "t", "signature": "of-somebody-else" });
    let said = json!([thought, { "type": "text", "text": "b" }]);
    let mut body = user("house/claude-sonnet-4-5");
    body["max_tokens"] = json!(9000);
    body["messages"] = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": said }, { "role": "user", "content": "c" }]);
    house.replies(Reply::whole(400, refused)).once();
    house.replies(Reply::whole(200, SAYS)).once();
    let answer = messages(&world, &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-penstock-dropped-params")),
        (200, "thinking"),
        "{}",
        answer.raw()
    );
    assert_eq!(last(&house).json()["messages"][1]["content"], json!([{ "type": "text", "text": "b" }]));
    house.replies(Reply::whole(400, refused)).always();
    let before = house.calls().len();
    let answer = messages(&world, &body).await;
    assert!(answer.status == 400 && answer.message().contains("Invalid `signature`"), "{}", answer.raw());
    assert_eq!(house.calls().len() - before, 2, "it is tried once more, and no more");
}
