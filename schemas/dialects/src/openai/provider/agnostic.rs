//! Answers of OpenAI and its copies in the agnostic form, strictly: whoever reads them on may rely on the types in
//! `penstock_schemas::chat`. Odd spellings of copies are mended here, by their fields. Knows nothing of whose answer it is.

use super::calls::{self, Calls};
use super::frame::{self, AnswerKind};
use super::{likelihoods, pieces};
use crate::{most, surrogates};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What is known of one answer: the calls of tools that were seen.
#[derive(Debug, Default)]
pub(crate) struct Mender {
    calls: Calls,
    /// The choices of a stream that were seen: the first piece of each has a role.
    opened: HashSet<u64>,
}

impl Mender {
    /// A whole answer, or a chunk.
    ///
    /// # Errors
    /// When it is not JSON throughout: in a content that stays unread there may be bytes that are no text, or half a
    /// surrogate pair. When a stream has too many calls.
    pub(crate) fn mend(&mut self, json: &Bytes) -> Result<Bytes, Failure> {
        let broken = || Failure::provider(FailureKind::Broken, "the provider's answer is not JSON");
        let Ok(Value::Object(mut answer)) = serde_json::from_slice(json) else { return Err(broken()) };
        for (name, is_right) in [("object", Value::is_string as fn(&Value) -> bool), ("choices", Value::is_array)] {
            if answer.get(name).is_some_and(|value| !is_right(value)) {
                answer.shift_remove(name);
            }
        }
        let choices = answer.get("choices").and_then(Value::as_array);
        let is_whole = choices.is_some_and(|choices| {
            choices.iter().any(|choice| choice.get("message").is_some() && choice.get("delta").is_none())
        });
        frame::mend(&mut answer, if is_whole { AnswerKind::Whole } else { AnswerKind::Chunk });
        let sources = sources(&mut answer);
        let choices = answer.entry("choices").or_insert_with(|| Value::Array(Vec::new()));
        for (place, choice) in choices.as_array_mut().into_iter().flatten().enumerate() {
            if let Value::Object(choice) = choice {
                self.mend_choice(choice, place as u64);
                if let Some(sources) = &sources {
                    cite(choice, sources);
                }
            }
        }
        if self.calls.are_too_many() {
            return Err(most::too_many_calls());
        }
        serde_json::to_vec(&answer).map(Bytes::from).map_err(|_| broken())
    }

    fn mend_choice(&mut self, choice: &mut Map<String, Value>, place: u64) {
        let is_one = |index: &u64| u32::try_from(*index).is_ok();
        let index = choice.get("index").and_then(Value::as_u64).filter(is_one).unwrap_or(place);
        choice.insert("index".to_owned(), index.into());
        likelihoods::mend(choice);
        let reason = choice.get("finish_reason").and_then(Value::as_str).and_then(finish_reason);
        let reason = reason.map(ToOwned::to_owned);
        // The sequence that ended the answer, as vLLM and SGLang have it; the number of a token is none.
        let met =
            ["stop_reason", "matched_stop"].iter().find_map(|name| choice.get(*name)?.as_str().map(str::to_owned));
        if let Some(met) = met.filter(|met| !met.is_empty() && reason.as_deref() == Some("stop")) {
            choice.entry("stop_sequence").or_insert_with(|| met.into());
        }
        let is_delta = choice.contains_key("delta") || !choice.contains_key("message");
        let said = choice.entry(if is_delta { "delta" } else { "message" }).or_insert(Value::Null);
        if !said.is_object() {
            *said = Value::Object(Map::new());
        }
        if let Value::Object(said) = said {
            mend_text(said, is_delta);
            if is_delta && self.opened.insert(index) {
                said.entry("role").or_insert_with(|| "assistant".into());
            }
            self.mend_calls(said, index, is_delta);
            if reason.is_some() && is_delta {
                self.end_calls(said, index);
            }
        }
        // Agents go on by this word: who has called a tool has not merely stopped, and who has called none waits for nothing.
        let has_called = self.calls.has_called(index) || !is_delta && choice["message"].get("tool_calls").is_some();
        let reason = match reason {
            Some(reason) if reason == "stop" && has_called => Some("tool_calls".to_owned()),
            Some(reason) if reason == "tool_calls" && !has_called => Some("stop".to_owned()),
            reason => reason,
        };
        choice.insert("finish_reason".to_owned(), reason.into());
    }

