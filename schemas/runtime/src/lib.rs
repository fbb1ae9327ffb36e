//! What every role runs on: the bus, process life, telemetry, config loading. The only package that names NATS and the
//! only one that spawns tasks. Knows nothing of HTTP, providers or ClickHouse.

pub mod apart;
pub mod bus;
pub mod clock;
pub mod config;
pub mod health;
pub mod ledger_metrics;
pub mod life;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod telemetry;
pub mod websocket;

pub use apart::ApartRuntime;
pub use bus::Bus;
pub use life::{HEAVY, Life, heavy, heavy_at_once};
pub use seal::MasterKey;
pub use secret::Secret;
