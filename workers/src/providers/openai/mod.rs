//! OpenAI's chat completions, the dialect that most providers copy; also the provider-agnostic form, so that bytes pass
//! through untouched in both directions. Knows the copies' differences by their fields, never by their names.
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

pub(crate) mod agnostic;
mod answer;
mod copies;
mod errors;
mod glance;
pub(crate) mod parts;
mod request;
mod stream;
mod translate;
mod usage;
mod whole;

use super::{Adapter, Ask, Form, Refusal, Spelled, StreamReader, Wanted, Whole};
use agnostic::Mender;
use bytes::Bytes;
use penstock_schemas::failure::Failure;

/// OpenAI's chat completions.
#[derive(Debug)]
pub struct Openai;

impl Adapter for Openai {
    fn spell(&self, ask: &Ask<'_>) -> Result<Spelled, Failure> {
        match ask.wanted.form {
            Form::Own => request::spell(ask),
            Form::Agnostic => translate::spell(ask),
        }
    }

    /// OpenAI's files come as data or by their id.
    /// Source: <https://platform.openai.com/docs/guides/pdf-files?api-mode=chat>.
    fn takes_document_urls(&self) -> bool {
        false
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        let observed = whole::read_whole(body)?;
        let bytes = match wanted.form {
            Form::Own => body.clone(),
            Form::Agnostic => Mender::default().mend(body),
        };
        Ok(Whole { bytes, observed })
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted.delivery, wanted.form))
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Failure {
        crate::providers::refusal::refuse(refusal)
    }
}
