//! A conversation of Google's as messages: turns of the model become the assistant's, results of functions messages of
//! their own, paired with their calls by id, or by name and order where there is none.

use super::base64::usual;
use super::object::{Item, Object, cannot};
use super::seal::unseal;
use crate::client::WrongRequest;
use crate::data_url;
use penstock_schemas::chat::{
    Content, FilePart, FunctionCall, InputAudio, Issuer, Message, Part, ReasoningDetail, ToolCall,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The messages in the making.
#[derive(Default)]
pub(super) struct Conversation {
    messages: Vec<Message>,
    /// Calls so far: ids are made from it where there are none.
    calls: usize,
    /// The calls of the last turn that have no result yet: id and name.
    open: Vec<(String, String)>,
}

/// The turn that is being read.
#[derive(Default)]
struct Turn {
    parts: Vec<Part>,
    thought: String,
    details: Vec<ReasoningDetail>,
    calls: Vec<ToolCall>,
    results: Vec<Message>,
}

impl Conversation {
    /// Adds the system instruction: a content, or a text alone.
    pub(super) fn system(&mut self, item: Item<'_>) -> Result<(), WrongRequest> {
        let text = match serde_json::from_str::<String>(item.1.get()) {
            Ok(text) => text,
            Err(_) => {
                let mut texts = Vec::new();
                for part in Object::read(item)?.list("parts")? {
                    let mut part = Object::read(part)?;
                    texts.push(part.take::<String>("text")?.ok_or_else(|| part.wrong("text", "it is missing"))?);
                    part.end()?;
                }
                texts.join("\n\n")
            }
        };
        self.messages.push(Message { content: Some(Content::Text(text)), ..message("system") });
        Ok(())
    }

    /// Adds a turn.
    pub(super) fn content(&mut self, item: Item<'_>) -> Result<(), WrongRequest> {
        let mut object = Object::read(item)?;
        let role: Option<String> = object.take("role")?;
        let is_model = match role.as_deref() {
            None | Some("user" | "function" | "") => false,
            Some("model") => true,
            Some(_) => return Err(object.wrong("role", "it must be user or model")),
        };
        let parts = object.list("parts")?;
        object.end()?;
        let mut turn = Turn::default();
        for part in parts {
            self.part(Object::read(part)?, is_model, &mut turn)?;
        }
        if is_model {
            self.model(turn);
        } else {
            self.user(turn);
        }
        Ok(())
    }

    pub(super) fn messages(self) -> Vec<Message> {
        self.messages
    }

    fn user(&mut self, turn: Turn) {
        self.messages.extend(turn.results);
        if !turn.parts.is_empty() {
            self.messages.push(Message { content: Some(content(turn.parts)), ..message("user") });
        }
    }

    /// Adds to the assistant's last message where that is the one before: a client that was streamed to keeps a turn in
    /// as many contents as it came in.
    fn model(&mut self, turn: Turn) {
        if self.messages.last().is_none_or(|last| last.role != "assistant") {
            self.open.clear();
            self.messages.push(message("assistant"));
        }
        let Some(last) = self.messages.last_mut() else { return };
        if !turn.parts.is_empty() {
            let mut parts = last.content.take().map(Content::into_parts).unwrap_or_default();
            parts.extend(turn.parts);
            last.content = Some(content(parts));
        }
        if !turn.thought.is_empty() {
            last.reasoning_content.get_or_insert_default().push_str(&turn.thought);
        }
        for detail in turn.details {
            add(last.reasoning_details.get_or_insert_default(), detail);
        }
        let named = |call: &ToolCall| {
            let name = call.function.as_ref().and_then(|function| function.name.clone());
            (call.id.clone().unwrap_or_default(), name.unwrap_or_default())
        };
        self.open.extend(turn.calls.iter().map(named));
        if !turn.calls.is_empty() {
            last.tool_calls.get_or_insert_default().extend(turn.calls);
        }
    }

    fn part(&mut self, mut part: Object<'_>, is_model: bool, turn: &mut Turn) -> Result<(), WrongRequest> {
        let thought = part.take::<bool>("thought")? == Some(true);
        let signature: Option<String> = part.take("thought_signature")?;
        if let Some(call) = part.object("function_call")? {
            part.end()?;
            return self.call(call, signature, turn);
        }
        if let Some(response) = part.object("function_response")? {
            part.end()?;
            let result = self.result(response)?;
            turn.results.push(result);
            return Ok(());
        }
        let text: Option<String> = part.take("text")?;
        if thought {
            part.end()?;
            let text = text.unwrap_or_default();
            turn.thought.push_str(&text);
            turn.details.push(match signature {
                Some(signature) => unseal(&signature, text),
                None => ReasoningDetail {
                    kind: "reasoning.text".to_owned(),
                    text: Some(text),
                    ..ReasoningDetail::default()
                },
            });
            return Ok(());
        }
        if let Some(data) = signature.filter(|_| is_model) {
            turn.details.push(encrypted(data, None));
        }
        if let Some(text) = text {
            if !text.is_empty() || !is_model {
                turn.parts.push(Part::text(text));
            }
        } else if let Some(blob) = part.object("inline_data")? {
            turn.parts.push(inline(blob)?);
        } else if let Some(file) = part.object("file_data")? {
            turn.parts.push(file_at(file)?);
        } else if let Some(code) = part.take::<Value>("executable_code")? {
            let text = code.get("code").and_then(Value::as_str).unwrap_or_default();
            turn.parts.push(Part::text(format!("\n```\n{text}\n```\n")));
        } else if let Some(result) = part.take::<Value>("code_execution_result")? {
            let text = result.get("output").and_then(Value::as_str).unwrap_or_default();
            turn.parts.push(Part::text(format!("\n```\n{text}\n```\n")));
        }
        part.end()
    }

    fn call(&mut self, mut call: Object<'_>, signature: Option<String>, turn: &mut Turn) -> Result<(), WrongRequest> {
        call.needs("name")?;
        let name: Option<String> = call.take("name")?;
        let id: Option<String> = call.take("id")?;
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.calls));
        self.calls += 1;
        let arguments = match call.raw("args") {
            None => "{}".to_owned(),
            Some(args) if args.get().starts_with('{') => args.get().to_owned(),
            Some(_) => return Err(call.wrong("args", "it must be an object")),
        };
        call.end()?;
        turn.details.extend(signature.map(|data| encrypted(data, Some(id.clone()))));
        turn.calls.push(ToolCall {
            id: Some(id),
            kind: Some("function".to_owned()),
            function: Some(FunctionCall { name, arguments: Some(arguments), ..FunctionCall::default() }),
            ..ToolCall::default()
        });
        Ok(())
    }

    fn result(&mut self, mut response: Object<'_>) -> Result<Message, WrongRequest> {
        let id: Option<String> = response.take::<String>("id")?.filter(|id| !id.is_empty());
        let name: String = response.take("name")?.unwrap_or_default();
        let by_id = id.as_ref().and_then(|id| self.open.iter().position(|(open, _)| open == id));
        let found = by_id.or_else(|| self.open.iter().position(|(_, open)| *open == name));
        let id = found.map(|found| self.open.remove(found).0);
        let raw = response.raw("response");
        let media = response.list("parts")?;
        response.skip("scheduling");
        response.end()?;
        let (text, is_error) = raw.map_or((String::new(), false), said);
        let mut parts = Vec::new();
        for item in media {
            let mut part = Object::read(item)?;
            if let Some(blob) = part.object("inline_data")? {
                parts.push(inline(blob)?);
            } else if let Some(file) = part.object("file_data")? {
                parts.push(file_at(file)?);
            }
            part.end()?;
        }
        let content = if parts.is_empty() {
            Content::Text(text)
        } else {
            Content::Parts([vec![Part::text(text)], parts].concat())
        };
        let is_error = is_error.then_some(true);
        Ok(Message { content: Some(content), tool_call_id: id, is_error, ..message("tool") })
    }
}

