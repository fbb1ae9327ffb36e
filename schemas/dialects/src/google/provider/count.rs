//! How many tokens a chat request is. Sources: <https://ai.google.dev/api/tokens>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens>.

use super::resource::{name, path};
use super::{Service, request};
use crate::provider::{Form, FormatRequest, Observed, Spelled, Whole, json_headers};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    total_tokens: Option<u64>,
}

/// The question.
pub(super) fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Within {
        generate_content_request: request::Request,
    }
    let (mut request, dropped) = request::translate(ask)?;
    request.take_tier();
    let body = match service {
        // The contents alone would leave the system instruction and the tools uncounted.
        Service::Gemini => {
            let model = name(ask, service)?;
            serde_json::to_vec(&Within { generate_content_request: request.of_model(model) })
        }
        Service::Vertex => serde_json::to_vec(&request),
    };
    let body = body.expect("a request has a JSON form").into();
    Ok(Spelled { path: path(ask, service, ":countTokens")?, headers: json_headers(ask.wanted.delivery), body, dropped })
}

/// The answer; it costs nothing.
pub(super) fn read(form: Form, body: &Bytes) -> Result<Whole, Failure> {
    let counted: Result<Counted, _> = serde_json::from_slice(body);
    let total = counted
        .ok()
        .and_then(|counted| counted.total_tokens)
        .ok_or_else(|| Failure::provider(FailureKind::Broken, "the provider's answer holds no number of tokens"))?;
    let bytes = match form {
        Form::Own => body.clone(),
        Form::Agnostic => json!({ "input_tokens": total }).to_string().into(),
    };
    Ok(Whole { bytes, observed: Observed::default() })
}
