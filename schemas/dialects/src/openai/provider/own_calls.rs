//! The calls of tools in an answer that a client of OpenAI's dialect reads as it came: each has an index, an id, a type and
//! arguments that are a text, and says its id and its name once. Regular calls stay as they are. Knows nothing of the agnostic
//! form.

use super::agnostic::{mend_function, tell_apart};
use super::calls::{self, Calls};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The calls that were seen in one answer.
#[derive(Debug, Default)]
pub(super) struct OwnCalls {
    /// The choices that have called a tool.
    calling: HashSet<u64>,
    /// The ids of a whole answer.
    ids: HashSet<String>,
    /// The calls of a stream.
    calls: Calls,
}

impl OwnCalls {
    /// Whether the choice has called a tool.
    pub(super) fn has_called(&self, choice: u64) -> bool {
        self.calling.contains(&choice)
    }

    /// Whether some choice has.
    pub(super) fn is_any(&self) -> bool {
        !self.calling.is_empty()
    }

    /// Whether a stream has more calls than an answer may have.
    pub(super) fn are_too_many(&self) -> bool {
        self.calls.are_too_many()
    }

    /// Mends the calls of a whole message; whether one of them needed it. `id` is a name for the answer.
    pub(super) fn mend_whole(&mut self, said: &mut Map<String, Value>, choice: u64, id: &str) -> bool {
        let Some(theirs) = said.get("tool_calls").cloned() else { return false };
        let mut mended = Vec::new();
        for call in calls::taken(said).into_iter().filter_map(object) {
            self.calling.insert(choice);
            let mut call = spelt(call);
            calls::say_none(&mut call);
            for mut call in calls::unglued(call) {
                let place = mended.len() as u64;
                begin(&mut call, id, place);
                tell_apart(&mut call, &mut self.ids);
                mended.push(Value::Object(call));
            }
        }
        put(said, mended, &theirs)
    }

    /// The same of a chunk's delta.
    pub(super) fn mend_delta(&mut self, said: &mut Map<String, Value>, choice: u64, id: &str) -> bool {
        let Some(theirs) = said.get("tool_calls").cloned() else { return false };
        let mut mended = Vec::new();
        for (place, call) in calls::taken(said).into_iter().filter_map(object).enumerate() {
            let call = spelt(call);
            let index = call.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
            for mut piece in self.calls.add(choice, index, call).into_iter().filter_map(object) {
                let ours = piece.get("index").and_then(Value::as_u64).unwrap_or(index);
                if has_name(&piece) {
                    begin(&mut piece, id, ours);
                }
                mended.push(Value::Object(piece));
            }
        }
        if self.calls.has_called(choice) {
            self.calling.insert(choice);
        }
        put(said, mended, &theirs)
    }

    /// What is still to be said of the calls of a choice that ends; whether there was anything.
    pub(super) fn end(&mut self, said: &mut Map<String, Value>, choice: u64) -> bool {
        let mut last = self.calls.nameless(choice);
        last.extend(self.calls.without_arguments(choice));
        if last.is_empty() {
            return false;
        }
        let calls = said.entry("tool_calls").or_insert_with(|| Value::Array(Vec::new()));
        calls.as_array_mut().into_iter().for_each(|calls| calls.append(&mut last));
        true
    }
}

/// Puts the calls into their place; whether they are others than the provider's.
fn put(said: &mut Map<String, Value>, mended: Vec<Value>, theirs: &Value) -> bool {
    let ours = Value::Array(mended);
    let is_mended = ours != *theirs;
    if ours.as_array().is_some_and(|calls| !calls.is_empty()) || !is_mended {
        said.insert("tool_calls".to_owned(), ours);
    }
    is_mended
}

/// A call with members of the right types.
fn spelt(mut call: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Number(number)) = call.get("id") {
        let id = format!("call_{number}");
        call.insert("id".to_owned(), id.into());
    }
    call.retain(|name, value| match name.as_str() {
        "id" => value.is_string(),
        "type" => value.as_str().is_some_and(|kind| !kind.is_empty()),
        _ => true,
    });
    mend_function(&mut call);
    call
}

/// Gives the beginning of a call what it lacks.
fn begin(call: &mut Map<String, Value>, id: &str, place: u64) {
    if call.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
        call.insert("id".to_owned(), format!("call_{id}_{place}").into());
    }
    let kind = if call.contains_key("custom") { "custom" } else { "function" };
    call.entry("type").or_insert_with(|| kind.into());
}

fn has_name(call: &Map<String, Value>) -> bool {
    let named = call.get("function").or_else(|| call.get("custom"));
    named.and_then(|named| named.get("name")?.as_str()).is_some_and(|name| !name.is_empty())
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}
