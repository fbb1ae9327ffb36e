//! Provider pools: attempts, retry, fallback, the provider adapters, the catalogue of models and prices. Knows no client.
//!
//! Read `call` first: it works a call off and decides; `pool` takes it off the bus. `exchange` makes one attempt at a provider,
//! `providers` has the words for it, `retry` the decision, `cost` the money, `count` the tokens that a provider did not report.

mod call;
pub mod catalogue;
mod claim;
mod config;
mod cost;
mod count;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gossip;
mod keys;
mod limits;
mod media;
mod metrics;
mod native;
mod news;
mod pool;
mod prices;
mod probe;
mod provider;
pub mod providers;
mod retry;
mod role;
mod sink;
mod slots;
mod token;
mod vitals;

pub use providers::demo;

pub use config::{ProviderConfig, ServedProviders, WorkersConfig};
pub use keys::ConfiguredKey;
pub use role::Workers;
