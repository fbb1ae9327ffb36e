//! Why a request is not answered with what was asked: our own reasons, and those that came over the bus. Knows neither
//! HTTP statuses (see `status`) nor how a dialect spells errors (see `dialect`).

mod manage_error;

pub use manage_error::ManageError;

use crate::identity::{BadToken, TokenError};
use penstock_dialects::client::WrongRequest;
use penstock_runtime::memory::MemoryFull;
use penstock_schemas::UnixMicros;
use penstock_schemas::budget::Unit;
use penstock_schemas::failure::Failure;
use penstock_schemas::managed::Mistake;
use serde_json::{Map, Value};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A request is refused, and this is why. The messages say what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// What cannot be put into another form is [`Refusal::Failed`].
    #[error("{0}")]
    Wrong(WrongRequest),
    #[error("the content type `{0}` is not supported: send application/json")]
    WrongContentType(String),
    #[error("the content type `{0}` is not supported: send multipart/form-data")]
    NoForm(String),
    #[error(
        "the content encoding `{0}` is not supported here: send the body uncompressed, or a call's in gzip, br, zstd or deflate"
    )]
    WrongEncoding(String),
    #[error("the model `{name}` does not exist{hint}")]
    UnknownModel { name: String, hint: String },
    #[error("the body is longer than {limit} bytes, which is the limit here ([ingress] body_limit)")]
    BodyTooLarge { limit: usize },
    #[error(
        "this would take {wanted} bytes of memory while it is worked on, and there are {most} here ([ingress] memory): each value of a body takes 400"
    )]
    TooMuchMemory { wanted: usize, most: usize },
    #[error("the file is longer than {limit} bytes, which is the limit here")]
    FileTooLong { limit: u64 },
    #[error("{0}")]
    FilesFull(String),
    #[error("the request's head did not arrive within {0:?}")]
    SlowHead(Duration),
    #[error("the request's body did not arrive within {0:?}")]
    SlowBody(Duration),
    #[error("the request's body broke off, or is not compressed as its headers say")]
    BrokenBody,
    #[error("no key was given: send it as `Authorization: Bearer psk_…`, `x-api-key`, `x-goog-api-key` or `api-key`")]
    NoKey,
    #[error("the key is not valid: it is unknown, or was revoked")]
    WrongKey,
    #[error("too many keys from this address were not valid: try again in {wait:.1?}")]
    TooManyBadKeys { wait: Duration },
    #[error("the key {key_id} {why}")]
    KeyEnded { key_id: String, why: &'static str },
    #[error("the key {key_id} may not be used from {address}")]
    WrongAddress { key_id: String, address: IpAddr },
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
    #[error("no target of `{model}` may answer this request: {why}")]
    NoTarget { model: String, why: String },
    #[error("there is nothing at {0}")]
    UnknownPath(String),
    #[error("{0} has no WebSocket: send the request over HTTP, as `POST` with `stream`")]
    NoWebSocket(String),
    #[error(
        "{0} is not to be had here: connect a WebSocket (HTTP/1.1) to `/v1/realtime?model=…` with a key of this gateway; \
         browsers name it in the protocol `openai-insecure-api-key.psk_…`"
    )]
    OnlyWebSocket(String),
    #[error("{path} does not take {method}")]
    WrongMethod { method: String, path: String },
    #[error("the {what} was used for another request before: a key stands for one request, in every byte")]
    OtherRequest { what: &'static str },
    #[error("there is no stream to go on with: it is older than a day, was never begun, or was not resumable")]
    UnknownStream,
    #[error("there is no cached answer to this request, and it asks for no other (`x-penstock-cache: only`)")]
    CacheMiss,
    #[error("no cached answer is known that this request got: it was removed, is too old, or came from no cache")]
    UnknownHit,
    #[error("this process is stopping: send the request again")]
    Draining,
    #[error("this process is not ready: {0}")]
    NotReady(&'static str),
    #[error("the model {model} has no price, and the budget `{budget}` counts money: give it one in [[prices]]")]
    Unpriced { model: String, budget: String },
    #[error("{0}")]
    OverBudget(Box<OverBudget>),
    #[error("{0}")]
    OverRate(Box<OverRate>),
    #[error("{0}")]
    BadQuery(String),
    #[error("{0}")]
    Manage(Box<ManageError>),
    #[error("{0}")]
    Failed(Box<Failure>),
}

/// A budget has no room for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverBudget {
    /// Which, and which of its counters.
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) limit: u64,
    pub(crate) settled: u64,
    pub(crate) reserved: u64,
    pub(crate) needed: u64,
    /// When it begins anew, and how long that is from now.
    pub(crate) resets: Option<(UnixMicros, Duration)>,
}

