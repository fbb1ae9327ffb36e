//! Answers that were given before: what makes two requests the same, where answers are held in memory, which questions are
//! near each other, and how several callers share one that is under way. Knows nothing of HTTP, of a dialect, or of who may
//! ask.

pub(crate) mod canonical;
mod compared;
mod conversion;
pub(crate) mod flight;
mod key;
mod memory;
mod report;
mod semantic;
mod tally;
mod thresholds;

pub(crate) use compared::AnswersToCompare;
pub(crate) use conversion::{Completed, collected, complete, events, put_together, text_of};
pub(crate) use key::CacheKey;
pub(crate) use memory::{Cache, FoundAnswer, Hit, NearAnswer};
pub(crate) use semantic::{QUESTION, write_vector};
pub(crate) use thresholds::CheckedSet;
