//! Golden streams as bytes, and their events as the provider's framing tells them apart.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use penstock_dialects::framing::{CutError, Cutter, Framing};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::sse::Event;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The events of a stream that comes in these pieces, as its framing tells them apart, and what is wrong with the rest of it.
pub(crate) fn cut<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Option<Failure>) {
    let mut cutter = framing.cutter(1 << 20);
    let mut events = Vec::new();
    let result = take_all(&mut cutter, pieces, &mut events);
    (events, result.err().map(|error| Failure::provider(FailureKind::Broken, error.to_string())))
}

fn take_all<'a>(
    cutter: &mut Cutter,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    events: &mut Vec<Event>,
) -> Result<(), CutError> {
    for piece in pieces {
        cutter.push(&Bytes::copy_from_slice(piece));
        while let Some(event) = cutter.next_event()? {
            events.push(event);
        }
    }
    events.extend(cutter.finish()?);
    Ok(())
}

/// The bytes of a golden stream. One of Amazon's is kept as lines of JSON and encoded here: `{"event", "data"}`,
/// `{"exception", "data"}`, `{"error", "message"}`, or `{"cut": n}` for the first bytes of the message before it.
pub(crate) fn golden_stream(path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "eventstream") {
        return file;
    }
    let mut stream = Vec::new();
    let mut before = 0;
    for line in std::str::from_utf8(&file).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(length) = line["cut"].as_u64() {
            stream.truncate(before + usize::try_from(length).unwrap());
            continue;
        }
        before = stream.len();
        let header = |name: &'static str, text: &Value| {
            Header::new(name, HeaderValue::String(text.as_str().unwrap().to_owned().into()))
        };
        let headers = match (&line["event"], &line["exception"], &line["error"]) {
            (Value::String(_), ..) => {
                vec![header(":message-type", &json!("event")), header(":event-type", &line["event"])]
            }
            (_, Value::String(_), _) => {
                vec![header(":message-type", &json!("exception")), header(":exception-type", &line["exception"])]
            }
            _ => vec![
                header(":message-type", &json!("error")),
                header(":error-code", &line["error"]),
                header(":error-message", &line["message"]),
            ],
        };
        let payload = if line["data"].is_null() { String::new() } else { line["data"].to_string() };
        write_message_to(&Message::new_from_parts(headers, Bytes::from(payload)), &mut stream).unwrap();
    }
    stream
}
