//! Provider pools: attempts, retry, fallback, the adapters, the catalogue. Knows no client.

pub mod catalogue;
pub mod providers;
pub mod sse;
