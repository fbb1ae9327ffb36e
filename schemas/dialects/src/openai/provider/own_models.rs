//! What OpenAI's own models refuse, told by their names, wherever they are served as OpenAI serves them. Knows no server.
//! Sources: <https://platform.openai.com/docs/guides/reasoning>, and beside each line who saw it.

use crate::provider::{FormatSettings, Quirk};
use crate::sampling;
use penstock_schemas::pattern;

/// Refused by models that think: <https://github.com/huggingface/smolagents/issues/1671>,
/// <https://github.com/nextai-translator/nextai-translator/issues/1781>.
const OF_THINKERS: [&str; 6] =
    ["stop", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"];

/// Refused by models that do not: <https://github.com/umputun/tg-spam/issues/304>,
/// <https://github.com/google-deepmind/concordia/issues/164>, <https://github.com/BerriAI/litellm/pull/38842>,
/// <https://github.com/enricoros/big-AGI/issues/947>.
const OF_OTHERS: [&str; 4] = ["reasoning_effort", "verbosity", "reasoning", "text.verbosity"];

/// More, by their names.
const LACKS: [(&str, &[&str]); 10] = [
    // <https://github.com/vllm-project/vllm/issues/39741>: an empty list.
    ("*", &["tools"]),
    // <https://github.com/langchain-ai/langgraph-supervisor-py/issues/52>
    ("o1*", &["parallel_tool_calls"]),
    ("o3*", &["parallel_tool_calls"]),
    ("o4*", &["parallel_tool_calls"]),
    // <https://github.com/ChatGPTNextWeb/NextChat/issues/6569>
    ("*-search-preview*", &["temperature", "top_p", "presence_penalty", "frequency_penalty"]),
    ("*-search-api*", &["temperature", "top_p", "presence_penalty", "frequency_penalty"]),
    // <https://github.com/SciPhi-AI/R2R/pull/768>
    ("text-embedding-ada-002", &["dimensions"]),
    // <https://github.com/managoat/fountain/pull/110>
    ("gpt-image-*", &["response_format"]),
    ("chatgpt-image-*", &["response_format"]),
    // <https://github.com/pydantic/pydantic-ai/issues/3326>
    ("gpt-5-chat*", &OF_OTHERS),
];

/// The families that do not think and are surely OpenAI's.
const OTHERS: [&str; 4] = ["gpt-4*", "gpt-3.5-*", "chatgpt-4*", "gpt-35-*"];

/// The fields that this model refuses; none where it is not known to be OpenAI's.
pub(super) fn lacks(settings: &FormatSettings, model: &str) -> impl Iterator<Item = &'static str> {
    let is_own = settings.has(Quirk::CustomTools);
    let is_named = settings.has(Quirk::OpenaiModels) && model.starts_with("openai/");
    let name = model.rsplit('/').next().unwrap_or(model).to_owned();
    let thinks = sampling::reasons(&name);
    let is_other = OTHERS.iter().any(|others| pattern::matches(others, &name));
    let of_kind: &[&str] = match (thinks, is_other) {
        (true, _) => &OF_THINKERS,
        (_, true) => &OF_OTHERS,
        _ => &[],
    };
    let more = LACKS.iter().filter(move |(models, _)| pattern::matches(models, &name)).flat_map(|(_, fields)| *fields);
    more.chain(of_kind).copied().filter(move |_| is_own || is_named)
}

/// Whether it is one of OpenAI's that never thinks, at OpenAI itself.
pub(crate) fn never_thinks(settings: &FormatSettings, model: &str) -> bool {
    let is_other = OTHERS.iter().chain(&["gpt-5-chat*"]).any(|others| pattern::matches(others, model));
    settings.has(Quirk::CustomTools) && is_other
}

/// Whether it is one of OpenAI's that thinks, at a server where it takes what it takes at OpenAI.
pub(super) fn thinks(settings: &FormatSettings, model: &str) -> bool {
    let is_own = settings.has(Quirk::CustomTools) || settings.has(Quirk::OpenaiModels);
    is_own && sampling::reasons(model)
}
