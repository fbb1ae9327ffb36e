//! Ollama's requests as OpenAI's. Of its options, what only a local runtime understands (`num_ctx`, `num_gpu`, `mirostat`,
//! `keep_alive`) is left out: it is no wish about the answer. Source: <https://docs.ollama.com/api/chat>.

use crate::client::WrongRequest;
use crate::client::fields::{text, unmeasured, wrong};
use crate::data_url;
use bytes::Bytes;
use penstock_schemas::extent::check_names;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Options and OpenAI's names for them; that of `num_predict` is treated apart.
const OPTIONS: [&str; 7] = ["temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty"];

/// What the schema of an answer is called: OpenAI wants a name, Ollama has none.
const SCHEMA: &str = "answer";

#[derive(Deserialize)]
struct Turn {
    role: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    images: Option<Vec<String>>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
}

/// A call that waits for its result.
struct Open {
    id: String,
    name: String,
}

type Fields = Map<String, Value>;

/// `/api/chat`.
pub fn chat(body: &Bytes) -> Result<Bytes, WrongRequest> {
    let fields = read(body)?;
    let turns: Vec<Value> = need(&fields, "messages")?;
    let (mut messages, mut open, mut calls) = (Vec::with_capacity(turns.len()), Vec::new(), 0);
    for (at, turn) in turns.into_iter().enumerate() {
        let place = |part: &str| format!("messages[{at}]{part}");
        let check = |part: &str, is_right: bool, why: &str| {
            if is_right { Ok(()) } else { Err(wrong(&place(part), why.to_owned())) }
        };
        check("", turn.is_object(), "it must be an object")?;
        for name in ["role", "content"] {
            let value = &turn[name];
            check(&format!(".{name}"), value.is_string() || value.is_null(), "it must be a string")?;
        }
        let turn: Turn = serde_json::from_value(turn).map_err(|error| wrong(&place(""), error.to_string()))?;
        messages.push(message(turn, &mut open, &mut calls));
    }
    let mut request = Map::from_iter([("model".to_owned(), model(&fields)?), ("messages".to_owned(), messages.into())]);
    if let Some(tools) = take::<Vec<Value>>(&fields, "tools")?.filter(|tools| !tools.is_empty()) {
        request.insert("tools".to_owned(), tools.into());
    }
    finish(request, &fields)
}

/// `/api/generate`.
pub fn generate(body: &Bytes) -> Result<Bytes, WrongRequest> {
    let fields = read(body)?;
    if take::<String>(&fields, "suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(wrong("suffix", "text cannot be filled in before a suffix: ask for it in the prompt".to_owned()));
    }
    let turn = |role: &str, content: String, images: Option<Vec<String>>| Turn {
        role: role.to_owned(),
        content: Some(content),
        images,
        tool_calls: None,
        tool_name: None,
        tool_call_id: None,
    };
    let prompt = need::<String>(&fields, "prompt")?;
    let system = take::<String>(&fields, "system")?.filter(|system| !system.is_empty());
    let turns = system.map(|system| turn("system", system, None));
    let turns = turns.into_iter().chain([turn("user", prompt, take(&fields, "images")?)]);
    let messages: Vec<Value> = turns.map(|turn| message(turn, &mut Vec::new(), &mut 0)).collect();
    let request = Map::from_iter([("model".to_owned(), model(&fields)?), ("messages".to_owned(), messages.into())]);
    finish(request, &fields)
}

/// `/api/embed`.
pub fn embed(body: &Bytes) -> Result<Bytes, WrongRequest> {
    let fields = read(body)?;
    let input: Value = need(&fields, "input")?;
    let mut request = json!({ "model": model(&fields)?, "input": input, "encoding_format": "float" });
    if let Some(dimensions) = take::<u64>(&fields, "dimensions")? {
        request["dimensions"] = dimensions.into();
    }
    Ok(request.to_string().into())
}

/// `/api/embeddings`.
pub fn embeddings(body: &Bytes) -> Result<Bytes, WrongRequest> {
    let fields = read(body)?;
    let prompt: String = need(&fields, "prompt")?;
    Ok(json!({ "model": model(&fields)?, "input": [prompt], "encoding_format": "float" }).to_string().into())
}

fn read(body: &Bytes) -> Result<Fields, WrongRequest> {
    let text = text(body)?;
    let fields = serde_json::from_str(text).map_err(|error| {
        let what = if error.is_data() { "it must be an object".to_owned() } else { error.to_string() };
        WrongRequest::InvalidJson(what)
    })?;
    check_names(text).map_err(unmeasured)?;
    Ok(fields)
}

