//! Anthropic's messages. Bytes of a caller who speaks the dialect pass untouched; the agnostic form is translated both ways.
//! Source: <https://platform.claude.com/docs/en/api/messages>.

mod answer;
mod cache_marks;
mod content;
mod errors;
mod gathered;
mod messages;
mod odd;
mod order;
#[cfg(test)]
mod order_tests;
mod other_way;
mod own;
mod request;
mod seen;
mod stream;
mod system_turns;
mod thinking;
mod tools;
mod translating;
mod usage;
mod whole;
mod wire;

use crate::errors::ErrorParts;
use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Search, Spelled, StreamReader, ToolRule, Wanted,
    Whole,
};
use bytes::Bytes;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};

pub use request::VERSION;

/// Anthropic's messages.
#[derive(Debug)]
pub struct Anthropic;

impl ProviderFormat for Anthropic {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        request::spell(ask)
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    /// `^[a-zA-Z0-9_-]{1,128}$`. Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>.
    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        let (allowed_tools, client_tools) = (true, true);
        ToolRule { longest: 128, allowed_tools, client_tools, search: Search::Anthropic, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        match crate::gathered::read(self, wanted, body, gathered::message)? {
            Some(whole) => Ok(whole),
            None => whole::read_whole(wanted, body),
        }
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        whole::observe(body)
    }

    fn answers(&self) -> Option<Dialect> {
        Some(Dialect::Anthropic)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        match wanted.form {
            Form::Own => Box::<stream::Passing>::default(),
            Form::Agnostic => Box::new(translating::Translating::new(wanted.delivery)),
        }
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        errors::kind(status, parts)
    }
}
