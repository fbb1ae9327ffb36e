//! Calls of the tools that OpenAI's own models know by heart and the client carries out (a shell, patches), in a history that
//! another model is to go on with: calls of a function of that name, with what was to be done as its arguments. Knows nothing
//! of the tools themselves.
//! Sources: <https://platform.openai.com/docs/guides/tools-local-shell>, <https://platform.openai.com/docs/guides/tools-shell>,
//! <https://platform.openai.com/docs/guides/tools-apply-patch>, <https://github.com/BerriAI/litellm/issues/20905>.

use super::wrong;
use crate::client::WrongRequest;
use penstock_schemas::chat::{Content, FunctionCall, Message, ToolCall};
use serde_json::Value;

/// The call that an item is; `None` when it is another item.
pub(super) fn call(item: &Value, place: &str) -> Option<Result<ToolCall, WrongRequest>> {
    let (name, what) = match item["type"].as_str()? {
        "local_shell_call" => ("local_shell", "action"),
        "shell_call" => ("shell", "action"),
        "apply_patch_call" => ("apply_patch", "operation"),
        _ => return None,
    };
    let asked = item.get(what).filter(|asked| asked.is_object());
    let Some(asked) = asked else { return Some(Err(wrong(format!("{place}.{what}"), "it must be an object"))) };
    let function =
        FunctionCall { name: Some(name.to_owned()), arguments: Some(asked.to_string()), ..FunctionCall::default() };
    Some(id(item, place).map(|id| ToolCall {
        id: Some(id),
        kind: Some("function".to_owned()),
        function: Some(function),
        ..ToolCall::default()
    }))
}

/// What came of one; `None` when it is another item.
pub(super) fn result(item: &Value, place: &str) -> Option<Result<Message, WrongRequest>> {
    if !matches!(item["type"].as_str()?, "local_shell_call_output" | "shell_call_output" | "apply_patch_call_output") {
        return None;
    }
    let said = match &item["output"] {
        Value::String(text) => text.clone(),
        // A patch may succeed without a word.
        Value::Null => item["status"].as_str().unwrap_or("completed").to_owned(),
        output => output.to_string(),
    };
    let is_error = (item["status"] == "failed").then_some(true);
    Some(id(item, place).map(|id| Message {
        role: "tool".to_owned(),
        tool_call_id: Some(id),
        content: Some(Content::Text(said)),
        is_error,
        ..Message::default()
    }))
}

/// The older of these items have the call's id as their own.
fn id(item: &Value, place: &str) -> Result<String, WrongRequest> {
    let id = item["call_id"].as_str().or_else(|| item["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| wrong(format!("{place}.call_id"), "it is missing"))
}
