//! HTTP in, bus out: the client dialects, the pipeline, keys, routing, the admin API. Knows no provider.
//!
//! Read `pipeline` first: it is one request, top to bottom. Each stage has a file of its own under `stage/`.

mod allow;
mod api;
mod batch;
mod batches;
mod cache;
mod capture;
mod carry;
mod checking;
mod config;
mod conversation;
mod dashboard;
mod dialect;
mod embedding;
mod experiments;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
pub mod identity;
mod job_runner;
mod jobs;
mod judging;
pub mod keys;
mod later_jobs;
mod limits;
pub mod manage;
mod metrics;
mod models;
mod pipeline;
mod provider_keys;
mod queue;
pub mod reading;
mod realtime;
mod refusal;
mod request;
mod role;
mod routing;
mod run_at;
mod session;
mod stage;
mod state;
mod status;
mod strangers;

pub use batches::SHOWN as BATCHES_SHOWN;
pub use config::{Declared, IngressConfig, Strategy, VirtualModel};
pub use role::Ingress;
pub use routing::{chances, untold};