/// A piece of a thought goes on with the one before it, until that is signed.
fn add(details: &mut Vec<ReasoningDetail>, detail: ReasoningDetail) {
    let goes_on = |last: &&mut ReasoningDetail| {
        last.kind == "reasoning.text" && detail.kind == last.kind && last.signature.is_none() && last.format.is_none()
    };
    match details.last_mut().filter(goes_on) {
        Some(last) => {
            let text = last.text.take().unwrap_or_default() + detail.text.as_deref().unwrap_or_default();
            *last = ReasoningDetail { text: Some(text), ..detail };
        }
        None => details.push(detail),
    }
}

/// What a result says: `output` and `error` are Google's names for a plain text and for that of a failure.
fn said(response: &RawValue) -> (String, bool) {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        output: Option<String>,
        error: Option<String>,
    }
    match serde_json::from_str(response.get()) {
        Ok(Plain { output: Some(text), error: None }) => (text, false),
        Ok(Plain { output: None, error: Some(text) }) => (text, true),
        _ => (response.get().to_owned(), false),
    }
}

fn inline(mut blob: Object<'_>) -> Result<Part, WrongRequest> {
    blob.needs("mime_type")?;
    blob.needs("data")?;
    let kind: String = blob.take("mime_type")?.unwrap_or_default();
    let data = usual(&blob.take::<String>("data")?.unwrap_or_default());
    let filename = blob.take("display_name")?;
    blob.end()?;
    Ok(match kind.split_once('/') {
        Some(("image", _)) => Part::image(data_url::write(&kind, &data)),
        Some(("audio", format)) => {
            // The names that the chat dialects have for the same formats.
            let format = match format {
                "mpeg" | "mp3" => "mp3",
                "x-wav" | "wave" | "wav" => "wav",
                other => other,
            };
            let input_audio = Some(InputAudio { data, format: format.to_owned(), ..InputAudio::default() });
            Part { kind: "input_audio".to_owned(), input_audio, ..Part::default() }
        }
        _ => {
            let file_data = Some(data_url::write(&kind, &data));
            file(FilePart { file_data, filename, ..FilePart::default() })
        }
    })
}

