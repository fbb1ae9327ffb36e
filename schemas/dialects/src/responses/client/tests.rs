//! The responses dialect of clients, as tables: requests into chats, answers into items and back.

use super::*;
use crate::client::Writer;
use penstock_schemas::UnixMicros;
use penstock_schemas::chat::{ChatRequest, Issuer};
use penstock_schemas::frame::Summary;
use penstock_schemas::usage::{Usage, UsageSource};
use serde_json::json;

const BODY: &str = r#"{"model":"m","instructions":"Be brief.","input":[
 {"role":"user","content":[{"type":"input_text","text":"What?"},{"type":"input_image","image_url":"https://e.org/a.png","detail":"low"},
  {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,aGk="},{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}]},
 {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}],"encrypted_content":"gAAA"},
 {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"Let me see.","annotations":[]}]},
 {"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"n\":9007199254740993}","status":"completed"},
 {"type":"custom_tool_call","call_id":"call_2","name":"shell","input":"ls"},
 {"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,aGk="}]},
 {"type":"custom_tool_call_output","call_id":"call_2","output":"b"},
 {"type":"web_search_call","id":"ws_1","status":"completed"},
 {"role":"developer","content":"Now in French"}],
 "tools":[{"type":"function","name":"f","description":null,"parameters":{"type":"object","properties":{"n":{"maximum":9007199254740993}}},"strict":true},
  {"type":"custom","name":"shell"},{"type":"web_search","search_context_size":"low"}],
 "tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"parallel_tool_calls":false,
 "text":{"format":{"type":"json_schema","name":"s","schema":{"type":"object"},"strict":true,"description":null},"verbosity":"low"},
 "reasoning":{"effort":"high","summary":"auto"},"max_output_tokens":100,"temperature":0.5,"user":"ann","stream":true,
 "include":["reasoning.encrypted_content","message.output_text.logprobs"],"top_logprobs":2,"metadata":{"a":"b"},"truncation":"disabled","store":true,"future":{"a":[1.5]}}"#;

fn chat(body: &str) -> ChatRequest {
    serde_json::from_slice(&agnostic(body.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_request_becomes_a_chat() {
    let found = serde_json::to_value(chat(BODY)).unwrap();
    let expected = json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [
                { "type": "text", "text": "What?" },
                { "type": "image_url", "image_url": { "url": "https://e.org/a.png", "detail": "low" } },
                { "type": "file", "file": { "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf" } },
                { "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } },
            ]},
            { "role": "assistant", "content": "Let me see.", "reasoning_content": "Hm.",
              "reasoning_details": [
                { "type": "reasoning.summary", "summary": "Hm.", "id": "rs_1", "format": "openai-responses-v1" },
                { "type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1" },
              ],
              "tool_calls": [
                { "id": "call_1", "type": "function", "function": { "name": "f", "arguments": "{\"n\":9007199254740993}" } },
                { "id": "call_2", "type": "custom", "custom": { "name": "shell", "input": "ls" } },
              ] },
            { "role": "tool", "tool_call_id": "call_1", "content": [
                { "type": "text", "text": "a" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } },
            ]},
            { "role": "tool", "tool_call_id": "call_2", "content": "b" },
            { "role": "developer", "content": "Now in French" },
        ],
        "stream": true,
        "max_completion_tokens": 100,
        "tools": [
            { "type": "function", "function": { "name": "f", "strict": true,
                "parameters": { "type": "object", "properties": { "n": { "maximum": 9007199254740993_u64 } } } } },
            { "type": "custom", "custom": { "name": "shell" } },
            { "type": "web_search", "search_context_size": "low" },
        ],
        "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "auto",
            "tools": [{ "type": "function", "function": { "name": "f" } }] } },
        "parallel_tool_calls": false,
        "response_format": { "type": "json_schema",
            "json_schema": { "name": "s", "schema": { "type": "object" }, "strict": true } },
        "reasoning_effort": "high",
        "user": "ann",
        "verbosity": "low", "temperature": 0.5, "logprobs": true, "top_logprobs": 2, "future": { "a": [1.5] },
    });
    assert_eq!(found, expected, "{found:#}");
}

fn summary() -> Summary {
    Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: None }
}

