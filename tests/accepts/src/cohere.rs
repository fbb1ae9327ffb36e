//! What Cohere's chat accepts, version 2. Sources: <https://docs.cohere.com/reference/chat>,
//! <https://docs.cohere.com/docs/tool-use-overview>.

use crate::{At, Refused, Request, Verdict};
use serde_json::{Value, json};

/// The fields of a request.
const FIELDS: [&str; 22] = [
    "model",
    "messages",
    "citation_options",
    "documents",
    "frequency_penalty",
    "k",
    "logprobs",
    "max_tokens",
    "p",
    "presence_penalty",
    "priority",
    "raw_prompting",
    "response_format",
    "safety_mode",
    "seed",
    "stop_sequences",
    "stream",
    "strict_tools",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
];

/// Whether it is accepted.
pub(crate) fn check(request: &Request<'_>) -> Verdict {
    let root = At::root(request.body);
    root.only(&FIELDS)?;
    root.need("model")?.text()?;
    root.need("stream")?.flag()?;
    root.get("temperature").map(|at| at.number(0.0..=2.0)).transpose()?;
    root.get("p").map(|at| at.number(0.01..=0.99)).transpose()?;
    root.get("k").map(|at| at.count(0..=500)).transpose()?;
    for name in ["frequency_penalty", "presence_penalty"] {
        root.get(name).map(|at| at.number(0.0..=1.0)).transpose()?;
    }
    root.get("max_tokens").map(|at| at.count(1..=u64::MAX)).transpose()?;
    if let Some(stop) = root.get("stop_sequences") {
        stop.ensure(stop.items()?.len() <= 5, "at most 5 stop sequences are allowed")?;
    }
    if let Some(thinking) = root.get("thinking") {
        thinking.only(&["type", "token_budget"])?;
        thinking.need("type")?.word(&["enabled", "disabled"])?;
    }
    if let Some(format) = root.get("response_format") {
        format.only(&["type", "json_schema"])?;
        format.need("type")?.word(&["text", "json_object"])?;
    }
    check_tools(&root)?;
    check_messages(&root)
}

/// Its answer of status 400: <https://docs.cohere.com/reference/errors>.
pub(crate) fn error(refused: &Refused) -> Value {
    json!({ "id": "refused-by-the-reference", "message": refused.to_string() })
}

fn check_tools(root: &At<'_>) -> Verdict {
    let tools = root.get("tools");
    for name in ["tool_choice", "strict_tools"] {
        if let Some(field) = root.get(name) {
            field.ensure(tools.is_some(), &format!("{name} can only be used with tools"))?;
        }
    }
    root.get("tool_choice").map(|at| at.word(&["REQUIRED", "NONE"])).transpose()?;
    let Some(tools) = tools else { return Ok(()) };
    let all = tools.items()?;
    tools.ensure(!all.is_empty(), "tools must not be empty")?;
    for tool in all {
        tool.only(&["type", "function"])?;
        tool.need("type")?.word(&["function"])?;
        let function = tool.need("function")?;
        function.only(&["name", "description", "parameters"])?;
        let name = function.need("name")?;
        let text = name.name(1..=64, "_")?;
        name.ensure(!text.starts_with(|c: char| c.is_ascii_digit()), "names must not begin with a digit")?;
        function.need("parameters")?.object()?;
    }
    Ok(())
}

fn check_messages(root: &At<'_>) -> Verdict {
    let messages = root.need("messages")?;
    let all = messages.items()?;
    messages.ensure(!all.is_empty(), "messages must not be empty")?;
    for message in all {
        let role = message.need("role")?.word(&["system", "user", "assistant", "tool"])?;
        match role {
            "assistant" => message.only(&["role", "content", "tool_calls", "tool_plan", "citations"])?,
            "tool" => message.only(&["role", "content", "tool_call_id"])?,
            _ => message.only(&["role", "content"])?,
        }
        if role == "tool" {
            message.need("tool_call_id")?.text()?;
        }
        for call in message.get("tool_calls").map(|calls| calls.items()).transpose()?.unwrap_or_default() {
            call.need("id")?.text()?;
            let function = call.need("function")?;
            function.need("name")?.name(1..=64, "_")?;
            function.need("arguments")?.text()?;
        }
        let Some(content) = message.get("content").filter(|content| !content.value().is_string()) else { continue };
        let kinds: &[&str] = match role {
            "user" => &["text", "image_url"],
            "assistant" => &["text", "thinking"],
            "tool" => &["text", "document"],
            _ => &["text"],
        };
        for part in content.items()? {
            part.need("type")?.word(kinds)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(changes: &Value) -> Result<(), String> {
        let mut body = json!({ "model": "m", "stream": false, "messages": [{ "role": "user", "content": "Hi" }] });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        check(&Request { path: "chat", body: &body }).map_err(|refused| refused.to_string())
    }

    #[test]
    fn what_it_accepts_passes_and_what_it_refuses_is_named() {
        let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": {} } });
        assert_eq!(verdict(&json!({ "tools": [tool("f_1")], "tool_choice": "REQUIRED", "p": 0.5 })), Ok(()));
        for (changes, place) in [
            (json!({ "top_p": 0.5 }), "top_p"),
            (json!({ "tools": [tool("a-b")] }), "tools.0.function.name"),
            (json!({ "tools": [tool("1a")] }), "tools.0.function.name"),
            (json!({ "tool_choice": "NONE" }), "tool_choice"),
            (json!({ "frequency_penalty": 2 }), "frequency_penalty"),
            (json!({ "messages": [{ "role": "developer", "content": "x" }] }), "messages.0.role"),
            (json!({ "messages": [{ "role": "user", "content": [{ "type": "file" }] }] }), "messages.0.content.0.type"),
        ] {
            let found = verdict(&changes).unwrap_err();
            assert_eq!(found.split(": ").next(), Some(place), "{changes}: {found}");
        }
    }
}
