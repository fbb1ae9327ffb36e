//! `/v1/responses/compact` in front of any provider: a model is asked for a summary of a conversation, and the answer is an item
//! that stands for all of it. The summary travels in the item's opaque field and becomes a message in the next request.
//! Source: <https://platform.openai.com/docs/api-reference/responses/compact>.

use super::wrong;
use crate::client::{Writer, WrongRequest, unreadable};
use crate::json::RawObject;
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::chat::{Content, Issuer, Message};
use penstock_schemas::conversation::{hex, response_id, seconds};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use serde_json::{Value, json};

/// What the model is asked for, behind the conversation.
const PROMPT: &str = "Summarize this conversation so that another model can go on with it and needs nothing else. Tell the \
    user's goals and constraints, what was decided and done, facts, names, paths and results that are still needed, and what \
    is to be done next. Answer with the summary alone, and call no tools.";

/// What stands in front of a summary in the next request.
const HEAD: &str = "The conversation up to here was compacted into this summary:\n\n";

/// The fields of a request that shape an answer to it, and not a summary of it.
const OTHERS: [&str; 9] = [
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "stream",
    "stream_options",
    "background",
    "max_output_tokens",
    "include",
];

/// What versions of Codex between May and June 2026 call a compaction, and also the wish for one; histories that they wrote
/// are still sent. OpenAI knows no such item.
/// Sources: <https://github.com/openai/codex/issues/23018>, <https://github.com/openai/codex/pull/23785>.
const OLDER: &str = "context_compaction";

/// The kind of the item that wishes for one.
pub(super) const TRIGGER: &str = "compaction_trigger";

/// The request with such items as they are called now.
pub(super) fn renamed(body: Bytes) -> Bytes {
    if memmem::find(&body, format!("\"{OLDER}\"").as_bytes()).is_none() {
        return body;
    }
    let renamed = || {
        let mut fields = super::fields(&body).ok()?;
        let items: Vec<Value> = serde_json::from_str(fields.get("input")?.get()).ok()?;
        let last = items.len().checked_sub(1)?;
        let items = items.into_iter().enumerate().filter_map(|(at, mut item)| {
            if item["type"] != OLDER {
                return Some(item);
            }
            if !item["encrypted_content"].is_string() {
                return (at == last).then(|| json!({ "type": TRIGGER }));
            }
            item["type"] = "compaction".into();
            Some(item)
        });
        fields.set("input", &items.collect::<Vec<_>>());
        Some(Bytes::from(fields.to_vec()))
    };
    renamed().unwrap_or(body)
}

/// The request for the summary.
pub(super) fn request(body: &[u8]) -> Result<Bytes, WrongRequest> {
    let mut fields = super::fields(body)?;
    let mut items: Vec<Value> = match fields.get("input").map(|input| serde_json::from_str(input.get())) {
        Some(Ok(Value::String(said))) => vec![message("user", &said)],
        Some(Ok(Value::Array(items))) => items.into_iter().filter_map(plain).collect(),
        None if fields.get("previous_response_id").is_some() => Vec::new(),
        None => return Err(WrongRequest::MissingField("input")),
        Some(_) => return Err(wrong("input".to_owned(), "it must be a text or a list of items")),
    };
    items.push(message("user", PROMPT));
    fields.set("input", &items);
    OTHERS.iter().for_each(|name| fields.remove(name));
    fields.set("store", &false);
    Ok(fields.to_vec().into())
}

fn message(role: &str, said: &str) -> Value {
    json!({ "type": "message", "role": role, "content": said })
}

/// An item as something to be read: calls of tools as texts, since the tools are not there, and no thoughts.
fn plain(item: Value) -> Option<Value> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    match item.get("type").and_then(Value::as_str) {
        Some("reasoning" | "additional_tools") => None,
        Some("function_call") => {
            Some(message("assistant", &format!("(calls {} with {})", text("name"), text("arguments"))))
        }
        Some("custom_tool_call") => {
            Some(message("assistant", &format!("(calls {} with {})", text("name"), text("input"))))
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let output = match item.get("output") {
                Some(Value::String(output)) => output.clone(),
                Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
                _ => String::new(),
            };
            Some(message("user", &format!("(result of the tool: {output})")))
        }
        _ => Some(item),
    }
}

/// What stands for a summary that only another provider can read.
const UNREADABLE: &str = "(The conversation up to here was summed up by another model, and its summary cannot be read here. \
    Ask for what is missing.)";

/// Reads a compaction item of a later request as a message. A summary that another provider encrypted cannot be read: a
/// sentence that says so stands in its place, so that the request is not refused.
pub(super) fn read(item: &Value) -> Message {
    let opaque = item.get("encrypted_content").and_then(Value::as_str).unwrap_or_default();
    let text = match Issuer::unseal(opaque) {
        Some((_, summary)) => format!("{HEAD}{summary}"),
        None => UNREADABLE.to_owned(),
    };
    Message { role: "user".to_owned(), content: Some(Content::Text(text)), ..Message::default() }
}

