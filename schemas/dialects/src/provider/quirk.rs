//! In what a server that speaks OpenAI's chat completions differs from OpenAI: data of the catalogue's rows and of the
//! operator's sections, so that a copy needs no code. Knows no server by its name.

use crate::provider::FormatSettings;
use serde::Deserialize;

/// One difference, by its name in `quirks = […]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Wants `max_completion_tokens`, and refuses `max_tokens` for some models, as OpenAI does for those that reason.
    /// Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens>.
    MaxCompletionTokens,
    /// Knows `max_tokens` alone, and would overlook a limit under its newer name. Applied to the caller's own bytes too.
    /// Sources: <https://docs.ollama.com/api/openai-compatibility>, <https://lmstudio.ai/docs/app/api/endpoints/openai>,
    /// <https://api-docs.deepseek.com/api/create-chat-completion>.
    MaxTokens,
    /// Refuses `stream_options`; reports the usage of a stream unasked, or not at all. Applied to the caller's own bytes.
    NoStreamOptions,
    /// Knows no role `developer`, as the chat templates of open models do not: it is sent as `system`, which OpenAI says
    /// means the same. Applied to the caller's own bytes too.
    /// Sources: <https://model-spec.openai.com/>, <https://api-docs.deepseek.com/api/create-chat-completion>.
    NoDeveloperRole,
    /// Refuses `parallel_tool_calls`. Applied to the caller's own bytes too, where its value is the default.
    NoParallelToolCalls,
    /// Takes back what an assistant thought as `reasoning_content`; some refuse a conversation with tools without it.
    /// Source: <https://api-docs.deepseek.com/guides/thinking_mode>.
    ReasoningContent,
    /// The same as `reasoning`. Source: <https://docs.vllm.ai/en/latest/features/reasoning_outputs.html>.
    Reasoning,
    /// Takes back `reasoning_details`, and finds out itself for whom each is.
    /// Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
    ReasoningDetails,
    /// Takes `reasoning: {"max_tokens", "enabled", "effort"}`. Source: as above.
    ReasoningObject,
    /// Takes `cache_control`. Source: <https://openrouter.ai/docs/features/prompt-caching>.
    CacheControl,
    /// Takes `top_k`. Source: <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>.
    TopK,
    /// Takes tools of type `custom`, whose input is free text, and a choice of `allowed_tools`, as OpenAI does. Others get a
    /// function of one text, and the allowed tools alone. Source:
    /// <https://platform.openai.com/docs/guides/function-calling#custom-tools>.
    CustomTools,
    /// Overlooks `reasoning_effort` where a model does not think, as long as it is `low`, `medium` or `high`; others refuse it.
    /// Source: <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>.
    OverlooksEffort,
    /// Takes images as data URLs only: the worker fetches those that are addresses. Source:
    /// <https://docs.ollama.com/api/openai-compatibility>.
    NoUrls,
    /// Gives vectors as lists of numbers alone: asked for base64, it refuses or gives none. They are encoded here. Applied to the
    /// caller's own bytes. Sources: <https://github.com/plastic-labs/honcho/issues/932>,
    /// <https://www.alibabacloud.com/help/en/model-studio/embedding-interfaces-compatible-with-openai>.
    FloatVectors,
    /// Takes `content` as one text only, unless there are images in it.
    TextContent,
}

impl FormatSettings {
    /// Whether the server differs so.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}
