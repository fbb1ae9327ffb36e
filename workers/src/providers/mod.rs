//! How providers are spoken to: one folder per dialect, chosen here by name. Spells requests and reads answers; has no
//! sockets, clocks or retries, and knows nothing of plans, pools or money.
//!
//! A new dialect is a folder beside `openai` and a line in each `match` below; the compiler names the lines.

use crate::sse;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::usage::Usage;
use std::borrow::Cow;

pub mod demo;
pub mod openai;

/// One way to speak to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// OpenAI's chat completions.
    Openai,
}

/// A request as the provider wants it.
#[derive(Clone, Debug)]
pub struct Spelled {
    /// Where to, relative to the provider's base URL, without a slash in front: `chat/completions`.
    pub path: Cow<'static, str>,
    /// The headers, save the key's.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What an answer says besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What it consumed; `None` when the provider did not say, or said what cannot be read.
    pub usage: Option<Usage>,
    /// Whether the provider's figures contradict each other. Then `usage` holds the totals alone, or the larger reading.
    pub usage_mismatch: bool,
    /// The model as the provider names it.
    pub model_version: Option<String>,
    /// The provider's id of the answer.
    pub provider_request_id: Option<String>,
    /// Why the model stopped, in the provider's word; of the first choice that says so.
    pub finish_reason: Option<String>,
}

/// What to do with a piece of a stream. The bytes are what the client reads, in the provider-agnostic form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// No content in it (a role, an empty delta): before the first content it waits for that, after that it goes along.
    Hold(Bytes),
    /// Content: the answer has begun, and can no longer be had from elsewhere.
    Content(Bytes),
    /// Not for the client.
    Hide,
    /// The provider's last word, `[DONE]`.
    Done(Bytes),
}

/// An answer that is not a success, and what is needed to understand it.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Who refused.
    pub provider: &'a ProviderId,
    /// The key that was used: it is struck out of what the provider says.
    pub key: Option<&'a str>,
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: &'a HeaderMap,
    /// The answer's body, or the beginning of it.
    pub body: &'a [u8],
    /// Now: a `Retry-After` may be a date.
    pub now: UnixMicros,
}

impl Adapter {
    /// The adapter for a dialect; `None` when this worker does not speak it yet.
    pub fn of(dialect: Dialect) -> Option<Self> {
        match dialect {
            Dialect::Openai => Some(Self::Openai),
            Dialect::Responses
            | Dialect::Anthropic
            | Dialect::Google
            | Dialect::Vertex
            | Dialect::Mistral
            | Dialect::Cohere
            | Dialect::Bedrock
            | Dialect::Azure => None,
        }
    }

    /// The request as the provider wants it, from the provider-agnostic one.
    ///
    /// # Errors
    /// When the request is not a JSON object, or holds something that the provider cannot express.
    pub fn spell(self, request: &Bytes, model: &ModelId, delivery: Delivery) -> Result<Spelled, Failure> {
        match self {
            Self::Openai => openai::spell(request, model, delivery),
        }
    }

    /// The header that carries the key. It is marked sensitive.
    ///
    /// # Errors
    /// When the key holds characters that no header can hold.
    pub fn authorize(self, key: &str) -> Result<(HeaderName, HeaderValue), Failure> {
        match self {
            Self::Openai => secret(http::header::AUTHORIZATION, &format!("Bearer {key}")),
        }
    }

    /// Reads a complete answer of status 200; its content stays unread.
    ///
    /// # Errors
    /// When it holds an error or no answer, or cannot be understood.
    pub fn read_whole(self, body: &Bytes) -> Result<Observed, Failure> {
        match self {
            Self::Openai => openai::read_whole(body),
        }
    }

    /// A reader for one stream of status 200.
    pub fn stream(self, delivery: Delivery) -> StreamReader {
        match self {
            Self::Openai => StreamReader::Openai(openai::StreamReader::new(delivery)),
        }
    }

    /// Why the provider refused, from an answer of another status than 200.
    pub fn refuse(self, refusal: &Refusal<'_>) -> Failure {
        match self {
            Self::Openai => openai::refuse(refusal),
        }
    }
}

/// Reads one stream, event by event.
#[derive(Debug)]
pub enum StreamReader {
    /// OpenAI's chunks.
    Openai(openai::StreamReader),
}

impl StreamReader {
    /// What to do with the next event.
    ///
    /// # Errors
    /// When the event is an error, or cannot be understood.
    pub fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        match self {
            Self::Openai(reader) => reader.read(event),
        }
    }

    /// What the stream said besides its content. Ask when the provider's stream has ended.
    ///
    /// # Errors
    /// When it ended before it was complete.
    pub fn finished(&self) -> Result<Observed, Failure> {
        match self {
            Self::Openai(reader) => reader.finished(),
        }
    }

    /// What the stream said so far, complete or not: for the ledger, when the answer breaks or the client goes.
    pub fn observed(&self) -> &Observed {
        match self {
            Self::Openai(reader) => reader.observed(),
        }
    }

    /// Whether the provider's last word came; some never send it.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Openai(reader) => reader.is_done(),
        }
    }
}

fn secret(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Failure::gateway(FailureKind::ProviderAuth, "the provider's key holds characters that no header can hold")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}
