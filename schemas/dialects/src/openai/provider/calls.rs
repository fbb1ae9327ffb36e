//! The calls of tools in a streamed answer, told apart: some copies of OpenAI give all calls one index, give none an id, send
//! each of them whole, or send the name behind the call's beginning. Knows nothing of the answer around them.

use crate::braces::Braces;
use crate::most;
use serde_json::{Map, Value};

/// The most of a call's arguments that waits for the call's name, in bytes. A provider that sends more gets no name.
const HELD: usize = 64 * 1024;

/// Glued calls are separated only if their id, type and name are no longer than this together, in bytes: each gets a copy.
const WORDS: usize = 1_024;

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
    /// Whether no argument came.
    is_blank: bool,
    /// Arguments that wait for the name.
    held: String,
    arguments: Braces,
    said: Said,
}

/// What arguments were said, to know them again: their length and sum.
#[derive(Clone, Debug, Default)]
struct Said {
    length: usize,
    sum: crc32fast::Hasher,
}

impl Said {
    fn and(mut self, arguments: &str) -> Self {
        self.length += arguments.len();
        self.sum.update(arguments.as_bytes());
        self
    }
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.sum.clone().finalize() == other.sum.clone().finalize()
    }
}

impl Calls {
    /// Whether there were more than an answer may have.
    pub(super) fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    /// Takes the next piece of a call, which may be the end of one and the beginning of others. Nothing comes of it while it
    /// waits for the call's name, nor of calls too many.
    pub(super) fn add(&mut self, choice: u64, theirs: u64, call: Map<String, Value>) -> Vec<Value> {
        let pieces = self.cut(choice, theirs, call);
        pieces.into_iter().filter_map(|piece| self.add_one(choice, theirs, piece)).collect()
    }

    /// A piece, or several where arguments begin in it behind those that end.
    fn cut(&self, choice: u64, theirs: u64, call: Map<String, Value>) -> Vec<Map<String, Value>> {
        let id = text(&call, "id");
        let known = self.seen.iter().rfind(|seen| (seen.choice, seen.theirs) == (choice, theirs));
        if known.is_some_and(|seen| seen.name.len() > WORDS) {
            return vec![call];
        }
        let is_more = |seen: &&SeenCall| !seen.arguments.are_closed() && (id.is_empty() || id == seen.id);
        let begun = known.filter(is_more).map(|seen| seen.arguments).unwrap_or_default();
        let mut pieces = unglued_from(begun, call);
        let name = pieces[0].get("function").map(|function| text_of(function, "name")).unwrap_or_default();
        let name = if name.is_empty() { known.map(|seen| seen.name.clone()).unwrap_or_default() } else { name };
        for piece in &mut pieces[1..] {
            piece.shift_remove("id");
            piece["function"]["name"] = name.as_str().into();
        }
        pieces
    }

    /// Whether a piece says all arguments of a complete call once more, which some servers do at the end of it.
    fn is_repeated(&self, choice: u64, theirs: u64, (id, name, arguments): (&str, &str, &str)) -> bool {
        let known = self.seen.iter().rfind(|seen| (seen.choice, seen.theirs) == (choice, theirs));
        let is_same = |seen: &SeenCall| if id.is_empty() { name.is_empty() } else { seen.id == id };
        known.is_some_and(|seen| {
            is_same(seen) && seen.is_out && seen.arguments.are_closed() && seen.said == Said::default().and(arguments)
        })
    }

    /// The name of a call that is complete, where arguments without a name begin once more: the tool is called again.
    fn again(&self, choice: u64, theirs: u64, (id, name, arguments): (&str, &str, &str)) -> Option<String> {
        let known = self.seen.iter().rfind(|seen| (seen.choice, seen.theirs) == (choice, theirs))?;
        let is_again = name.is_empty()
            && (id.is_empty() || id == known.id)
            && known.is_out
            && known.arguments.are_closed()
            && known.name.len() <= WORDS
            && arguments.trim_start().starts_with('{');
        is_again.then(|| known.name.clone())
    }

    /// Whether the choice has called a tool.
    pub(super) fn has_called(&self, choice: u64) -> bool {
        self.seen.iter().any(|seen| seen.choice == choice)
    }

    /// The calls of a choice to which no arguments came: there are none.
    pub(super) fn without_arguments(&mut self, choice: u64) -> Vec<Value> {
        let open = self.seen.iter_mut().filter(|seen| seen.choice == choice && seen.is_out && seen.is_blank);
        open.map(|seen| {
            seen.is_blank = false;
            serde_json::json!({ "index": seen.ours, "function": { "arguments": "{}" } })
        })
        .collect()
    }