    fn mend_calls(&mut self, said: &mut Map<String, Value>, choice: u64, is_delta: bool) {
        if let Some(call) = said.shift_remove("function_call").filter(Value::is_object) {
            // The older spelling of the only call there is.
            let call = serde_json::json!([{ "index": 0, "type": "function", "function": call }]);
            said.entry("tool_calls").or_insert(call);
        }
        let calls = calls::taken(said);
        let mut mended: Vec<Value> = Vec::with_capacity(calls.len());
        let mut ids = HashSet::new();
        for (place, call) in calls.into_iter().enumerate() {
            let Value::Object(mut call) = call else { continue };
            call.retain(|name, value| match name.as_str() {
                "id" => value.is_string(),
                "type" => value.is_string() && value != "",
                _ => true,
            });
            let theirs = call.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
            if call.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty()) {
                call.entry("type").or_insert_with(|| "function".into());
            }
            mend_function(&mut call);
            if is_delta {
                mended.extend(self.calls.add(choice, theirs, call));
            } else {
                call.shift_remove("index");
                for mut call in calls::unglued(call) {
                    calls::say_none(&mut call);
                    tell_apart(&mut call, &mut ids);
                    mend_halves(&mut call);
                    mended.push(Value::Object(call));
                }
            }
        }
        if !mended.is_empty() {
            said.insert("tool_calls".to_owned(), mended.into());
        }
    }

    /// Writes what is left of the calls of a choice that ends: calls that never got a name, and `{}` where no arguments came.
    fn end_calls(&mut self, said: &mut Map<String, Value>, choice: u64) {
        let mut last = self.calls.nameless(choice);
        last.extend(self.calls.without_arguments(choice));
        if last.is_empty() {
            return;
        }
        let calls = said.entry("tool_calls").or_insert_with(|| Value::Array(Vec::new()));
        calls.as_array_mut().into_iter().for_each(|calls| calls.append(&mut last));
    }
}

/// The most sources of one answer.
const SOURCES: usize = 256;

/// What an answer is drawn from, as Perplexity lists it beside the choices, in every chunk again.
/// Source: <https://docs.perplexity.ai/api-reference/chat-completions-post>.
fn sources(answer: &mut Map<String, Value>) -> Option<Value> {
    let mut take = |name: &str| match answer.shift_remove(name) {
        Some(Value::Array(list)) if !list.is_empty() => Some(list),
        _ => None,
    };
    let (found, urls) = (take("search_results"), take("citations"));
    let of = |url: &str, title: &str| {
        let source = serde_json::json!({ "url": url, "title": title, "start_index": 0, "end_index": 0 });
        serde_json::json!({ "type": "url_citation", "url_citation": source })
    };
    let text = |source: &Value, name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let sources: Vec<Value> = match (found, urls) {
        (Some(found), _) => found.iter().take(SOURCES).map(|one| of(&text(one, "url"), &text(one, "title"))).collect(),
        (None, Some(urls)) => urls.iter().take(SOURCES).filter_map(|url| Some(of(url.as_str()?, ""))).collect(),
        (None, None) => return None,
    };
    (!sources.is_empty()).then_some(Value::Array(sources))
}

/// Adds the sources to a choice that ends, unless it has some of its own.
fn cite(choice: &mut Map<String, Value>, sources: &Value) {
    if choice.get("finish_reason").is_none_or(Value::is_null) {
        return;
    }
    for name in ["delta", "message"] {
        if let Some(Value::Object(said)) = choice.get_mut(name) {
            said.entry("annotations").or_insert_with(|| sources.clone());
            return;
        }
    }
}

/// Makes a call's id unique within its answer: clients assign the results of tools by it.
pub(super) fn tell_apart(call: &mut Map<String, Value>, ids: &mut HashSet<String>) -> bool {
    let Some(id) = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) else { return false };
    let is_taken = ids.contains(id);
    let id = if is_taken { format!("{id}_{}", ids.len()) } else { id.to_owned() };
    if is_taken {
        call.insert("id".to_owned(), id.as_str().into());
    }
    ids.insert(id);
    is_taken
}

pub(super) fn mend_function(call: &mut Map<String, Value>) {
    let Some(Value::Object(function)) = call.get_mut("function") else {
        call.shift_remove("function");
        return;
    };
    if !function.get("name").is_some_and(Value::is_string) {
        function.shift_remove("name");
    }
    match function.get("arguments") {
        None | Some(Value::String(_)) => {}
        Some(Value::Null) => drop(function.shift_remove("arguments")),
        Some(other) => {
            let text = other.to_string();
            function.insert("arguments".to_owned(), text.into());
        }
    }
}

