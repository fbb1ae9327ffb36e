//! HTTP in, bus out: the client dialects, the pipeline, keys, routing, the admin API. Knows no provider.
//!
//! Read `pipeline` first: it is one request, top to bottom. Each stage has a file of its own under `stage/`.

mod api;
mod budget;
mod carry;
mod config;
mod conversation;
mod dialect;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod identity;
pub mod keys;
mod metrics;
mod models;
pub mod office;
mod pipeline;
mod provider_keys;
mod pulse;
mod queue;
pub mod reading;
mod refusal;
mod role;
mod server;
mod stage;
mod status;
mod strangers;

pub use config::IngressConfig;
pub use role::Ingress;
