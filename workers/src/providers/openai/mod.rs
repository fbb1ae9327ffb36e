//! OpenAI's chat completions, the dialect that most providers copy; also the provider-agnostic form, so that bytes pass
//! through untouched in both directions. Knows the copies' differences by their fields, never by their names.
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod errors;
mod glance;
mod request;
mod stream;
mod usage;
mod whole;

use super::{Adapter, Ask, Refusal, Spelled, StreamReader, Wanted, Whole};
use bytes::Bytes;
use penstock_schemas::failure::Failure;

/// OpenAI's chat completions.
#[derive(Debug)]
pub struct Openai;

impl Adapter for Openai {
    fn spell(&self, ask: &Ask<'_>) -> Result<Spelled, Failure> {
        request::spell(ask.body, ask.model, ask.wanted.delivery)
    }

    fn read_whole(&self, _wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        Ok(Whole { bytes: body.clone(), observed: whole::read_whole(body)? })
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted.delivery))
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Failure {
        crate::providers::refusal::refuse(refusal)
    }
}
