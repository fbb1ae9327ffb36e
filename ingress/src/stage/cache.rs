//! Stage 4: was this answered before? The seam for the exact and the semantic cache: neither exists yet, so nothing is
//! looked up, and every reply says `x-penstock-cache: off`.

use super::admit::Admitted;
use penstock_schemas::event::CacheResult;

/// A request that no cache has answered.
pub(crate) struct Missed {
    pub(crate) admitted: Admitted,
    /// What the caller and the ledger are told.
    pub(crate) cache: CacheResult,
}

/// Looks a request up.
pub(crate) fn look_up(admitted: Admitted) -> Missed {
    Missed { admitted, cache: CacheResult::Off }
}
