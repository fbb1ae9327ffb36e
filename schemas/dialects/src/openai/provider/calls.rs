//! The calls of tools in a streamed answer, told apart: some copies of OpenAI give all calls one index, give none an id, send
//! each of them whole, or send the name behind the call's beginning. Knows nothing of the answer around them.

use crate::braces::Braces;
use crate::most;
use serde_json::{Map, Value};

/// The most of a call's arguments that waits for the call's name, in bytes. A provider that sends more gets no name.
const HELD: usize = 64 * 1024;

/// The calls that were seen.
#[derive(Debug, Default)]
pub(super) struct Calls {
    seen: Vec<SeenCall>,
    /// Whether there were more than an answer may have; those are left out.
    are_too_many: bool,
}

/// One call.
#[derive(Debug)]
struct SeenCall {
    choice: u64,
    /// The provider's index.
    theirs: u64,
    /// The index that the client reads.
    ours: u64,
    id: String,
    /// Its id as the client reads it, where another call of the answer has the provider's.
    own: Option<String>,
    /// Empty until it came.
    name: String,
    /// Whether a piece of it went out.
    is_out: bool,
    /// Arguments that wait for the name.
    held: String,
    arguments: Braces,
}

impl Calls {
    /// Whether there were more than an answer may have.
    pub(super) fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    /// Takes the next piece of a call. `None` when it waits for the call's name, or is of one call too many.
    pub(super) fn add(&mut self, choice: u64, theirs: u64, mut call: Map<String, Value>) -> Option<Value> {
        let id = text(&call, "id");
        let function = call.get("function").and_then(Value::as_object).cloned().unwrap_or_default();
        let (name, arguments) = (text(&function, "name"), text(&function, "arguments"));
        let is_custom = call.contains_key("custom");
        let at = self.find(choice, theirs, (&id, &name, &arguments))?;
        let is_taken = !id.is_empty()
            && self.seen.iter().enumerate().any(|(place, seen)| place != at && seen.choice == choice && seen.id == id);
        let seen = &mut self.seen[at];
        if seen.id.is_empty() {
            seen.own = is_taken.then(|| format!("{id}_{}", seen.ours));
            seen.id = id;
        }
        if let (Some(own), true) = (&seen.own, text(&call, "id") == seen.id) {
            call.insert("id".to_owned(), own.as_str().into());
        }
        seen.arguments.note(&arguments);
        call.insert("index".to_owned(), seen.ours.into());
        if is_custom || seen.is_out {
            // The name stands in the first piece alone.
            if let Some(function) = call.get_mut("function").and_then(Value::as_object_mut).filter(|_| seen.is_out) {
                function.shift_remove("name");
            }
            let own = seen.own.as_ref().unwrap_or(&seen.id);
            if call.get("id").and_then(Value::as_str).is_some_and(|id| id != own) {
                call.shift_remove("id");
            }
            seen.is_out = true;
            return Some(Value::Object(call));
        }
        seen.name = name;
        seen.held.push_str(&arguments);
        if seen.name.is_empty() && seen.held.len() <= HELD {
            return None;
        }
        Some(seen.first(call))
    }

    /// The calls of a choice that has ended whose name never came.
    pub(super) fn nameless(&mut self, choice: u64) -> Vec<Value> {
        let waiting = self.seen.iter_mut().filter(|seen| seen.choice == choice && !seen.is_out);
        waiting.map(|seen| seen.first(Map::new())).collect()
    }

    /// The place of the call that a piece belongs to, which may be a new one; `None` for one too many.
    fn find(&mut self, choice: u64, theirs: u64, (id, name, arguments): (&str, &str, &str)) -> Option<usize> {
        let is_same = |seen: &SeenCall| (seen.choice, seen.theirs) == (choice, theirs);
        if let Some(at) = self.seen.iter().rposition(is_same) {
            let seen = &self.seen[at];
            // Some give each piece of a call another id, or the word `null`: without a name it begins nothing.
            let is_more = name.is_empty() && seen.is_out && !seen.arguments.are_closed();
            let is_other_id = !id.is_empty() && !seen.id.is_empty() && seen.id != id && !is_more;
            let is_next = (id.is_empty() || id == seen.id) && seen.is_followed_by(name, arguments);
            if !is_other_id && !is_next {
                return Some(at);
            }
            let again = self.seen.iter().position(|seen| seen.choice == choice && !id.is_empty() && seen.id == id);
            if let Some(again) = again.filter(|_| !is_next) {
                return Some(again);
            }
        }
        if self.seen.len() >= most::CALLS {
            self.are_too_many = true;
            return None;
        }
        let ours = self.seen.iter().filter(|seen| seen.choice == choice).count() as u64;
        self.seen.push(SeenCall {
            choice,
            theirs,
            ours,
            id: String::new(),
            own: None,
            name: String::new(),
            is_out: false,
            held: String::new(),
            arguments: Braces::default(),
        });
        Some(self.seen.len() - 1)
    }
}

