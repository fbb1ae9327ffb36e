//! In which wire format something is asked, and what. Knows no format's words.

use serde::{Deserialize, Serialize};

/// A wire format of clients and providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI chat completions; also the provider-agnostic form, see [`crate::chat`].
    Openai,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Anthropic,
    /// Google Gemini `generateContent`.
    Google,
    /// Google Vertex AI.
    Vertex,
    /// Mistral.
    Mistral,
    /// Cohere v2.
    Cohere,
    /// Amazon Bedrock Converse.
    Bedrock,
    /// Azure OpenAI.
    Azure,
}

impl Dialect {
    /// The dialect whose JSON it is: Azure serves OpenAI's, Vertex Google's.
    pub fn form(self) -> Self {
        match self {
            Self::Azure => Self::Openai,
            Self::Vertex => Self::Google,
            Self::Openai
            | Self::Responses
            | Self::Anthropic
            | Self::Google
            | Self::Mistral
            | Self::Cohere
            | Self::Bedrock => self,
        }
    }
}

impl Dialect {
    /// The word that stands for it in SQL and in spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Vertex => "vertex",
            Self::Mistral => "mistral",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
            Self::Azure => "azure",
        }
    }
}

/// What is asked of a provider. Each has one agnostic form: OpenAI's, save for `Rerank`, which has Cohere's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A chat completion.
    Chat,
    /// A completion of a text: `/v1/completions`.
    Completions,
    /// Vectors for texts.
    Embeddings,
    /// Whether texts are harmful.
    Moderations,
    /// Images from a text.
    Images,
    /// Images from images and a text; the request is a form, not JSON.
    ImageEdits,
    /// Images like an image; the request is a form, not JSON.
    ImageVariations,
    /// Speech from a text; the answer is audio, not JSON.
    Speech,
    /// A text from speech; the request is a form, not JSON.
    Transcriptions,
    /// An English text from speech in any language; otherwise as `Transcriptions`.
    Translations,
    /// The order of documents by a query, in Cohere's v2 shape.
    Rerank,
    /// How many tokens a chat request is, in Anthropic's shape: `{"input_tokens"}`.
    CountTokens,
    /// A session of several responses over one WebSocket, in OpenAI's events.
    Realtime,
}

impl Operation {
    /// Whether images come of it.
    pub fn makes_images(self) -> bool {
        matches!(self, Self::Images | Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether its request is a form, not JSON.
    pub fn takes_form(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations | Self::ImageEdits | Self::ImageVariations)
    }

    /// The word that stands for it in subjects, SQL and `gen_ai.operation.name`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Images => "images",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Rerank => "rerank",
            Self::CountTokens => "count_tokens",
            Self::Realtime => "realtime",
        }
    }
}
