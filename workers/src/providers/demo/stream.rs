//! The simulator's streams: what is sent, and how long before each part. Knows nothing of sockets.

use super::model::{Faults, Model};
use super::pace::Pace;
use super::script::{Choice, DemoAnswer, Piece};
use super::wire::{self, Wire};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// A part of a stream, and how long it takes to come.
type Step = (Duration, Bytes);

/// A stream without faults: roles, pieces, ends, usage, `[DONE]`.
pub(super) fn steps(script: &DemoAnswer, wire: &Wire, pace: &Pace, with_usage: bool) -> Vec<Step> {
    let now = Duration::ZERO;
    let mut steps = Vec::new();
    for index in 0..script.choices.len() {
        let wait = if index == 0 { pace.before_first() } else { now };
        steps.push((wait, wire.piece(index, &json!({"role": "assistant", "content": "", "refusal": null}), None)));
    }
    let pieces: Vec<Vec<Piece<'_>>> = script.choices.iter().map(Choice::pieces).collect();
    for number in 0..pieces.iter().map(Vec::len).max().unwrap_or_default() {
        for (index, piece) in pieces.iter().enumerate().filter_map(|(index, pieces)| Some((index, pieces.get(number)?)))
        {
            let wait = if index == 0 { pace.before(number + 1, piece.text()) } else { now };
            steps.push((wait, wire.piece(index, &delta(piece), None)));
        }
    }
    for (index, choice) in script.choices.iter().enumerate() {
        steps.push((now, wire.piece(index, &json!({}), Some(choice.finish_reason))));
    }
    if with_usage {
        steps.push((now, wire.usage(&script.usage)));
    }
    steps.push((now, Bytes::from_static(b"data: [DONE]\n\n")));
    steps
}

fn delta(piece: &Piece<'_>) -> Value {
    match piece {
        Piece::Reasoning(text) => json!({ "reasoning_content": text }),
        Piece::Text(text) => json!({ "content": text }),
        Piece::Call(number, call) => {
            let name = call.function.as_ref().and_then(|function| function.name.as_deref());
            let begun = json!({
                "index": number, "id": call.id, "type": "function", "function": { "name": name, "arguments": "" },
            });
            json!({ "tool_calls": [begun] })
        }
        Piece::Arguments(number, text) => {
            json!({ "tool_calls": [{ "index": number, "function": { "arguments": text } }] })
        }
    }
}

/// The answer that sends these steps in time, as far as the model's faults let it.
pub(super) fn respond(steps: Vec<Step>, model: &Model) -> Response {
    let steps = futures_util::stream::iter(with_faults(steps, &model.faults));
    let body = steps.then(|(wait, part)| async move {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        part
    });
    wire::respond(200, "text/event-stream; charset=utf-8", Body::from_stream(body))
}

/// What is sent when things go wrong as they were asked to.
fn with_faults(mut steps: Vec<Step>, faults: &Faults) -> Vec<(Duration, io::Result<Bytes>)> {
    let first = steps.first().map_or(Duration::ZERO, |(wait, _)| *wait);
    if faults.error_first {
        let error = wire::error("The simulated provider was told to fail.", "server_error", None);
        steps = vec![(first, wire::event(&error))];
    } else if faults.malformed {
        steps.truncate(1);
        steps.push((Duration::ZERO, wire::event(r#"{"id":"chatcmpl-demo","choices":[{"index":0,"#)));
    }
    let mut parts: Vec<_> = steps.into_iter().map(|(wait, part)| (wait, Ok(part))).collect();
    if let Some(chunks) = faults.abort_after {
        parts.truncate(chunks + 1); // the role comes before the first
        parts.push((Duration::ZERO, Err(hang_up())));
    }
    parts
}

/// Breaks the connection off in the middle of an answer.
pub(super) fn hang_up() -> io::Error {
    io::Error::other("the simulated provider was told to hang up")
}
