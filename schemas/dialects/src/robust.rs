//! Whatever a caller sends and a worker answers, a dialect reads or refuses it and never panics; what it makes of it can be
//! read, and is the same however the bytes are cut. Knows the dialects by the table below, and the golden files of the
//! workers as examples of what travels.

use crate::client::{ClientRequest, Endpoint, Rewriter};
use crate::openai::realtime::{self, ClientEvent};
use bytes::Bytes;
use mutate::Dice;
use penstock_schemas::UnixMicros;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse;
use penstock_schemas::usage::{Usage, UsageSource};
use serde_json::{Value, json};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../tests/support/mutate.rs"]
mod mutate;

/// Spoilt copies of each golden file.
const COPIES: usize = 40;

/// Each dialect, its folder, and the shortest request in it.
fn dialects() -> [(Dialect, &'static str, Value); 4] {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    [
        (Dialect::Openai, "openai", json!({ "model": "m", "messages": messages })),
        (Dialect::Anthropic, "anthropic", json!({ "model": "m", "max_tokens": 9, "messages": messages })),
        (Dialect::Responses, "responses", json!({ "model": "m", "input": "hi" })),
        (Dialect::Google, "google", json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] })),
    ]
}

/// The golden files of all dialects' folders of this name that `is_wanted` by folder and name.
fn golden(folder: &str, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workers/tests/golden");
    let mut found = Vec::new();
    for dialect in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let name = dialect.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(entries) = fs::read_dir(dialect.join(folder)) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| is_wanted(&name, path.file_name().unwrap().to_str().unwrap())));
    }
    found.sort();
    assert!(!found.is_empty(), "there are no {folder} for it");
    found
}

fn asked(dialect: Dialect, operation: Operation, delivery: Delivery, body: Bytes) -> Option<ClientRequest> {
    let model = (dialect == Dialect::Google).then(|| "alpha/m".to_owned());
    let delivery = model.is_some().then_some(delivery);
    Endpoint { model, delivery, ..Endpoint::new(dialect, operation) }.read(body, None).ok()
}

/// Tries `read` on spoilt copies; a panic names the copy.
fn each_copy(name: &str, good: &[u8], read: impl Fn(&[u8])) {
    let mut dice = Dice::of(name);
    let value = serde_json::from_slice::<Value>(good).ok();
    for copy in 0..=COPIES {
        let spoilt = match &value {
            _ if copy == 0 => good.to_vec(),
            Some(value) if copy % 3 != 0 => match mutate::json(value, &mut dice) {
                Some(spoilt) => spoilt.to_string().into_bytes(),
                None => continue,
            },
            _ => mutate::bytes(good, &mut dice),
        };
        let result = catch_unwind(AssertUnwindSafe(|| read(&spoilt)));
        assert!(result.is_ok(), "{name} panics as: {}", String::from_utf8_lossy(&spoilt));
    }
}

#[test]
fn no_request_makes_a_dialect_panic_and_what_it_reads_is_a_chat_request() {
    for (dialect, folder, _) in dialects() {
        let is_own = |of: &str, file: &str| {
            file.ends_with(".json")
                && !file.contains(".expected.")
                && (of == folder && (file.starts_with("own_") || folder == "openai"))
        };
        for path in golden("requests", is_own) {
            let name = path.display().to_string();
            each_copy(&name, &fs::read(&path).unwrap(), |spoilt| {
                for operation in [Operation::Chat, Operation::CountTokens, Operation::Embeddings] {
                    if dialect == Dialect::Openai && operation == Operation::CountTokens {
                        continue; // no path asks for it
                    }
                    let body = Bytes::copy_from_slice(spoilt);
                    let Some(asked) = asked(dialect, operation, Delivery::Whole, body) else { continue };
                    let _ = asked.holds_seal();
                    let agnostic = asked.agnostic();
                    if let (Ok(agnostic), Operation::Chat, true) = (agnostic, operation, dialect != Dialect::Openai) {
                        serde_json::from_slice::<ChatRequest>(&agnostic).expect("an agnostic chat is one");
                    }
                }
            });
        }
    }
}

