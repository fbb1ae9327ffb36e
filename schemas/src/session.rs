//! The session that a request is a part of: an agent's run, or a conversation. Knows nothing of where its name stands.

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const LONGEST: usize = 256;

/// Where the name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionSource {
    /// In `x-penstock-session`.
    Header,
    /// In a header of the client's own.
    Client,
    /// In the body's metadata.
    Metadata,
    /// In the body's `conversation`.
    Conversation,
    /// In the body's `prompt_cache_key`.
    PromptCacheKey,
    /// By the response that it goes on from.
    Response,
}

impl SessionSource {
    /// The word that stands for it in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Client => "client",
            Self::Metadata => "metadata",
            Self::Conversation => "conversation",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::Response => "response",
        }
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name, within the project.
    pub id: String,
    /// Where that was found.
    pub source: SessionSource,
}

impl Session {
    /// A session of this name; `None` when it is empty, too long, or not printable.
    pub fn parse(id: &str, source: SessionSource) -> Option<Self> {
        let id = id.trim();
        let is_name = !id.is_empty() && id.len() <= LONGEST && !id.chars().any(char::is_control);
        is_name.then(|| Self { id: id.to_owned(), source })
    }
}
