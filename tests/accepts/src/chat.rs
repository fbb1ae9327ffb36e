//! What the chat completions of OpenAI, of its copies and of Mistral accept. What OpenAI alone takes is told apart by
//! [`Server`]. Sources: <https://platform.openai.com/docs/api-reference/chat/create> and its OpenAPI document;
//! <https://docs.mistral.ai/api/endpoint/chat>; wordings are those of the servers' messages where they are known.

use crate::{At, Refused, Request, Verdict};
use serde_json::{Value, json};

/// Whose chat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// OpenAI and Azure.
    Openai,
    /// A copy that knows functions alone, such as vLLM.
    Copy,
    /// Mistral, which refuses what it does not know.
    Mistral,
}

/// The fields of a request that all of them know.
const COMMON: [&str; 17] = [
    "model",
    "messages",
    "frequency_penalty",
    "max_tokens",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "response_format",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "prediction",
    "reasoning_effort",
    "metadata",
];

/// OpenAI's own.
const OPENAI: [&str; 19] = [
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "modalities",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "stream_options",
    "top_logprobs",
    "user",
    "verbosity",
    "web_search_options",
    "moderation",
];

/// Extensions of copies: <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#extra-parameters>.
const EXTENSIONS: [&str; 5] = ["top_k", "min_p", "repetition_penalty", "chat_template_kwargs", "reasoning"];

/// Mistral's own.
const MISTRAL: [&str; 4] = ["random_seed", "safe_prompt", "prompt_mode", "guardrails"];

impl Server {
    fn knows(self, field: &str) -> bool {
        match self {
            _ if COMMON.contains(&field) => true,
            Self::Openai => OPENAI.contains(&field),
            Self::Copy => OPENAI.contains(&field) || EXTENSIONS.contains(&field),
            Self::Mistral => MISTRAL.contains(&field),
        }
    }
}

/// Whether it is accepted.
pub(crate) fn check(server: Server, request: &Request<'_>) -> Verdict {
    let root = At::root(request.body);
    for (name, field) in root.fields()? {
        field.ensure(server.knows(name), &format!("Unrecognized request argument supplied: {name}"))?;
    }
    root.need("model")?.text()?;
    check_messages(server, &root)?;
    check_tools(server, &root)?;
    check_options(server, &root)
}

/// The answer of status 400.
pub(crate) fn error(refused: &Refused) -> Value {
    let (param, message) = (&refused.place, refused.to_string());
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": param, "code": "invalid_value" } })
}

