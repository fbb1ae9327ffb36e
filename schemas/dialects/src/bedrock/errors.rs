//! What Bedrock's exceptions stand for, of a status of their own or within a stream.
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>.

use crate::errors::tidy;
use crate::overflow;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// The failure that an exception within a stream stands for.
pub(super) fn within_stream(name: &str, data: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(data).unwrap_or_default();
    let said = |field| body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = said("message").or_else(|| said("originalMessage"));
    let kind = overflow::refine(kind(name).unwrap_or(FailureKind::Broken), message.unwrap_or_default());
    let message = match (kind, message) {
        (FailureKind::ProviderAuth, _) => "the provider refused the key".to_owned(),
        (_, Some(message)) => tidy(message),
        (_, None) => format!("the provider's stream ended with {}", tidy(name)),
    };
    Failure { provider_code: Some(tidy(name)), ..Failure::provider(kind, message) }
}

/// The kind of failure that an exception of this name stands for. In a stream the names begin with a small letter.
pub fn kind(name: &str) -> Option<FailureKind> {
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
