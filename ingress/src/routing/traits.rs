//! What of a request a route depends on, read once: its length, what it holds besides text, its tools, its last question,
//! its first words. Knows no target and decides nothing.

use super::lot;
use bytes::Bytes;
use penstock_dialects::client::ClientRequest;
use penstock_runtime::heavy_at_once;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Caller, Operation};
use penstock_schemas::name::RequestId;
use penstock_schemas::session::Session;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a text of so many bytes usually is in tokens: as in `bound`.
const BYTES_A_TOKEN: u64 = 4;

/// What an image usually is in tokens. Source: <https://platform.openai.com/docs/guides/images-vision>, 765 for 1024 x 1024.
const IMAGE_TOKENS: u64 = 765;

/// The most of a question that is looked at, in bytes: enough to tell its language and its kind.
const QUESTION: usize = 4096;

/// The longest parameter whose value conditions can match, in bytes.
const PARAMETER: usize = 256;

/// A request, as far as routing looks at it.
pub(crate) struct RouteQuery<'a> {
    pub(crate) id: RequestId,
    pub(crate) asked: &'a ClientRequest,
    /// The request in its agnostic form, where that was made already.
    pub(crate) agnostic: Option<&'a Bytes>,
    pub(crate) caller: &'a Caller,
    pub(crate) session: Option<&'a Session>,
    pub(crate) now: UnixMicros,
    /// What was read of it already.
    pub(crate) traits: Option<Traits>,
    /// The vector of its question; or why there is none.
    pub(crate) vector: Result<Arc<[f32]>, &'static str>,
}

/// What was read of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traits {
    /// Its length, estimated.
    pub(crate) tokens: u64,
    pub(crate) has_tools: bool,
    /// Whether it answers a call of a tool: then it is in the middle of a loop.
    pub(crate) is_in_loop: bool,
    pub(crate) images: u64,
    pub(crate) has_audio: bool,
    pub(crate) has_files: bool,
    /// Whether the answer is to have the shape of a JSON schema.
    pub(crate) wants_schema: bool,
    /// The fields at its top that are no lists or objects, as text.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Messages of the model in it.
    pub(crate) turns: u64,
    /// The last words of the user, cut short.
    pub(crate) question: String,
    /// A number that stands for the first words of the conversation.
    pub(crate) opening: Option<u64>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    role: String,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

/// A part of a message; of an image or a file, nothing but that it is there.
#[derive(Deserialize)]
struct Piece {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Traits {
    /// What can be told of a request without reading it again.
    pub(crate) fn at_a_glance(asked: &ClientRequest) -> Self {
        let extent = &asked.extent;
        // An image or a file is most of a request that holds one: of its text, nothing is known then.
        let is_text = extent.images == 0 && !extent.is_open;
        Self {
            tokens: if is_text { extent.bytes / BYTES_A_TOKEN + 1 } else { extent.images * IMAGE_TOKENS },
            has_tools: extent.has_tools,
            images: extent.images,
            ..Self::default()
        }
    }

    /// All of it.
    pub(crate) fn read(query: &RouteQuery) -> Self {
        if let Some(traits) = &query.traits {
            return traits.clone();
        }
        let glance = Self::at_a_glance(query.asked);
        if query.asked.operation != Operation::Chat {
            return glance;
        }
        heavy_at_once(query.asked.body.len(), || {
            // What cannot be read here is refused, or passed on, by who sends it.
            let made = if query.agnostic.is_some() { None } else { query.asked.agnostic().ok() };
            let body = query.agnostic.or(made.as_ref());
            body.and_then(|body| Self::of_chat(body, query)).unwrap_or(glance)
        })
    }

    fn of_chat(body: &[u8], query: &RouteQuery) -> Option<Self> {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
        let lines: Vec<Line> = serde_json::from_str(fields.get("messages")?.get()).ok()?;
        let tools = fields.get("tools").map_or(0, |tools| tools.get().len());
        let mut traits = Self {
            has_tools: tools > 2 || query.asked.extent.has_tools,
            is_in_loop: lines.last().is_some_and(|line| line.role == "tool"),
            turns: lines.iter().filter(|line| line.role == "assistant").count() as u64,
            wants_schema: fields.get("response_format").is_some_and(|format| format.get().contains("json_schema")),
            parameters: fields.iter().filter_map(|(name, value)| Some((name.clone(), scalar(value)?))).collect(),
            ..Self::default()
        };
        let mut bytes = tools;
        let is_first = |line: &Line| line.role == "user";
        let first = lines.iter().position(is_first);
        let last = lines.iter().rposition(is_first);
        for (at, line) in lines.iter().enumerate() {
            let text = traits.take(line);
            bytes += text.len() + if line.tool_calls.is_some() { line.role.len() } else { 0 };
            if first == Some(at) {
                let user = query.caller.user.as_deref().unwrap_or_default();
                let words = [query.caller.project.as_str(), query.caller.key_id.as_str(), user, &text];
                traits.opening = Some(lot::number(&words));
            }
            if last == Some(at) {
                traits.question = cut(text, QUESTION);
            }
        }
        traits.tokens = bytes as u64 / BYTES_A_TOKEN + 1 + traits.images * IMAGE_TOKENS;
        Some(traits)
    }

