//! Anthropic's messages. Bytes of a caller who speaks the dialect pass untouched; the agnostic form is translated both ways.
//! Source: <https://platform.claude.com/docs/en/api/messages>.

mod answer;
mod batch;
mod content;
mod errors;
mod messages;
mod request;
mod stream;
mod thinking;
mod tools;
mod translating;
mod usage;
mod whole;
mod wire;

use super::{
    Adapter, Ask, ErrorResponse, Form, Outgoing, Search, Settings, Spelled, StreamReader, ToolRule, Wanted, Whole,
    refusal,
};
use bytes::Bytes;
use http::HeaderName;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::Failure;

pub use batch::AnthropicBatch;

/// Anthropic's messages.
#[derive(Debug)]
pub struct Anthropic;

impl Adapter for Anthropic {
    fn spell(&self, ask: &Ask<'_>) -> Result<Spelled, Failure> {
        request::spell(ask)
    }

    /// Source: <https://platform.claude.com/docs/en/api/overview#authentication>.
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &Settings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        request.secret(HeaderName::from_static("x-api-key"), key)
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    /// `^[a-zA-Z0-9_-]{1,128}$`. Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
    fn tools(&self, _settings: &Settings) -> ToolRule {
        ToolRule { longest: 128, allowed_tools: true, search: Search::Anthropic, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        whole::read_whole(wanted, body)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        match wanted.form {
            Form::Own => Box::new(stream::Passing::default()),
            Form::Agnostic => Box::new(translating::Translating::new(wanted.delivery)),
        }
    }

    fn listing(&self) -> Option<&'static str> {
        Some("v1/models")
    }

    fn refuse(&self, refused: &ErrorResponse<'_>) -> Failure {
        refusal::refuse_by(refused, errors::kind)
    }
}
