//! OpenAI's chat completions as a client speaks them. Only what the pipeline must know is read; the body's bytes travel
//! on untouched. Source: <https://platform.openai.com/docs/api-reference>.

use super::Asked;
use crate::refusal::Refusal;
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct RawHead<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Reads the head of a chat request; all of the body must be JSON.
pub(crate) fn read(body: Bytes) -> Result<Asked, Refusal> {
    let raw: RawHead<'_> = serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            Refusal::InvalidJson("it must be an object".to_owned())
        } else {
            Refusal::InvalidJson(error.to_string())
        }
    })?;
    let model: String = field("model", raw.model)?.ok_or(Refusal::MissingField("model"))?;
    if model.is_empty() {
        return Err(Refusal::MissingField("model"));
    }
    let messages: Vec<&RawValue> = match raw.messages {
        None => return Err(Refusal::MissingField("messages")),
        Some(messages) => serde_json::from_str(messages.get()).map_err(|_| wrong("messages", "it must be a list"))?,
    };
    if messages.is_empty() {
        return Err(wrong("messages", "it must hold at least one message"));
    }
    let options: Option<StreamOptions> = field("stream_options", raw.stream_options)?;
    let delivery = match (field("stream", raw.stream)?, options.and_then(|options| options.include_usage)) {
        (Some(true), Some(true)) => Delivery::StreamWithUsage,
        (Some(true), _) => Delivery::Stream,
        _ => Delivery::Whole,
    };
    let user = field("user", raw.user)?;
    let (dialect, operation) = (Dialect::Openai, Operation::Chat);
    Ok(Asked { dialect, operation, model, user, delivery, body, content_type: None })
}

fn field<T: DeserializeOwned>(name: &'static str, raw: Option<&RawValue>) -> Result<Option<T>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|error| wrong(name, &error.to_string()))
}

fn wrong(field: &'static str, why: &str) -> Refusal {
    Refusal::WrongField { field, why: why.to_owned() }
}

/// An error as OpenAI spells it: `{"error": {"message", "type", "param", "code", "request_id"}}`.
pub(crate) fn error_body(refusal: &Refusal, request_id: RequestId) -> Value {
    let (kind, code) = words(refusal);
    json!({ "error": {
        "message": refusal.to_string(),
        "type": kind,
        "param": refusal.param(),
        "code": code,
        "request_id": request_id,
    }})
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(failure: &Failure, request_id: RequestId) -> Bytes {
    let body = error_body(&Refusal::from(failure.clone()), request_id);
    format!("data: {body}\n\n").into()
}

/// OpenAI's `type` and `code` for a refusal. Where OpenAI has a code of its own, it is that one.
fn words(refusal: &Refusal) -> (&'static str, Option<String>) {
    const REQUEST: &str = "invalid_request_error";
    let (kind, code) = match refusal {
        Refusal::InvalidJson(_) => (REQUEST, "invalid_json"),
        Refusal::MissingField(_) => (REQUEST, "missing_required_parameter"),
        Refusal::WrongField { .. } | Refusal::WrongPart { .. } | Refusal::BadQuery(_) => (REQUEST, "invalid_value"),
        Refusal::WrongHeader { .. } => (REQUEST, "invalid_header"),
        Refusal::WrongContentType(_) | Refusal::NoForm(_) => (REQUEST, "unsupported_content_type"),
        Refusal::WrongEncoding(_) => (REQUEST, "unsupported_content_encoding"),
        Refusal::UnknownModel { .. } => (REQUEST, "model_not_found"),
        Refusal::BodyTooLarge { .. } => (REQUEST, "request_too_large"),
        Refusal::SlowHead(_) | Refusal::SlowBody(_) => (REQUEST, "request_timeout"),
        Refusal::BrokenBody => (REQUEST, "incomplete_body"),
        Refusal::NoKey => (REQUEST, "missing_api_key"),
        Refusal::WrongKey | Refusal::WrongAdminKey => (REQUEST, "invalid_api_key"),
        Refusal::AdminClosed => ("permission_error", "admin_closed"),
        Refusal::ModelForbidden { .. } => ("permission_error", "model_forbidden"),
        Refusal::UnknownPath(_) => (REQUEST, "unknown_url"),
        Refusal::WrongMethod { .. } => (REQUEST, "method_not_allowed"),
        Refusal::Draining => ("service_unavailable_error", "draining"),
        Refusal::NotReady(_) => ("service_unavailable_error", "not_ready"),
        Refusal::Failed(failure) => return failure_words(failure),
    };
    (kind, Some(code.to_owned()))
}

fn failure_words(failure: &Failure) -> (&'static str, Option<String>) {
    let kind = match failure.kind {
        FailureKind::RateLimited => "rate_limit_error",
        FailureKind::BadRequest
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported => "invalid_request_error",
        FailureKind::Timeout | FailureKind::Deadline => "timeout_error",
        FailureKind::NoPool | FailureKind::Busy | FailureKind::Overloaded | FailureKind::Ledger => {
            "service_unavailable_error"
        }
        FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Broken
        | FailureKind::ProviderAuth
        | FailureKind::Lost
        | FailureKind::Cancelled
        | FailureKind::Internal => "server_error",
    };
    // A provider's refusal of the request keeps the provider's own code, or its lack of one.
    let is_request =
        matches!(failure.kind, FailureKind::BadRequest | FailureKind::ContentRefused | FailureKind::Unsupported);
    let code = match (&failure.provider_code, failure.kind) {
        // The provider's word would be read as one about the caller's own key.
        (_, kind @ FailureKind::ProviderAuth) => Some(kind.as_str().to_owned()),
        (Some(code), _) => Some(code.clone()),
        (None, FailureKind::ContextTooLong) => Some("context_length_exceeded".to_owned()),
        (None, _) if is_request && failure.provider_status.is_some() => None,
        (None, kind) => Some(kind.as_str().to_owned()),
    };
    (kind, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Asked, Refusal> {
        super::read(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn what_the_pipeline_must_know_is_read() {
        let head = read(r#"{"model":"m","messages":[{}],"stream":true,"user":"u","n":null}"#).unwrap();
        assert_eq!((head.model.as_str(), head.user.as_deref(), head.delivery), ("m", Some("u"), Delivery::Stream));
        let options = r#"{"model":"m","messages":[{}],"stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(read(options).unwrap().delivery, Delivery::StreamWithUsage);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, message) in [
            ("{", "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", "the body is not valid JSON: it must be an object"),
            ("{}", "the field `model` is missing"),
            (r#"{"model":"m"}"#, "the field `messages` is missing"),
            (r#"{"model":"m","messages":[]}"#, "the field `messages` is not valid: it must hold at least one message"),
            (r#"{"model":"m","messages":"hi"}"#, "the field `messages` is not valid: it must be a list"),
        ] {
            assert_eq!(read(body).unwrap_err().to_string(), message);
        }
        let refusal = read(r#"{"model":3,"messages":[{}]}"#).unwrap_err();
        assert_eq!(refusal.param(), Some("model"));
    }
}
