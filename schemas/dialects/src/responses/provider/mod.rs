//! OpenAI's responses: for models that offer nothing else, and for callers who speak it themselves. Nothing is kept at the
//! provider unless the caller asks for it: what a model must see again goes along, encrypted reasoning included.
//! Source: <https://platform.openai.com/docs/api-reference/responses>.
//!
//! | of the agnostic form | here |
//! |---|---|
//! | roles, text, images (addresses and data URLs), files, audio, tool results with images | as items of `input` |
//! | functions, custom tools, `tool_choice`, parallel calls, tools of the provider's own | as they are, flattened |
//! | `response_format`, `verbosity` | `text` |
//! | `reasoning_effort`, `reasoning` | `reasoning`, with a summary to read; encrypted reasoning comes and goes back |
//! | `logprobs`, `top_logprobs` | `include`, `top_logprobs` |
//! | `web_search_options` | the tool `web_search` |
//! | `stop`, `n`, penalties, `logit_bias`, audio out, `functions` | refused |
//! | `prediction`, `seed`, `top_k`, a message's `name` | left out and listed |

mod answer;
mod content;
mod input;
mod odd;
mod other_way;
mod own;
mod request;
mod spelling;
mod stream;
mod tools;
mod usage;
mod whole;

use crate::errors::{self, ErrorParts};
use crate::provider::{
    Form, FormatRequest, FormatSettings, Observed, ProviderFormat, Search, Spelled, StreamReader, ToolRule, Wanted,
    Whole,
};
use bytes::Bytes;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};

/// OpenAI's responses.
#[derive(Debug)]
pub struct Responses;

impl ProviderFormat for Responses {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        request::spell(ask)
    }

    fn least_output(&self) -> Option<u64> {
        Some(request::LEAST_OUTPUT)
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule { free_text: true, allowed_tools: true, search: Search::Openai, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        whole::read_whole(wanted, body)
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        let mut observed = Observed::default();
        usage::observe(&serde_json::from_slice(body).unwrap_or_default(), 0, &mut observed);
        observed
    }

    fn answers(&self) -> Option<Dialect> {
        Some(Dialect::Responses)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        match wanted.form {
            Form::Own => Box::<own::Reader>::default(),
            Form::Agnostic => Box::new(stream::Reader::new(wanted.delivery)),
        }
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        kind(status, parts)
    }
}

/// The kind of failure of an answer that is no success. The words of one that failed stand in refusals too.
fn kind(status: u16, parts: &ErrorParts) -> FailureKind {
    match parts.code.as_deref().and_then(kind_of_code) {
        Some(kind) if (400..500).contains(&status) => kind,
        _ => errors::kind(status, parts),
    }
}

/// What the codes of a failed response mean, where other dialects have no such words.
/// Source: <https://platform.openai.com/docs/api-reference/responses/object#responses/object-error>.
fn kind_of_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "image_content_policy_violation" | "bio_policy" | "misalignment_policy_violation" => {
            FailureKind::ContentRefused
        }
        "invalid_prompt"
        | "invalid_image"
        | "invalid_image_format"
        | "invalid_base64_image"
        | "invalid_image_url"
        | "image_too_large"
        | "image_too_small"
        | "image_parse_error"
        | "invalid_image_mode"
        | "image_file_too_large"
        | "unsupported_image_media_type"
        | "empty_image_file"
        | "failed_to_download_image"
        | "image_file_not_found" => FailureKind::BadRequest,
        "vector_store_timeout" => FailureKind::ServerError,
        _ => return None,
    })
}

/// The failure that an `error` within an answer of status 200 stands for.
fn failed(error: Option<&serde_json::Value>) -> Failure {
    let parts = error.map(ErrorParts::of).unwrap_or_default();
    let mut failure = errors::within(&parts);
    if let Some(kind) = parts.code.as_deref().and_then(kind_of_code) {
        failure.kind = kind;
    }
    failure
}

fn broken(what: &str) -> Failure {
    Failure::provider(FailureKind::Broken, what)
}