/// The arguments are JSON in a text of its own, and that may hold half a surrogate pair too.
fn mend_halves(call: &mut Map<String, Value>) {
    let Some(Value::String(arguments)) = call.get_mut("function").and_then(|function| function.get_mut("arguments"))
    else {
        return;
    };
    if let Some(mended) = surrogates::mend(&Bytes::copy_from_slice(arguments.as_bytes())) {
        *arguments = String::from_utf8_lossy(&mended).into_owned();
    }
}

fn mend_text(said: &mut Map<String, Value>, is_delta: bool) {
    pieces::join(said);
    // vLLM and OpenRouter call it `reasoning`, as the newer of two names; DeepSeek's is the agnostic one.
    if let Some(thought) = said.shift_remove("reasoning").filter(Value::is_string) {
        let known = said.get("reasoning_content").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if !known {
            said.insert("reasoning_content".to_owned(), thought);
        }
    }
    for name in ["role", "refusal", "reasoning_content"] {
        if said.get(name).is_some_and(|value| !value.is_string() || name == "role" && value != "assistant") {
            said.shift_remove(name);
        }
    }
    let is_detail = |detail: &Value| detail.get("type").is_some_and(Value::is_string);
    if !said.get("reasoning_details").and_then(Value::as_array).is_some_and(|details| details.iter().all(is_detail)) {
        said.shift_remove("reasoning_details");
    }
    if !is_delta {
        said.entry("role").or_insert_with(|| "assistant".into());
    }
    if !said.get("content").is_some_and(Value::is_string) {
        said.shift_remove("content");
        if !is_delta {
            said.insert("content".to_owned(), Value::Null);
        }
    }
}