fn writer_of(body: &str) -> Box<dyn Writer> {
    let asked = read(Operation::Chat, Purpose::Answer, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    asked
        .writer(RequestId("0193e6a0-7c2d-7cc0-8000-000000000001".parse().unwrap()), || {
            UnixMicros(1_795_341_600_000_000)
        })
        .unwrap()
}

/// The items that an answer comes to, in one piece and as a stream that brings all of it at once.
fn items(message: &Value) -> Value {
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    let completion = json!({ "choices": [choice] }).to_string().into();
    let whole = writer_of(BODY).whole(&completion, &summary()).unwrap();
    let response: Value = serde_json::from_slice(&whole).unwrap();
    let mut streamed = writer_of(BODY);
    let chunk = json!({ "choices": [{ "index": 0, "delta": message, "finish_reason": "stop" }] }).to_string();
    let mut out = Vec::new();
    streamed.chunk(chunk.as_bytes(), &mut out).unwrap();
    streamed.end(&summary(), &mut out);
    let (kept, native) = streamed.kept().unwrap();
    assert!(!native);
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["output"], response["output"]);
    response["output"].clone()
}

#[test]
fn what_somebody_elses_model_thought_goes_back_to_it_as_it_was() {
    for (issuer, details) in [
        (
            Issuer::Anthropic,
            json!([
                { "type": "reasoning.text", "text": "Hm.", "signature": "sig==", "format": "anthropic-claude-v1", "index": 0 },
                { "type": "reasoning.encrypted", "data": "redacted", "format": "anthropic-claude-v1", "index": 1 },
            ]),
        ),
        (
            Issuer::Google,
            json!([{ "type": "reasoning.encrypted", "data": "sig==", "id": "call_1", "format": "google-gemini-v1" }]),
        ),
    ] {
        let message = json!({ "role": "assistant", "content": "So.", "reasoning_details": details });
        let output = items(&message);
        let thought = output.as_array().unwrap().iter().find(|item| item["type"] == "reasoning").unwrap();
        let sealed = thought["encrypted_content"].as_str().unwrap();
        assert_eq!(Issuer::unseal(sealed).map(|(of, _)| of), Some(issuer));
        let mut input = output.as_array().unwrap().clone();
        input.push(json!({ "role": "user", "content": "?" }));
        let back = chat(&json!({ "model": "m", "input": input }).to_string());
        assert_eq!(serde_json::to_value(&back.messages[0].reasoning_details).unwrap(), details);
        assert_eq!(back.messages.len(), 2, "one turn of the assistant's: {back:?}");
    }
}

#[test]
fn thoughts_that_nobody_signed_never_reach_a_provider_of_this_dialect() {
    let output = items(&json!({ "role": "assistant", "content": "So.", "reasoning_content": "Hm." }));
    assert_eq!(output[0]["summary"], json!([{ "type": "summary_text", "text": "Hm." }]));
    assert!(output[0]["encrypted_content"].as_str().unwrap().starts_with(penstock_schemas::chat::SEAL));
}

#[test]
fn every_part_of_an_answer_becomes_an_item() {
    let output = items(&json!({ "role": "assistant", "content": "It rains.", "refusal": "No more.",
        "annotations": [{ "type": "url_citation", "url_citation": { "url": "https://e.org", "title": "E", "start_index": 0, "end_index": 9 } }],
        "images": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } }],
        "tool_calls": [{ "index": 0, "id": "c", "type": "custom", "custom": { "name": "shell", "input": "ls" } }] }));
    let hex = "0193e6a07c2d7cc08000000000000001";
    let expected = json!([
        { "id": format!("msg_{hex}_0"), "type": "message", "status": "completed", "role": "assistant", "content": [
            { "type": "output_text", "text": "It rains.", "logprobs": [], "annotations": [
                { "type": "url_citation", "start_index": 0, "end_index": 9, "title": "E", "url": "https://e.org" },
            ]},
            { "type": "refusal", "refusal": "No more." },
        ]},
        { "id": format!("ctc_{hex}_1"), "type": "custom_tool_call", "status": "completed", "call_id": "c", "name": "shell", "input": "ls" },
        { "id": format!("ig_{hex}_2"), "type": "image_generation_call", "status": "completed", "output_format": "png", "result": "aGk=" },
    ]);
    assert_eq!(output, expected, "{output:#}");
}

