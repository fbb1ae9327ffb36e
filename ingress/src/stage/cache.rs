//! Cache: was this answered before? The seam for the exact and the semantic cache: neither exists yet, so nothing is looked
//! up, and every reply says `x-penstock-cache: off`.

use crate::request::Request;
use penstock_schemas::event::CacheResult;

/// Looks a request up.
pub(crate) fn look_up(request: &mut Request) {
    request.cache = CacheResult::Off;
}