/// The reason in OpenAI's word; some copies write an empty one while there is none, or their engine's own, in small letters or
/// in capitals.
pub(super) fn finish_reason(theirs: &str) -> Option<&str> {
    Some(match theirs.to_ascii_lowercase().as_str() {
        "" => return None,
        "tool_calls" => "tool_calls",
        "function_call" | "function_calls" | "tool_use" | "tool_call" => "tool_calls",
        "stop" | "eos" | "eos_token" | "stop_sequence" | "stop_token" | "stop_str" | "end_turn" | "complete" => "stop",
        "length"
        | "max_tokens"
        | "max_length"
        | "max_new_tokens"
        | "model_length"
        | "model_context_window_exceeded" => "length",
        "content_filter"
        | "sensitive"
        | "guardrail_intervened"
        | "content_filtered"
        | "safety"
        | "recitation"
        | "blocklist"
        | "prohibited_content"
        | "spii"
        | "refusal" => "content_filter",
        // A word of the server's own; the ledger has it.
        _ => "stop",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::chat::{Completion, CompletionChunk};
    use serde_json::json;

    #[test]
    fn what_copies_spell_otherwise_is_mended() {
        for (theirs, ours) in [
            (
                json!({"id": 7, "created": 1.5, "usage": {}, "choices": [{"message": {"reasoning": "hm", "content": null, "tool_calls": [
                    {"function": {"name": "f", "arguments": {"n": 9_007_199_254_740_993_u64}}, "id": "a"}]}, "finish_reason": "tool_use"}]}),
                json!({"id": "7", "created": 1, "choices": [{"message": {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                    {"function": {"name": "f", "arguments": "{\"n\":9007199254740993}"}, "id": "a", "type": "function"}]},
                    "finish_reason": "tool_calls", "index": 0}]}),
            ),
            (
                json!({"choices": [{"message": {"content": [{"type": "text", "text": "a"}], "function_call": {"name": "f", "arguments": ""}}}]}),
                json!({"choices": [{"index": 0, "finish_reason": null, "message": {"role": "assistant", "content": "a",
                    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}),
            ),
        ] {
            let mended = Mender::default().mend(&theirs.to_string().into()).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&mended).unwrap(), ours);
            serde_json::from_slice::<Completion>(&mended).unwrap();
        }
    }

    #[test]
    fn the_sequence_that_ended_an_answer_is_told_as_copies_have_it() {
        let met = |more: Value| {
            let mut choice =
                json!({"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"});
            choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mended = Mender::default().mend(&json!({"choices": [choice]}).to_string().into()).unwrap();
            serde_json::from_slice::<Value>(&mended).unwrap()["choices"][0]["stop_sequence"].clone()
        };
        for (theirs, ours) in [
            (json!({"stop_reason": "END"}), json!("END")),
            (json!({"matched_stop": "END"}), json!("END")),
            (json!({"stop_reason": 128_009}), Value::Null),
            (json!({"stop_reason": "END", "finish_reason": "length"}), Value::Null),
        ] {
            assert_eq!(met(theirs.clone()), ours, "{theirs}");
        }
    }

    #[test]
    fn calls_that_share_an_index_get_their_own() {
        let mut mender = Mender::default();
        let mut indexes = Vec::new();
        for (index, id) in [(0, "a"), (0, ""), (0, "b"), (0, ""), (0, "a"), (1, "c"), (1, "c")] {
            let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": "{"}}]}}]});
            let mended = mender.mend(&chunk.to_string().into()).unwrap();
            let chunk: CompletionChunk = serde_json::from_slice(&mended).unwrap();
            indexes.push(chunk.choices[0].delta.tool_calls.as_ref().unwrap()[0].index.unwrap());
        }
        assert_eq!(indexes, [0, 0, 1, 1, 0, 2, 2]);
    }

    #[test]
    fn who_has_called_nothing_has_stopped() {
        let nothing = json!([{"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}]);
        for (calls, reason) in [(nothing, "stop"), (json!([]), "tool_calls"), (Value::Null, "tool_calls")] {
            for said in ["delta", "message"] {
                let calls = if said == "message" { json!([]) } else { calls.clone() };
                let choice = json!({"index": 0, said: {"content": "a", "tool_calls": calls}, "finish_reason": reason});
                let mended = Mender::default().mend(&json!({"choices": [choice]}).to_string().into()).unwrap();
                let choice = &serde_json::from_slice::<Value>(&mended).unwrap()["choices"][0];
                assert_eq!((&choice["finish_reason"], choice[said].get("tool_calls")), (&json!("stop"), None));
            }
        }
    }

    #[test]
    fn sources_that_stand_beside_the_choices_are_annotations_of_what_ends() {
        let found = json!([{"title": "t", "url": "https://a.example", "date": "2025-01-01"}]);
        let chunk = |reason: Value| {
            json!({"citations": ["https://a.example"], "search_results": found, "choices": [{"index": 0,
                "message": {"role": "assistant", "content": "ab"}, "delta": {"content": "b"}, "finish_reason": reason}]})
        };
        let delta = |chunk: Value| -> Value {
            let mended = Mender::default().mend(&chunk.to_string().into()).unwrap();
            serde_json::from_slice::<Value>(&mended).unwrap()["choices"][0]["delta"].clone()
        };
        assert_eq!(delta(chunk(Value::Null)), json!({"content": "b", "role": "assistant"}));
        let ended = delta(chunk(json!("stop")));
        assert_eq!(ended["annotations"][0]["url_citation"]["url"], "https://a.example");
        assert_eq!(ended["annotations"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_index_that_no_choice_has_is_its_place() {
        for index in [json!(4_294_967_296_u64), json!(-1), json!(1.5), json!("1"), Value::Null] {
            let chunk = json!({"choices": [{"index": 0, "delta": {}}, {"index": index, "delta": {"content": "a"}}]});
            let mended = Mender::default().mend(&chunk.to_string().into()).unwrap();
            let chunk: CompletionChunk = serde_json::from_slice(&mended).unwrap();
            assert_eq!(chunk.choices[1].index, 1, "{index}");
        }
    }

    #[test]
    fn nothing_that_comes_is_too_odd() {
        for odd in
            ["", "[]", "{\"choices\":3}", "{\"choices\":[3,{\"delta\":3},{\"message\":{\"tool_calls\":[3,null]}}]}"]
        {
            let _ = Mender::default().mend(&Bytes::from_static(odd.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_json_where_it_stays_unread_is_no_answer() {
        for odd in [&b"{\"x\":\"sev\xe9rity\"}"[..], br#"{"x":"\ud800"}"#, br#"{"choices":[{"index":0,}]}"#, b"[]"] {
            let failure = Mender::default().mend(&Bytes::copy_from_slice(odd)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Broken, "{}", String::from_utf8_lossy(odd));
        }
    }
}
