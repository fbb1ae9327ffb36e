//! Google's Gemini API and Vertex AI as providers: a key or a token, and waits that stand in an error's body. Their format is
//! [`penstock_dialects::google`], and that of other makers' models [`penstock_dialects::vertex`]; tokens are fetched elsewhere.

mod batch;

use super::refusal::refuse_by;
use super::{Adapter, ErrorResponse, Outgoing};
use http::HeaderName;
use penstock_dialects::error_details;
use penstock_dialects::google::provider::Service;
use penstock_dialects::google::provider::errors::{kind, plain, retry_delay};
use penstock_dialects::provider::{FormatSettings, ProviderFormat};
use penstock_dialects::vertex::OtherMaker;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

pub(super) use batch::GeminiBatch;

impl Adapter for Service {
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &FormatSettings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        match self {
            // Source: <https://ai.google.dev/gemini-api/docs/api-key>.
            Self::Gemini => request.secret(HeaderName::from_static("x-goog-api-key"), key),
            Self::Vertex => request.bearer(key),
        }
    }

    fn listing(&self) -> Option<&'static str> {
        (*self == Self::Gemini).then_some("models")
    }

    fn takes_tokens(&self) -> bool {
        *self == Self::Vertex
    }

    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        refuse(refusal)
    }
}

impl Adapter for OtherMaker {
    fn takes_tokens(&self) -> bool {
        true
    }

    /// In Google's words, or in those of the model's maker.
    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        let said = serde_json::from_slice::<Value>(refusal.body).unwrap_or_default();
        let error = said.get(0).unwrap_or(&said).get("error");
        match error.and_then(|error| error.get("status")) {
            Some(_) => refuse(refusal),
            None => refuse_by(refusal, |status, parts| self.kind_of_error(status, parts)),
        }
    }
}

/// Why the provider refused.
fn refuse(refusal: &ErrorResponse<'_>) -> Failure {
    let Ok(said) = serde_json::from_slice::<Value>(refusal.body) else { return refuse_by(refusal, kind) };
    let plain = plain(&said).to_string();
    let mut failure = refuse_by(&ErrorResponse { body: plain.as_bytes(), ..*refusal }, kind);
    failure.retry_after_ms = failure.retry_after_ms.or_else(|| retry_delay(&said));
    if failure.kind != FailureKind::ProviderAuth {
        failure.details = error_details::of(&said, refusal.key);
    }
    failure
}
