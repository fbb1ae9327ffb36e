//! The answer that the events of a stream come to, for a caller of Google's own dialect: the parts of each candidate in their
//! order, and what was said last of everything else.
//! Source: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use penstock_schemas::sse;
use serde_json::{Map, Value, json};

/// The answer; `None` when the events are none of Google's.
pub(super) fn answer(events: &[sse::Event]) -> Option<Value> {
    let mut answer = Map::new();
    let mut candidates: Vec<(u64, Map<String, Value>, Vec<Value>)> = Vec::new();
    for event in events {
        let mut chunk: Map<String, Value> = serde_json::from_slice(&event.data).ok()?;
        if let Some(Value::Array(new)) = chunk.shift_remove("candidates") {
            for candidate in new {
                let Value::Object(candidate) = candidate else { continue };
                add(&mut candidates, candidate);
            }
        }
        answer.extend(chunk);
    }
    let whole = candidates.into_iter().map(|(_, mut candidate, parts)| {
        candidate.insert("content".to_owned(), json!({ "parts": parts, "role": "model" }));
        Value::Object(candidate)
    });
    let candidates: Vec<Value> = whole.collect();
    if !candidates.is_empty() {
        answer.insert("candidates".to_owned(), candidates.into());
    }
    Some(Value::Object(answer))
}

fn add(candidates: &mut Vec<(u64, Map<String, Value>, Vec<Value>)>, mut candidate: Map<String, Value>) {
    let index = candidate.get("index").and_then(Value::as_u64).unwrap_or(0);
    let content = candidate.shift_remove("content");
    let at = candidates.iter().position(|(known, ..)| *known == index).unwrap_or_else(|| {
        candidates.push((index, Map::new(), Vec::new()));
        candidates.len() - 1
    });
    candidates[at].1.extend(candidate);
    if let Some(Value::Array(parts)) = content.and_then(|mut content| Some(content.get_mut("parts")?.take())) {
        candidates[at].2.extend(parts);
    }
}
