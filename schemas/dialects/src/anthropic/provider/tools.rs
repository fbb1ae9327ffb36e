//! Tools, the choice among them, and answers of a given shape: by the provider's own means where the model has them, else as
//! the arguments of a tool that it must call, else by words. Sources: <https://platform.claude.com/docs/en/agents-and-tools/tool-use>,
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>,
//! <https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5#forced-tool-use-is-not-supported>.

use super::answer::ANSWER_TOOL;
use super::content::marked;
use super::messages::is_begun;
use super::thinking;
use super::wire::Request;
use crate::claude::Claude;
use crate::closed_schema;
use crate::fit::{Fit, wrong};
use crate::provider::FormatRequest;
use crate::tool_schema;
use penstock_schemas::chat::{ChatRequest, Tool};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The longest name of a tool.
const LONGEST_NAME: usize = 64;

/// What the model can be made to do.
#[derive(Clone, Copy, Debug)]
struct Able {
    claude: Claude,
    /// Whether it has JSON schemas.
    has_schemas: bool,
}

/// Puts tools, choice and shape into the request.
pub(super) fn spell(
    chat: &mut ChatRequest,
    ask: &FormatRequest<'_>,
    request: &mut Request,
    fit: &mut Fit,
) -> Result<(), Failure> {
    let has_schemas = ask.card.is_some_and(|card| card.capabilities.iter().any(|can| can == "json_schema"));
    let able = Able { claude: Claude::of(ask.model.as_str()), has_schemas };
    let tools = chat.tools.take().unwrap_or_default();
    let mut names = HashSet::new();
    for (at, tool) in tools.into_iter().enumerate() {
        if let Some(tool) = spell_tool(tool, at, has_schemas, fit)? {
            if !names.insert(tool["name"].clone()) {
                return Err(wrong(format!("tools[{at}].function.name"), "another tool has this name"));
            }
            request.tools.push(tool);
        }
    }
    if let Some(choice) = chat.tool_choice.take().filter(|choice| !choice.is_null()) {
        request.tool_choice = spell_choice(&choice, able, request, fit)?;
    }
    if chat.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        let choice = request.tool_choice.get_or_insert_with(|| json!({ "type": "auto" }));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    let called = if request.tools.is_empty() { request.called() } else { Vec::new() };
    let is_past = !called.is_empty();
    // A conversation with calls must say which tools there are; none of them is offered any more.
    // Source: <https://github.com/anthropics/anthropic-sdk-python/issues/494>.
    request.tools.extend(called.into_iter().map(|name| json!({ "name": name, "input_schema": { "type": "object" } })));
    if let Some(format) = chat.response_format.take().filter(|format| !format.is_null()) {
        spell_format(&format, able, request, fit)?;
    }
    if is_past {
        request.tool_choice.get_or_insert_with(|| json!({ "type": "none" }));
    }
    let is_forced =
        request.tool_choice.as_ref().is_some_and(|choice| choice["type"] == "any" || choice["type"] == "tool");
    if is_forced && thinking::is_asked(request) {
        // The model cannot think when it must call a tool: this turn goes without.
        fit.omit(thinking::field(chat));
        request.thinking = None;
        request.output_config.remove("effort");
    }
    Ok(())
}

fn spell_tool(tool: Tool, at: usize, has_schemas: bool, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let place = format!("tools[{at}]");
    if tool.kind != "function" {
        if !is_own(&tool.kind) {
            fit.cannot(place, "the provider knows no tool of this type")?;
            return Ok(None);
        }
        let mut fields = Map::from_iter([("type".to_owned(), tool.kind.into())]);
        fields.extend(tool.extra);
        return Ok(Some(marked(Value::Object(fields), tool.cache_control)));
    }
    let function = tool.function.ok_or_else(|| wrong(format!("{place}.function"), "it is missing"))?;
    if function.name.starts_with(ANSWER_TOOL) {
        return Err(wrong(format!("{place}.function.name"), "a name that begins so is the gateway's own"));
    }
    if function.name.is_empty() {
        return Err(wrong(format!("{place}.function.name"), "it is empty"));
    }
    let parameters = format!("{place}.function.parameters");
    let mut schema = tool_schema::input(function.parameters, &parameters, fit)?;
    if let Some(key) = tool_schema::wrong_key(&schema) {
        let why = "the provider takes names of 1 to 64 letters, digits, `_`, `.` and `-`";
        fit.cannot(format!("{parameters}.properties.{key}"), why)?;
        return Ok(None);
    }
    let mut spelt = Map::from_iter([("name".to_owned(), function.name.into())]);
    spelt.extend(function.description.map(|text| ("description".to_owned(), text.into())));
    // Without it the arguments mean the same: the provider only vouches for less.
    if function.strict == Some(true) {
        match closed_schema::close(&schema, &parameters).filter(|_| has_schemas) {
            Some(closed) => {
                schema = closed.schema;
                closed.moved.into_iter().for_each(|bound| fit.omit(bound));
                spelt.insert("strict".to_owned(), true.into());
            }
            None => fit.omit(format!("{place}.function.strict")),
        }
    }
    spelt.insert("input_schema".to_owned(), schema);
    for (name, value) in tool.extra.into_iter().chain(function.extra).filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "defer_loading" | "allowed_callers" | "input_examples" | "eager_input_streaming" => {
                spelt.insert(name, value);
            }
            _ => fit.cannot(format!("{place}.{name}"), "the provider has nothing like it")?,
        }
    }
    Ok(Some(marked(Value::Object(spelt), tool.cache_control)))
}

