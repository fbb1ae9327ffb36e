//! Mistral's chat completions and embeddings: OpenAI's, but for what the files here spell and read. A request that is
//! already in this dialect goes through untouched but for its model.
//! Sources: <https://docs.mistral.ai/api/>, <https://github.com/mistralai/client-python>.

mod answer;
mod request;
mod stream;

use crate::openai::provider::Openai;
use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Quirk, Spelled, StreamReader, Wanted, Whole,
};
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;

/// Mistral.
#[derive(Debug)]
pub struct Mistral;

impl ProviderFormat for Mistral {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        match (ask.wanted.form, ask.wanted.operation) {
            (Form::Agnostic, Operation::Chat) => request::chat(ask),
            (Form::Agnostic, Operation::Embeddings) => request::embeddings(ask),
            _ => {
                // It refuses fields that it does not know, and reports the usage of a stream unasked.
                let settings = FormatSettings { quirks: vec![Quirk::NoStreamOptions], ..FormatSettings::default() };
                Openai.spell(&FormatRequest {
                    wanted: Wanted { form: Form::Own, ..ask.wanted },
                    settings: &settings,
                    ..*ask
                })
            }
        }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        if wanted.form == Form::Agnostic
            && let Some(whole) = crate::gathered::read(self, wanted, body, |_| None)?
        {
            return Ok(whole);
        }
        match (wanted.form, wanted.operation) {
            (Form::Agnostic, Operation::Chat) => Openai.read_whole(wanted, &answer::whole(body)?),
            // Its own pieces are none that its own clients could not read.
            (Form::Own, Operation::Chat) => Ok(Whole { bytes: body.clone(), ..Openai.read_whole(wanted, body)? }),
            _ => Openai.read_whole(wanted, body),
        }
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        Openai.observe_failed(body)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        match wanted.form {
            Form::Own => Openai.stream(wanted),
            Form::Agnostic => Box::new(stream::Reader::new(wanted)),
        }
    }
}
