//! The fields of the agnostic form in the words of each client dialect: an error about a field, and what was left out, name
//! what the caller has written. Knows the names, and no request: a place in a list that the two forms count differently is
//! named by the list.

use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};

/// A field and all below it, and what the dialect calls it.
type Names = &'static [(&'static str, &'static str)];

/// Source: <https://platform.openai.com/docs/api-reference/responses/create>.
const RESPONSES: Names = &[
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
    ("reasoning_effort", "reasoning.effort"),
    ("logprobs", "include"),
    ("tool_choice.function", "tool_choice"),
];

/// Source: <https://platform.claude.com/docs/en/api/messages/create>.
const ANTHROPIC: Names = &[
    ("max_completion_tokens", "max_tokens"),
    ("stop", "stop_sequences"),
    ("user", "metadata.user_id"),
    ("response_format.json_schema", "output_config.format"),
    ("response_format", "output_config.format"),
    ("reasoning_effort", "output_config.effort"),
    ("reasoning.max_tokens", "thinking.budget_tokens"),
    ("reasoning", "thinking"),
    ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
    ("tool_choice.function", "tool_choice"),
];

/// Source: <https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>.
const GOOGLE: Names = &[
    ("temperature", "generationConfig.temperature"),
    ("top_p", "generationConfig.topP"),
    ("top_k", "generationConfig.topK"),
    ("n", "generationConfig.candidateCount"),
    ("max_completion_tokens", "generationConfig.maxOutputTokens"),
    ("max_tokens", "generationConfig.maxOutputTokens"),
    ("stop", "generationConfig.stopSequences"),
    ("seed", "generationConfig.seed"),
    ("presence_penalty", "generationConfig.presencePenalty"),
    ("frequency_penalty", "generationConfig.frequencyPenalty"),
    ("logprobs", "generationConfig.responseLogprobs"),
    ("top_logprobs", "generationConfig.logprobs"),
    ("modalities", "generationConfig.responseModalities"),
    ("audio", "generationConfig.speechConfig"),
    ("response_format.json_schema.schema", "generationConfig.responseSchema"),
    ("response_format.json_schema", "generationConfig.responseSchema"),
    ("response_format", "generationConfig.responseMimeType"),
    ("reasoning_effort", "generationConfig.thinkingConfig"),
    ("reasoning", "generationConfig.thinkingConfig"),
    ("tool_choice", "toolConfig.functionCallingConfig"),
    ("safety_settings", "safetySettings"),
    ("media_resolution", "generationConfig.mediaResolution"),
    ("metadata", "labels"),
    ("dimensions", "outputDimensionality"),
    ("input_type", "taskType"),
    ("input", "content"),
];

/// Source: <https://docs.ollama.com/api/chat>.
const OLLAMA: Names = &[
    ("max_completion_tokens", "options.num_predict"),
    ("max_tokens", "options.num_predict"),
    ("temperature", "options.temperature"),
    ("top_p", "options.top_p"),
    ("top_k", "options.top_k"),
    ("seed", "options.seed"),
    ("stop", "options.stop"),
    ("presence_penalty", "options.presence_penalty"),
    ("frequency_penalty", "options.frequency_penalty"),
    ("response_format.json_schema.schema", "format"),
    ("response_format", "format"),
    ("reasoning_effort", "think"),
];

/// A field of the agnostic form as a dialect calls it; `None` when it is called the same, or is none of that form's.
pub fn field(dialect: Dialect, path: &str) -> Option<String> {
    let (names, messages) = match dialect {
        Dialect::Responses => (RESPONSES, "input"),
        Dialect::Anthropic => (ANTHROPIC, "messages"),
        Dialect::Google => (GOOGLE, "contents"),
        _ => return None,
    };
    if below("messages", path).is_some() {
        // Turns are merged and parted on the way: their numbers are not the caller's.
        return Some(messages.to_owned()).filter(|own| own != path);
    }
    if path.starts_with("tools[") {
        return tool(dialect, path);
    }
    renamed(names, path)
}

fn renamed(names: Names, path: &str) -> Option<String> {
    names.iter().find_map(|(name, own)| Some(format!("{own}{}", below(name, path)?)))
}

/// What of a path stands below a field; `None` when it is of another.
fn below<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A function's fields stand in the tool itself, or in a list of declarations.
fn tool(dialect: Dialect, path: &str) -> Option<String> {
    let (tool, rest) = path.split_once("].function")?;
    if !(rest.is_empty() || rest.starts_with('.')) {
        return None;
    }
    Some(match dialect {
        Dialect::Google => "tools".to_owned(),
        Dialect::Anthropic => format!("{tool}]{}", rest.replacen(".parameters", ".input_schema", 1)),
        _ => format!("{tool}]{rest}"),
    })
}

