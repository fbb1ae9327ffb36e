//! What strict clients of OpenAI's dialect cannot read, mended in answers of copies that go on as they came otherwise: empty
//! roles and types, ids that are numbers or missing, arguments that are no text, chunks without a delta, reasons to stop that
//! OpenAI does not have or that hide a call. Most answers have nothing of it, which a look at their bytes tells. Knows nothing
//! of the agnostic form.

use super::agnostic::finish_reason;
use super::glance::values;
use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// OpenAI's reasons to stop.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices>.
const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];

/// The characters of an answer's id that an id of a call takes: OpenAI takes back 40 in all.
const ID_PART: usize = 24;

struct Names {
    role: Finder<'static>,
    kind: Finder<'static>,
    reason: Finder<'static>,
    calls: Finder<'static>,
    name: Finder<'static>,
    message: Finder<'static>,
    delta: Finder<'static>,
    choices: Finder<'static>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    role: Finder::new(r#""role""#),
    kind: Finder::new(r#""type""#),
    reason: Finder::new(r#""finish_reason""#),
    calls: Finder::new(r#""tool_calls""#),
    name: Finder::new(r#""name""#),
    message: Finder::new(r#""message""#),
    delta: Finder::new(r#""delta""#),
    choices: Finder::new(r#""choices""#),
});

/// A whole answer as OpenAI would spell it; `None` when it is spelt so.
pub(super) fn mended(json: &[u8]) -> Option<Bytes> {
    mended_chunk(json, &mut Vec::new())
}

/// The same of a chunk; `calling` are the choices of its stream that have called a tool.
pub(super) fn mended_chunk(json: &[u8], calling: &mut Vec<u64>) -> Option<Bytes> {
    let may_stop = !calling.is_empty() && values(&NAMES.reason, json).any(|value| value.starts_with(b"\"stop\""));
    if !may_stop && !may_be_odd(json) {
        return None;
    }
    let mut answer: Value = serde_json::from_slice(json).ok()?;
    let id = answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let choices = answer.get_mut("choices")?.as_array_mut()?;
    let mut is_mended = false;
    for (place, choice) in choices.iter_mut().enumerate() {
        if let Value::Object(choice) = choice {
            is_mended |= mend_choice(choice, &format!("{}_{place}", tail(&id)), calling);
        }
    }
    is_mended.then(|| answer.to_string().into())
}

fn may_be_odd(json: &[u8]) -> bool {
    let names = &*NAMES;
    // In a chunk nothing has stopped yet where there is no reason; a whole answer has one.
    let is_whole = names.message.find(json).is_some();
    let is_reason = |value: &[u8]| match value.strip_prefix(b"\"") {
        Some(word) => REASONS.iter().any(|reason| word.starts_with(reason.as_bytes())),
        None => !is_whole,
    };
    let is_empty = |value: &[u8]| value.starts_with(b"\"\"");
    let holds_some = || values(&names.choices, json).any(|value| !value[1..].trim_ascii_start().starts_with(b"]"));
    let is_without = !is_whole && !values(&names.delta, json).all(|value| value.starts_with(b"{"));
    let is_without = is_without || !is_whole && values(&names.delta, json).next().is_none() && holds_some();
    is_without
        || !values(&names.reason, json).all(is_reason)
        || values(&names.role, json).any(is_empty)
        || values(&names.kind, json).any(is_empty)
        || (values(&names.calls, json).any(|value| value.starts_with(b"[")) && names.name.find(json).is_some())
}

fn mend_choice(choice: &mut Map<String, Value>, id: &str, calling: &mut Vec<u64>) -> bool {
    let mut is_mended = false;
    let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
    let is_whole = choice.contains_key("message");
    if !is_whole && !choice.get("delta").is_some_and(Value::is_object) && !choice.contains_key("text") {
        choice.insert("delta".to_owned(), Value::Object(Map::new()));
        is_mended = true;
    }
    if let Some(Value::Object(said)) = choice.get_mut(if is_whole { "message" } else { "delta" }) {
        if said.get("role").is_some_and(|role| role == "") {
            said.shift_remove("role");
            if is_whole {
                said.insert("role".to_owned(), "assistant".into());
            }
            is_mended = true;
        }
        for (place, call) in said.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            if let Value::Object(call) = call {
                is_mended |= mend_call(call, id, place as u64);
                if !calling.contains(&index) {
                    calling.push(index);
                }
            }
        }
    }
    is_mended | mend_reason(choice, is_whole, calling.contains(&index))
}

fn mend_call(call: &mut Map<String, Value>, id: &str, place: u64) -> bool {
    let mut is_mended = false;
    if call.get("type").is_some_and(|kind| kind == "" || kind.is_null()) {
        call.insert("type".to_owned(), "function".into());
        is_mended = true;
    }
    let begins =
        call.get("function").and_then(|function| function.get("name")?.as_str()).is_some_and(|name| !name.is_empty());
    let index = call.get("index").and_then(Value::as_u64).unwrap_or(place);
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
    // Ollama's are an object.
    let arguments = call.get_mut("function").and_then(|function| function.get_mut("arguments"));
    if let Some(arguments) = arguments.filter(|arguments| arguments.is_object() || arguments.is_array()) {
        *arguments = arguments.to_string().into();
        is_mended = true;
    }
    is_mended
}

/// Why a choice stopped. Agents go on by this word: one that has called a tool has not merely stopped.
fn mend_reason(choice: &mut Map<String, Value>, is_whole: bool, has_called: bool) -> bool {
    let Some(theirs) = choice.get("finish_reason") else { return false };
    let word = theirs.as_str().and_then(finish_reason);
    let reason = match word {
        Some("stop") if has_called => "tool_calls".into(),
        Some(word) => Value::from(word),
        None if is_whole && has_called => "tool_calls".into(),
        None if is_whole => "stop".into(),
        None => Value::Null,
    };
    if reason == *theirs || reason != "tool_calls" && REASONS.iter().any(|known| theirs == known) {
        return false;
    }
    choice.insert("finish_reason".to_owned(), reason);
    true
}

/// The last letters and digits of an id.
fn tail(id: &str) -> String {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    letters[letters.len().saturating_sub(ID_PART)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn out(answer: &Value) -> Value {
        mended(answer.to_string().as_bytes()).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn what_is_spelt_as_openais_stays_as_it_is() {
        for answer in [
            json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "\"role\":\"\""}, "finish_reason": null}]}),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "function_call"}], "usage": null}),
            json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls":
                [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "", "arguments": "{}"}}]}}]}),
        ] {
            assert_eq!(out(&answer), Value::Null, "{answer}");
        }
    }

    #[test]
    fn a_chunk_that_only_tells_of_a_filter_has_a_delta() {
        let chunk = |more: Value| {
            let mut choice = json!({"index": 0, "finish_reason": null, "content_filter_offsets": {"check_offset": 44}});
            choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"id": "", "choices": [choice]})
        };
        for theirs in [json!({}), json!({"delta": null})] {
            assert_eq!(out(&chunk(theirs.clone()))["choices"][0]["delta"], json!({}), "{theirs}");
        }
        for other in [
            json!({"choices": [], "prompt_filter_results": []}),
            json!({"choices": [ ], "usage": {}}),
            json!({"choices": [{"index": 0, "text": "a", "finish_reason": null}]}),
        ] {
            assert_eq!(out(&other), Value::Null, "{other}");
        }
    }

    #[test]
    fn empty_roles_and_types_are_left_out_and_ids_are_texts() {
        let chunk = |delta: Value| json!({"id": "chatcmpl-0123456789abcdef0123456789abcdef", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        let call = |call: Value| json!({"tool_calls": [call]});
        let function = json!({"name": "f", "arguments": ""});
        for (theirs, ours) in [
            (json!({"role": "", "content": "a"}), json!({"content": "a"})),
            (
                call(json!({"index": 1, "id": "x", "type": "", "function": function})),
                call(json!({"index": 1, "id": "x", "type": "function", "function": function})),
            ),
            (
                call(json!({"index": 1, "id": 7, "type": "function", "function": function})),
                call(json!({"index": 1, "id": "call_7", "type": "function", "function": function})),
            ),
            (
                call(json!({"index": 1, "type": "function", "function": function})),
                call(
                    json!({"index": 1, "type": "function", "function": function, "id": "call_89abcdef0123456789abcdef_0_1"}),
                ),
            ),
        ] {
            assert_eq!(out(&chunk(theirs)), chunk(ours));
        }
    }

    #[test]
    fn a_call_has_a_type_its_arguments_are_a_text_and_its_answer_ends_for_it() {
        let function = json!({"name": "f", "arguments": {"n": 9_007_199_254_740_993_u64}});
        let whole = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": function}]}}]});
        let mended = out(&whole);
        let call =
            json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"n\":9007199254740993}"}});
        assert_eq!(mended["choices"][0]["message"]["tool_calls"][0], call);
        assert_eq!(mended["choices"][0]["finish_reason"], "tool_calls");

        let mut calling = Vec::new();
        let mut chunk = |index: u64, delta: &Value, reason: &Value| {
            let chunk = json!({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]});
            let mended = mended_chunk(chunk.to_string().as_bytes(), &mut calling);
            mended.map_or(chunk, |json| serde_json::from_slice(&json).unwrap())["choices"][0]["finish_reason"].clone()
        };
        let begun = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
        assert_eq!(chunk(1, &begun, &Value::Null), Value::Null);
        assert_eq!(chunk(0, &json!({}), &json!("stop")), "stop", "it has called nothing");
        assert_eq!(chunk(1, &json!({}), &json!("stop")), "tool_calls");
    }

    #[test]
    fn a_reason_that_openai_does_not_have_becomes_one_of_its_own() {
        let whole = |reason: Value| json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": reason}]});
        for (theirs, ours) in [
            (json!(""), "stop"),
            (Value::Null, "stop"),
            (json!("eos_token"), "stop"),
            (json!("sensitive"), "content_filter"),
            (json!("guardrail_intervened"), "content_filter"),
            (json!("MAX_TOKENS"), "length"),
            (json!("tool_use"), "tool_calls"),
        ] {
            assert_eq!(out(&whole(theirs)), whole(json!(ours)));
        }
        let chunk =
            |reason: Value| json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": reason}]});
        assert_eq!(out(&chunk(json!(""))), chunk(Value::Null));
    }
}