#[test]
fn no_event_of_a_session_makes_us_panic_and_none_lets_a_provider_begin_a_response_by_itself() {
    let vad = json!({ "type": "server_vad", "create_response": true, "idle_timeout_ms": null });
    let tools = json!([{ "type": "function", "name": "f" }]);
    for event in [
        json!({ "type": "session.update", "session": { "type": "realtime", "model": "m", "tools": tools,
            "audio": { "input": { "turn_detection": vad, "transcription": null } } } }),
        json!({ "type": "session.update", "session": { "turn_detection": vad, "input_audio_transcription": { "model": "w" } } }),
        json!({ "type": "response.create", "event_id": "e", "response": { "tools": tools, "input": [{ "id": "i" }] } }),
        json!({ "type": "session.created", "session": { "model": "m", "audio": { "input": { "turn_detection": vad } } } }),
        json!({ "type": "session.updated", "session": { "model": "m", "turn_detection": vad } }),
        json!({ "type": "response.created", "response": { "id": "r" } }),
        json!({ "type": "response.done", "response": { "id": "r", "status": "completed", "usage": { "input_tokens": 9,
            "output_tokens": 3, "input_token_details": { "cached_tokens": 4, "cached_tokens_details": { "audio_tokens": 1 } } } } }),
        json!({ "type": "error", "error": { "code": "c", "message": "m", "event_id": "e" } }),
        json!({ "type": "input_audio_buffer.committed", "item_id": "i" }),
    ] {
        each_copy(&event.to_string(), event.to_string().as_bytes(), |spoilt| {
            let _ = (realtime::with_model(spoilt, "other"), realtime::read_server(spoilt));
            for unsupported in [Unsupported::Refuse, Unsupported::Drop] {
                let Ok(event) = realtime::read_client(spoilt, "penstock_1", &["m"], unsupported) else { continue };
                let (ClientEvent::Update { event, .. } | ClientEvent::Create { event, .. }) = event else { continue };
                let event: Value = serde_json::from_str(&event).expect("what goes on is JSON");
                let session = &event["session"];
                for turns in [&session["turn_detection"], &session["audio"]["input"]["turn_detection"]] {
                    assert!(turns.is_null() || turns["create_response"] == false, "{event}");
                    assert!(turns["idle_timeout_ms"].is_null(), "{event}");
                }
                for of in [session, &event["response"]] {
                    let tools = of["tools"].as_array().into_iter().flatten();
                    assert!(
                        of["prompt"].is_null() && tools.into_iter().all(|tool| tool["type"] == "function"),
                        "{event}"
                    );
                }
            }
        });
    }
}

#[test]
fn a_field_that_only_the_agnostic_form_has_is_taken_as_it_must_be_there_or_refused() {
    for (dialect, _, body) in dialects().into_iter().skip(1) {
        for (name, value, is_taken) in [
            ("reasoning", json!("low"), dialect == Dialect::Responses),
            ("reasoning_effort", json!("low"), true),
            ("messages", json!([{ "role": "user", "content": "other" }]), dialect == Dialect::Anthropic),
            ("n", json!({}), false),
        ] {
            let mut body = body.clone();
            body[name] = value;
            let read = asked(dialect, Operation::Chat, Delivery::Whole, body.to_string().into());
            let agnostic = read.map(|asked| asked.agnostic());
            assert_eq!(matches!(agnostic, Some(Ok(_))), is_taken, "{name} in {dialect:?}: {agnostic:?}");
        }
    }
}

fn summary() -> Summary {
    let usage = Usage { input: Some(4), cache_read: Some(6), output: Some(1), reasoning: Some(2), ..Usage::default() };
    Summary { usage, usage_source: UsageSource::Provider, cost: None }
}

fn now() -> UnixMicros {
    UnixMicros(1_795_341_600_000_000)
}

fn id() -> RequestId {
    RequestId::parse("01900000-0000-7000-8000-000000000007").expect("it is an id")
}

/// A new writer for each dialect's chats.
fn rewriter(dialect: Dialect, body: &Value, delivery: Delivery) -> Rewriter {
    let asked =
        asked(dialect, Operation::Chat, delivery, body.to_string().into()).expect("the shortest request is one");
    Rewriter::of(&asked, id(), None, now)
}

fn expected(folder: &str) -> Vec<PathBuf> {
    golden(folder, |of, file| of != "openai" && file.ends_with(".expected.json") && !file.starts_with("own_"))
}

#[test]
fn no_whole_answer_makes_a_dialect_panic_and_what_it_writes_is_json() {
    for path in expected("replies") {
        let found: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if found["answer"].is_null() {
            continue;
        }
        let name = path.display().to_string();
        each_copy(&name, found["answer"].to_string().as_bytes(), |spoilt| {
            for (dialect, _, body) in dialects().into_iter().skip(1) {
                let answer = Bytes::copy_from_slice(spoilt);
                if let Ok(written) = rewriter(dialect, &body, Delivery::Whole).whole(answer, &summary()) {
                    serde_json::from_slice::<Value>(&written).expect("a whole answer is JSON");
                }
            }
        });
    }
}

