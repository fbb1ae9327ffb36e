//! What Bedrock's exceptions stand for, of a status of their own or within a stream.
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>.

use crate::providers::ErrorResponse;
use crate::providers::errors::{self, tidy};
use crate::providers::refusal::refuse_by;
use crate::providers::strike::strike;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// Why Bedrock refused. The exception's name is in a header, or in the body when something in between answers.
pub(super) fn refuse(refusal: &ErrorResponse<'_>) -> Failure {
    let body: Option<Value> = serde_json::from_slice(refusal.body).ok();
    let header = refusal.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let within = body.as_ref().and_then(|body| body.get("__type").or_else(|| body.get("code"))?.as_str());
    let name = header.or(within).map(bare).filter(|name| !name.is_empty());
    let mut failure = refuse_by(refusal, errors::kind);
    let kind = match (name.and_then(kind), refusal.status) {
        (Some(kind), _) => kind,
        (None, 424) => FailureKind::ServerError, // the model failed, not the caller
        (None, _) => failure.kind,
    };
    if kind == FailureKind::ProviderAuth && failure.kind != kind {
        failure.message = format!("{} refused the key ({})", refusal.provider, refusal.status);
    }
    failure.kind = kind;
    failure.provider_code = name.map(|name| strike(&tidy(name), refusal.key)).or(failure.provider_code);
    failure
}

/// The failure that an exception within a stream stands for.
pub(super) fn within_stream(name: &str, data: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(data).unwrap_or_default();
    let said = |field| body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = said("message").or_else(|| said("originalMessage"));
    let kind = kind(name).unwrap_or(FailureKind::Broken);
    let message = match (kind, message) {
        (FailureKind::ProviderAuth, _) => "the provider refused the key".to_owned(),
        (_, Some(message)) => tidy(message),
        (_, None) => format!("the provider's stream ended with {}", tidy(name)),
    };
    Failure { provider_code: Some(tidy(name)), ..Failure::provider(kind, message) }
}

/// `com.amazon.coral.service#AccessDeniedException:http://internal.amazon.com/…` → `AccessDeniedException`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

/// In a stream the names begin with a small letter.
fn kind(name: &str) -> Option<FailureKind> {
    let mut letters = name.chars();
    let name: String = letters.next()?.to_uppercase().chain(letters).collect();
    Some(match name.as_str() {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "ServiceQuotaExceededException" => {
            FailureKind::RateLimited
        }
        "ServiceUnavailableException" | "ServiceUnavailable" | "ModelNotReadyException" => FailureKind::Overloaded,
        "ModelTimeoutException" => FailureKind::Timeout,
        "InternalServerException"
        | "InternalFailure"
        | "InternalError"
        | "ModelErrorException"
        | "ModelStreamErrorException" => FailureKind::ServerError,
        "AccessDeniedException"
        | "AccessDenied"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "UnrecognizedClientException" => FailureKind::ProviderAuth,
        "ResourceNotFoundException" => FailureKind::NotFound,
        "ConflictException" => FailureKind::Conflict,
        "ValidationException" | "ValidationError" => FailureKind::BadRequest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use penstock_schemas::UnixMicros;
    use penstock_schemas::name::ProviderId;

    #[test]
    fn an_exceptions_name_never_tells_the_key() {
        let provider = ProviderId::parse("bedrock").unwrap();
        let mut named = HeaderMap::new();
        named.insert("x-amzn-errortype", HeaderValue::from_static("Odd, golden-key-of-ours"));
        for (headers, body) in [(named, &b"{}"[..]), (HeaderMap::new(), br#"{"__type":"Odd, golden-key-of-ours"}"#)] {
            let key = Some("golden-key-of-ours");
            let refusal =
                ErrorResponse { provider: &provider, key, status: 424, headers: &headers, body, now: UnixMicros(0) };
            assert_eq!(refuse(&refusal).provider_code.as_deref(), Some("Odd, ***"));
        }
    }
}