/// A deterministic walk over the bytes: one is changed, and the text is cut there.
#[test]
fn arguments_and_results_may_come_read() {
    let chat = chat(
        r#"{"model":"m","input":[{"role":"user","content":"Hi"},
        {"type":"function_call","call_id":"c","name":"f","arguments":{"a":1}},
        {"type":"function_call_output","call_id":"c","output":{"b":2}}]}"#,
    );
    let call = chat.messages[1].tool_calls.as_ref().unwrap()[0].function.clone().unwrap();
    assert_eq!(call.arguments.as_deref(), Some("{\"a\":1}"));
    assert_eq!(chat.messages[2].content.as_ref().unwrap().text(), "{\"b\":2}");
}

#[test]
fn a_conversation_that_is_compacted_where_it_goes_on_is_one_item_whole_and_streamed() {
    let body = r#"{"model":"m","input":[{"role":"user","content":"Hi"},{"type":"compaction_trigger"}]}"#;
    assert!(chat(body).messages.last().unwrap().content.as_ref().unwrap().text().starts_with("Summarize"));
    let answer = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "All done."}, "finish_reason": "stop"}]});
    let whole = writer_of(body).whole(&answer.to_string().into(), &summary()).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let opaque = Issuer::Unknown.seal("All done.");
    assert_eq!(
        (whole["output"][0]["type"].as_str(), &whole["output"][0]["encrypted_content"]),
        (Some("compaction"), &json!(opaque))
    );

    let (mut writer, mut out) = (writer_of(body), Vec::new());
    for (text, reason) in [("All ", Value::Null), ("done.", json!("stop"))] {
        let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]});
        writer.chunk(chunk.to_string().as_bytes(), &mut out).unwrap();
    }
    writer.end(&summary(), &mut out);
    let events = crate::openai::provider::other_way::events(&out);
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_slice(&event.data).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let item = ["response.output_item.added", "response.output_item.done", "response.completed"];
    assert_eq!(kinds, [&["response.created", "response.in_progress"][..], &item].concat());
    assert_eq!(events[4]["response"]["output"], whole["output"]);
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn no_request_and_no_answer_makes_it_panic() {
    let chunk = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "delta": { "role": "assistant", "content": "a",
        "refusal": "b", "reasoning_content": "c", "annotations": [{ "type": "url_citation", "url_citation": {} }],
        "reasoning_details": [{ "type": "reasoning.text", "text": "t", "id": "i", "format": "openai-responses-v1", "index": 0 }],
        "images": [{ "image_url": { "url": "data:image/png;base64,x" } }],
        "tool_calls": [{ "index": 3, "id": "x", "function": { "name": "f", "arguments": "{}" } }] } }] })
    .to_string();
    for at in (0..BODY.len()).step_by(7) {
        for byte in *b"{[\"0n,}\\" {
            let mut body = BODY.as_bytes().to_vec();
            body[at] = byte;
            for body in [&body[..], &body[..at]] {
                let read = |purpose| read(Operation::Chat, purpose, Bytes::copy_from_slice(body));
                let _ = read(Purpose::Answer).map(|asked| asked.agnostic().is_ok());
                let _ = read(Purpose::Compaction).map(|asked| asked.agnostic().is_ok());
            }
        }
    }
    for at in (0..chunk.len()).step_by(3) {
        for byte in *b"{[\"0n,}\\" {
            let mut bytes = chunk.as_bytes().to_vec();
            bytes[at] = byte;
            let mut writer = writer_of(r#"{"model":"m","input":"x"}"#);
            let mut out = Vec::new();
            let _ = writer.chunk(&bytes, &mut out);
            writer.end(&summary(), &mut out);
        }
    }
}

