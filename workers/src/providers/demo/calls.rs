//! Which tools the simulator calls, and with what. Pure: the same request gives the same calls.

use super::sample::sample;
use penstock_schemas::chat::{ChatRequest, FunctionCall, Tool, ToolCall};
use serde_json::{Map, Value, json};

/// The calls that the last message asks for: by a tool's name, or by the word `tool`, or because the request says so.
pub(super) fn asked_for(request: &ChatRequest, asked: &str) -> Vec<ToolCall> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let choice = request.tool_choice.as_ref();
    let is_asked = request.messages.last().is_some_and(|last| last.role == "user");
    if choice.is_some_and(|choice| choice == "none") || !(is_asked || choice.is_some_and(Value::is_object)) {
        return Vec::new();
    }
    let function = |tool: &Tool| tool.function.as_ref().map(|function| function.name.clone());
    let named = choice.and_then(|choice| choice["function"]["name"].as_str());
    let text = asked.to_lowercase();
    let is_wanted = |tool: &&Tool| match (named, function(tool)) {
        (Some(named), Some(name)) => named == name,
        (None, Some(name)) => {
            name.to_lowercase().split(['_', '-', '.']).any(|word| word.len() > 3 && text.contains(word))
        }
        (_, None) => false,
    };
    let mut wanted: Vec<&Tool> = tools.iter().filter(is_wanted).collect();
    if wanted.is_empty() && (text.contains("tool") || choice.is_some_and(|choice| choice == "required")) {
        wanted.extend(tools.iter().find(|tool| function(tool).is_some()));
    }
    if request.parallel_tool_calls == Some(false) {
        wanted.truncate(1);
    }
    let call = |(number, tool): (usize, &Tool)| {
        let parameters =
            tool.function.as_ref().and_then(|function| function.parameters.as_ref()).unwrap_or(&Value::Null);
        let arguments = if parameters.is_null() { json!({}) } else { sample(parameters, subject(asked)) };
        let called = FunctionCall { name: function(tool), arguments: Some(arguments.to_string()), extra: Map::new() };
        let id = Some(format!("call_demo{:04}", request.messages.len() * 10 + number));
        ToolCall { index: None, id, kind: Some("function".into()), function: Some(called), extra: Map::new() }
    };
    wanted.into_iter().enumerate().map(call).collect()
}

/// What a message seems to be about: its last word that begins with a capital, as `Paris` in "What's it like in Paris?".
pub(super) fn subject(asked: &str) -> &str {
    let words = asked.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).skip(1);
    words.filter(|word| word.starts_with(char::is_uppercase)).last().unwrap_or("demo")
}

/// The function that is called.
pub(super) fn name(call: &ToolCall) -> &str {
    call.function.as_ref().and_then(|function| function.name.as_deref()).unwrap_or_default()
}

/// The arguments, as JSON text.
pub(super) fn arguments(call: &ToolCall) -> &str {
    call.function.as_ref().and_then(|function| function.arguments.as_deref()).unwrap_or_default()
}