/// The item that stands for the conversation whose summary a response holds.
pub(super) fn item(id: RequestId, response: &Value) -> Result<Value, Failure> {
    let items = response.get("output").and_then(Value::as_array).into_iter().flatten();
    let parts = items.filter_map(|item| item.get("content")?.as_array()).flatten();
    let said: String = parts.filter_map(|part| part.get("text")?.as_str()).collect();
    if said.trim().is_empty() {
        return Err(Failure::provider(FailureKind::Broken, "the model gave no summary of the conversation"));
    }
    let (id, opaque) = (format!("cmp_{}_0", hex(id)), Issuer::Unknown.seal(&said));
    Ok(json!({ "id": id, "type": "compaction", "encrypted_content": opaque }))
}

/// Writes the compacted conversation out of a response that holds the summary.
pub(super) struct Compacting {
    pub(super) id: RequestId,
    /// Writes the response.
    pub(super) response: Box<dyn Writer>,
}

impl Writer for Compacting {
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let response = self.response.whole(answer, summary)?;
        let response: Value = serde_json::from_slice(&response).map_err(|error| unreadable(&error))?;
        let item = item(self.id, &response)?;
        let whole = json!({
            "id": response_id(self.id),
            "object": "response.compaction",
            "created_at": seconds(self.id),
            "output": [item],
            "usage": response.get("usage"),
        });
        Ok(whole.to_string().into())
    }

    fn chunk(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(()) // It is never asked for as a stream.
    }

    fn end(&mut self, _summary: &Summary, _out: &mut Vec<u8>) {}

    fn native(self: Box<Self>) -> Option<Box<dyn Writer>> {
        let Self { id, response } = *self;
        let response = response.native()?;
        Some(Box::new(Self { id, response }))
    }
}

/// The request for a count of tokens; it is not stored.
pub(super) fn counted(body: &[u8]) -> Result<Bytes, WrongRequest> {
    let mut fields: RawObject = super::fields(body)?;
    ["stream", "stream_options", "background"].iter().for_each(|name| fields.remove(name));
    fields.set("store", &false);
    Ok(fields.to_vec().into())
}

/// Writes a count of tokens as this dialect has it.
/// Source: <https://platform.openai.com/docs/api-reference/responses/input-tokens>.
pub(super) struct Counted;

impl Writer for Counted {
    fn whole(&mut self, answer: &Bytes, _summary: &Summary) -> Result<Bytes, Failure> {
        let count: Value = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        let count = json!({ "object": "response.input_tokens", "input_tokens": count.get("input_tokens") });
        Ok(count.to_string().into())
    }

    fn chunk(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }

    fn end(&mut self, _summary: &Summary, _out: &mut Vec<u8>) {}

    fn native(self: Box<Self>) -> Option<Box<dyn Writer>> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_asked_for_as_a_text_that_needs_no_tools() {
        let body = json!({"model": "m", "instructions": "Be brief.", "stream": true, "tools": [{"type": "function", "name": "f"}],
            "input": [{"role": "user", "content": "Hi"}, {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "42"}]}]});
        let asked: Value = serde_json::from_slice(&request(body.to_string().as_bytes()).unwrap()).unwrap();
        let said: Vec<&str> =
            asked["input"].as_array().unwrap().iter().map(|item| item["content"].as_str().unwrap()).collect();
        assert_eq!(said, ["Hi", "(calls f with {\"a\":1})", "(result of the tool: 42)", PROMPT]);
        let named: Vec<&String> = asked.as_object().unwrap().keys().collect();
        assert_eq!(named, ["model", "instructions", "input", "store"]);
        assert_eq!(request(br#"{"model":"m"}"#).unwrap_err().param(), Some("input"));
    }

    #[test]
    fn what_older_versions_of_codex_call_a_compaction_is_one() {
        let (said, older) = (json!({ "role": "user", "content": "a" }), json!({ "type": OLDER }));
        let sealed = |kind: &str| json!({ "type": kind, "encrypted_content": "x" });
        let sent = |items: Value| {
            let sent = renamed(json!({ "model": "m", "input": items }).to_string().into());
            serde_json::from_slice::<Value>(&sent).unwrap()["input"].clone()
        };
        assert_eq!(sent(json!([sealed(OLDER), older, said])), json!([sealed("compaction"), said]));
        assert_eq!(sent(json!([said, older])), json!([said, { "type": TRIGGER }]));
        let talk = json!([{ "role": "user", "content": format!("what is \"{OLDER}\"?") }]);
        assert_eq!(sent(talk.clone()), talk);
    }

    #[test]
    fn a_summary_that_another_provider_sealed_does_not_end_a_conversation() {
        let said = |opaque: &str| read(&json!({"type": "compaction", "encrypted_content": opaque})).content;
        let own = Issuer::Unknown.seal("so far so good");
        assert_eq!(said(&own), Some(Content::Text(format!("{HEAD}so far so good"))));
        assert_eq!(said("gAAAAAB"), Some(Content::Text(UNREADABLE.to_owned())));
    }
}
