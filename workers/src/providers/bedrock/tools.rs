//! The tools that the model may call, and whether it must.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>.

use super::family::Family;
use super::format::Shape;
use super::wire::{InputSchema, Tool, ToolConfig, ToolSpec};
use crate::providers::fit::{Fit, wrong};
use penstock_schemas::chat;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// What the caller said of tools.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) tools: Vec<chat::Tool>,
    pub(super) choice: Option<Value>,
    /// The tools that were called earlier.
    pub(super) called: Vec<String>,
}

/// Which tool must be called.
#[derive(Debug, PartialEq)]
enum Choice {
    Auto,
    Never,
    Any,
    One(String),
    /// Of these only; whether one must be.
    Among(Vec<String>, Box<Choice>),
}

/// The tools of the request, the one for a structured answer among them.
///
/// # Errors
/// When a tool or the choice cannot be expressed.
pub(super) fn config(
    wish: Wish,
    shape: &mut Shape,
    family: Family,
    fit: &mut Fit,
) -> Result<Option<ToolConfig>, Failure> {
    let mut choice = choice(wish.choice.as_ref())?;
    let mut tools = Vec::new();
    for (index, tool) in wish.tools.into_iter().enumerate() {
        let is_wanted = |name: &str| match &choice {
            Choice::Among(names, _) => names.iter().any(|wanted| wanted == name),
            _ => true,
        };
        let mark = family.cache_point(tool.cache_control.as_ref()).filter(|_| family.is_claude());
        let Some(spec) = spec(tool, index, family, fit)? else { continue };
        if is_wanted(&spec.name) {
            tools.push(Tool::ToolSpec(spec));
            tools.extend(mark.map(Tool::CachePoint));
        }
    }
    if let Choice::Among(_, inner) = choice {
        choice = *inner;
    }
    if choice == Choice::Never {
        if wish.called.is_empty() {
            tools.clear();
        } else {
            fit.cannot("tool_choice", "Bedrock cannot forbid tools in a conversation that has used them")?;
        }
        choice = Choice::Auto;
    }
    if let Shape::Tool(answer) = std::mem::replace(shape, Shape::Free) {
        // With other tools beside it the model may still call those first.
        choice = if tools.is_empty() { Choice::One(answer.name.clone()) } else { Choice::Any };
        tools.push(Tool::ToolSpec(answer));
    }
    if tools.is_empty() {
        // A conversation with calls in it is refused when no tool is named.
        tools.extend(wish.called.into_iter().map(|name| Tool::ToolSpec(forgotten(name))));
    }
    let tool_choice = match choice {
        Choice::Any => Some(json!({ "any": {} })),
        Choice::One(name) => Some(json!({ "tool": { "name": name } })),
        Choice::Auto | Choice::Never | Choice::Among(..) => None, // the default
    };
    Ok((!tools.is_empty()).then_some(ToolConfig { tools, tool_choice }))
}

fn spec(tool: chat::Tool, index: usize, family: Family, fit: &mut Fit) -> Result<Option<ToolSpec>, Failure> {
    let place = format!("tools[{index}]");
    if tool.kind != "function" {
        fit.cannot(place, &format!("Bedrock has no tool of the kind `{}`", tool.kind))?;
        return Ok(None);
    }
    let function = tool.function.ok_or_else(|| wrong(format!("{place}.function"), "it is missing"))?;
    let schema = function.parameters.filter(|schema| !schema.is_null());
    if schema.as_ref().is_some_and(|schema| !schema.is_object()) {
        return Err(wrong(format!("{place}.function.parameters"), "they are no JSON schema"));
    }
    let is_strict = function.strict == Some(true);
    if is_strict && !family.binds_schemas() {
        fit.omit(format!("{place}.function.strict"));
    }
    Ok(Some(ToolSpec {
        name: function.name,
        description: function.description.filter(|text| !text.is_empty()),
        input_schema: InputSchema { json: schema.unwrap_or_else(|| json!({ "type": "object", "properties": {} })) },
        strict: (is_strict && family.binds_schemas()).then_some(true),
    }))
}

/// A tool of which only the name is known.
fn forgotten(name: String) -> ToolSpec {
    let input_schema = InputSchema { json: json!({ "type": "object", "properties": {} }) };
    ToolSpec { name, description: None, input_schema, strict: None }
}

fn choice(choice: Option<&Value>) -> Result<Choice, Failure> {
    let mistake = |field: &str| wrong(field, "it is none, auto, required, or names a function");
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else { return Ok(Choice::Auto) };
    let word = |word: &str| match word {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::Never),
        "required" => Ok(Choice::Any),
        _ => Err(mistake("tool_choice")),
    };
    if let Some(text) = choice.as_str() {
        return word(text);
    }
    let name = |value: &Value| value.get("function")?.get("name")?.as_str().map(str::to_owned);
    match choice.get("type").and_then(Value::as_str) {
        Some("function") => name(choice).map(Choice::One).ok_or_else(|| mistake("tool_choice.function.name")),
        Some("allowed_tools") => {
            let allowed = choice.get("allowed_tools").unwrap_or(choice);
            let names = allowed.get("tools").and_then(Value::as_array).into_iter().flatten().filter_map(name).collect();
            let mode = allowed.get("mode").and_then(Value::as_str).unwrap_or("auto");
            Ok(Choice::Among(names, Box::new(word(mode)?)))
        }
        _ => Err(mistake("tool_choice")),
    }
}