/// A rate has no room for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit `{label}` allows {limit} {what}: try again in {wait:.1?}")]
pub(crate) struct OverRate {
    pub(crate) label: String,
    pub(crate) limit: u64,
    /// Of what, and in which time.
    pub(crate) what: String,
    pub(crate) wait: Duration,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, unit, .. } = self;
        let [limit, settled, reserved, needed] =
            [self.limit, self.settled, self.reserved, self.needed].map(|amount| unit.write(amount));
        write!(f, "the budget `{label}` of {limit} has no room for this request, which may come to {needed}: ")?;
        write!(f, "{settled} is spent and {reserved} set aside. ")?;
        match self.resets.and_then(|(at, _)| jiff::Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()) {
            Some(at) => write!(f, "It resets at {at}; a smaller max_tokens may fit sooner"),
            None => f.write_str("It does not reset; a smaller max_tokens may fit"),
        }
    }
}

impl From<WrongRequest> for Refusal {
    fn from(wrong: WrongRequest) -> Self {
        match wrong {
            WrongRequest::Untranslatable(failure) => Self::Failed(failure),
            wrong => Self::Wrong(wrong),
        }
    }
}

impl From<BadToken> for Refusal {
    fn from(why: BadToken) -> Self {
        Self::BadToken(why)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Bad(why) => Self::BadToken(why),
            TokenError::NoIssuerKeys => Self::NotReady("the keys of the token's issuer cannot be fetched"),
        }
    }
}

impl From<ManageError> for Refusal {
    fn from(refused: ManageError) -> Self {
        Self::Manage(Box::new(refused))
    }
}

impl From<MemoryFull> for Refusal {
    fn from(full: MemoryFull) -> Self {
        match full {
            MemoryFull::InUse => Self::NotReady("its memory for requests is in use ([ingress] memory)"),
            MemoryFull::TooLittle { wanted, most } => Self::TooMuchMemory { wanted, most },
        }
    }
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
            Self::OverRate(over) => Some(over.wait),
            Self::TooManyBadKeys { wait } => Some(*wait),
            Self::OverBudget(over) => over.resets.map(|(_, wait)| wait),
            Self::Failed(failure) => failure.retry_after(),
            Self::Manage(refused) if matches!(**refused, ManageError::Unavailable(_)) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Everything that is wrong with an object of the admin API.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Manage(refused) => match &**refused {
                ManageError::Wrong(mistakes) => mistakes,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// Whether the key or token that was shown is none.
    pub(crate) fn is_bad_key(&self) -> bool {
        matches!(self, Self::WrongKey | Self::BadToken(_) | Self::WrongAdminKey)
    }

    /// Whether asking again soon is in vain: official SDKs would, by themselves.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::OverBudget(_) | Self::Unpriced { .. } | Self::NoTarget { .. } | Self::CacheMiss)
    }

    /// What else the provider's error object holds.
    pub(crate) fn details(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Failed(failure) => failure.details.as_deref(),
            _ => None,
        }
    }

    /// The field of the request that is wrong.
    pub(crate) fn param(&self) -> Option<&str> {
        match self {
            Self::Wrong(wrong) => wrong.param(),
            Self::UnknownModel { .. } | Self::ModelForbidden { .. } | Self::NoTarget { .. } | Self::Unpriced { .. } => {
                Some("model")
            }
            Self::Failed(failure) => failure.param.as_deref(),
            Self::Manage(_) => {
                self.mistakes().first().map(|mistake| mistake.field.as_str()).filter(|field| !field.is_empty())
            }
            _ => None,
        }
    }
}
