//! The calls of tools in an answer that a client of OpenAI's dialect reads as it came: each has an index, an id, a type and
//! arguments that are a text, none of which some copies write. Regular calls stay as they are. Knows nothing of the agnostic
//! form.

use super::agnostic::tell_apart;
use super::calls::Calls;
use crate::most;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The calls that were seen in one answer.
#[derive(Debug, Default)]
pub(super) struct OwnCalls {
    /// The choices that have called a tool.
    calling: Vec<u64>,
    /// The ids of a whole answer.
    ids: HashSet<String>,
    /// The calls of a stream that began.
    begun: Vec<Begun>,
    /// Calls that began without an index or an id, told apart by every piece of them.
    odd: Option<Calls>,
    /// Whether more began than an answer may have; those have no place of their own.
    are_too_many: bool,
}

#[derive(Debug)]
struct Begun {
    choice: u64,
    theirs: u64,
    ours: u64,
    id: String,
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

    /// Whether each further piece of a call must be read.
    pub(super) fn are_odd(&self) -> bool {
        self.odd.is_some()
    }

    /// Whether a stream has more calls than an answer may have.
    pub(super) fn are_too_many(&self) -> bool {
        self.are_too_many || self.odd.as_ref().is_some_and(Calls::are_too_many)
    }

    /// Mends the calls of a whole message; whether one of them needed it. `id` is a name for the answer.
    pub(super) fn mend_whole(&mut self, said: &mut Map<String, Value>, choice: u64, id: &str) -> bool {
        let mut is_mended = false;
        for (place, call) in calls_of(said).enumerate() {
            self.note(choice);
            is_mended |= mend_call(call, id, place as u64);
            is_mended |= tell_apart(call, &mut self.ids);
        }
        is_mended
    }

    /// The same of a chunk's delta.
    pub(super) fn mend_delta(&mut self, said: &mut Map<String, Value>, choice: u64, id: &str) -> bool {
        let is_irregular =
            calls_of(said).any(|call| begins(call) && (index_of(call).is_none() || id_of(call).is_none()));
        if calls_of(said).next().is_some() {
            self.note(choice);
        }
        if is_irregular && self.begun.is_empty() {
            self.odd.get_or_insert_default();
        }
        if self.odd.is_some() {
            return self.mend_odd(said, choice, id);
        }
        let mut is_mended = false;
        for (place, call) in calls_of(said).enumerate() {
            is_mended |= self.place(call, choice, place as u64);
            let index = index_of(call).unwrap_or(place as u64);
            is_mended |= mend_call(call, id, index);
        }
        is_mended
    }

    fn note(&mut self, choice: u64) {
        if !self.calling.contains(&choice) {
            self.calling.push(choice);
        }
    }

    /// Gives a call that begins its place, unless it is the provider's.
    fn place(&mut self, call: &mut Map<String, Value>, choice: u64, place: u64) -> bool {
        let theirs = index_of(call).unwrap_or(place);
        let known = self.begun.iter().rposition(|seen| (seen.choice, seen.theirs) == (choice, theirs));
        let id = id_of(call).unwrap_or_default();
        let is_new = begins(call) && known.is_none_or(|at| !id.is_empty() && self.begun[at].id != id);
        let own = match known {
            Some(at) if !is_new => self.begun[at].ours,
            _ if !is_new => theirs,
            _ if self.begun.len() >= most::CALLS => {
                self.are_too_many = true;
                theirs
            }
            _ => {
                let of_choice = || self.begun.iter().filter(|seen| seen.choice == choice);
                let is_free = of_choice().all(|seen| seen.ours != theirs);
                let ours = if is_free { theirs } else { of_choice().map(|seen| seen.ours + 1).max().unwrap_or(0) };
                let is_taken = of_choice().any(|seen| seen.id == id && !id.is_empty());
                self.begun.push(Begun { choice, theirs, ours, id: id.clone() });
                if is_taken {
                    call.insert("id".to_owned(), format!("{id}_{ours}").into());
                    call.insert("index".to_owned(), ours.into());
                    return true;
                }
                ours
            }
        };
        if index_of(call) == Some(own) {
            return false;
        }
        call.insert("index".to_owned(), own.into());
        true
    }

    /// Calls of which the beginning says too little: what the agnostic form is made by tells them apart.
    fn mend_odd(&mut self, said: &mut Map<String, Value>, choice: u64, id: &str) -> bool {
        let Some(Value::Array(calls)) = said.shift_remove("tool_calls") else { return false };
        let odd = self.odd.get_or_insert_default();
        let mut mended = Vec::with_capacity(calls.len());
        for (place, call) in calls.into_iter().enumerate() {
            let Value::Object(mut call) = call else { continue };
            mend_arguments(&mut call);
            call.retain(|name, value| name != "id" || value.is_string() || value.is_number());
            if let Some(Value::Number(number)) = call.get("id") {
                let id = format!("call_{number}");
                call.insert("id".to_owned(), id.into());
            }
            let theirs = index_of(&call).unwrap_or(place as u64);
            let Some(Value::Object(mut piece)) = odd.add(choice, theirs, call) else { continue };
            let index = index_of(&piece).unwrap_or(theirs);
            mend_call(&mut piece, id, index);
            mended.push(Value::Object(piece));
        }
        if !mended.is_empty() {
            said.insert("tool_calls".to_owned(), mended.into());
        }
        true
    }
}

fn calls_of(said: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    said.get_mut("tool_calls")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(|call| call.as_object_mut())
}

/// Whether a piece is the first of its call: it has the name.
fn begins(call: &Map<String, Value>) -> bool {
    call.get("function").and_then(|function| function.get("name")?.as_str()).is_some_and(|name| !name.is_empty())
}

fn index_of(call: &Map<String, Value>) -> Option<u64> {
    call.get("index").and_then(Value::as_u64)
}

/// An id that is none of ours to make.
fn id_of(call: &Map<String, Value>) -> Option<String> {
    match call.get("id")? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn mend_call(call: &mut Map<String, Value>, id: &str, index: u64) -> bool {
    let mut is_mended = false;
    if call.get("type").is_some_and(|kind| kind == "" || kind.is_null()) {
        call.insert("type".to_owned(), "function".into());
        is_mended = true;
    }
    let begins = begins(call);
    let own = match call.get("id") {
        Some(Value::Number(number)) => Some(format!("call_{number}")),
        Some(Value::String(text)) if !text.is_empty() => None,
        _ if begins => Some(format!("call_{id}_{index}")),
        _ => None,
    };
    if let Some(own) = own {
        call.insert("id".to_owned(), own.into());
        is_mended = true;
    }
    if begins && !call.contains_key("type") {
        call.insert("type".to_owned(), "function".into());
        is_mended = true;
    }
    is_mended | mend_arguments(call)
}

/// Ollama's are an object.
fn mend_arguments(call: &mut Map<String, Value>) -> bool {
    let arguments = call.get_mut("function").and_then(|function| function.get_mut("arguments"));
    let Some(arguments) = arguments.filter(|arguments| arguments.is_object() || arguments.is_array()) else {
        return false;
    };
    *arguments = arguments.to_string().into();
    true
}
