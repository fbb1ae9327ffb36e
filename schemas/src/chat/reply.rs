//! The answer to a chat request, whole and in chunks. Knows nothing of server-sent events.

use super::{Message, ReasoningDetail, ToolCall};
use crate::usage::Usage;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The provider's id of the answer.
    #[serde(default)]
    pub id: String,
    /// `chat.completion`.
    #[serde(default)]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// The model as the provider names it.
    #[serde(default)]
    pub model: String,
    /// The answers: one, unless `n` asked for more.
    pub choices: Vec<Choice>,
    /// What it consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<CompletionUsage>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its place, from 0.
    pub index: u32,
    /// What the model says.
    #[serde(serialize_with = "with_content")]
    pub message: Message,
    /// Why it stopped: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: Option<String>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A message of an answer has a content, if only to say that there is none: clients read it without asking.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices>.
fn with_content<S: Serializer>(message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Silent<'a> {
        content: (),
        #[serde(flatten)]
        message: &'a Message,
    }
    match message.content {
        Some(_) => message.serialize(serializer),
        None => Silent { content: (), message }.serialize(serializer),
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunk {
    /// The provider's id of the answer.
    #[serde(default)]
    pub id: String,
    /// `chat.completion.chunk`.
    #[serde(default)]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// The model as the provider names it.
    #[serde(default)]
    pub model: String,
    /// The pieces; empty in the chunk that reports the usage.
    #[serde(default)]
    pub choices: Vec<ChunkChoice>,
    /// What it consumed, in the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<CompletionUsage>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A piece of one answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which answer.
    pub index: u32,
    /// What is added.
    pub delta: Delta,
    /// Why it stopped, in its last piece.
    pub finish_reason: Option<String>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a piece adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Only in the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Why the model will not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the model thinks, as text to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The same, with what its issuer needs to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_details: Option<Vec<ReasoningDetail>>,
    /// Calls of tools, in pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The counts as OpenAI spells them: the details are parts of the totals.
/// Source: <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionUsage {
    /// All input tokens, cached and audio ones included.
    pub prompt_tokens: u64,
    /// All output tokens, reasoning and audio ones included.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Both.
    #[serde(default)]
    pub total_tokens: u64,
    /// Parts of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptDetails>,
    /// Parts of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<OutputDetails>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Parts of the input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Read from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Written to it; OpenRouter's name. Source: <https://openrouter.ai/docs/use-cases/usage-accounting>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_tokens: Option<u64>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Parts of the output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputDetails {
    /// Spent on reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_tokens: Option<u64>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl CompletionUsage {
    /// The disjoint classes: the details are taken out of their totals. `None` when a detail is larger than its total,
    /// because then at least one of the figures is wrong.
    pub fn classes(&self) -> Option<Usage> {
        let prompt = self.prompt_tokens_details.clone().unwrap_or_default();
        let output = self.completion_tokens_details.clone().unwrap_or_default();
        let part = |value: Option<u64>| value.unwrap_or(0);
        let cached = part(prompt.cached_tokens).checked_add(part(prompt.cache_write_tokens))?;
        let input = self.prompt_tokens.checked_sub(cached)?;
        let text = self.completion_tokens.checked_sub(part(output.reasoning_tokens))?;
        Some(Usage {
            input: Some(input.checked_sub(part(prompt.audio_tokens))?),
            cache_read: prompt.cached_tokens,
            cache_write: prompt.cache_write_tokens,
            input_audio: prompt.audio_tokens,
            output: Some(text.checked_sub(part(output.audio_tokens))?),
            reasoning: output.reasoning_tokens,
            output_audio: output.audio_tokens,
            ..Usage::default()
        })
    }

    /// The counts as OpenAI spells them, from the disjoint classes; `None` when nothing at all is known.
    pub fn of(usage: &Usage) -> Option<Self> {
        if *usage == Usage::default() {
            return None;
        }
        let cache_write = match (usage.cache_write, usage.cache_write_1h) {
            (None, None) => None,
            (short, long) => Some(short.unwrap_or(0) + long.unwrap_or(0)),
        };
        let (prompt_tokens, completion_tokens) = (usage.input_total(), usage.output_total());
        let prompt = PromptDetails {
            cached_tokens: usage.cache_read,
            cache_write_tokens: cache_write,
            audio_tokens: usage.input_audio,
            extra: Map::new(),
        };
        let output =
            OutputDetails { reasoning_tokens: usage.reasoning, audio_tokens: usage.output_audio, extra: Map::new() };
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: (prompt != PromptDetails::default()).then_some(prompt),
            completion_tokens_details: (output != OutputDetails::default()).then_some(output),
            extra: Map::new(),
        })
    }
}
