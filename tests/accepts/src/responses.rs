//! What OpenAI's responses accept. Sources: <https://platform.openai.com/docs/api-reference/responses/create> and its OpenAPI
//! document; wordings are those of its messages where they are known.

use crate::{At, Refused, Request, Verdict};
use serde_json::Value;

/// The fields of a request.
const FIELDS: [&str; 31] = [
    "model",
    "input",
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];

/// Whether it is accepted.
pub(crate) fn check(request: &Request<'_>) -> Verdict {
    let root = At::root(request.body);
    for (name, field) in root.fields()? {
        let is_known = FIELDS.contains(&name) || name == "user";
        field.ensure(is_known, &format!("Unknown parameter: '{name}'."))?;
    }
    root.need("model")?.text()?;
    root.get("temperature").map(|at| at.number(0.0..=2.0)).transpose()?;
    root.get("top_p").map(|at| at.number(0.0..=1.0)).transpose()?;
    root.get("max_output_tokens").map(|at| at.count(16..=u64::MAX)).transpose()?;
    root.get("top_logprobs").map(|at| at.count(0..=20)).transpose()?;
    check_text(&root)?;
    check_tools(&root)?;
    if let Some(reasoning) = root.get("reasoning") {
        reasoning.only(&["effort", "summary", "generate_summary"])?;
        let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
        reasoning.get("effort").map(|at| at.word(&efforts)).transpose()?;
        reasoning.get("summary").map(|at| at.word(&["auto", "concise", "detailed"])).transpose()?;
    }
    match root.get("input") {
        Some(input) if input.value().is_string() => Ok(()),
        Some(input) => check_items(&input),
        None => {
            let has_other =
                ["previous_response_id", "prompt", "conversation"].iter().any(|name| root.get(name).is_some());
            root.ensure(has_other, "One of \"input\" or \"previous_response_id\" or 'prompt' must be provided.")
        }
    }
}

/// The answer of status 400.
pub(crate) fn error(refused: &Refused) -> Value {
    crate::chat::error(refused)
}

/// Source: <https://platform.openai.com/docs/guides/structured-outputs>.
fn check_text(root: &At<'_>) -> Verdict {
    let Some(text) = root.get("text") else { return Ok(()) };
    text.only(&["format", "verbosity"])?;
    text.get("verbosity").map(|at| at.word(&["low", "medium", "high"])).transpose()?;
    let Some(format) = text.get("format") else { return Ok(()) };
    if format.need("type")?.word(&["text", "json_object", "json_schema", "grammar", "python"])? == "json_schema" {
        format.only(&["type", "name", "description", "schema", "strict"])?;
        format.need("name")?.name(1..=64, "_-")?;
        format.need("schema")?.object()?;
    }
    Ok(())
}

fn check_tools(root: &At<'_>) -> Verdict {
    let mut names = Vec::new();
    for tool in root.get("tools").map(|tools| tools.items()).transpose()?.unwrap_or_default() {
        let kind = tool.need("type")?.text()?;
        let is_search =
            kind == "web_search" || kind.starts_with("web_search_preview") || kind == "web_search_2025_08_26";
        match kind {
            "function" => {
                tool.only(&["type", "name", "description", "parameters", "strict", "defer_loading"])?;
                tool.need("parameters")?;
                names.push(tool.need("name")?.name(1..=64, "_-")?);
            }
            "custom" => {
                tool.only(&["type", "name", "description", "format", "defer_loading"])?;
                names.push(tool.need("name")?.name(1..=64, "_-")?);
                if let Some(format) = tool.get("format").filter(|format| format.value()["type"] == "grammar") {
                    format.need("syntax")?.word(&["lark", "regex"])?;
                    format.need("definition")?.text()?;
                }
            }
            _ if is_search => {
                tool.only(&["type", "filters", "search_context_size", "user_location", "external_web_access"])?;
            }
            "file_search"
            | "code_interpreter"
            | "image_generation"
            | "mcp"
            | "local_shell"
            | "shell"
            | "apply_patch"
            | "computer_use_preview"
            | "namespace"
            | "tool_search" => {}
            _ => return Err(tool.need("type")?.refused(format!("Invalid value: '{kind}'."))),
        }
    }
    let Some(choice) = root.get("tool_choice") else { return Ok(()) };
    if choice.value().is_string() {
        return choice.word(&["none", "auto", "required"]).map(drop);
    }
    match choice.need("type")?.text()? {
        "function" | "custom" => {
            let name = choice.need("name")?;
            name.ensure(names.contains(&name.text()?), "Tool choice not found in 'tools' parameter.")
        }
        _ => Ok(()),
    }
}

