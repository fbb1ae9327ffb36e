//! The provider-agnostic chat request and reply. Their JSON form is OpenAI's chat completions schema, the one that most
//! clients and providers already speak, so that between equal dialects bytes pass through untouched. Every level keeps
//! the fields it does not know in `extra`. Source: <https://platform.openai.com/docs/api-reference/chat>.
//!
//! What other dialects can say and OpenAI's cannot has a field of its own here, under the name that the field has come to
//! use for it: `reasoning_content` (DeepSeek), `reasoning` and `reasoning_details` (OpenRouter), `cache_control`
//! (Anthropic, OpenRouter), `top_k`. A provider's adapter strikes out those that its provider does not take.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

mod message;
mod reply;
pub use message::{
    Content, FilePart, FunctionCall, ImageUrl, InputAudio, Issuer, Message, Part, ReasoningDetail, SEAL, ToolCall,
};
pub use reply::{
    Choice, ChunkChoice, Completion, CompletionChunk, CompletionUsage, Delta, OutputDetails, PromptDetails,
};

/// A request for a chat completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model, as the caller names it.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Whether the answer comes as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// How the stream is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Longest answer in tokens, reasoning included.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u64>,
    /// The older name of the same limit.
    #[serde(default, deserialize_with = "limit", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// How many answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// What the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Whether and what it must call: `"none"`, `"auto"`, `"required"`, `{"type": "function", "function": {"name"}}`,
    /// `{"type": "allowed_tools", …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// Whether it may call several at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// What shape the answer has: `{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// How long the model thinks: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// The same in tokens, for dialects that count it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// The end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Everything else: `temperature`, `top_p`, `top_k`, `stop`, `seed`, `logprobs`, `presence_penalty`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A limit as clients write it: `100`, `100.0`, and -1 for none, as llama.cpp and vLLM have it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and to fit")]
fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && *float < 9e15);
    let float = float.ok_or_else(|| D::Error::custom("a limit must be a whole number"))?;
    Ok((float >= 0.0).then_some(float as u64))
}

/// How much a model may think. Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// The most tokens of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// False: none at all, where the model can do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What we do not know, `effort` and `exclude` among it.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a stream is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Whether a last chunk reports the usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a model may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `function`, or a kind of the provider's own, such as `web_search_20250305`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// Anthropic's mark for its prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Value>,
    /// What we do not know, and all of a tool of the provider's own.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A function that a model may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the arguments follow the schema for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nobody_knows_is_the_same_number_when_it_is_passed_on() {
        // The nearest f64 of this text: without serde_json's `float_roundtrip` another one is read.
        let text = r#"{"model":"m","messages":[],"x":1.1111111111111112e+102}"#;
        let request: ChatRequest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
}
