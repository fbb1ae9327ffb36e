//! Whatever a caller or a provider sends, an adapter answers or refuses, and never panics; and a stream says the same
//! however its bytes are cut. Every golden file is spoilt in many ways, the same on every run.

use crate::mutate::{self, Dice};
use crate::streams::{cut, golden_stream};
use crate::support::{NOW, ask, files, golden};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_dialects::provider::{Form, FormatRequest, Step, Wanted};
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::sse::Event;
use penstock_workers::providers::{self, Adapter, ErrorResponse};
use serde_json::{Value, json};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Spoilt copies of each golden file.
const COPIES: usize = 40;

const OPERATIONS: [Operation; 9] = [
    Operation::Chat,
    Operation::Completions,
    Operation::Embeddings,
    Operation::Moderations,
    Operation::Images,
    Operation::Speech,
    Operation::Transcriptions,
    Operation::Rerank,
    Operation::CountTokens,
];

const FORMS: [Form; 2] = [Form::Own, Form::Agnostic];

/// Every dialect that has golden files, with its folder's name.
fn dialects() -> Vec<(String, &'static dyn Adapter)> {
    let folders = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let adapter = |name: String| {
        let dialect: Dialect = serde_json::from_value(json!(name)).unwrap();
        (name, providers::of(dialect).unwrap())
    };
    folders.map(adapter).collect()
}

/// Tries `read` on the file and on spoilt copies of it; a panic names the copy.
fn each_copy(path: &Path, good: &[u8], read: impl Fn(&[u8])) {
    let mut dice = Dice::of(path.to_str().unwrap());
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
        assert!(result.is_ok(), "{} panics as: {}", path.display(), String::from_utf8_lossy(&spoilt));
    }
}

#[test]
fn no_request_makes_an_adapter_panic() {
    for (name, adapter) in dialects() {
        for path in files(&name, "requests", ".json") {
            let good = fs::read(&path).unwrap();
            let model = serde_json::from_slice::<Value>(&good).ok();
            let model = model.as_ref().and_then(|request| request["model"].as_str()).unwrap_or("some-model");
            let model = ModelId::parse(model).unwrap();
            each_copy(&path, &good, |spoilt| {
                let body = Bytes::copy_from_slice(spoilt);
                for (form, unsupported) in [
                    (Form::Agnostic, Unsupported::Refuse),
                    (Form::Agnostic, Unsupported::Drop),
                    (Form::Own, Unsupported::Refuse),
                ] {
                    let wanted = Wanted { operation: Operation::Chat, form, delivery: Delivery::StreamWithUsage };
                    let _ = adapter.spell(&FormatRequest { unsupported, ..ask(&body, &model, wanted) });
                }
            });
            let body = Bytes::from(good);
            for operation in OPERATIONS {
                let wanted = Wanted { operation, form: Form::Agnostic, delivery: Delivery::Whole };
                let _ = adapter.spell(&ask(&body, &model, wanted));
            }
        }
    }
}

#[test]
fn no_answer_makes_an_adapter_panic() {
    for (name, adapter) in dialects() {
        for path in files(&name, "replies", ".json") {
            each_copy(&path, &fs::read(&path).unwrap(), |spoilt| {
                let body = Bytes::copy_from_slice(spoilt);
                for (operation, form) in
                    OPERATIONS.into_iter().flat_map(|operation| FORMS.map(|form| (operation, form)))
                {
                    let _ = adapter.read_whole(Wanted { operation, form, delivery: Delivery::Whole }, &body);
                }
            });
        }
    }
}

#[test]
fn no_refusal_makes_an_adapter_panic() {
    for (name, adapter) in dialects() {
        let provider = ProviderId::parse(&name).unwrap();
        for path in files(&name, "errors", ".http") {
            let text = fs::read_to_string(&path).unwrap();
            let (head, body) = text.split_once("\n\n").unwrap();
            let headers: HeaderMap = (head.lines().skip(1))
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap()))
                .collect();
            each_copy(&path, body.as_bytes(), |spoilt| {
                for status in [100, 302, 400, 403, 404, 424, 429, 500, 529, 999] {
                    let (provider, key) = (&provider, Some("sk-proj-golden-key"));
                    let failure = adapter.refuse(&ErrorResponse {
                        provider,
                        key,
                        status,
                        headers: &headers,
                        body: spoilt,
                        now: NOW,
                    });
                    assert!(!failure.message.contains("sk-proj-golden-key"));
                }
            });
        }
    }
}

fn streams(name: &str) -> Vec<PathBuf> {
    [files(name, "streams", ".sse"), files(name, "streams", ".eventstream")].concat()
}

