//! A request of `generateContent` in its agnostic form. What the agnostic form has no word for travels under its own
//! name, for the worker to refuse or to leave out; nothing is lost in silence.

use super::contents::{Conversation, choice};
use super::object::{Item, Object};
use super::schema::to_json_schema;
use crate::client::{ClientRequest, WrongRequest};
use bytes::Bytes;
use penstock_schemas::chat::{ChatRequest, Function, Reasoning, StreamOptions, Tool};
use penstock_schemas::envelope::Operation;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// What both dialects have, under Google's name and ours.
const SAME: [(&str, &str); 6] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
];

/// The request in its agnostic form.
pub(super) fn agnostic(asked: &ClientRequest) -> Result<Bytes, WrongRequest> {
    let mut object = Object::of_body(&asked.body)?;
    if asked.operation == Operation::CountTokens
        && let Some(inner) = object.object("generate_content_request")?
    {
        object = inner;
    }
    object.skip("model");
    let mut request = ChatRequest { model: asked.model.clone(), ..ChatRequest::default() };
    if asked.delivery.is_stream() {
        request.stream = Some(true);
        request.stream_options = Some(StreamOptions { include_usage: Some(true), ..StreamOptions::default() });
    }
    let mut conversation = Conversation::default();
    if let Some(system) = object.raw("system_instruction") {
        conversation.system((object.place("system_instruction"), system))?;
    }
    for content in object.list("contents")? {
        conversation.content(content)?;
    }
    request.messages = conversation.messages();
    let mut tools = Vec::new();
    for item in object.list("tools")? {
        tool(item, &mut tools)?;
    }
    request.tools = (!tools.is_empty()).then_some(tools);
    if let Some(config) = object.object("tool_config")? {
        request.tool_choice = tool_choice(config)?;
    }
    if let Some(config) = object.object("generation_config")? {
        generation(config, &mut request)?;
    }
    leftovers(object, &mut request)?;
    Ok(serde_json::to_vec(&request).expect("a request has a JSON form").into())
}

/// What has no other name here keeps its own.
fn leftovers(object: Object<'_>, request: &mut ChatRequest) -> Result<(), WrongRequest> {
    for (name, value) in object.rest() {
        let value: Value =
            serde_json::from_str(value.get()).map_err(|error| WrongRequest::InvalidJson(error.to_string()))?;
        if value != json!([]) && value != json!({}) {
            request.extra.insert(if name == "labels" { "metadata".to_owned() } else { name }, value);
        }
    }
    Ok(())
}

fn generation(mut config: Object<'_>, request: &mut ChatRequest) -> Result<(), WrongRequest> {
    for (theirs, ours) in SAME {
        if let Some(number) = config.take::<serde_json::Number>(theirs)? {
            // Protobuf's JSON writes whole numbers as floats where the field is one.
            let whole = number.as_f64().filter(|_| theirs == "top_k").filter(|k| k.fract() == 0.0 && *k < 1e9);
            #[expect(clippy::cast_possible_truncation, reason = "checked to be a small whole number")]
            let number = whole.map_or(Value::from(number), |k| Value::from(k as i64));
            request.extra.insert(ours.to_owned(), number);
        }
    }
    request.max_completion_tokens = config.take("max_output_tokens")?;
    request.n = config.take::<u32>("candidate_count")?.filter(|n| *n != 1);
    if let Some(stop) = config.take::<Vec<String>>("stop_sequences")?.filter(|stop| !stop.is_empty()) {
        request.extra.insert("stop".to_owned(), json!(stop));
    }
    if config.take("response_logprobs")? == Some(true) {
        request.extra.insert("logprobs".to_owned(), json!(true));
        if let Some(top) = config.take::<u32>("logprobs")? {
            request.extra.insert("top_logprobs".to_owned(), json!(top));
        }
    }
    if let Some(modalities) = config.take::<Vec<String>>("response_modalities")? {
        let words: Vec<String> = modalities.iter().map(|word| word.to_ascii_lowercase()).collect();
        if words != ["text"] && !words.is_empty() {
            request.extra.insert("modalities".to_owned(), json!(words));
        }
    }
    shape(&mut config, request)?;
    if let Some(thinking) = config.object("thinking_config")? {
        reasoning(thinking, request)?;
    }
    leftovers(config, request)
}