    /// The text of a message; what else it holds is noted.
    fn take(&mut self, line: &Line) -> String {
        let Some(content) = line.content.map(RawValue::get) else { return String::new() };
        if content.starts_with('"') {
            return serde_json::from_str(content).unwrap_or_default();
        }
        let pieces: Vec<Piece> = serde_json::from_str(content).unwrap_or_default();
        let mut text = String::new();
        for piece in pieces {
            match piece.kind.as_str() {
                "image_url" => self.images += 1,
                "input_audio" => self.has_audio = true,
                "file" => self.has_files = true,
                _ => {}
            }
            text.push_str(piece.text.as_deref().unwrap_or_default());
        }
        text
    }
}

fn scalar(value: &RawValue) -> Option<String> {
    if value.get().len() > PARAMETER {
        return None;
    }
    match serde_json::from_str(value.get()).ok()? {
        Value::String(text) => Some(text),
        value @ (Value::Bool(_) | Value::Number(_)) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn cut(mut text: String, longest: usize) -> String {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use penstock_dialects::client::Endpoint;
    use penstock_schemas::envelope::Dialect;
    use serde_json::json;
    use uuid::Uuid;

    /// A chat request in OpenAI's dialect.
    pub(in crate::routing) fn asked(body: &Value) -> ClientRequest {
        Endpoint::new(Dialect::Openai, Operation::Chat).read(body.to_string().into(), None).unwrap()
    }

    pub(in crate::routing) fn caller(user: Option<&str>) -> Caller {
        let json = json!({ "project": "p", "key_id": "k", "user": user, "tags": { "team": "red" } });
        serde_json::from_value(json).unwrap()
    }

    pub(in crate::routing) fn query<'a>(asked: &'a ClientRequest, caller: &'a Caller, number: u128) -> RouteQuery<'a> {
        let now = UnixMicros(1_800_000_000_000_000);
        let (id, vector) = (RequestId(Uuid::from_u128(number)), Err("none is made here"));
        RouteQuery { id, asked, agnostic: None, caller, session: None, now, traits: None, vector }
    }

    fn traits(body: &Value) -> Traits {
        Traits::read(&query(&asked(body), &caller(Some("ann")), 1))
    }

    #[test]
    fn the_length_is_that_of_texts_and_images_not_of_their_bytes() {
        let image = json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{}", "A".repeat(40_000)) } });
        let content = json!([{ "type": "text", "text": "x".repeat(400) }, image]);
        let read = traits(&json!({ "model": "m", "messages": [{ "role": "user", "content": content }] }));
        assert_eq!((read.tokens, read.images, read.question.len()), (400 / 4 + 1 + IMAGE_TOKENS, 1, 400));
        let read = traits(&json!({ "model": "m", "messages": [{ "role": "user", "content": "x".repeat(400) }] }));
        assert_eq!((read.tokens, read.images), (101, 0));
    }

    #[test]
    fn a_conversation_keeps_its_number_while_it_grows() {
        let say = |role: &str, text: &str| json!({ "role": role, "content": text });
        let opening = |messages: &[Value]| traits(&json!({ "model": "m", "messages": messages })).opening;
        let (system, first) = (say("system", "be brief"), say("user", "hello"));
        let long = [system.clone(), first.clone(), say("assistant", "hi"), say("user", "more")];
        assert_eq!(opening(&[system, first.clone()]), opening(&long));
        assert_eq!(opening(&[first]), opening(&long));
        assert_ne!(opening(&[say("user", "hello there")]), opening(&long));
    }

    #[test]
    fn a_loop_of_tools_is_seen_in_every_dialect() {
        let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
        let call = json!({ "role": "assistant", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] });
        let result = json!({ "role": "tool", "tool_call_id": "c", "content": "42" });
        let say = json!({ "role": "user", "content": "go" });
        let read = traits(&json!({ "model": "m", "tools": tool, "messages": [say, call, result] }));
        assert!(read.has_tools && read.is_in_loop && read.turns == 1);
        let anthropic = json!({ "model": "m", "max_tokens": 9, "tools": [{ "name": "f", "input_schema": { "type": "object" } }], "messages": [
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "c", "name": "f", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "content": "42" }] },
        ] });
        let endpoint = Endpoint::new(Dialect::Anthropic, Operation::Chat);
        let other = endpoint.read(anthropic.to_string().into(), None).unwrap();
        let other = Traits::read(&query(&other, &caller(Some("ann")), 1));
        assert!(other.has_tools && other.is_in_loop && other.turns == 1);
        assert_eq!(other.opening, read.opening, "the same conversation in another dialect");
    }

    #[test]
    fn parameters_are_the_scalars_at_the_top() {
        let read = traits(
            &json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "temperature": 0.2, "reasoning_effort": "high", "stop": ["x"] }),
        );
        let parameter = |name: &str| read.parameters.get(name).map(String::as_str);
        assert_eq!((parameter("temperature"), parameter("reasoning_effort")), (Some("0.2"), Some("high")));
        assert_eq!((parameter("stop"), parameter("messages")), (None, None));
    }
}