fn check_options(server: Server, root: &At<'_>) -> Verdict {
    for (name, bounds) in [("temperature", 0.0..=2.0), ("top_p", 0.0..=1.0)] {
        root.get(name).map(|at| at.number(bounds)).transpose()?;
    }
    for name in ["frequency_penalty", "presence_penalty"] {
        root.get(name).map(|at| at.number(-2.0..=2.0)).transpose()?;
    }
    for name in ["max_tokens", "max_completion_tokens", "n"] {
        root.get(name).map(|at| at.count(1..=u64::MAX)).transpose()?;
    }
    if let Some(both) = root.get("max_tokens").filter(|_| root.get("max_completion_tokens").is_some()) {
        return Err(both.refused("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported"));
    }
    let is_stream = root.get("stream").is_some_and(|stream| stream.value() == true);
    if let Some(options) = root.get("stream_options") {
        options.ensure(is_stream, "The 'stream_options' parameter is only allowed when 'stream' is enabled")?;
    }
    if let Some(top) = root.get("top_logprobs") {
        top.count(0..=20)?;
        let logprobs = root.get("logprobs").is_some_and(|logprobs| logprobs.value() == true);
        top.ensure(logprobs, "The 'logprobs' parameter must be set to true if 'top_logprobs' is used")?;
    }
    if let Some(stop) = root.get("stop") {
        let most = stop.value().as_array().is_none_or(|all| all.len() <= 4);
        stop.ensure(server != Server::Openai || most, "array too long. Expected an array with maximum length 4")?;
    }
    if let Some(effort) = root.get("reasoning_effort") {
        let known: &[&str] = match server {
            Server::Mistral => &["none", "high"],
            Server::Openai | Server::Copy => &["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        };
        effort.word(known)?;
    }
    let Some(format) = root.get("response_format") else { return Ok(()) };
    let kind = format.need("type")?.word(&["text", "json_object", "json_schema"])?;
    if kind == "json_schema" {
        let schema = format.need("json_schema")?;
        schema.need("name")?.name(1..=64, "_-")?;
        schema.get("schema").map(|at| at.object().map(drop)).transpose()?;
    }
    Ok(())
}

/// Source: <https://platform.openai.com/docs/guides/function-calling>.
fn check_tools(server: Server, root: &At<'_>) -> Verdict {
    let tools = root.get("tools");
    for name in ["tool_choice", "parallel_tool_calls"] {
        if let Some(field) = root.get(name) {
            field.ensure(tools.is_some(), &format!("'{name}' is only allowed when 'tools' are specified"))?;
        }
    }
    let Some(tools) = tools else { return Ok(()) };
    let all = tools.items()?;
    tools.ensure(!all.is_empty(), "[] is too short - 'tools'")?;
    let mut names = Vec::new();
    for tool in &all {
        let kinds: &[&str] = if server == Server::Openai { &["function", "custom"] } else { &["function"] };
        let kind = tool.need("type")?.word(kinds)?;
        let inner = tool.need(kind)?;
        let name = inner.need("name")?.name(1..=64, "_-")?;
        names.push(name);
        inner.get("parameters").map(|at| at.object().map(drop)).transpose()?;
        if server != Server::Copy {
            inner.only(&["name", "description", "parameters", "strict", "format"])?;
            tool.only(&["type", kind])?;
        }
    }
    let Some(choice) = root.get("tool_choice") else { return Ok(()) };
    if choice.value().is_string() {
        let words: &[&str] = match server {
            Server::Mistral => &["none", "auto", "any", "required"],
            Server::Openai | Server::Copy => &["none", "auto", "required"],
        };
        return choice.word(words).map(drop);
    }
    let kinds: &[&str] =
        if server == Server::Openai { &["function", "custom", "allowed_tools"] } else { &["function"] };
    let kind = choice.need("type")?.word(kinds)?;
    if kind == "allowed_tools" {
        return choice.need(kind)?.need("tools").map(drop);
    }
    let name = choice.need(kind)?.need("name")?;
    name.ensure(names.contains(&name.text()?), "Tool choice not found in 'tools' parameter")
}

fn check_messages(server: Server, root: &At<'_>) -> Verdict {
    let messages = root.need("messages")?;
    let all = messages.items()?;
    messages.ensure(!all.is_empty(), "[] is too short - 'messages'")?;
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in all.iter().enumerate() {
        let roles: &[&str] = match server {
            Server::Mistral => &["system", "user", "assistant", "tool"],
            Server::Openai | Server::Copy => &["system", "developer", "user", "assistant", "tool"],
        };
        let role = message.need("role")?.word(roles)?;
        if server == Server::Copy {
            // Copies take a conversation as it comes.
            open.clear();
        } else if role == "tool" {
            let id = message.need("tool_call_id")?;
            let found = open.iter().position(|open| id.value() == *open);
            let found = found.ok_or_else(|| {
                id.refused("messages with role 'tool' must be a response to a preceding message with 'tool_calls'")
            })?;
            open.remove(found);
        } else {
            let why = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'";
            message.ensure(open.is_empty(), why)?;
        }
        check_message(server, message, role)?;
        if let Some(calls) = message.get("tool_calls") {
            let calls = calls.items()?;
            message.ensure(!calls.is_empty(), "[] is too short - 'tool_calls'")?;
            for call in &calls {
                open.push(check_call(server, call)?);
            }
        }
        let is_last = at + 1 == all.len();
        if server == Server::Mistral && is_last && role == "assistant" {
            let has_prefix = message.get("prefix").is_some_and(|prefix| prefix.value() == true);
            message
                .ensure(has_prefix, "Expected last role User or Tool (or Assistant with prefix True) for serving")?;
        }
    }
    messages.ensure(server == Server::Copy || open.is_empty(), "Not every 'tool_call_id' has a response message")
}

/// The fields of a message. Sources: as above, and <https://docs.mistral.ai/api/endpoint/chat> for `prefix`.
fn check_message(server: Server, message: &At<'_>, role: &str) -> Verdict {
    let known: &[&str] = match (server, role) {
        (Server::Mistral, "assistant") => &["role", "content", "tool_calls", "prefix"],
        (Server::Mistral, "tool") => &["role", "content", "tool_call_id", "name"],
        (Server::Mistral, _) => &["role", "content"],
        (Server::Copy, "assistant") => &[
            "role",
            "content",
            "name",
            "refusal",
            "audio",
            "tool_calls",
            "function_call",
            "reasoning",
            "reasoning_content",
            "annotations",
        ],
        (_, "assistant") => {
            &["role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "annotations"]
        }
        (_, "tool") => &["role", "content", "tool_call_id", "name"],
        _ => &["role", "content", "name"],
    };
    message.only(known)?;
    let has_calls = ["tool_calls", "function_call", "refusal"].iter().any(|name| message.get(name).is_some());
    let Some(content) = message.get("content") else {
        return message.ensure(role == "assistant" && has_calls, "Missing required parameter: 'content'");
    };
    if content.value().is_string() {
        return Ok(());
    }
    for part in content.items()? {
        let kinds: &[&str] = match (server, role) {
            (_, "system" | "developer" | "tool") => &["text"],
            (Server::Mistral, "assistant") => &["text", "thinking"],
            (_, "assistant") => &["text", "refusal"],
            (Server::Mistral, _) => &["text", "image_url", "document_url", "input_audio", "file"],
            _ => &["text", "image_url", "input_audio", "file", "video_url"],
        };
        match part.need("type")?.word(kinds)? {
            "text" => part.need("text")?.text().map(drop)?,
            "image_url" => {
                let image = part.need("image_url")?;
                let url = if image.value().is_string() { image } else { image.need("url")? };
                url.text()?;
            }
            "file" if server != Server::Mistral => {
                let file = part.need("file")?;
                file.only(&["file_data", "file_id", "filename"])?;
                let has_content = file.get("file_data").is_some() || file.get("file_id").is_some();
                file.ensure(has_content, "Missing required parameter: 'file_data' or 'file_id'")?;
            }
            "input_audio" if server != Server::Mistral => {
                part.need("input_audio")?.need("data")?.text()?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The longest id of a call at OpenAI, by its message; Mistral's are nine letters and digits, by its code 3280.
fn check_call<'a>(server: Server, call: &At<'a>) -> Result<&'a str, Refused> {
    let id = call.need("id")?;
    let text = match server {
        Server::Mistral => id.name(9..=9, "")?,
        Server::Openai | Server::Copy => id.text()?,
    };
    id.ensure(
        server != Server::Openai || text.len() <= 40,
        "string too long. Expected a string with maximum length 40",
    )?;
    let kinds: &[&str] = if server == Server::Openai { &["function", "custom"] } else { &["function"] };
    let kind = call.need("type")?.word(kinds)?;
    let inner = call.need(kind)?;
    inner.need("name")?.name(1..=64, "_-")?;
    inner.need(if kind == "custom" { "input" } else { "arguments" })?.text()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(server: Server, changes: &Value) -> Result<(), String> {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        check(server, &Request { path: "chat/completions", body: &body }).map_err(|refused| refused.to_string())
    }

    fn tool(name: &str) -> Value {
        json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } })
    }

    #[test]
    fn requests_as_the_reference_shows_them_are_accepted() {
        let call = json!({ "id": "abcdefghi", "type": "function", "function": { "name": "f", "arguments": "{}" } });
        let turns = json!({ "tools": [tool("f")], "tool_choice": "auto", "messages": [{ "role": "user", "content": "Hi" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "abcdefghi", "content": "42" }] });
        for server in [Server::Openai, Server::Copy, Server::Mistral] {
            assert_eq!(verdict(server, &json!({})), Ok(()));
            assert_eq!(verdict(server, &turns), Ok(()), "{server:?}");
        }
        let allowed = json!({ "tools": [tool("f")], "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [] } } });
        assert_eq!(verdict(Server::Openai, &allowed), Ok(()));
    }

    #[test]
    fn what_a_server_refuses_is_named() {
        use Server::{Copy, Mistral, Openai};
        let custom = json!({ "type": "custom", "custom": { "name": "f" } });
        let orphan = json!([{ "role": "tool", "tool_call_id": "x", "content": "1" }]);
        let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
        let unanswered =
            json!([{ "role": "assistant", "tool_calls": [call("x")] }, { "role": "user", "content": "?" }]);
        let long = json!([{ "role": "assistant", "tool_calls": [call(&"x".repeat(41))] }]);
        let block = json!([{ "role": "assistant", "content": [{ "type": "server_tool_use", "id": "s" }] }]);
        for (server, changes, place) in [
            (Openai, json!({ "tools": [tool(&"x".repeat(65))] }), "tools.0.function.name"),
            (Copy, json!({ "tools": [tool("a.b")] }), "tools.0.function.name"),
            (Openai, json!({ "tool_choice": "auto" }), "tool_choice"),
            (Openai, json!({ "tools": [] }), "tools"),
            (Copy, json!({ "tools": [custom] }), "tools.0.type"),
            (Copy, json!({ "tools": [tool("f")], "tool_choice": { "type": "allowed_tools" } }), "tool_choice.type"),
            (Openai, json!({ "client_metadata": {} }), "client_metadata"),
            (Openai, json!({ "top_k": 3 }), "top_k"),
            (Mistral, json!({ "seed": 3 }), "seed"),
            (Mistral, json!({ "messages": [{ "role": "developer", "content": "x" }] }), "messages.0.role"),
            (Openai, json!({ "messages": orphan }), "messages.0.tool_call_id"),
            (Openai, json!({ "messages": unanswered }), "messages.1"),
            (Openai, json!({ "messages": long }), "messages.0.tool_calls.0.id"),
            (Copy, json!({ "messages": block }), "messages.0.content.0.type"),
            (Openai, json!({ "stream_options": {} }), "stream_options"),
            (Openai, json!({ "temperature": 3 }), "temperature"),
        ] {
            let found = verdict(server, &changes).unwrap_err();
            assert_eq!(found.split(": ").next(), Some(place), "{changes}: {found}");
        }
    }
}