#[test]
fn a_client_that_looks_for_tools_itself_is_called_to_and_what_it_finds_can_be_called() {
    let body = r#"{"model":"m","input":[{"role":"user","content":"Hi"},
        {"type":"tool_search_call","call_id":"s","execution":"client","status":"completed","arguments":{"query":"files"}},
        {"type":"tool_search_output","call_id":"s","execution":"client","status":"completed","tools":[
            {"type":"namespace","name":"mcp__fs","tools":[{"type":"function","name":"read","parameters":{"type":"object"}}]}]},
        {"type":"tool_search_call","call_id":null,"execution":"server","arguments":{"paths":["crm"]}}],
        "tools":[{"type":"tool_search","execution":"client","description":"Finds.","parameters":{"type":"object"}}]}"#;
    let chat = serde_json::to_value(chat(body)).unwrap();
    let call = json!({ "id": "s", "type": "function", "function": { "name": "tool_search", "arguments": "{\"query\":\"files\"}" } });
    let expected = json!([
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "tool_calls": [call] },
        { "role": "tool", "content": "Found: mcp__fs__read.", "tool_call_id": "s" },
    ]);
    assert_eq!(chat["messages"], expected);
    let search = json!({ "name": "tool_search", "description": "Finds.", "parameters": { "type": "object" } });
    assert_eq!(chat["tools"][0]["function"], search);
    assert_eq!(chat["tools"][1]["function"]["name"], "mcp__fs__read");
    let mut writer = writer_of(body);
    let mut out = Vec::new();
    let chunk =
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] }, "finish_reason": "tool_calls" }] });
    writer.chunk(chunk.to_string().as_bytes(), &mut out).unwrap();
    writer.end(&summary(), &mut out);
    let (kept, _) = writer.kept().unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    let item = json!({ "id": kept["output"][0]["id"], "type": "tool_search_call", "status": "completed", "call_id": "s",
        "execution": "client", "arguments": { "query": "files" } });
    assert_eq!(kept["output"], json!([item]));
    assert!(!String::from_utf8(out).unwrap().contains("function_call"));
}

#[test]
fn what_openais_models_did_with_programs_and_approvals_is_left_out_elsewhere_and_an_update_of_options_counts() {
    let body = r#"{"model":"m","reasoning":{"effort":"low"},"text":{"format":{"type":"json_object"}},"background_options":{"continuation_id":"c"},"input":[
        {"type":"configuration_update","reasoning":{"effort":"high"}},{"role":"user","content":"Hi"},
        {"type":"program","id":"p","call_id":"p","code":"1","fingerprint":"x"},
        {"type":"program_output","id":"o","call_id":"p","result":"1","status":"completed"},
        {"type":"mcp_approval_request","id":"a","arguments":"{}","name":"n","server_label":"l"},
        {"type":"mcp_approval_response","approval_request_id":"a","approve":true},
        {"type":"configuration_update","reasoning":{"effort":"medium"},"text":{"format":{"type":"text"}}}]}"#;
    let chat = serde_json::to_value(chat(body)).unwrap();
    assert_eq!(chat["messages"], json!([{ "role": "user", "content": "Hi" }]));
    assert_eq!((&chat["reasoning_effort"], chat.get("response_format")), (&json!("medium"), None));
    assert_eq!(chat.get("background_options"), None);
}