    fn add_one(&mut self, choice: u64, theirs: u64, mut call: Map<String, Value>) -> Option<Value> {
        let id = text(&call, "id");
        let function = call.get("function").and_then(Value::as_object).cloned().unwrap_or_default();
        let (mut name, arguments) = (text(&function, "name"), text(&function, "arguments"));
        if self.is_repeated(choice, theirs, (&id, &name, &arguments)) {
            return None;
        }
        if let Some(again) = self.again(choice, theirs, (&id, &name, &arguments)) {
            name = again;
        }
        let is_custom = call.contains_key("custom");
        let says_nothing = !is_custom && id.is_empty() && name.is_empty() && arguments.is_empty();
        if says_nothing && !self.seen.iter().any(|seen| (seen.choice, seen.theirs) == (choice, theirs)) {
            return None;
        }
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
        seen.said = std::mem::take(&mut seen.said).and(&arguments);
        seen.is_blank &= arguments.trim().is_empty() && !is_custom;
        call.insert("index".to_owned(), seen.ours.into());
        if is_custom || seen.is_out {
            // Its name and its id stand in the first piece alone: SDKs join the texts of all pieces.
            if seen.is_out {
                call.shift_remove("id");
                if let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) {
                    function.shift_remove("name");
                }
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
            is_blank: true,
            held: String::new(),
            arguments: Braces::default(),
            said: Said::default(),
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

/// The calls of a message or a delta, taken out of it; a call that stands there alone is the only one.
pub(super) fn taken(said: &mut Map<String, Value>) -> Vec<Value> {
    match said.shift_remove("tool_calls") {
        Some(Value::Array(calls)) => calls,
        Some(call @ Value::Object(_)) => vec![call],
        _ => Vec::new(),
    }
}

/// A whole call; several where the arguments of more than one are glued together.
pub(super) fn unglued(call: Map<String, Value>) -> Vec<Map<String, Value>> {
    unglued_from(Braces::default(), call)
}

/// The same of a call of which arguments have come. Those behind the first have its words, unless they are long: there may be
/// many of them.
fn unglued_from(begun: Braces, mut call: Map<String, Value>) -> Vec<Map<String, Value>> {
    let arguments = call.get("function").map(|function| text_of(function, "arguments")).unwrap_or_default();
    let ends = begun.ends(&arguments, most::CALLS);
    let (Some(first), Some(mut other)) = (ends.first().copied(), words(&call)) else { return vec![call] };
    call["function"]["arguments"] = arguments[..first].trim_ascii_start().into();
    let others = ends.iter().copied().zip(ends.iter().copied().skip(1).chain([arguments.len()]));
    let others = others.map(|(start, end)| {
        other["function"]["arguments"] = arguments[start..end].trim_ascii_start().into();
        other.clone()
    });
    std::iter::once(call).chain(others).collect()
}

/// What a call says besides its arguments; `None` when that is too long to be said again.
fn words(call: &Map<String, Value>) -> Option<Map<String, Value>> {
    let known = call.iter().filter(|(name, _)| matches!(name.as_str(), "index" | "id" | "type"));
    let mut words: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    let name = call.get("function").and_then(|function| function.get("name"));
    let function: Map<String, Value> = name.map(|name| ("name".to_owned(), name.clone())).into_iter().collect();
    words.insert("function".to_owned(), function.into());
    let length: usize = words.values().chain(name).filter_map(Value::as_str).map(str::len).sum();
    (length <= WORDS).then_some(words)
}

/// Arguments of a whole function call that say nothing are an empty object.
pub(super) fn say_none(call: &mut Map<String, Value>) {
    let Some(Value::Object(function)) = call.get_mut("function") else { return };
    let is_blank = |arguments: &Value| arguments.as_str().is_none_or(|text| text.trim().is_empty());
    if function.get("arguments").is_none_or(is_blank) {
        function.insert("arguments".to_owned(), "{}".into());
    }
}

fn text_of(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
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
        let four = json!([[0, "a", "f", "{"], [1, "a_1", "f", "{"], [1, null, null, "}"], [0, null, null, "}"]]);
        assert_eq!(out(&pieces), four, "each piece had the id");
    }

    #[test]
    fn what_glued_calls_have_in_common_is_not_made_long_by_their_number() {
        let call = |name: &str| json!({"id": "a", "function": {"name": name, "arguments": "{}".repeat(9)}, "x": "x".repeat(99)});
        let told = unglued(call("f").as_object().unwrap().clone());
        assert_eq!(told.len(), 9);
        assert!(told[0].contains_key("x") && !told[8].contains_key("x"));
        assert_eq!(Value::from(told[8].clone()), json!({"id": "a", "function": {"name": "f", "arguments": "{}"}}));
        assert_eq!(unglued(call(&"f".repeat(WORDS)).as_object().unwrap().clone()).len(), 1);
    }

    #[test]
    fn a_stream_has_a_limit_of_calls() {
        let mut calls = Calls::default();
        let piece = |at: usize| json!({"id": format!("c{at}"), "function": {"name": "f", "arguments": "{}"}});
        let mut add = |at: usize| calls.add(0, at as u64, piece(at).as_object().unwrap().clone());
        assert!((0..most::CALLS).all(|at| !add(at).is_empty()));
        assert!(add(most::CALLS).is_empty());
        assert!(add(0).is_empty(), "it says again what it has said");
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
    fn a_piece_that_says_nothing_begins_no_call() {
        assert_eq!(out(&[(0, "", "", "")]), json!([]));
        assert_eq!(out(&[(0, "", "", ""), (0, "a", "f", "{}")]), json!([[0, "a", "f", "{}"]]));
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
