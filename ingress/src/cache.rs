//! Answers that were given before: what makes two requests the same, where answers are held in memory, and how several
//! callers share one that is under way. Knows nothing of HTTP, of a dialect, or of who may ask.

pub(crate) mod canonical;
mod conversion;
pub(crate) mod flight;
mod key;
mod memory;

pub(crate) use conversion::{Completed, collected, complete, events};
pub(crate) use key::CacheKey;
pub(crate) use memory::{Cache, FoundAnswer};