fn file_at(mut object: Object<'_>) -> Result<Part, WrongRequest> {
    object.needs("file_uri")?;
    let address: String = object.take("file_uri")?.unwrap_or_default();
    let kind: Option<String> = object.take("mime_type")?;
    let filename = object.take("display_name")?;
    let place = object.place("file_uri");
    object.end()?;
    let is_image = kind.is_some_and(|kind| kind.starts_with("image/"));
    match (address.starts_with("https://") || address.starts_with("http://"), is_image) {
        // Files that Google keeps are its own to read.
        _ if address.contains("generativelanguage.googleapis.com/") || address.starts_with("gs://") => {
            Ok(file(FilePart { file_id: Some(address), filename, ..FilePart::default() }))
        }
        (true, true) => Ok(Part::image(address)),
        (true, false) => Ok(file(FilePart { file_url: Some(address), filename, ..FilePart::default() })),
        (false, _) => Err(cannot(place, "it is no address that another provider could read")),
    }
}

fn file(file: FilePart) -> Part {
    Part { kind: "file".to_owned(), file: Some(file), ..Part::default() }
}

/// A signature of the text, or of the call of this id.
fn encrypted(data: String, id: Option<String>) -> ReasoningDetail {
    ReasoningDetail {
        kind: "reasoning.encrypted".to_owned(),
        data: Some(data),
        id,
        format: Some(Issuer::Google),
        ..ReasoningDetail::default()
    }
}

/// Texts alone are one text.
fn content(parts: Vec<Part>) -> Content {
    if parts.iter().all(|part| part.kind == "text") && parts.len() == 1 {
        Content::Text(parts.into_iter().filter_map(|part| part.text).collect())
    } else {
        Content::Parts(parts)
    }
}

fn message(role: &str) -> Message {
    Message { role: role.to_owned(), ..Message::default() }
}

/// A tool's choice of one function or several.
pub(super) fn choice(mode: Option<&str>, names: &[String]) -> Option<Value> {
    let function = |name: &String| json!({ "type": "function", "function": { "name": name } });
    let mode = match mode {
        Some("NONE") => return Some(json!("none")),
        Some("ANY") => "required",
        _ => "auto",
    };
    Some(match names {
        [] => json!(mode),
        [name] if mode == "required" => function(name),
        names => {
            let tools: Vec<Value> = names.iter().map(function).collect();
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
        }
    })
}
