//! Why a request is not answered with what was asked: our own reasons, and those that came over the bus. Knows neither
//! HTTP statuses (see `status`) nor how a dialect spells errors (see `dialect`).

use crate::identity::BadToken;
use crate::office::Refused;
use penstock_schemas::failure::Failure;
use penstock_schemas::managed::Mistake;
use std::time::Duration;

/// A request is refused, and this is why. The messages say what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    #[error("the field `{0}` is missing")]
    MissingField(&'static str),
    #[error("the field `{field}` is not valid: {why}")]
    WrongField { field: &'static str, why: String },
    #[error("the field `{place}` is not valid: {why}")]
    WrongPart { place: String, why: String },
    #[error("the header `{header}` is not valid: {why}")]
    WrongHeader { header: &'static str, why: String },
    #[error("the content type `{0}` is not supported: send application/json")]
    WrongContentType(String),
    #[error("the content type `{0}` is not supported: send multipart/form-data")]
    NoForm(String),
    #[error("the content encoding `{0}` is not supported: send the body uncompressed")]
    WrongEncoding(String),
    #[error("the model `{name}` does not exist{hint}")]
    UnknownModel { name: String, hint: String },
    #[error("the body is longer than {limit} bytes, which is the limit here ([ingress] body_limit)")]
    BodyTooLarge { limit: usize },
    #[error("the request's head did not arrive within {0:?}")]
    SlowHead(Duration),
    #[error("the request's body did not arrive within {0:?}")]
    SlowBody(Duration),
    #[error("the request's body broke off")]
    BrokenBody,
    #[error("no key was given: send it as `Authorization: Bearer psk_…`, `x-api-key` or `x-goog-api-key`")]
    NoKey,
    #[error("the key is not valid: it is unknown, or was revoked")]
    WrongKey,
    #[error("the key {key_id} {why}")]
    KeyEnded { key_id: String, why: &'static str },
    #[error("the token is not valid: {0}")]
    BadToken(BadToken),
    #[error("the {what} `{name}` is disabled")]
    CallerDisabled { what: &'static str, name: String },
    #[error("the admin key is not valid")]
    WrongAdminKey,
    #[error("the token gives no role that may do this")]
    NoRole,
    #[error("the admin API is closed: set PENSTOCK_ADMIN_KEY to open it")]
    AdminClosed,
    #[error("{who} may not use the model `{model}`")]
    ModelForbidden { who: String, model: String },
    #[error("there is nothing at {0}")]
    UnknownPath(String),
    #[error("{path} does not take {method}")]
    WrongMethod { method: String, path: String },
    #[error("the {what} was used for another request before: a key stands for one request, in every byte")]
    OtherRequest { what: &'static str },
    #[error("there is no stream to go on with: it is older than a day, was never begun, or was not resumable")]
    UnknownStream,
    #[error("this process is stopping: send the request again")]
    Draining,
    #[error("this process is not ready: {0}")]
    NotReady(&'static str),
    #[error("{0}")]
    BadQuery(String),
    #[error("{0}")]
    Office(Box<Refused>),
    #[error("{0}")]
    Failed(Box<Failure>),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl Refusal {
    /// How long the caller is to wait before it tries again, where waiting may help.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Draining | Self::NotReady(_) => Some(Duration::from_secs(1)),
            Self::Failed(failure) => failure.retry_after_ms.map(Duration::from_millis),
            Self::Office(refused) if matches!(**refused, Refused::Unavailable(_)) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Everything that is wrong with an object of the admin API.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Office(refused) => match &**refused {
                Refused::Wrong(mistakes) => mistakes,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// The field of the request that is wrong.
    pub(crate) fn param(&self) -> Option<&str> {
        match self {
            Self::MissingField(field) | Self::WrongField { field, .. } => Some(field),
            Self::WrongPart { place, .. } => Some(place),
            Self::UnknownModel { .. } | Self::ModelForbidden { .. } => Some("model"),
            Self::Failed(failure) => failure.param.as_deref(),
            Self::Office(_) => {
                self.mistakes().first().map(|mistake| mistake.field.as_str()).filter(|field| !field.is_empty())
            }
            _ => None,
        }
    }
}
