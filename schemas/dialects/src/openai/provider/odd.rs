//! What strict clients of OpenAI's dialect cannot read, mended in answers of copies that go on as they came otherwise: empty
//! or missing roles and types, choices and calls without an index, chunks without choices or a delta, reasons to stop that
//! OpenAI does not have or that hide a call, and what `OwnCalls` knows of calls. Most answers need none of it, which a look at
//! their bytes tells. Knows nothing of the agnostic form.

use super::agnostic::finish_reason;
use super::glance::values;
use super::own_calls::OwnCalls;
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
    delta: Finder<'static>,
    choices: Finder<'static>,
    index: Finder<'static>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    role: Finder::new(r#""role""#),
    kind: Finder::new(r#""type""#),
    reason: Finder::new(r#""finish_reason""#),
    calls: Finder::new(r#""tool_calls""#),
    name: Finder::new(r#""name""#),
    delta: Finder::new(r#""delta""#),
    choices: Finder::new(r#""choices""#),
    index: Finder::new(r#""index""#),
});

/// What a look at the bytes must know of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// A whole answer.
    Whole,
    /// A chunk of a stream.
    Chunk,
}

/// What one stream showed that its later chunks are read by.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    calls: OwnCalls,
}

/// A whole answer as OpenAI would spell it; `None` when it is spelt so.
pub(super) fn mended(json: &[u8]) -> Option<Bytes> {
    if !may_be_odd(json, Piece::Whole) {
        return None;
    }
    let mut calls = OwnCalls::default();
    mend(json, |choice, index, id| {
        let mut is_mended = false;
        if let Some(Value::Object(said)) = choice.get_mut("message") {
            is_mended |= mend_said(said);
            if said.get("role").is_none() {
                said.insert("role".to_owned(), "assistant".into());
                is_mended = true;
            }
            is_mended |= calls.mend_whole(said, index, id);
        }
        is_mended | mend_reason(choice, Piece::Whole, calls.has_called(index))
    })
}

impl Streamed {
    /// Whether the stream has more calls than an answer may have.
    pub(super) fn has_too_many_calls(&self) -> bool {
        self.calls.are_too_many()
    }

    /// The same of a chunk; `opens` says whether it is the first of a choice, which has a role.
    pub(super) fn mended(&mut self, json: &[u8], opens: bool) -> Option<Bytes> {
        let names = &*NAMES;
        let is = |value: &[u8], word: &str| value.starts_with(word.as_bytes());
        let is_open = opens && !values(&names.role, json).any(|value| is(value, "\"assistant\""));
        let may_stop = self.calls.is_any() && values(&names.reason, json).any(|value| is(value, "\"stop\""));
        let is_piece = self.calls.are_odd() && values(&names.calls, json).any(|value| is(value, "["));
        if !may_stop && !is_piece && !may_be_odd(json, Piece::Chunk) {
            if !is_open {
                return None;
            }
            // What came on several lines is written anew, on one.
            if memchr::memchr(b'\n', json).is_none() {
                return Some(with_role(json));
            }
        }
        mend(json, |choice, index, id| self.mend_choice(choice, index, id, is_open))
    }

    fn mend_choice(&mut self, choice: &mut Map<String, Value>, index: u64, id: &str, is_open: bool) -> bool {
        let mut is_mended = false;
        if !choice.get("delta").is_some_and(Value::is_object) && !choice.contains_key("text") {
            choice.insert("delta".to_owned(), Value::Object(Map::new()));
            is_mended = true;
        }
        if let Some(Value::Object(said)) = choice.get_mut("delta") {
            is_mended |= mend_said(said);
            if is_open && said.get("role").is_none() {
                said.insert("role".to_owned(), "assistant".into());
                is_mended = true;
            }
            is_mended |= self.calls.mend_delta(said, index, id);
        }
        is_mended | mend_reason(choice, Piece::Chunk, self.calls.has_called(index))
    }
}

/// The answer with its choices mended, each with its index and a name for its calls; `None` when there was nothing to do.
fn mend(json: &[u8], mut mend_choice: impl FnMut(&mut Map<String, Value>, u64, &str) -> bool) -> Option<Bytes> {
    let mut answer: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let id = tail(answer.get("id").and_then(Value::as_str).unwrap_or_default());
    let mut is_mended = !answer.contains_key("choices");
    let choices = answer.entry("choices").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
    for (place, choice) in choices.iter_mut().enumerate() {
        let Value::Object(choice) = choice else { continue };
        let index = choice.get("index").and_then(Value::as_u64);
        if index.is_none() {
            choice.insert("index".to_owned(), place.into());
            is_mended = true;
        }
        is_mended |= mend_choice(choice, index.unwrap_or(place as u64), &format!("{id}_{place}"));
    }
    is_mended.then(|| serde_json::to_vec(&answer).ok().map(Bytes::from)).flatten()
}

/// A chunk with a role in its deltas, and every other byte as it came.
fn with_role(json: &[u8]) -> Bytes {
    const ROLE: &[u8] = br#""role":"assistant""#;
    let mut out = Vec::with_capacity(json.len() + ROLE.len() + 1);
    let mut written = 0;
    for delta in values(&NAMES.delta, json).filter(|delta| delta.starts_with(b"{")) {
        let inside = json.len() - delta.len() + 1;
        out.extend_from_slice(&json[written..inside]);
        out.extend_from_slice(ROLE);
        if !json[inside..].trim_ascii_start().starts_with(b"}") {
            out.push(b',');
        }
        written = inside;
    }
    out.extend_from_slice(&json[written..]);
    out.into()
}

fn may_be_odd(json: &[u8], piece: Piece) -> bool {
    let names = &*NAMES;
    let is_chunk = piece == Piece::Chunk;
    // In a chunk nothing has stopped yet where there is no reason; a whole answer has one.
    let is_reason = |value: &[u8]| match value.strip_prefix(b"\"") {
        Some(word) => REASONS.iter().any(|reason| word.starts_with(reason.as_bytes())),
        None => is_chunk,
    };
    let is_empty = |value: &[u8]| value.starts_with(b"\"\"");
    let calls = || values(&names.calls, json);
    let is_call = calls().any(|value| value.starts_with(b"["));
    let some = || values(&names.choices, json).any(|value| !value[1..].trim_ascii_start().starts_with(b"]"));
    let indexes = values(&names.index, json).take(2).count();
    let is_without = is_chunk
        && (!values(&names.delta, json).all(|value| value.starts_with(b"{"))
            || values(&names.delta, json).next().is_none() && some()
            || values(&names.choices, json).next().is_none()
            || is_call && indexes < 2 && calls().any(|value| !value[1..].trim_ascii_start().starts_with(b"]")));
    is_without
        || indexes == 0 && some()
        || is_chunk && calls().any(|value| value.starts_with(b"null"))
        || !values(&names.reason, json).all(is_reason)
        || values(&names.role, json).any(is_empty)
        || values(&names.kind, json).any(is_empty)
        || (is_call && names.name.find(json).is_some())
}

/// Leaves out what a strict client cannot read.
fn mend_said(said: &mut Map<String, Value>) -> bool {
    let before = said.len();
    said.retain(|name, value| !(name == "role" && value == "" || name == "tool_calls" && value.is_null()));
    said.len() < before
}

/// Why a choice stopped. Agents go on by this word: one that has called a tool has not merely stopped.
fn mend_reason(choice: &mut Map<String, Value>, piece: Piece, has_called: bool) -> bool {
    let is_whole = piece == Piece::Whole;
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
        let json = answer.to_string();
        let is_whole = answer["choices"][0].get("message").is_some() && answer["object"] != "chat.completion.chunk";
        let mended =
            if is_whole { mended(json.as_bytes()) } else { Streamed::default().mended(json.as_bytes(), false) };
        mended.map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap())
    }

    /// The chunks of a stream as a client gets them.
    fn sent(chunks: &[Value]) -> Vec<Value> {
        let mut streamed = Streamed::default();
        let mut send = |(place, chunk): (usize, &Value)| {
            let mended = streamed.mended(chunk.to_string().as_bytes(), place == 0);
            mended.map_or(chunk.clone(), |json| serde_json::from_slice(&json).unwrap())
        };
        chunks.iter().enumerate().map(&mut send).collect()
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
                call(json!({"index": 0, "type": "function", "function": function})),
                call(
                    json!({"index": 0, "type": "function", "function": function, "id": "call_89abcdef0123456789abcdef_0_0"}),
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

        let mut streamed = Streamed::default();
        let mut chunk = |index: u64, delta: &Value, reason: &Value| {
            let chunk = json!({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": reason}]});
            let mended = streamed.mended(chunk.to_string().as_bytes(), false);
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

    #[test]
    fn a_chunk_has_choices_an_index_and_a_role_at_its_beginning() {
        let choice = |more: Value| {
            let mut choice = json!({"delta": {"content": "a"}, "finish_reason": null});
            choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            choice
        };
        let stream = [
            json!({"id": "i", "choices": [choice(json!({}))]}),
            json!({"id": "i", "choices": [choice(json!({"index": 0, "delta": {"content": "b", "tool_calls": null}}))]}),
            json!({"id": "i", "choices": [{"delta": {}, "finish_reason": "stop"}]}),
            json!({"id": "i", "usage": {"prompt_tokens": 1}}),
        ];
        let sent = sent(&stream);
        assert_eq!(sent[0]["choices"][0]["delta"], json!({"content": "a", "role": "assistant"}));
        assert_eq!((&sent[0]["choices"][0]["index"], &sent[2]["choices"][0]["index"]), (&json!(0), &json!(0)));
        assert_eq!(sent[1]["choices"][0]["delta"], json!({"content": "b"}));
        assert_eq!(sent[3]["choices"], json!([]));
    }

    #[test]
    fn a_chunk_that_came_on_several_lines_gets_its_role_on_one() {
        let chunk = b"{\"id\": \"x\",\n\"choices\": [{\"index\": 0,\n\"delta\": {\"content\": \"Hi\"}, \"finish_reason\": null}]}";
        let mended = Streamed::default().mended(chunk, true).unwrap();
        assert!(!mended.contains(&b'\n'), "{}", String::from_utf8_lossy(&mended));
        let mended: Value = serde_json::from_slice(&mended).unwrap();
        assert_eq!(mended["choices"][0]["delta"], json!({"content": "Hi", "role": "assistant"}));
        let one =
            Streamed::default().mended(br#"{"choices":[{"index":0,"delta":{},"finish_reason":null}]}"#, true).unwrap();
        assert_eq!(
            one,
            Bytes::from_static(br#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#)
        );
    }

    #[test]
    fn a_chunk_that_has_a_message_too_goes_on_until_its_stream_ends() {
        let chunk = |reason: Value| {
            json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": reason,
                "message": {"role": "assistant", "content": "ab"}, "delta": {"role": "assistant", "content": "b"}}]})
        };
        assert_eq!(out(&chunk(Value::Null)), Value::Null, "it stays as it is");
    }

    #[test]
    fn calls_of_a_stream_have_an_index_and_an_id_of_their_own() {
        let piece = |call: Value| json!({"id": "i", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
        let call = |more: Value, name: &str, arguments: &str| {
            let mut call = json!({"function": {"name": name, "arguments": arguments}, "type": "function"});
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            piece(call)
        };
        let told = |chunks: &[Value]| -> Vec<Value> {
            let call = |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0].clone();
            let short = |call: Value| json!([call["index"], call["id"], call["function"]["arguments"]]);
            sent(chunks).iter().map(|chunk| short(call(chunk))).collect()
        };
        let two = |a: &str, b: &str| vec![json!([0, a, "{\"q\":1}"]), json!([1, b, "{\"q\":2}"])];
        for (first, second, ids) in [
            (json!({"id": "a"}), json!({"id": "b"}), ("a", "b")),
            (json!({"index": 0, "id": "a"}), json!({"index": 0, "id": "b"}), ("a", "b")),
            (json!({"index": 0, "id": "a"}), json!({"index": 1, "id": "a"}), ("a", "a_1")),
            (json!({"index": 0}), json!({"index": 0}), ("call_i_0_0", "call_i_0_1")),
        ] {
            let calls = [call(first.clone(), "f", "{\"q\":1}"), call(second.clone(), "f", "{\"q\":2}")];
            assert_eq!(told(&calls), two(ids.0, ids.1), "{first} {second}");
        }
        let regular = [
            call(json!({"index": 0, "id": "a"}), "f", ""),
            piece(json!({"index": 0, "function": {"arguments": "{}"}})),
            call(json!({"index": 1, "id": "b"}), "g", "{}"),
        ];
        assert_eq!(sent(&regular)[1..], regular[1..], "what is regular stays as it is");
    }

    #[test]
    fn calls_of_a_whole_answer_have_ids_of_their_own() {
        let call = json!({"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let whole = json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [call, call]}, "finish_reason": "tool_calls"}]});
        let choice = &out(&whole)["choices"][0];
        assert_eq!(choice["index"], 0);
        assert_eq!(
            (&choice["message"]["tool_calls"][0]["id"], &choice["message"]["tool_calls"][1]["id"]),
            (&json!("call_0"), &json!("call_0_1"))
        );
    }
}
