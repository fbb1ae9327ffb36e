//! The tools that the model may call, and whether it must.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>.

use super::family::Family;
use super::format::Shape;
use super::wire::{InputSchema, Tool, ToolConfig, ToolSpec};
use crate::fit::{Fit, wrong};
use crate::{closed_schema, tool_schema};
use penstock_schemas::chat;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};
use std::collections::HashSet;

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

/// The tools of a request, and what the model is to be told of them in words.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) config: Option<ToolConfig>,
    pub(super) words: Option<String>,
}

/// Whether the choice makes the model call a tool.
pub(super) fn is_forcing(wish: Option<&Value>) -> bool {
    match choice(wish) {
        Ok(Choice::Among(_, inner)) => *inner == Choice::Any,
        Ok(choice) => matches!(choice, Choice::Any | Choice::One(_)),
        Err(_) => false,
    }
}

/// The tools of the request, the one for a structured answer among them. `is_forced`: the model can be made to call one.
///
/// # Errors
/// When a tool or the choice cannot be expressed.
pub(super) fn config(wish: Wish, shape: &mut Shape, model: (Family, bool), fit: &mut Fit) -> Result<Said, Failure> {
    let (family, is_forced) = model;
    let mut choice = choice(wish.choice.as_ref())?;
    let mut tools = specs(wish.tools, &choice, family, fit)?;
    if let Choice::Among(_, inner) = choice {
        choice = *inner;
    }
    let has = |name: &str| tools.iter().any(|tool| matches!(tool, Tool::ToolSpec(spec) if spec.name == name));
    match &choice {
        Choice::One(name) if !has(name) => return Err(wrong("tool_choice.function.name", "no tool has this name")),
        Choice::Any if tools.is_empty() => {
            return Err(wrong("tool_choice", "there are no tools that it could choose from"));
        }
        _ => {}
    }
    let mut words = None;
    if choice == Choice::Never {
        // A conversation that has used tools must name them, and nothing but words keeps the model from them.
        if wish.called.is_empty() {
            tools.clear();
        } else if !tools.is_empty() {
            fit.omit("tool_choice");
            words = Some("Answer without calling a tool.".to_owned());
        }
        choice = Choice::Auto;
    }
    if let Shape::Tool(answer) = std::mem::replace(shape, Shape::Free) {
        // With other tools beside it the model may still call those first.
        choice = if tools.is_empty() { Choice::One(answer.name.clone()) } else { Choice::Any };
        tools.push(Tool::ToolSpec(answer));
        words = None;
    }
    if tools.is_empty() {
        // A conversation with calls in it is refused when no tool is named.
        tools.extend(wish.called.into_iter().map(|name| Tool::ToolSpec(forgotten(name))));
    }
    if !is_forced && matches!(choice, Choice::Any | Choice::One(_)) {
        // The model refuses to be forced, and does as it is told.
        fit.omit("tool_choice");
        words = Some(match &choice {
            Choice::One(name) => format!("You must call the tool `{name}`."),
            _ => "You must call one of the tools.".to_owned(),
        });
        choice = Choice::Auto;
    }
    let tool_choice = match choice {
        Choice::Any => Some(json!({ "any": {} })),
        Choice::One(name) => Some(json!({ "tool": { "name": name } })),
        Choice::Auto | Choice::Never | Choice::Among(..) => None, // the default
    };
    let config = (!tools.is_empty()).then_some(ToolConfig { tools, tool_choice });
    Ok(Said { config, words })
}

/// The tools that the choice allows, and the ends of those that are to be cached.
fn specs(tools: Vec<chat::Tool>, choice: &Choice, family: Family, fit: &mut Fit) -> Result<Vec<Tool>, Failure> {
    let is_wanted = |name: &str| match choice {
        Choice::Among(names, _) => names.iter().any(|wanted| wanted == name),
        _ => true,
    };
    let (mut all, mut names) = (Vec::new(), HashSet::new());
    for (index, tool) in tools.into_iter().enumerate() {
        let mark = family.cache_point(tool.cache_control.as_ref()).filter(|_| family.is_claude());
        let Some(spec) = spec(tool, index, family, fit)? else { continue };
        if !names.insert(spec.name.clone()) {
            return Err(wrong(format!("tools[{index}].function.name"), "another tool has this name"));
        }
        if is_wanted(&spec.name) {
            all.push(Tool::ToolSpec(spec));
            all.extend(mark.map(Tool::CachePoint));
        }
    }
    Ok(all)
}

fn spec(tool: chat::Tool, index: usize, family: Family, fit: &mut Fit) -> Result<Option<ToolSpec>, Failure> {
    let place = format!("tools[{index}]");
    if tool.kind != "function" {
        fit.cannot(place, &format!("Bedrock has no tool of the kind `{}`", tool.kind))?;
        return Ok(None);
    }
    let function = tool.function.ok_or_else(|| wrong(format!("{place}.function"), "it is missing"))?;
    if function.name.is_empty() {
        return Err(wrong(format!("{place}.function.name"), "it is empty"));
    }
    let parameters = format!("{place}.function.parameters");
    let mut schema = tool_schema::input(function.parameters, &parameters, fit)?;
    if let Some(key) = tool_schema::wrong_key(&schema).filter(|_| family.is_claude()) {
        let why = "this model takes names of 1 to 64 letters, digits, `_`, `.` and `-`";
        fit.cannot(format!("{parameters}.properties.{key}"), why)?;
        return Ok(None);
    }
    let mut strict = None;
    if function.strict == Some(true) {
        match closed_schema::close(&schema, &parameters).filter(|_| family.binds_schemas()) {
            Some(closed) => {
                schema = closed.schema;
                closed.moved.into_iter().for_each(|bound| fit.omit(bound));
                strict = Some(true);
            }
            None => fit.omit(format!("{place}.function.strict")),
        }
    }
    Ok(Some(ToolSpec {
        name: function.name,
        description: function.description.filter(|text| !text.is_empty()),
        input_schema: InputSchema { json: schema },
        strict,
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
