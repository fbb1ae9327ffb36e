//! Files of callers at the ingress: forms whose file goes to the store while it arrives, contents that go out as they are
//! read, and the shapes of both client dialects. Knows nothing of where files lie.

mod arriving;
mod form;
mod listing;
mod outgoing;
mod shape;

pub(crate) use arriving::ArrivingBody;
pub(crate) use form::{ArrivingForm, Collected, FileField, Sink};
pub(crate) use listing::{Listing, google_page, page, read_google_listing, read_listing};
pub(crate) use outgoing::content;
pub(crate) use shape::{
    Asking, check_purpose, describe, google_shape, part_shape, read_description, removed, upload_shape,
};

use crate::refusal::Refusal;
use penstock_dialects::client::WrongRequest;
use penstock_runtime::bus::FileError;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::file::FileId;
use tracing::warn;

/// That a project has no such thing; another project's is none.
pub(crate) fn unknown(what: &str, id: &str, param: &str) -> Refusal {
    // The id is the caller's: it is not repeated at any length.
    let id: String = id.chars().take(64).collect();
    let mut failure = Failure::gateway(FailureKind::NotFound, format!("the {what} `{id}` does not exist"));
    failure.param = Some(param.to_owned());
    failure.into()
}

/// The id of a file in an address.
pub(crate) fn file_id(text: &str) -> Result<FileId, Refusal> {
    FileId::parse(text).ok_or_else(|| unknown("file", text, "file_id"))
}

/// Why the store does not do what was asked.
pub(crate) fn refused(error: FileError) -> Refusal {
    match error {
        FileError::TooLong { limit } => Refusal::FileTooLong { limit },
        FileError::NoRoom { .. } | FileError::TooMany { .. } => Refusal::FilesFull(error.to_string()),
        FileError::NoDisk => Refusal::NotReady("the disk that files are kept on is nearly full"),
        FileError::Gone | FileError::Taken => Refusal::NotReady("what was being written has been removed meanwhile"),
        FileError::Upload { field, why } => Refusal::Wrong(WrongRequest::WrongField { field, why }),
        FileError::Bus(error) => unavailable(&error),
    }
}

/// That the store does not answer.
pub(crate) fn unavailable(error: &impl ToString) -> Refusal {
    warn!(error = error.to_string(), "the store of files failed");
    Refusal::NotReady("the store of files does not answer")
}
