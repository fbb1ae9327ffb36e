//! What is wrong with a client's request, and where. Knows neither HTTP statuses nor how a dialect spells errors.

use penstock_schemas::failure::Failure;

/// A request cannot be read, or not be put into another form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongRequest {
    /// The body is no JSON, or not the JSON of a request.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// A field that must be there is not.
    #[error("the field `{0}` is missing")]
    MissingField(&'static str),
    /// A field's value is wrong.
    #[error("the field `{field}` is not valid: {why}")]
    WrongField {
        /// Its name.
        field: &'static str,
        /// What it should be.
        why: String,
    },
    /// A value somewhere in the request is wrong.
    #[error("the field `{place}` is not valid: {why}")]
    WrongPart {
        /// Where it stands: `messages[0].role`.
        place: String,
        /// What it should be.
        why: String,
    },
    /// A header is wrong.
    #[error("the header `{header}` is not valid: {why}")]
    WrongHeader {
        /// Its name.
        header: &'static str,
        /// What it should be.
        why: String,
    },
    /// The request is right, and cannot be put into another form.
    #[error("{0}")]
    Untranslatable(Box<Failure>),
}

impl From<Failure> for WrongRequest {
    fn from(failure: Failure) -> Self {
        Self::Untranslatable(Box::new(failure))
    }
}

impl WrongRequest {
    /// The field of the request that is wrong.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::MissingField(field) | Self::WrongField { field, .. } => Some(field),
            Self::WrongPart { place, .. } => Some(place),
            Self::Untranslatable(failure) => failure.param.as_deref(),
            Self::InvalidJson(_) | Self::WrongHeader { .. } => None,
        }
    }
}