fn shape(config: &mut Object<'_>, request: &mut ChatRequest) -> Result<(), WrongRequest> {
    let kind: Option<String> = config.take("response_mime_type")?;
    let own = config.take::<Value>("response_schema")?.map(to_json_schema);
    let schema = config.take::<Value>("response_json_schema")?.or(config.take("_response_json_schema")?).or(own);
    request.response_format = match (kind.as_deref(), schema) {
        (None | Some("text/plain"), None) => None,
        (Some("application/json"), None) => Some(json!({ "type": "json_object" })),
        (None | Some("application/json" | "text/plain"), Some(schema)) => {
            Some(json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } }))
        }
        // One of the words of a list, without quotes.
        (Some("text/x.enum"), _) => {
            return Err(config.wrong("response_mime_type", "only Google's models take text/x.enum"));
        }
        _ => return Err(config.wrong("response_mime_type", "it must be text/plain or application/json")),
    };
    Ok(())
}

fn reasoning(mut thinking: Object<'_>, request: &mut ChatRequest) -> Result<(), WrongRequest> {
    let is_shown: Option<bool> = thinking.take("include_thoughts")?;
    let level: Option<String> = thinking.take("thinking_level")?;
    let budget: Option<i64> = thinking.take("thinking_budget")?;
    let mut reasoning = Reasoning::default();
    request.reasoning_effort =
        level.map(|level| level.to_ascii_lowercase()).filter(|level| !level.ends_with("unspecified"));
    match budget {
        Some(0) => reasoning.enabled = Some(false),
        // The model decides.
        Some(..0) => reasoning.enabled = Some(true),
        Some(tokens) => reasoning.max_tokens = u64::try_from(tokens).ok(),
        None => {}
    }
    if is_shown == Some(true) && budget.is_none() && request.reasoning_effort.is_none() {
        reasoning.enabled = Some(true);
    }
    request.reasoning = (reasoning != Reasoning::default()).then_some(reasoning);
    thinking.end()
}

fn tool(item: Item<'_>, tools: &mut Vec<Tool>) -> Result<(), WrongRequest> {
    let mut object = Object::read(item)?;
    for declaration in object.list("function_declarations")? {
        tools.push(function(declaration)?);
    }
    for (name, settings) in object.rest() {
        let extra = Map::from_iter([(name.clone(), value(settings)?)]);
        tools.push(Tool { kind: name, extra, ..Tool::default() });
    }
    Ok(())
}

fn value(raw: &RawValue) -> Result<Value, WrongRequest> {
    serde_json::from_str(raw.get()).map_err(|error| WrongRequest::InvalidJson(error.to_string()))
}

fn function(item: Item<'_>) -> Result<Tool, WrongRequest> {
    let mut object = Object::read(item)?;
    object.needs("name")?;
    let own = object.take::<Value>("parameters")?.map(to_json_schema);
    let function = Function {
        name: object.take("name")?.unwrap_or_default(),
        description: object.take("description")?,
        parameters: object.take("parameters_json_schema")?.or(own),
        ..Function::default()
    };
    // What the function answers is told to Google's models only; and the behaviour is of its live calls.
    for name in ["response", "response_json_schema", "behavior"] {
        object.skip(name);
    }
    object.end()?;
    Ok(Tool { kind: "function".to_owned(), function: Some(function), ..Tool::default() })
}

fn tool_choice(mut config: Object<'_>) -> Result<Option<Value>, WrongRequest> {
    let Some(mut calling) = config.object("function_calling_config")? else {
        config.end()?;
        return Ok(None);
    };
    let mode: Option<String> = calling.take("mode")?;
    let mode = mode.map(|mode| mode.to_ascii_uppercase());
    if !matches!(mode.as_deref(), None | Some("MODE_UNSPECIFIED" | "AUTO" | "ANY" | "NONE" | "VALIDATED")) {
        return Err(calling.wrong("mode", "it must be AUTO, ANY, NONE or VALIDATED"));
    }
    let names: Vec<String> = calling.take("allowed_function_names")?.unwrap_or_default();
    calling.end()?;
    config.end()?;
    Ok(choice(mode.as_deref(), &names))
}