/// How Anthropic says that a prompt does not fit: its clients shorten the conversation when a message begins so.
/// Source: <https://platform.claude.com/docs/en/build-with-claude/context-windows>.
const TOO_LONG: &str = "prompt is too long";

/// A failure that names its field as the caller does, and says what callers of the dialect act on as its own provider does.
pub fn failure(dialect: Dialect, failure: &Failure) -> Option<Failure> {
    if failure.kind == FailureKind::ContextTooLong && dialect == Dialect::Anthropic {
        let is_said = failure.message.to_lowercase().contains(TOO_LONG);
        let message = format!("{TOO_LONG}: {}", failure.message);
        return Some(Failure { message, ..failure.clone() }).filter(|_| !is_said);
    }
    let param = failure.param.as_ref()?;
    let own = field(dialect, param)?;
    let message = failure.message.replace(&format!("`{param}`"), &format!("`{own}`"));
    Some(Failure { message, param: Some(own), ..failure.clone() })
}

/// The message of an error about a field of OpenAI's, for a client of Ollama's API.
pub fn for_ollama(message: &str, param: &str) -> String {
    match renamed(OLLAMA, param) {
        Some(own) => message.replace(&format!("`{param}`"), &format!("`{own}`")),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_the_callers_name() {
        use Dialect::{Anthropic, Google, Openai, Responses};
        for (dialect, path, own) in [
            (Openai, "response_format", None),
            (Responses, "response_format.json_schema.schema.properties.a", Some("text.format.schema.properties.a")),
            (Responses, "response_format", Some("text.format")),
            (Responses, "max_tokens", Some("max_output_tokens")),
            (Responses, "messages[3].content[0]", Some("input")),
            (Responses, "tools[2].function.parameters", Some("tools[2].parameters")),
            (Responses, "tools[2].type", None),
            (Responses, "text.format", None),
            (Responses, "seed", None),
            (Anthropic, "stop[1]", Some("stop_sequences[1]")),
            (Anthropic, "stop_x", None),
            (Anthropic, "max_tokens", None),
            (Anthropic, "messages[0].content", Some("messages")),
            (Anthropic, "messages", None),
            (Anthropic, "tools[0].function.parameters.$ref", Some("tools[0].input_schema.$ref")),
            (Anthropic, "reasoning.max_tokens", Some("thinking.budget_tokens")),
            (Google, "top_k", Some("generationConfig.topK")),
            (Google, "n", Some("generationConfig.candidateCount")),
            (Google, "response_format.json_schema.schema", Some("generationConfig.responseSchema")),
            (Google, "tools[0].function.name", Some("tools")),
            (Google, "tools[0].functionDeclarations[1].name", None),
            (Google, "messages[1]", Some("contents")),
            (Google, "contents[0].parts[0]", None),
        ] {
            assert_eq!(field(dialect, path).as_deref(), own, "{dialect:?} {path}");
        }
    }

    #[test]
    fn a_client_of_anthropics_reads_the_words_at_which_it_shortens_the_conversation() {
        let failed = |message: &str| Failure::provider(FailureKind::ContextTooLong, message);
        let vllm = failed("This model's maximum context length is 4096 tokens.");
        let own = failure(Dialect::Anthropic, &vllm).unwrap();
        assert_eq!(own.message, "prompt is too long: This model's maximum context length is 4096 tokens.");
        assert_eq!(failure(Dialect::Anthropic, &failed("Prompt is too long: 3 tokens > 2 maximum")), None);
        assert_eq!(failure(Dialect::Responses, &vllm), None);
    }

    #[test]
    fn the_message_names_the_field_as_the_param_does() {
        let mut failed =
            Failure::gateway(FailureKind::Unsupported, "`top_k` is not supported: `top_kind` is no `top_k`");
        assert_eq!(failure(Dialect::Google, &failed), None);
        failed.param = Some("top_k".to_owned());
        let own = failure(Dialect::Google, &failed).unwrap();
        let name = "`generationConfig.topK`";
        assert_eq!(own.message, format!("{name} is not supported: `top_kind` is no {name}"));
        assert_eq!(own.param.as_deref(), Some("generationConfig.topK"));
        assert_eq!(for_ollama("`seed` is not supported", "seed"), "`options.seed` is not supported");
    }
}