fn take<T: DeserializeOwned>(fields: &Fields, name: &str) -> Result<Option<T>, WrongRequest> {
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| wrong(name, error.to_string()))
}

fn need<T: DeserializeOwned>(fields: &Fields, name: &'static str) -> Result<T, WrongRequest> {
    take(fields, name)?.ok_or(WrongRequest::MissingField(name))
}

fn model(fields: &Fields) -> Result<Value, WrongRequest> {
    let named = take::<String>(fields, "model")?.or(take(fields, "name")?);
    named.filter(|name| !name.is_empty()).map(Value::String).ok_or(WrongRequest::MissingField("model"))
}

/// One turn. Results name their call by its id, by its tool, or only by their order.
fn message(turn: Turn, open: &mut Vec<Open>, calls: &mut usize) -> Value {
    let content = turn.content.unwrap_or_default();
    let mut message = json!({ "role": turn.role, "content": content });
    if let Some(images) = turn.images.filter(|images| !images.is_empty()) {
        let image = |data: &String| json!({ "type": "image_url", "image_url": { "url": address(data) } });
        let texts = Some(json!({ "type": "text", "text": content })).filter(|_| !content.is_empty());
        message["content"] = texts.into_iter().chain(images.iter().map(image)).collect();
    }
    if let Some(made) = turn.tool_calls.filter(|made| !made.is_empty()) {
        let called = made.into_iter().map(|call| {
            let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{calls}"));
            *calls += 1;
            open.push(Open { id: id.clone(), name: call.function.name.clone() });
            let arguments = call.function.arguments.map_or_else(|| "{}".to_owned(), |arguments| plain(&arguments));
            json!({ "id": id, "type": "function", "function": { "name": call.function.name, "arguments": arguments } })
        });
        message["tool_calls"] = called.collect();
    }
    if turn.role == "tool" {
        let by_name = |open: &[Open]| open.iter().position(|call| Some(&call.name) == turn.tool_name.as_ref());
        let at = match &turn.tool_call_id {
            Some(id) => open.iter().position(|call| call.id == *id),
            None => by_name(open).or((!open.is_empty()).then_some(0)),
        };
        let found = at.map(|at| open.remove(at).id);
        message["tool_call_id"] = turn.tool_call_id.or(found).unwrap_or_default().into();
    }
    message
}

/// Arguments as OpenAI has them: the text of an object. Some clients send that text.
fn plain(arguments: &RawValue) -> String {
    serde_json::from_str(arguments.get()).unwrap_or_else(|_| arguments.get().to_owned())
}

/// An image as an address: Ollama's have no media type, so it is what their first bytes say.
fn address(data: &str) -> String {
    let kinds = [("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    let kind = kinds.iter().find(|(begin, _)| data.starts_with(begin)).map_or("image/png", |(_, kind)| kind);
    if data.starts_with("data:") { data.to_owned() } else { data_url::write(kind, data) }
}

/// What chats and prompts have in common.
fn finish(mut request: Fields, fields: &Fields) -> Result<Bytes, WrongRequest> {
    match take::<Value>(fields, "think")? {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => drop(request.insert("reasoning_effort".to_owned(), "medium".into())),
        Some(effort @ Value::String(_)) => drop(request.insert("reasoning_effort".to_owned(), effort)),
        Some(_) => return Err(wrong("think", "it must be true, false or an effort".to_owned())),
    }
    let format = match take::<Value>(fields, "format")? {
        None => None,
        Some(Value::String(word)) if word.is_empty() => None,
        Some(Value::String(word)) if word == "json" => Some(json!({ "type": "json_object" })),
        Some(schema @ Value::Object(_)) => {
            Some(json!({ "type": "json_schema", "json_schema": { "name": SCHEMA, "schema": schema } }))
        }
        Some(_) => return Err(wrong("format", "it must be `json` or a schema".to_owned())),
    };
    request.extend(format.map(|format| ("response_format".to_owned(), format)));
    let options: Fields = take(fields, "options")?.unwrap_or_default();
    let wanted = |name: &str| options.get(name).filter(|value| !value.is_null()).cloned();
    request.extend(wanted("temperature").map(|value| ("temperature".to_owned(), value)));
    // Below 0 it means: as much as there is room for.
    let most = wanted("num_predict").filter(|most| most.as_i64().is_none_or(|most| most >= 0));
    request.extend(most.map(|most| ("max_tokens".to_owned(), most)));
    request.extend(OPTIONS.iter().filter_map(|name| Some(((*name).to_owned(), wanted(name)?))));
    let is_stream = take(fields, "stream")?.unwrap_or(true);
    request.insert("stream".to_owned(), is_stream.into());
    if is_stream {
        request.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    Ok(Value::Object(request).to_string().into())
}
