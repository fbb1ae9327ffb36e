//! What a request looks like on the wire. A union is an object with one field, which is how serde writes an enum.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) system: Vec<Block>,
    pub(super) messages: Vec<Turn>,
    #[serde(skip_serializing_if = "InferenceConfig::is_empty")]
    pub(super) inference_config: InferenceConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_config: Option<ToolConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_config: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) additional_model_request_fields: Map<String, Value>,
    /// Fields of Converse's own that the caller wrote as they are, and those that are spelt as they are here.
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

/// A message: `user` or `assistant`.
#[derive(Debug, Serialize)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) content: Vec<Block>,
}

/// A block of content, also of a system prompt and of a tool's result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block {
    Text(String),
    Image(Media),
    Audio(Media),
    Document(Document),
    ToolUse(ToolUse),
    ToolResult(ToolResult),
    ReasoningContent(Reasoning),
    CachePoint(CachePoint),
}

/// An image or a sound.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Media {
    pub(super) format: String,
    pub(super) source: Source,
}

/// Where the bytes are: in the request, as base64.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    pub(super) bytes: String,
}

/// A document.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    pub(super) format: &'static str,
    pub(super) name: String,
    pub(super) source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citations: Option<Value>,
}

/// A call.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ToolUse {
    #[serde(rename = "toolUseId")]
    pub(super) id: String,
    pub(super) name: String,
    /// The caller's text: a number in it that no float holds stays what it is.
    pub(super) input: Box<RawValue>,
}

/// What a call gave.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ToolResult {
    #[serde(rename = "toolUseId")]
    pub(super) id: String,
    pub(super) content: Vec<Block>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
}

/// What the model thought earlier, for itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning {
    ReasoningText { text: String, signature: String },
    RedactedContent(String),
}

/// Up to here the prompt is to be cached.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CachePoint {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<&'static str>,
}

/// What every model understands.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InferenceConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stop_sequences: Vec<String>,
}

impl InferenceConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The tools, and which of them must be called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig {
    pub(super) tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Value>,
}

/// A tool, or the end of those that are to be cached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Tool {
    ToolSpec(ToolSpec),
    CachePoint(CachePoint),
}

/// A function.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolSpec {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) input_schema: InputSchema,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

/// The schema of a function's arguments.
#[derive(Debug, Serialize)]
pub(super) struct InputSchema {
    pub(super) json: Value,
}