/// An agnostic stream as a worker sends it.
fn stream(events: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events.as_array().into_iter().flatten() {
        let data = event.as_str().map_or_else(|| event.to_string(), ToOwned::to_owned);
        out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
    }
    out
}

/// What a client gets of a stream that comes in these pieces; `None` when it cannot be read.
fn written<'a>(rewriter: &mut Rewriter, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&rewriter.next(Bytes::copy_from_slice(piece)).ok()?);
    }
    out.extend_from_slice(&rewriter.end(Bytes::new(), &summary()).ok()?);
    Some(out)
}

/// Without the second in which it was written, which may be another the next time.
fn timeless(written: Vec<u8>) -> String {
    let text = String::from_utf8(written).unwrap();
    let mut parts = text.split("\"completed_at\":");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn no_stream_makes_a_dialect_panic_and_its_events_hold_json() {
    for path in expected("streams") {
        let found: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.display().to_string();
        each_copy(&name, found["events"].to_string().as_bytes(), |spoilt| {
            let Ok(events) = serde_json::from_slice::<Value>(spoilt) else { return };
            for (dialect, _, body) in dialects().into_iter().skip(1) {
                let mut rewriter = rewriter(dialect, &body, Delivery::Stream);
                let Some(out) = written(&mut rewriter, [&stream(&events)[..]]) else { continue };
                let mut parser = sse::Parser::new(1 << 24);
                parser.push(&out);
                while let Ok(Some(event)) = parser.next_event() {
                    serde_json::from_slice::<Value>(&event.data).expect("an event of a stream holds JSON");
                }
            }
        });
    }
}

#[test]
fn a_stream_is_written_the_same_wherever_its_bytes_are_cut() {
    for path in expected("streams") {
        let found: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let bytes = stream(&found["events"]);
        for (dialect, _, body) in dialects().into_iter().skip(1) {
            let asked = asked(dialect, Operation::Chat, Delivery::Stream, body.to_string().into()).unwrap();
            let read =
                |size: usize| written(&mut Rewriter::of(&asked, id(), None, now), bytes.chunks(size)).map(timeless);
            let whole = read(bytes.len().max(1));
            for size in [1, 2, 3, 5, 7, 11, 64] {
                assert!(read(size) == whole, "{} in pieces of {size} for {dialect:?}", path.display());
            }
        }
    }
}

#[test]
fn nothing_makes_ollamas_form_panic_and_what_it_writes_is_json() {
    use crate::ollama::{Answers, LineWriter, Method, chat, embed, embeddings, generate};
    let call = json!({ "function": { "name": "f", "arguments": { "a": [1.5, null] } } });
    let request = json!({ "model": "m", "prompt": "Hi", "input": ["Hi"], "think": true, "format": { "type": "object" },
        "options": { "num_predict": 9, "stop": ["x"] }, "messages": [{ "role": "user", "content": "Hi", "images": ["AA=="] },
        { "role": "assistant", "tool_calls": [call, call] }, { "role": "tool", "tool_name": "f", "content": "x" }] });
    each_copy("a request of Ollama's", request.to_string().as_bytes(), |spoilt| {
        for read in [chat, generate, embed, embeddings] {
            if let Ok(written) = read(&Bytes::copy_from_slice(spoilt)) {
                serde_json::from_slice::<Value>(&written).expect("a request is JSON");
            }
        }
    });
    let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } });
    let said = json!({ "role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "tool_calls": [call] });
    let answer = json!({ "model": "m", "choices": [{ "index": 0, "finish_reason": "stop", "message": said, "delta": said }],
        "data": [{ "index": 0, "embedding": [1.5] }], "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
    each_copy("an answer for Ollama's clients", answer.to_string().as_bytes(), |spoilt| {
        for method in [Method::Chat, Method::Generate, Method::Embed, Method::Embeddings] {
            let mut written: Vec<Vec<u8>> = Answers::new(method, now).whole(spoilt).into_iter().collect();
            let (mut lines, mut out) = (LineWriter::new(method, now), Vec::new());
            lines.chunk(spoilt, &mut out);
            lines.end(&mut out);
            written.extend(out.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            for line in written.iter().filter(|line| !line.is_empty()) {
                serde_json::from_slice::<Value>(line).expect("a line is JSON");
            }
        }
    });
}