/// Whether it is a kind of Anthropic's, which all bear their date: `web_search_20250305`.
fn is_own(kind: &str) -> bool {
    let date = kind.rsplit('_').next().unwrap_or_default();
    date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) || kind == "mcp_toolset"
}

/// The choice; `None` where it says nothing, as without tools.
fn spell_choice(choice: &Value, able: Able, request: &mut Request, fit: &mut Fit) -> Result<Option<Value>, Failure> {
    let named = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
    let has = |request: &Request, name: &str| request.tools.iter().any(|tool| tool["name"] == name);
    let (must, spelt) = match (choice.as_str(), choice["type"].as_str()) {
        (Some(word @ ("auto" | "none")), _) => return Ok((!request.tools.is_empty()).then(|| json!({ "type": word }))),
        (Some("required"), _) => ("You must call one of the tools.".to_owned(), json!({ "type": "any" })),
        (None, Some("function")) => {
            let name = named(choice).ok_or_else(|| wrong("tool_choice.function.name", "it is missing"))?;
            if !has(request, &name) {
                return Err(wrong("tool_choice.function.name", "no tool has this name"));
            }
            (format!("You must call the tool `{name}`."), json!({ "type": "tool", "name": name }))
        }
        (None, Some("allowed_tools")) => {
            let allowed = &choice["allowed_tools"];
            let names: Vec<String> = allowed["tools"].as_array().into_iter().flatten().filter_map(named).collect();
            request.tools.retain(|tool| tool["name"].as_str().is_some_and(|name| names.iter().any(|one| one == name)));
            if allowed["mode"] != "required" {
                return Ok((!request.tools.is_empty()).then(|| json!({ "type": "auto" })));
            }
            ("You must call one of the tools.".to_owned(), json!({ "type": "any" }))
        }
        (None, Some(_)) => {
            fit.cannot("tool_choice", "the provider has no choice of this type")?;
            return Ok(None);
        }
        _ => {
            let known = "it is `none`, `auto`, `required` or an object that names a function";
            return Err(wrong("tool_choice", known));
        }
    };
    if request.tools.is_empty() {
        return Err(wrong("tool_choice", "there are no tools that it could choose from"));
    }
    if able.claude.is_forced {
        return Ok(Some(spelt));
    }
    // The model refuses to be forced, and does as it is told.
    fit.omit("tool_choice");
    request.tell(&must);
    Ok(Some(json!({ "type": "auto" })))
}

/// The shape of the answer. What the model cannot be held to is told it in words, and named.
fn spell_format(format: &Value, able: Able, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    match format["type"].as_str() {
        Some("text") => Ok(()),
        Some("json_object") if able.claude.is_forced => {
            force(request, "json", &json!({ "type": "object" }));
            Ok(())
        }
        Some("json_object") => {
            fit.omit("response_format");
            request.tell("Answer with one JSON object and nothing else: no other text, no code fence.");
            Ok(())
        }
        Some("json_schema") => {
            let named = &format["json_schema"];
            let place = "response_format.json_schema.schema";
            let schema = named.get("schema").filter(|schema| schema.is_object());
            let schema = schema.ok_or_else(|| wrong(place, "it must be a JSON schema"))?;
            if able.has_schemas && is_begun(&request.messages) {
                return fit.cannot("response_format", "the provider has no schema for an answer that was begun");
            }
            if let Some(closed) = closed_schema::close(schema, place).filter(|_| able.has_schemas) {
                closed.moved.into_iter().for_each(|bound| fit.omit(bound));
                let format = json!({ "type": "json_schema", "schema": closed.schema });
                request.output_config.insert("format".to_owned(), format);
                return Ok(());
            }
            if !able.claude.is_forced {
                fit.omit("response_format");
                request.tell(&format!(
                    "Answer with one JSON value that follows this JSON schema, and nothing else: no other text, no code \
                     fence.\n{schema}"
                ));
                return Ok(());
            }
            if schema.get("type").is_some_and(|kind| kind != "object") || tool_schema::has_choice(schema) {
                return fit
                    .cannot(place, "this model's answer must be an object, without a choice of schemas at its top");
            }
            let mut schema = schema.clone();
            if let Some(fields) = schema.as_object_mut() {
                fields.entry("type").or_insert_with(|| "object".into());
            }
            force(request, named["name"].as_str().unwrap_or("json"), &schema);
            Ok(())
        }
        _ => Err(wrong("response_format.type", "it is one of text, json_object, json_schema")),
    }
}

/// Makes the answer the arguments of a tool; beside the caller's own tools the model may call one of those first, unless
/// the caller forbids them.
fn force(request: &mut Request, name: &str, schema: &Value) {
    let safe = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    let name: String = ANSWER_TOOL.chars().chain(safe).take(LONGEST_NAME).collect();
    let is_forbidden = request.tool_choice.as_ref().is_some_and(|choice| choice["type"] == "none");
    let choice = if request.tools.is_empty() || is_forbidden {
        json!({ "type": "tool", "name": name, "disable_parallel_tool_use": true })
    } else {
        json!({ "type": "any", "disable_parallel_tool_use": true })
    };
    let description = "Gives the answer to the user. Call it with the whole answer.";
    request.tools.push(json!({ "name": name, "description": description, "input_schema": schema }));
    request.tool_choice = Some(choice);
}
