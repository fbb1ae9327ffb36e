//! An error that an answer of status 200 holds. What the words mean is in `crate::errors`.

use super::answer::Said;
use crate::error_details;
pub(super) use crate::errors::within_stream;
use crate::errors::{ErrorParts, within};
use penstock_schemas::failure::Failure;

/// The failure that an answer of status 200 holds.
pub(super) fn within_success(said: &Said<'_>, body: &[u8]) -> Failure {
    match said {
        Said::Part(error) => {
            let whole = serde_json::json!({ "error": error });
            Failure { details: error_details::of(&whole, None), ..within(&ErrorParts::of(error)) }
        }
        Said::Whole => within_stream(body),
    }
}
