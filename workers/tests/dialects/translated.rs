//! All dialects that are not the agnostic form itself, by their folders.

use crate::streams::{cut, golden_stream};
use crate::support::{ask, errors_of, events, expect, files, golden, observed, wanted};
use bytes::Bytes;
use penstock_accepts::{Reference, Request};
use penstock_dialects::provider::{Form, FormatRequest, Step};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::{Delivery, Dialect, Unsupported};
use penstock_schemas::name::ModelId;
use penstock_schemas::sse::Parser;
use penstock_workers::catalogue;
use penstock_workers::providers::{self, Adapter};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Every dialect that has golden files and translates, with its folder's name.
fn dialects() -> Vec<(String, &'static dyn Adapter)> {
    let folders = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut dialects: Vec<_> = (folders.filter(|name| name != "openai"))
        .map(|name| {
            let dialect: Dialect = serde_json::from_value(json!(name)).unwrap();
            (name, providers::of(dialect).unwrap())
        })
        .collect();
    dialects.sort_by(|a, b| a.0.cmp(&b.0));
    dialects
}

fn form(path: &Path) -> Form {
    let is_own = path.file_name().unwrap().to_str().unwrap().starts_with("own_");
    if is_own { Form::Own } else { Form::Agnostic }
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn spelt(adapter: &dyn Adapter, ask: &FormatRequest<'_>) -> Value {
    match penstock_dialects::spell(adapter, ask) {
        Err(failure) => json!({ "failure": failure }),
        Ok((spelled, _)) => {
            let headers: serde_json::Map<String, Value> = (spelled.headers.iter())
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
                .collect();
            let body = json_or_text(&spelled.body);
            json!({ "path": spelled.path.as_str(), "headers": headers, "body": body, "dropped": spelled.dropped })
        }
    }
}

/// What the provider's reference says of a request that was spelt; nothing of one that was refused.
fn verdict(dialect: &str, spelt: &Value) -> Result<(), String> {
    let (Some(reference), Some(path)) = (Reference::of_dialect(dialect), spelt["path"].as_str()) else { return Ok(()) };
    reference.check(&Request { path, body: &spelt["body"] }).map_err(|refused| refused.to_string())
}

/// `model` of the request is the target's; its card is the catalogue's, when the folder's name is also a provider's.
#[test]
fn requests_are_spelt() {
    for (name, adapter) in dialects() {
        let entry = catalogue::provider(&name).map(Result::unwrap);
        for path in files(&name, "requests", ".json") {
            let body = Bytes::from(fs::read(&path).unwrap());
            let request: Value = serde_json::from_slice(&body).unwrap();
            let model = ModelId::parse(request["model"].as_str().unwrap_or("some-model")).unwrap();
            let is_stream = request["stream"] == true || path.to_str().unwrap().contains("stream");
            let delivery = if is_stream { Delivery::Stream } else { Delivery::Whole };
            let card = entry.as_ref().and_then(|entry| entry.models.iter().find(|card| card.model == model));
            let refuse = FormatRequest { card, ..ask(&body, &model, wanted(form(&path), delivery)) };
            let mut found = spelt(adapter, &refuse);
            if found["failure"]["kind"] == "unsupported" {
                let drop = FormatRequest { unsupported: Unsupported::Drop, ..refuse };
                found["with_drop"] = spelt(adapter, &drop);
            }
            if form(&path) == Form::Agnostic {
                assert_eq!(verdict(&name, &found), Ok(()), "{}", path.display());
                assert_eq!(verdict(&name, &found["with_drop"]), Ok(()), "{} with `drop`", path.display());
            }
            expect(&path, &found);
        }
    }
}

#[test]
fn whole_replies_are_read() {
    for (name, adapter) in dialects() {
        for path in files(&name, "replies", ".json") {
            let body = Bytes::from(fs::read(&path).unwrap());
            let found = match adapter.read_whole(wanted(form(&path), Delivery::Whole), &body) {
                Ok(whole) => {
                    assert!(form(&path) == Form::Agnostic || whole.bytes == body, "{}", path.display());
                    json!({ "answer": json_or_text(&whole.bytes), "observed": observed(&whole.observed) })
                }
                Err(failure) => json!({ "failure": failure }),
            };
            expect(&path, &found);
        }
    }
}

/// What the client gets of a stream, before and after its first content, and how it ends.
fn read_stream(adapter: &dyn Adapter, stream: &[u8], form: Form) -> Value {
    let mut reader = adapter.stream(wanted(form, Delivery::StreamWithUsage));
    let (mut out, mut began_at) = (Vec::new(), None);
    let mut failure = None;
    let (events_of_stream, damage) = cut(adapter.framing(), [stream]);
    for event in events_of_stream {
        if reader.is_done() {
            break;
        }
        match reader.read(&event) {
            Ok(Step::Hold(bytes)) => out.extend_from_slice(&bytes),
            Ok(Step::Content(bytes)) => {
                began_at.get_or_insert(out.len());
                out.extend_from_slice(&bytes);
            }
            Ok(Step::Hide) => {}
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    failure = failure.or(damage);
    if failure.is_none() {
        match reader.finish() {
            Ok(last) => out.extend_from_slice(&last),
            Err(error) => failure = Some(error),
        }
    }
    let mut parser = Parser::new(1 << 20);
    parser.push(&out);
    let mut chunks = Vec::new();
    while let Some(event) = parser.next_event().unwrap() {
        chunks.push(json_or_text(&event.data));
    }
    let held = began_at.map(|at| events([&out[..at]]).len());
    json!({
        "held_before_content": held,
        "events": chunks,
        "observed": observed(reader.observed()),
        "failure": failure,
        "is_done": reader.is_done(),
    })
}

#[test]
fn streams_are_read() {
    for (name, adapter) in dialects() {
        for path in [files(&name, "streams", ".sse"), files(&name, "streams", ".eventstream")].concat() {
            let stream = golden_stream(&path);
            expect(&path, &read_stream(adapter, &stream, form(&path)));
        }
    }
}

#[test]
fn errors_are_read() {
    for (name, adapter) in dialects() {
        errors_of(adapter, &name);
    }
}

/// The agnostic form keeps every field, known or not, and reads back what it writes.
#[test]
fn the_agnostic_form_loses_nothing() {
    for (name, _) in dialects() {
        for path in files(&name, "requests", ".json") {
            let Ok(value) = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()) else { continue };
            let Ok(request) = serde_json::from_value::<ChatRequest>(value.clone()) else { continue };
            let written = serde_json::to_value(&request).unwrap();
            assert_eq!(serde_json::from_value::<ChatRequest>(written.clone()).unwrap(), request, "{}", path.display());
            assert_eq!(without_nulls(&written), without_nulls(&value), "{}", path.display());
        }
    }
}

/// A field of null and one that is absent are the same.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
