//! Reads an answer that came in one piece. Its content stays unread.

use super::answer::Answer;
use super::errors;
use crate::provider::Observed;
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};

/// What the answer says besides its content.
///
/// # Errors
/// When it is an error in spite of its status, holds no choice, or is not JSON.
pub(super) fn read_whole(body: &Bytes) -> Result<Observed, Failure> {
    let answer = Answer::read(body)?;
    if let Some(error) = answer.error() {
        return Err(errors::within_success(&error, body));
    }
    if answer.choices.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::provider(FailureKind::Broken, "the provider's answer holds no choice"));
    }
    let mut observed = Observed::default();
    answer.observe(&mut observed);
    Ok(observed)
}