impl SeenCall {
    /// Whether a piece without an id begins another call: this one is complete, and a name comes again.
    fn is_followed_by(&self, name: &str, arguments: &str) -> bool {
        let is_more = !arguments.trim().is_empty() || name != self.name;
        self.is_out && self.arguments.are_closed() && !name.is_empty() && is_more
    }

    /// The first piece that goes out, with everything that waited for it.
    fn first(&mut self, mut call: Map<String, Value>) -> Value {
        self.is_out = true;
        call.insert("index".to_owned(), self.ours.into());
        if !self.id.is_empty() {
            call.insert("id".to_owned(), self.own.as_ref().unwrap_or(&self.id).as_str().into());
        }
        call.entry("type").or_insert_with(|| "function".into());
        let function = call.entry("function").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(function) = function {
            function.insert("name".to_owned(), self.name.clone().into());
            function.insert("arguments".to_owned(), std::mem::take(&mut self.held).into());
        }
        Value::Object(call)
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> String {
    fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What goes out of pieces `(index, id, name, arguments)`, and at the end.
    fn out(pieces: &[(u64, &str, &str, &str)]) -> Value {
        let mut calls = Calls::default();
        let mut out = Vec::new();
        for (index, id, name, arguments) in pieces {
            let mut piece = json!({"function": {"name": name, "arguments": arguments}});
            if !id.is_empty() {
                piece["id"] = json!(id);
            }
            out.extend(calls.add(0, *index, piece.as_object().unwrap().clone()));
        }
        out.extend(calls.nameless(0));
        let short =
            |call: &Value| json!([call["index"], call["id"], call["function"]["name"], call["function"]["arguments"]]);
        out.iter().map(short).collect()
    }

    #[test]
    fn whole_calls_of_one_index_and_without_ids_are_calls_of_their_own() {
        let whole = [(0, "", "f", "{\"a\":1}"), (0, "", "f", "{\"a\":2}"), (0, "", "g", "{}")];
        let three = json!([[0, null, "f", "{\"a\":1}"], [1, null, "f", "{\"a\":2}"], [2, null, "g", "{}"]]);
        assert_eq!(out(&whole), three);
    }

    #[test]
    fn calls_of_one_id_get_ids_of_their_own() {
        let two = json!([[0, "call_0", "f", "{\"a\":1}"], [1, "call_0_1", "f", "{\"a\":2}"]]);
        assert_eq!(out(&[(0, "call_0", "f", "{\"a\":1}"), (1, "call_0", "f", "{\"a\":2}")]), two);
        assert_eq!(out(&[(0, "call_0", "f", "{\"a\":1}"), (0, "call_0", "f", "{\"a\":2}")]), two);
        let pieces = [(0, "a", "f", "{"), (1, "a", "f", "{"), (1, "a", "", "}"), (0, "a", "", "}")];
        let four = json!([[0, "a", "f", "{"], [1, "a_1", "f", "{"], [1, "a_1", null, "}"], [0, "a", null, "}"]]);
        assert_eq!(out(&pieces), four, "each piece has the id");
    }

    #[test]
    fn a_stream_has_a_limit_of_calls() {
        let mut calls = Calls::default();
        let piece = |at: usize| json!({"id": format!("c{at}"), "function": {"name": "f", "arguments": "{}"}});
        let mut add = |at: usize| calls.add(0, at as u64, piece(at).as_object().unwrap().clone());
        assert!((0..most::CALLS).all(|at| add(at).is_some()));
        assert!(add(most::CALLS).is_none());
        assert!(calls.are_too_many());
    }

    #[test]
    fn a_call_that_repeats_its_name_stays_one() {
        let pieces = [(0, "", "f", "{\"a\""), (0, "", "f", ":1}"), (0, "", "f", ""), (0, "", "f", "\n")];
        let one = json!([[0, null, "f", "{\"a\""], [0, null, null, ":1}"], [0, null, null, ""], [0, null, null, "\n"]]);
        assert_eq!(out(&pieces), one);
    }

    #[test]
    fn a_piece_without_a_name_goes_on_whatever_id_it_has() {
        let pieces = [(0, "a", "f", ""), (0, "null", "", "{\"x\":"), (0, "b", "", "1}"), (0, "c", "g", "{}")];
        let two = json!([[0, "a", "f", ""], [0, null, null, "{\"x\":"], [0, null, null, "1}"], [1, "c", "g", "{}"]]);
        assert_eq!(out(&pieces), two);
    }

    #[test]
    fn a_call_waits_for_its_name_and_keeps_what_came_before() {
        let late = [(0, "a", "", "{"), (1, "b", "g", "{}"), (0, "", "", "\"x\":"), (0, "", "f", "1"), (0, "", "", "}")];
        let found = json!([[1, "b", "g", "{}"], [0, "a", "f", "{\"x\":1"], [0, null, null, "}"]]);
        assert_eq!(out(&late), found);
        assert_eq!(out(&[(0, "a", "", "{}")]), json!([[0, "a", "", "{}"]]));
        let long = "x".repeat(HELD + 1);
        assert_eq!(out(&[(0, "a", "", &long)]), json!([[0, "a", "", long]]));
    }
}
