//! Google's Gemini API, and Vertex AI, which speaks the same JSON at other addresses and with tokens instead of keys. Knows
//! how both spell requests and answers; tokens are fetched elsewhere.
//! Sources: <https://ai.google.dev/api/generate-content>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>.

mod annotations;
mod answer;
mod chunks;
mod contents;
mod count;
mod embeddings;
pub mod errors;
mod gathered;
mod generation;
mod media;
mod own;
mod part;
mod request;
pub mod resource;
mod schema;
pub mod speech;
mod stream;
mod thinking;
mod tools;
mod usage;
mod whole;

use crate::errors::ErrorParts;
use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Search, Spelled, StreamReader, ToolRule, Wanted,
    Whole, unsupported,
};
use bytes::Bytes;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};

/// The two services that speak it, which differ in little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The Gemini API.
    Gemini,
    /// Vertex AI.
    Vertex,
}

/// "Must be a-z, A-Z, 0-9, or contain underscores, colons, dots, and dashes, with a maximum length of 64", and begin with a letter
/// or an underscore. Source: <https://ai.google.dev/api/caching#FunctionDeclaration>.
const TOOLS: ToolRule = ToolRule {
    others: "-.:",
    any_start: false,
    allowed_tools: true,
    serial: false,
    search: Search::Google,
    ..ToolRule::FUNCTIONS
};

impl ProviderFormat for Service {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        spell(ask, *self)
    }

    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        TOOLS
    }

    fn takes_urls(&self) -> bool {
        false
    }

    fn most_inputs(&self) -> Option<u32> {
        match self {
            // Source: <https://ai.google.dev/api/embeddings#method:-models.batchembedcontents>.
            Self::Gemini => Some(100),
            // Of the current model; older ones take more, but one by one is right for all.
            // Source: <https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings#get_text_embeddings_for_a_snippet_of_text>.
            Self::Vertex => Some(1),
        }
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        match crate::gathered::read(self, wanted, body, gathered::answer)? {
            Some(whole) => Ok(whole),
            None => read_whole(wanted, body),
        }
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        let mut observed = Observed::default();
        if let Ok(answer) = answer::Answer::read(body) {
            answer.observe(&mut observed);
        }
        observed
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted))
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        errors::kind(status, parts)
    }
}

fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    match (ask.wanted.form, ask.wanted.operation) {
        (Form::Own, _) => own::spell(ask, service),
        (Form::Agnostic, Operation::Chat) => request::spell(ask, service),
        (Form::Agnostic, Operation::Embeddings) => embeddings::spell(ask, service),
        (Form::Agnostic, Operation::CountTokens) => count::spell(ask, service),
        (Form::Agnostic, Operation::Speech) => speech::spell(ask, service),
        (
            Form::Agnostic,
            operation @ (Operation::Completions
            | Operation::Moderations
            | Operation::Images
            | Operation::ImageEdits
            | Operation::ImageVariations
            | Operation::Transcriptions
            | Operation::Translations
            | Operation::Rerank
            | Operation::Realtime),
        ) => Err(unsupported(operation.as_str(), "this provider has no such endpoint")),
    }
}

fn read_whole(wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    match wanted.operation {
        Operation::Embeddings => embeddings::read(wanted.form, body),
        Operation::CountTokens => count::read(wanted.form, body),
        Operation::Speech => speech::read(body),
        _ => whole::read(wanted.form, body),
    }
}
