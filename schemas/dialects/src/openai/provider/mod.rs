//! OpenAI's chat completions and other endpoints, the dialect that most providers copy; also the provider-agnostic form, so that bytes pass
//! through untouched in both directions. Knows the copies' differences by their fields, never by their names.
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

pub(crate) mod agnostic;
mod answer;
mod calls;
mod choices;
mod copies;
mod errors;
mod events;
mod frame;
pub(crate) mod glance;
mod lacking;
mod likelihoods;
mod odd;
mod odd_lists;
mod other;
pub(crate) mod other_way;
mod own_calls;
pub(crate) mod own_models;
pub(crate) mod parts;
pub(crate) mod pieces;
mod ranking;
mod request;
pub(crate) mod servers;
mod stream;
pub(crate) mod systems;
mod translate;
mod turns;
pub(crate) mod usage;
mod whole;

pub use crate::sampling::{may_need_responses, needs_responses};

use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Quirk, Spelled, StreamReader, ToolRule, Wanted,
    Whole,
};
use agnostic::Mender;
use bytes::Bytes;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::Failure;

/// The longest tool-call id that OpenAI takes, in characters; it refuses longer ones by this figure.
const LONGEST_ID: usize = 40;

/// OpenAI's chat completions.
#[derive(Debug)]
pub struct Openai;

impl ProviderFormat for Openai {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        match (ask.wanted.form, ask.wanted.operation) {
            (Form::Agnostic, Operation::Chat) => translate::spell(ask),
            (Form::Agnostic, Operation::Embeddings) => translate::embeddings(ask),
            // Of the other operations the agnostic form is this one.
            (Form::Own | Form::Agnostic, _) => request::spell(ask),
        }
    }

    fn tools(&self, settings: &FormatSettings) -> ToolRule {
        ToolRule {
            free_text: settings.has(Quirk::CustomTools),
            allowed_tools: settings.has(Quirk::CustomTools),
            serial: !settings.has(Quirk::NoParallelToolCalls),
            ..ToolRule::FUNCTIONS
        }
    }

    fn takes_chats(&self) -> bool {
        true
    }

    /// OpenAI's files come as data or by their id.
    /// Source: <https://platform.openai.com/docs/guides/pdf-files?api-mode=chat>.
    fn takes_document_urls(&self) -> bool {
        false
    }

    /// Source: <https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-input>.
    fn most_inputs(&self) -> Option<u32> {
        Some(2048)
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        let is_streamed = wanted.operation == Operation::Chat && other_way::is_stream(body);
        let gathered = if is_streamed { Some(other_way::completion_of(body)?) } else { None };
        let body = gathered.as_ref().unwrap_or(body);
        let is_list = has_choices(wanted.operation);
        let (observed, is_odd) = if is_list { whole::read_whole(body)? } else { (other::read(wanted, body)?, false) };
        let bytes = match (wanted.form, wanted.operation) {
            (Form::Agnostic, Operation::Chat) => Mender::default().mend(body)?,
            (Form::Own, Operation::Chat) => odd::mended(body, is_odd).unwrap_or_else(|| body.clone()),
            (Form::Own, Operation::Embeddings) => odd_lists::vectors(body).unwrap_or_else(|| body.clone()),
            (Form::Own, operation) if operation.makes_images() => {
                odd_lists::images(body).unwrap_or_else(|| body.clone())
            }
            (Form::Own | Form::Agnostic, _) => body.clone(),
        };
        Ok(Whole { bytes, observed })
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        let mut observed = Observed::default();
        if let Ok(answer) = answer::Answer::read(body) {
            answer.observe(&mut observed);
        }
        observed
    }

    fn answers(&self) -> Option<Dialect> {
        Some(Dialect::Openai)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        if has_choices(wanted.operation) {
            Box::new(stream::Reader::new(wanted))
        } else {
            Box::new(events::Reader::new(wanted.operation))
        }
    }
}

/// Whether an answer is a list of choices.
fn has_choices(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::Completions)
}
