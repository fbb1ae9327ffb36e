//! Tools, the choice among them, and the shape of the answer, in their agnostic form.
//! Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview>.

use super::reading::{read, rest};
use crate::client::WrongRequest;
use crate::client::fields::wrong;
use crate::json::{Fields, JsonKind, kind};
use penstock_schemas::chat::{ChatRequest, Function, Tool};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A tool: of the caller's own, or of Anthropic's, which goes along as it is.
pub(crate) fn tool(value: &RawValue, place: &str) -> Result<Tool, WrongRequest> {
    if kind(value) != JsonKind::Object {
        return Err(wrong(place, "it must be an object".to_owned()));
    }
    let fields = Fields::of(value);
    let cache_control = optional(&fields, "cache_control", place)?;
    let class: Option<String> = optional(&fields, "type", place)?;
    if let Some(class) = class.filter(|class| class != "custom") {
        let extra = rest(&fields, &["type", "cache_control"], place)?;
        return Ok(Tool { kind: class, function: None, cache_control, extra });
    }
    let name: Option<String> = optional(&fields, "name", place)?;
    let parameters: Option<Value> = optional(&fields, "input_schema", place)?;
    if !parameters.as_ref().is_none_or(Value::is_object) {
        return Err(wrong(&format!("{place}.input_schema"), "it must be an object".to_owned()));
    }
    let function = Function {
        name: name.ok_or_else(|| wrong(&format!("{place}.name"), "it is missing".to_owned()))?,
        description: optional(&fields, "description", place)?,
        parameters,
        strict: optional(&fields, "strict", place)?,
        ..Function::default()
    };
    // How the arguments are streamed, and examples of them, change nothing that a caller could rely on.
    let known = [
        "type",
        "name",
        "description",
        "input_schema",
        "strict",
        "cache_control",
        "eager_input_streaming",
        "input_examples",
        "defer_loading",
    ];
    let extra = rest(&fields, &known, place)?;
    Ok(Tool { kind: "function".to_owned(), function: Some(function), cache_control, extra })
}

fn optional<T: serde::de::DeserializeOwned>(
    fields: &Fields<'_>,
    name: &str,
    place: &str,
) -> Result<Option<T>, WrongRequest> {
    fields.get(name).map(|value| read(value, &format!("{place}.{name}"))).transpose()
}

/// `{"type": "auto" | "any" | "tool" | "none", "name", "disable_parallel_tool_use"}`.
pub(crate) fn tool_choice(fields: &Fields<'_>, chat: &mut ChatRequest) -> Result<(), WrongRequest> {
    let choice = match fields.text("type")?.unwrap_or_default().as_str() {
        "auto" => json!("auto"),
        "any" => json!("required"),
        "none" => json!("none"),
        "tool" => {
            let name = fields.text("name")?.ok_or_else(|| wrong("tool_choice.name", "it is missing".to_owned()))?;
            json!({ "type": "function", "function": { "name": name } })
        }
        _ => return Err(wrong("tool_choice.type", "it is one of auto, any, tool, none".to_owned())),
    };
    chat.tool_choice = Some(choice);
    if fields.is_true("disable_parallel_tool_use") {
        chat.parallel_tool_calls = Some(false);
    }
    Ok(())
}

/// `{"type": "json_schema", "schema"}`. Source: <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.
pub(super) fn format(value: &RawValue, place: &str, chat: &mut ChatRequest) -> Result<(), WrongRequest> {
    let fields = Fields::of(value);
    if fields.text("type")?.as_deref() != Some("json_schema") {
        return Err(wrong(&format!("{place}.type"), "it is `json_schema`".to_owned()));
    }
    let here = format!("{place}.schema");
    let schema = fields.get("schema").ok_or_else(|| wrong(&here, "it is missing".to_owned()))?;
    let schema: Value = read(schema, &here)?;
    let named = json!({ "name": "answer", "schema": schema, "strict": true });
    chat.response_format = Some(json!({ "type": "json_schema", "json_schema": named }));
    Ok(())
}