/// Calls and their results belong together, in both directions.
fn check_items(input: &At<'_>) -> Verdict {
    let mut called: Vec<(&str, &str)> = Vec::new();
    for item in input.items()? {
        let kind = item.get("type").map_or(Ok("message"), |kind| kind.text())?;
        match kind {
            "message" => check_message(&item)?,
            "function_call" | "custom_tool_call" => {
                item.need("name")?.name(1..=64, "_-")?;
                item.need(if kind == "function_call" { "arguments" } else { "input" })?.text()?;
                let output = if kind == "function_call" { "function_call_output" } else { "custom_tool_call_output" };
                called.push((item.need("call_id")?.text()?, output));
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = item.need("call_id")?;
                let found = called.iter().position(|(call, output)| id.value() == *call && *output == kind);
                let found = found.ok_or_else(|| id.refused("No tool call found for function call output"))?;
                called.remove(found);
                let output = item.need("output")?;
                if !output.value().is_string() {
                    check_parts(&output, &["input_text", "input_image", "input_file"])?;
                }
            }
            "reasoning" => {
                item.need("summary")?.items()?;
                item.need("encrypted_content")?.text()?;
            }
            "item_reference" | "compaction" => {}
            other => return Err(item.need("type")?.refused(format!("Invalid value: '{other}'."))),
        }
    }
    match called.first() {
        Some((id, _)) => Err(input.refused(format!("No tool output found for function call {id}."))),
        None => Ok(()),
    }
}

fn check_message(item: &At<'_>) -> Verdict {
    item.only(&["type", "id", "role", "content", "status", "phase"])?;
    let role = item.need("role")?.word(&["user", "assistant", "system", "developer"])?;
    let content = item.need("content")?;
    match role {
        _ if content.value().is_string() => Ok(()),
        "assistant" => check_parts(&content, &["output_text", "refusal"]),
        "user" => check_parts(&content, &["input_text", "input_image", "input_file", "input_audio"]),
        _ => check_parts(&content, &["input_text"]),
    }
}

fn check_parts(content: &At<'_>, kinds: &[&str]) -> Verdict {
    for part in content.items()? {
        match part.need("type")?.word(kinds)? {
            "input_text" | "output_text" => part.need("text")?.text().map(drop)?,
            "input_image" => {
                part.only(&["type", "image_url", "file_id", "detail"])?;
                part.get("image_url").map(|url| url.text()).transpose()?;
            }
            "input_file" => {
                part.only(&["type", "filename", "file_data", "file_id", "file_url", "detail"])?;
                if part.get("file_data").is_some() {
                    part.need("filename")?.text()?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(changes: &Value) -> Result<(), String> {
        let mut body = json!({ "model": "m", "input": "Hi" });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        check(&Request { path: "responses", body: &body }).map_err(|refused| refused.to_string())
    }

    #[test]
    fn requests_as_the_reference_shows_them_are_accepted() {
        let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
        let result = json!({ "type": "function_call_output", "call_id": "c", "output": "1" });
        let tool = json!({ "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": true });
        let user = json!({ "role": "user", "content": [{ "type": "input_text", "text": "Hi" }] });
        for changes in [
            json!({}),
            json!({ "input": [user, call, result], "tools": [tool], "tool_choice": { "type": "function", "name": "f" } }),
            json!({ "tools": [{ "type": "web_search" }], "reasoning": { "effort": "high", "summary": "auto" } }),
        ] {
            assert_eq!(verdict(&changes), Ok(()), "{changes}");
        }
    }

    #[test]
    fn what_it_refuses_is_named() {
        let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
        let result = json!({ "type": "function_call_output", "call_id": "c", "output": "1" });
        let tool = |name: &str| json!({ "type": "function", "name": name, "parameters": {} });
        for (changes, place) in [
            (json!({ "seed": 1 }), "seed"),
            (json!({ "max_output_tokens": 1 }), "max_output_tokens"),
            (json!({ "tools": [tool(&"x".repeat(65))] }), "tools.0.name"),
            (json!({ "tools": [{ "type": "web_search_20250305" }] }), "tools.0.type"),
            (json!({ "tools": [tool("f")], "tool_choice": { "type": "function", "name": "g" } }), "tool_choice.name"),
            (json!({ "input": [call] }), "input"),
            (json!({ "input": [result] }), "input.0.call_id"),
            (
                json!({ "input": [{ "role": "user", "content": [{ "type": "text", "text": "x" }] }] }),
                "input.0.content.0.type",
            ),
            (json!({ "input": [{ "type": "reasoning", "summary": [] }] }), "input.0.encrypted_content"),
            (
                json!({ "text": { "format": { "type": "json_schema", "name": "a b", "schema": {} } } }),
                "text.format.name",
            ),
        ] {
            let found = verdict(&changes).unwrap_err();
            assert_eq!(found.split(": ").next(), Some(place), "{changes}: {found}");
        }
    }
}
