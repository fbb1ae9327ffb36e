//! Tools, the choice among them, and answers of a given shape: by the provider's own means where the model has them, else as
//! the arguments of a tool that it must call. Sources: <https://platform.claude.com/docs/en/agents-and-tools/tool-use>,
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.

use super::answer::ANSWER_TOOL;
use super::content::marked;
use super::schema;
use super::wire::Request;
use crate::providers::Ask;
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat::{ChatRequest, Tool};
use penstock_schemas::failure::Failure;
use serde_json::{Map, Value, json};

/// The longest name of a tool.
const LONGEST_NAME: usize = 64;

/// Puts tools, choice and shape into the request.
pub(super) fn spell(
    chat: &mut ChatRequest,
    ask: &Ask<'_>,
    request: &mut Request,
    fit: &mut Fit,
) -> Result<(), Failure> {
    let has_schemas = ask.card.is_some_and(|card| card.capabilities.iter().any(|can| can == "json_schema"));
    let tools = chat.tools.take().unwrap_or_default();
    for (at, tool) in tools.into_iter().enumerate() {
        request.tools.extend(spell_tool(tool, at, has_schemas, fit)?);
    }
    if let Some(choice) = chat.tool_choice.take().filter(|choice| !choice.is_null()) {
        request.tool_choice = Some(spell_choice(&choice, request, fit)?);
    }
    if chat.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        let choice = request.tool_choice.get_or_insert_with(|| json!({ "type": "auto" }));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    let is_forced = |request: &Request| {
        request.tool_choice.as_ref().is_some_and(|choice| choice["type"] == "any" || choice["type"] == "tool")
    };
    if let Some(format) = chat.response_format.take().filter(|format| !format.is_null()) {
        spell_format(&format, has_schemas, request, fit)?;
    }
    let thinks = request.thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled");
    if thinks && is_forced(request) {
        let field = if chat.reasoning_effort.is_some() { "reasoning_effort" } else { "reasoning" };
        fit.cannot(field, "the model cannot think when it must call a tool")?;
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
    let parameters = match function.parameters {
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(Value::Object(mut fields)) => {
            fields.entry("type").or_insert_with(|| "object".into());
            Value::Object(fields)
        }
        Some(_) => return Err(wrong(format!("{place}.function.parameters"), "it must be a JSON schema")),
    };
    let mut spelt = Map::from_iter([("name".to_owned(), function.name.into())]);
    spelt.extend(function.description.map(|text| ("description".to_owned(), text.into())));
    // Without it the arguments mean the same: the provider only vouches for less.
    let mut schema = parameters;
    if function.strict == Some(true) {
        match schema::strict(&schema).filter(|_| has_schemas) {
            Some(strict) => {
                schema = strict;
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

fn spell_choice(choice: &Value, request: &mut Request, fit: &mut Fit) -> Result<Value, Failure> {
    let named = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("auto"), _) => Ok(json!({ "type": "auto" })),
        (Some("none"), _) => Ok(json!({ "type": "none" })),
        (Some("required"), _) => Ok(json!({ "type": "any" })),
        (None, Some("function")) => {
            let name = named(choice).ok_or_else(|| wrong("tool_choice.function.name", "it is missing"))?;
            Ok(json!({ "type": "tool", "name": name }))
        }
        (None, Some("allowed_tools")) => {
            let allowed = &choice["allowed_tools"];
            let names: Vec<String> = allowed["tools"].as_array().into_iter().flatten().filter_map(named).collect();
            request.tools.retain(|tool| tool["name"].as_str().is_some_and(|name| names.iter().any(|one| one == name)));
            let is_required = allowed["mode"] == "required";
            Ok(json!({ "type": if is_required { "any" } else { "auto" } }))
        }
        (None, Some(_)) => {
            fit.cannot("tool_choice", "the provider has no choice of this type")?;
            Ok(json!({ "type": "auto" }))
        }
        _ => Err(wrong("tool_choice", "it is `none`, `auto`, `required` or an object that names a function")),
    }
}

fn spell_format(format: &Value, has_schemas: bool, request: &mut Request, fit: &mut Fit) -> Result<(), Failure> {
    match format["type"].as_str() {
        Some("text") => Ok(()),
        Some("json_object") => {
            force(request, "json", &json!({ "type": "object" }));
            Ok(())
        }
        Some("json_schema") => {
            let named = &format["json_schema"];
            let place = "response_format.json_schema.schema";
            let schema = named.get("schema").filter(|schema| schema.is_object());
            let schema = schema.ok_or_else(|| wrong(place, "it must be a JSON schema"))?;
            if has_schemas {
                let schema = schema::native(schema, place, fit)?;
                request.output_config.insert("format".to_owned(), json!({ "type": "json_schema", "schema": schema }));
            } else {
                let mut schema = schema.clone();
                if let Some(fields) = schema.as_object_mut() {
                    fields.entry("type").or_insert_with(|| "object".into());
                }
                force(request, named["name"].as_str().unwrap_or("json"), &schema);
            }
            Ok(())
        }
        _ => Err(wrong("response_format.type", "it is one of text, json_object, json_schema")),
    }
}

/// Makes the answer the arguments of a tool; beside the caller's own tools the model may call one of those first.
fn force(request: &mut Request, name: &str, schema: &Value) {
    let safe = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    let name: String = ANSWER_TOOL.chars().chain(safe).take(LONGEST_NAME).collect();
    let choice = if request.tools.is_empty() {
        json!({ "type": "tool", "name": name, "disable_parallel_tool_use": true })
    } else {
        json!({ "type": "any", "disable_parallel_tool_use": true })
    };
    let description = "Gives the answer to the user. Call it with the whole answer.";
    request.tools.push(json!({ "name": name, "description": description, "input_schema": schema }));
    request.tool_choice = Some(choice);
}
