//! What a request is known by. Knows nothing of what it is made of.

use penstock_schemas::{hex, place};

/// What a request is known by: a digest of everything that shapes its answer, and of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    /// What these parts make: none of them can be moved into its neighbour.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        Self(place::hash(parts))
    }

    /// As it stands in the name of a message.
    pub(crate) fn spelled(&self) -> String {
        hex::write(&self.0)
    }

    /// The key that is spelled so.
    pub(crate) fn read(text: &str) -> Option<Self> {
        hex::read(text).and_then(|bytes| bytes.try_into().ok()).map(Self)
    }
}
