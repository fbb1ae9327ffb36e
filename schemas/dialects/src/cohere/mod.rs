//! Cohere's API, version 2: chat, embed and rerank. Rerank is the agnostic form itself.
//! Sources: <https://docs.cohere.com/reference/chat>, <https://docs.cohere.com/reference/embed>,
//! <https://docs.cohere.com/reference/rerank>.

mod answer;
mod embed;
mod messages;
mod request;
mod rerank;
mod stream;
mod usage;

use crate::errors::{self, ErrorParts};
use crate::openai::provider::Openai;
use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Spelled, StreamReader, ToolRule, Wanted, Whole,
    unsupported,
};
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// Cohere.
#[derive(Debug)]
pub struct Cohere;

impl ProviderFormat for Cohere {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        match (ask.wanted.operation, ask.wanted.form) {
            (Operation::Chat, Form::Agnostic) => request::spell(ask),
            (Operation::Embeddings, Form::Agnostic) => embed::spell(ask),
            (Operation::Rerank, _) => rerank::spell(ask),
            (other, _) => Err(unsupported(other.as_str(), "Cohere has no such endpoint")),
        }
    }

    /// Source: <https://docs.cohere.com/reference/embed#request.body.texts>.
    fn most_inputs(&self) -> Option<u32> {
        Some(96)
    }

    /// "Valid names contain only the characters `a-z`, `A-Z`, `0-9`, `_` and must not begin with a digit."
    /// Source: <https://docs.cohere.com/v1/reference/chat#request.body.tools>.
    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule { others: "", any_start: false, serial: false, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        if let Some(whole) = crate::gathered::read(self, wanted, body, |_| None)? {
            return Ok(whole);
        }
        match wanted.operation {
            Operation::Embeddings => embed::read(body),
            Operation::Rerank => Openai.read_whole(wanted, body),
            _ => answer::read(body),
        }
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
        Observed { usage: answer.get("usage").and_then(usage::read), ..Observed::default() }
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted.delivery))
    }

    /// Errors are `{"id", "message"}`, told apart by their status alone.
    /// Source: <https://docs.cohere.com/reference/errors>.
    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        match status {
            498 => FailureKind::ProviderAuth, // an invalid token
            499 => FailureKind::ServerError,  // cancelled, though not by us: to be tried again
            _ => errors::kind(status, parts),
        }
    }
}
