//! What each provider's API accepts, as data and rules taken from its reference: a request in, the reason why the provider
//! would refuse it out. For tests only. Knows nothing of Penstock, so that both can be wrong only independently.
//!
//! Every test that spells a request asks here: the golden tests in `workers/tests`, the generator beside them, and the
//! scripted upstream of the gateway tests, which answers with the provider's own 400 and fails the test.
//!
//! One module per reference, of the shape of `anthropic`: `check(&Request) -> Verdict` reads the body through [`At`], which
//! carries the place of each value, and `error(&Refused)` is the provider's error body. Facts that differ per model are a
//! table beside it (`anthropic/models.rs`). Each rule names its source, and says only what the reference or a known error
//! message says: what is not documented is accepted. To add one: a variant of [`Reference`], its lines in [`Reference::check`],
//! [`Reference::error`], [`Reference::of_dialect`] and, where the path tells it, [`Reference::of_path`]; then a table of refused and accepted samples in
//! its tests.

mod anthropic;
mod at;
mod bedrock;
mod chat;
mod cohere;
mod google;
mod media;
mod responses;

pub use at::At;
pub use media::media_type;

use chat::Server;
use serde_json::Value;

/// A provider's reference of what a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Anthropic's messages. Source: <https://platform.claude.com/docs/en/api/messages/create>.
    Anthropic,
    /// Gemini's `generateContent`, also at Vertex AI. Source: <https://ai.google.dev/api/generate-content>.
    Google,
    /// Bedrock's Converse. Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.
    Bedrock,
    /// OpenAI's chat completions, also at Azure. Source: <https://platform.openai.com/docs/api-reference/chat/create>.
    Openai,
    /// A copy of them that knows functions alone.
    Copy,
    /// Mistral's. Source: <https://docs.mistral.ai/api/endpoint/chat>.
    Mistral,
    /// Cohere's chat. Source: <https://docs.cohere.com/reference/chat>.
    Cohere,
    /// OpenAI's responses. Source: <https://platform.openai.com/docs/api-reference/responses/create>.
    Responses,
}

/// A request as it reached the provider.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its path below the provider's base URL, without a slash in front and without the query: `v1/messages`.
    pub path: &'a str,
    /// Its JSON.
    pub body: &'a Value,
}

/// Why a provider refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field, as the provider names it: `messages.0.content.1`; empty for the request as a whole.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

/// Whether a provider accepts a request.
pub type Verdict = Result<(), Refused>;

impl Reference {
    /// The reference of the API that has this path, below any base URL; `None` when the path does not tell or nothing is
    /// known of it.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.trim_matches('/');
        match path.strip_prefix("v1/").unwrap_or(path) {
            "messages" | "messages/count_tokens" => Some(Self::Anthropic),
            path if path.contains("models/") && path.contains(':') => Some(Self::Google),
            path if path.starts_with("model/") && path.contains("/converse") => Some(Self::Bedrock),
            _ => None,
        }
    }

    /// The reference of the dialect that Penstock calls so: `anthropic`; `None` when nothing is known of it here.
    pub fn of_dialect(dialect: &str) -> Option<Self> {
        match dialect {
            "anthropic" => Some(Self::Anthropic),
            "google" | "vertex" => Some(Self::Google),
            "bedrock" => Some(Self::Bedrock),
            "azure" => Some(Self::Openai),
            "openai" => Some(Self::Copy),
            "mistral" => Some(Self::Mistral),
            "cohere" => Some(Self::Cohere),
            "responses" => Some(Self::Responses),
            _ => None,
        }
    }

    /// Whether the provider accepts this request.
    ///
    /// # Errors
    /// When it does not: the first reason that was found.
    pub fn check(self, request: &Request<'_>) -> Verdict {
        match self {
            Self::Anthropic => anthropic::check(request),
            Self::Google => google::check(request),
            Self::Bedrock => bedrock::check(request),
            Self::Openai => chat::check(Server::Openai, request),
            Self::Copy => chat::check(Server::Copy, request),
            Self::Mistral => chat::check(Server::Mistral, request),
            Self::Cohere => cohere::check(request),
            Self::Responses => responses::check(request),
        }
    }

    /// The provider's answer of status 400 to a request that it refuses.
    pub fn error(self, refused: &Refused) -> Value {
        match self {
            Self::Anthropic => anthropic::error(refused),
            Self::Google => google::error(refused),
            Self::Bedrock => bedrock::error(refused),
            Self::Openai | Self::Copy | Self::Mistral => chat::error(refused),
            Self::Cohere => cohere::error(refused),
            Self::Responses => responses::error(refused),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() { write!(f, "{}", self.why) } else { write!(f, "{}: {}", self.place, self.why) }
    }
}
