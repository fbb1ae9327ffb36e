//! The OpenAI dialect against golden files: bytes pass through, so what counts is that they stay as they are.

use crate::support::{NOW, ask, errors_of, events, expect, files, observed, verdict, wanted};
use bytes::Bytes;
use penstock_dialects::openai::provider::Openai;
use penstock_dialects::provider::{Form, FormatSettings, ProviderFormat, Step};
use penstock_schemas::envelope::Delivery;
use penstock_schemas::name::ModelId;
use penstock_workers::providers::{Adapter, Outgoing};
use serde_json::{Value, json};
use std::fs;

const DIALECT: &str = "openai";

#[test]
fn requests_are_sent_with_nothing_else_changed() {
    let model = ModelId::parse("gpt-4o-mini").unwrap();
    for path in files(DIALECT, "requests", ".json") {
        let request = Bytes::from(fs::read(&path).unwrap());
        let is_stream = serde_json::from_slice::<Value>(&request).unwrap()["stream"] == true;
        let delivery = if is_stream { Delivery::Stream } else { Delivery::Whole };
        let spelled = Openai.spell(&ask(&request, &model, wanted(Form::Own, delivery))).unwrap();
        assert_eq!(spelled.path.as_str(), "chat/completions");
        assert_eq!(spelled.headers["content-type"], "application/json");

        let sent = path.with_extension("sent");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&sent, &spelled.body).unwrap();
        }
        assert_eq!(spelled.body, fs::read(&sent).unwrap(), "{}", path.display());
        serde_json::from_slice::<Value>(&spelled.body).unwrap();
    }
}

#[test]
fn whole_replies_are_understood() {
    for path in files(DIALECT, "replies", ".json") {
        let body = Bytes::from(fs::read(&path).unwrap());
        let whole = Openai.read_whole(wanted(Form::Own, Delivery::Whole), &body);
        if let Ok(whole) = &whole {
            assert_eq!(whole.bytes, body);
        }
        expect(&path, &verdict(whole.map(|whole| whole.observed)));
    }
}

/// What an event adds to the first answer, without the role that the first chunk of a stream gets where it has none. What
/// stands around that is mended for strict clients, as `schemas/dialects/src/recorded` has it.
fn said(event: &[u8]) -> Value {
    let event = events([event]).into_iter().next().expect("it is an event");
    let chunk: Value = serde_json::from_slice(&event.data).expect("it is a chunk");
    let mut delta = chunk.pointer("/choices/0/delta").cloned().unwrap_or_default();
    if let Some(delta) = delta.as_object_mut() {
        delta.remove("role");
    }
    delta
}

/// Each event's step in a word, with what passes as it came; and how the stream ends.
fn read_stream(stream: &[u8], delivery: Delivery) -> Value {
    let mut reader = Openai.stream(wanted(Form::Own, delivery));
    let mut steps = Vec::new();
    for event in events([stream]) {
        let (word, bytes) = match reader.read(&event) {
            Ok(Step::Hold(bytes)) if reader.is_done() => ("done", bytes),
            Ok(Step::Hold(bytes)) => ("hold", bytes),
            Ok(Step::Content(bytes)) => ("content", bytes),
            Ok(Step::Hide) => ("hide", event.raw.clone()),
            Err(failure) => {
                return json!({"steps": steps.join(" "), "failure": failure, "so_far": observed(reader.observed())});
            }
        };
        // What the provider left unsaid stands before its last word, and a comment has no blank line.
        let is_last = reader.is_done() && bytes.ends_with(&event.raw);
        let is_comment = event.data.is_empty() && event.raw.starts_with(&bytes);
        assert!(
            bytes == event.raw || is_last || is_comment || said(&bytes) == said(&event.raw),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        steps.push(word);
    }
    let last = reader.finish();
    assert!(last.as_ref().is_err() || reader.is_done() || last.as_ref().unwrap().ends_with(b"[DONE]\n\n"));
    let mut found = verdict(last.map(|_| reader.observed().clone()));
    found["steps"] = steps.join(" ").into();
    found["is_done"] = reader.is_done().into();
    found
}

#[test]
fn streams_are_understood() {
    for path in files(DIALECT, "streams", ".sse") {
        let stream = fs::read(&path).unwrap();
        let mut found = read_stream(&stream, Delivery::Stream);
        let with_usage = read_stream(&stream, Delivery::StreamWithUsage);
        found["steps_with_usage"] = with_usage["steps"].clone();
        assert_eq!(found["observed"], with_usage["observed"]);
        expect(&path, &found);
    }
}

#[test]
fn errors_are_understood() {
    errors_of(&Openai, DIALECT);
}

#[test]
fn the_key_travels_in_a_header_that_is_never_printed() {
    let mut request = Outgoing { url: String::new(), headers: http::HeaderMap::new(), body: Bytes::new() };
    Openai.authorize(&mut request, "sk-secret", &FormatSettings::default(), NOW).unwrap();
    let value = &request.headers["authorization"];
    assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer sk-secret", true));
    assert!(Openai.authorize(&mut request, "sk\n", &FormatSettings::default(), NOW).is_err());
}