/// What a stream says until it ends or breaks, and whether it was complete.
fn output(adapter: &dyn Adapter, events: &[Event], form: Form, delivery: Delivery) -> (Vec<u8>, bool) {
    let mut reader = adapter.stream(Wanted { operation: Operation::Chat, form, delivery });
    let mut out = Vec::new();
    for event in events {
        match reader.read(event) {
            Ok(Step::Hold(bytes) | Step::Content(bytes)) => out.extend_from_slice(&bytes),
            Ok(Step::Hide) => {}
            Err(_) => return (out, false),
        }
        let _ = (reader.is_done(), reader.observed());
    }
    match reader.finish() {
        Ok(last) => {
            out.extend_from_slice(&last);
            (out, true)
        }
        Err(_) => (out, false),
    }
}

#[test]
fn no_stream_makes_an_adapter_panic() {
    for (name, adapter) in dialects() {
        for path in streams(&name) {
            each_copy(&path, &golden_stream(&path), |spoilt| {
                let whole = cut(adapter.framing(), [spoilt]);
                assert!(cut(adapter.framing(), spoilt.chunks(1)) == whole, "it matters where the bytes are cut");
                let (events, _) = whole;
                for form in FORMS {
                    output(adapter, &events, form, Delivery::StreamWithUsage);
                }
            });
            // Whole messages with spoilt words: what a checksum would hide from the reader otherwise.
            let (events, _) = cut(adapter.framing(), [&golden_stream(&path)[..]]);
            let mut dice = Dice::of(path.to_str().unwrap());
            for _ in 0..COPIES {
                let mut events = events.clone();
                let place = dice.below(events.len());
                let Some(event) = events.get_mut(place) else { break };
                let spoilt = serde_json::from_slice(&event.data).ok().and_then(|data| mutate::json(&data, &mut dice));
                let Some(spoilt) = spoilt else { continue };
                event.data = spoilt.to_string().into();
                let read = || FORMS.map(|form| output(adapter, &events, form, Delivery::StreamWithUsage));
                assert!(catch_unwind(AssertUnwindSafe(read)).is_ok(), "{} panics at: {spoilt}", path.display());
            }
        }
    }
}

#[test]
fn a_stream_says_the_same_wherever_its_bytes_are_cut() {
    for (name, adapter) in dialects() {
        for path in streams(&name) {
            let stream = golden_stream(&path);
            let whole = cut(adapter.framing(), [&stream[..]]);
            for at in 0..=stream.len() {
                let pieces = [&stream[..at], &stream[at..]];
                assert!(cut(adapter.framing(), pieces) == whole, "{} cut at {at}", path.display());
            }
            assert!(cut(adapter.framing(), stream.chunks(1)) == whole, "{} byte by byte", path.display());
        }
    }
}

/// All that a client would show or act on: text, thoughts, refusals, calls.
fn content(out: &[u8]) -> String {
    let mut said = String::new();
    for event in crate::support::events([out]) {
        let Ok(chunk) = serde_json::from_slice::<Value>(&event.data) else { continue };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let delta = &choice["delta"];
            for field in ["content", "refusal", "reasoning_content"] {
                said += delta[field].as_str().unwrap_or_default();
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                said += call["function"]["name"].as_str().unwrap_or_default();
                said += call["function"]["arguments"].as_str().unwrap_or_default();
            }
        }
    }
    said
}

#[test]
fn a_stream_that_ends_early_never_reads_as_a_shorter_answer() {
    for (name, adapter) in dialects() {
        for path in streams(&name) {
            let stream = golden_stream(&path);
            let form = if path.to_str().unwrap().contains("/own_") { Form::Own } else { Form::Agnostic };
            let read = |bytes: &[u8]| {
                let (events, damage) = cut(adapter.framing(), [bytes]);
                let (out, is_complete) = output(adapter, &events, form, Delivery::Stream);
                (content(&out), is_complete && damage.is_none())
            };
            let (whole, is_complete) = read(&stream);
            // Around the end of each event, where an answer could seem to be whole.
            let (events, _) = cut(adapter.framing(), [&stream[..]]);
            let lengths = events.iter().map(|event| event.raw.len());
            let ends = lengths.scan(0, |end, length| {
                *end += length;
                Some(*end)
            });
            let near = ends.flat_map(|end| end.saturating_sub(3)..end + 2);
            for end in near.filter(|end| is_complete && *end < stream.len()) {
                let (said, is_complete) = read(&stream[..end]);
                assert!(!is_complete || said == whole, "{} cut at {end} says only {said:?}", path.display());
            }
        }
    }
}
