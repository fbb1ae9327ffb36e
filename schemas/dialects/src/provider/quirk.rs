//! In what a server that speaks OpenAI's chat completions differs from OpenAI: data of the catalogue's rows and of the
//! operator's sections, so that a copy needs no code. Knows no server by its name.

use crate::provider::FormatSettings;
use serde::Deserialize;

/// One difference, by its name in `quirks = […]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Wants `max_completion_tokens`, and refuses `max_tokens` for some models, as OpenAI does for those that reason, and
    /// beside it for all. Where both stand in the caller's own bytes, the older one is left out.
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
    /// Ranks `texts`, as it calls the documents, and all of them, at a path without a version: a section of its own, whose
    /// `base_url` ends before `/rerank`. Applied to the caller's own bytes. Source:
    /// <https://huggingface.github.io/text-embeddings-inference/>.
    RankedTexts,
    /// Calls the number of the best documents `top_k`. Applied to the caller's own bytes. Source:
    /// <https://docs.voyageai.com/reference/reranker-api>.
    RankedTopK,
    /// Takes `content` as one text only, unless there are images in it. Applied to the caller's own bytes too, as are all below.
    /// Sources: <https://github.com/huggingface/smolagents/issues/1158>,
    /// <https://github.com/musistudio/claude-code-router/issues/965>.
    TextContent,
    /// Takes one message of the system at the beginning; more are joined there, which says the same. Templates of open models:
    /// <https://github.com/suitenumerique/conversations/issues/197>.
    OneSystem,
    /// Takes words of the system at the beginning alone: later ones are said with the user's.
    /// Sources: <https://github.com/MiniMax-AI/MiniMax-M2/issues/51>, <https://github.com/codexu/note-gen/issues/918>.
    LeadingSystem,
    /// Wants the user and the assistant in turn. Source: <https://github.com/perplexityai/api-discussion/issues/265>.
    InTurn,
    /// Refuses an assistant's message without content.
    /// Sources: <https://github.com/sgl-project/sglang/issues/3637>,
    /// <https://github.com/SAIL-Research-Lab/cheetahclaws/issues/71>.
    SomeContent,
    /// Refuses an assistant's message that says nothing and calls nothing.
    /// Source: <https://github.com/AstrBotDevs/AstrBot/issues/7200>.
    NoEmptyTurns,
    /// Refuses, where there are tools and it thinks, an assistant's message without `reasoning_content` or with an empty one: where
    /// the caller sends none, a space is sent.
    /// Sources: <https://github.com/esengine/DeepSeek-Reasonix/issues/6173>,
    /// <https://github.com/NousResearch/hermes-agent/pull/18263>.
    ThoughtsKept,
    /// Refuses a function without `parameters`. Source: <https://github.com/zhangyang-crazy-one/tabby-ai-assistant/issues/13>.
    SomeParameters,
    /// Takes `tool_choice` as a word alone: a function that is named is the only one, and some call is required.
    /// Source: <https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/670>.
    ChoiceInWords,
    /// Knows JSON by its schema alone, as `json_schema`.
    /// Source: <https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/189>.
    SchemaOnly,
    /// Calls what it must call only while it does not think, which it does unless `thinking` says `disabled`.
    /// Sources: <https://github.com/deepseek-ai/DeepSeek-V3/issues/1376>, <https://github.com/can1357/oh-my-pi/issues/1077>.
    ForcedUnthinking,
    /// The same, as `enable_thinking`. Source: <https://github.com/QwenLM/qwen-code/issues/7659>.
    ForcedNotEnabled,
    /// Thinks in streams alone, and refuses a whole answer unless `enable_thinking` is false.
    /// Source: <https://github.com/langchain4j/langchain4j/issues/3974>.
    ThinksInStreams,
    /// Knows the efforts `low`, `medium` and `high`, and thinks unless `thinking` says `disabled`.
    /// Source: <https://github.com/lidge-jun/opencodex/issues/1483>.
    ThreeEfforts,
    /// Refuses `reasoning_effort` beside `thinking`. Source: <https://github.com/HKUDS/nanobot/issues/3939>.
    OneThought,
    /// Says in `usage.cost` what an answer costs, in dollars: where no price is known, that is what it costs.
    /// Source: <https://openrouter.ai/docs/use-cases/usage-accounting>.
    TellsCost,
    /// Serves OpenAI's own models among others, and these take what they take at OpenAI.
    /// Source: <https://github.com/actions/ai-inference/issues/116>.
    OpenaiModels,
}

impl FormatSettings {
    /// Whether the server differs so.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Whether the server, or this model of it, differs so.
    pub fn has_at(&self, quirk: Quirk, model: &str) -> bool {
        self.has(quirk) || self.model_quirks.of(model).any(|known| *known == quirk)
    }
}
