//! The parts of a turn as Gemini has them. Knows nothing of where they come from. Source: <https://ai.google.dev/api/caching#Part>.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One part of a turn.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<FileData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<FunctionCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_response: Option<FunctionResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<String>,
}

/// A call of one of the caller's functions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FunctionCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) args: Box<RawValue>,
}

/// What such a call has given.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FunctionResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) response: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part>,
}

/// Bytes in place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    pub(super) mime_type: String,
    pub(super) data: String,
}

/// A file that Google can reach.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<String>,
    pub(super) file_uri: String,
}

impl Part {
    pub(super) fn text(text: String) -> Self {
        Self { text: Some(text), ..Self::default() }
    }

    pub(super) fn inline(blob: Blob) -> Self {
        Self { inline_data: Some(blob), ..Self::default() }
    }

    pub(super) fn file(file: FileData) -> Self {
        Self { file_data: Some(file), ..Self::default() }
    }
}