#[test]
fn any_model_is_given_the_shells_and_patches_that_openais_models_know_and_its_calls_are_theirs() {
    let body = r#"{"model":"m","input":"Hi","tool_choice":{"type":"local_shell"},
        "tools":[{"type":"local_shell"},{"type":"shell","environment":{"type":"local"}},{"type":"apply_patch"}]}"#;
    let asked = serde_json::to_value(chat(body)).unwrap();
    let names: Vec<&Value> = (0..3).map(|at| &asked["tools"][at]["function"]["name"]).collect();
    assert_eq!(names, ["local_shell", "shell", "apply_patch"]);
    assert_eq!(asked["tools"][1]["function"]["parameters"]["required"], json!(["commands"]));
    assert_eq!(asked["tool_choice"], json!({ "type": "function", "function": { "name": "local_shell" } }));

    let call = |index: u32, name: &str, arguments: &str| {
        json!({ "index": index, "id": format!("c{index}"), "type": "function",
        "function": { "name": name, "arguments": arguments } })
    };
    let calls = json!([
        call(0, "local_shell", r#"{"command":["ls","-l"],"timeout_ms":9}"#),
        call(1, "local_shell", r#"{"command":"ls"}"#),
        call(2, "shell", r#"{"commands":["pwd"]}"#),
        call(3, "apply_patch", r#"{"type":"delete_file","path":"x"}"#),
    ]);
    let mut writer = writer_of(body);
    let mut out = Vec::new();
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": calls }, "finish_reason": "tool_calls" }] });
    writer.chunk(chunk.to_string().as_bytes(), &mut out).unwrap();
    writer.end(&summary(), &mut out);
    assert!(!String::from_utf8(out).unwrap().contains("function_call"));
    let (kept, _) = writer.kept().unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    let found: Vec<[&Value; 3]> = (0..4)
        .map(|at| &kept["output"][at])
        .map(|item| [&item["type"], &item["call_id"], item.get("action").unwrap_or(&item["operation"])])
        .collect();
    let exec = |command: Value| json!({ "type": "exec", "command": command, "env": {} });
    let mut listed = exec(json!(["ls", "-l"]));
    listed["timeout_ms"] = json!(9);
    assert_eq!(found[0], [&json!("local_shell_call"), &json!("c0"), &listed]);
    assert_eq!(found[1][2], &exec(json!(["bash", "-lc", "ls"])));
    let shell = json!({ "commands": ["pwd"], "timeout_ms": null, "max_output_length": null });
    assert_eq!(found[2], [&json!("shell_call"), &json!("c2"), &shell]);
    let patch = json!({ "type": "delete_file", "path": "x", "diff": "" });
    assert_eq!(found[3], [&json!("apply_patch_call"), &json!("c3"), &patch]);
}

#[test]
fn a_shell_of_the_providers_own_and_a_name_that_is_taken_stay_as_they_are() {
    let hosted = r#"{"model":"m","input":"Hi","tools":[{"type":"shell","environment":{"type":"container_auto"}}]}"#;
    assert_eq!(serde_json::to_value(chat(hosted)).unwrap()["tools"][0]["type"], "shell");
    let taken = r#"{"model":"m","input":"Hi","tools":[{"type":"custom","name":"apply_patch"},{"type":"apply_patch"}]}"#;
    let asked = serde_json::to_value(chat(taken)).unwrap();
    assert_eq!((&asked["tools"][0]["type"], &asked["tools"][1]["type"]), (&json!("custom"), &json!("apply_patch")));
}

#[test]
fn a_shell_and_patches_that_another_model_asked_for_go_on_as_calls_of_functions_with_their_results() {
    let body = r#"{"model":"m","input":[{"role":"user","content":"Hi"},
        {"type":"local_shell_call","id":"lsh_1","call_id":"a","status":"completed","action":{"type":"exec","command":["ls"],"env":{}}},
        {"type":"shell_call","call_id":"b","action":{"commands":["pwd"],"timeout_ms":9007199254740993}},
        {"type":"apply_patch_call","call_id":"c","status":"completed","operation":{"type":"delete_file","path":"x"}},
        {"type":"local_shell_call_output","id":"a","output":"{\"output\":\"x\"}"},
        {"type":"shell_call_output","call_id":"b","output":[{"stdout":"/","stderr":"","outcome":{"type":"exit","exit_code":0}}]},
        {"type":"apply_patch_call_output","call_id":"c","status":"failed"}]}"#;
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let expected = json!([
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "tool_calls": [
            call("a", "local_shell", r#"{"type":"exec","command":["ls"],"env":{}}"#),
            call("b", "shell", r#"{"commands":["pwd"],"timeout_ms":9007199254740993}"#),
            call("c", "apply_patch", r#"{"type":"delete_file","path":"x"}"#),
        ] },
        { "role": "tool", "content": r#"{"output":"x"}"#, "tool_call_id": "a" },
        { "role": "tool", "content": r#"[{"stdout":"/","stderr":"","outcome":{"type":"exit","exit_code":0}}]"#, "tool_call_id": "b" },
        { "role": "tool", "content": "failed", "tool_call_id": "c", "is_error": true },
    ]);
    assert_eq!(serde_json::to_value(chat(body)).unwrap()["messages"], expected);
    let broken = r#"{"model":"m","input":[{"type":"shell_call","call_id":"b","action":"pwd"}]}"#;
    assert!(agnostic(broken.as_bytes()).is_err());
}
