//! The harness of the end-to-end tests: the real binary with a real nats-server and the real ClickHouse engine, in front of
//! scripted upstreams that live in the test's own process. Knows nothing of Penstock's insides, only its public contract.
//!
//! ```no_run
//! # async fn example() {
//! use penstock_tests::World;
//! let world = World::start().await;
//! world.upstream("alpha").fails(529).always();
//! world.upstream("beta").answers("hello");
//! assert_eq!(world.ask("fast").await.text(), "hello");
//! assert_eq!(world.attempts(4).await, ["alpha 529", "alpha 529", "alpha 529", "beta 200"]);
//! # }
//! ```

mod answer;
mod ask;
mod authority;
mod binary;
mod bus;
mod collector;
mod folder;
mod issuer;
mod ledger;
mod nats_cluster;
mod process;
mod replace;
mod setup;
mod skewed_clock;
mod small_disk;
mod upstream;
pub mod wait;
mod world;

pub use answer::{Answer, Open, in_short};
pub use ask::Ask;
pub use authority::{Authority, Issued};
pub use binary::{checkout, penstock, tool};
pub use bus::objection;

pub use collector::{Collector, Manner, Otlp, SeenSpan};
pub use folder::Folder;
pub use issuer::Issuer;
pub use nats_cluster::NatsCluster;
pub use process::{Output, Process, address_in, is_running, kill, memory_of};
pub use setup::Setup;
pub use skewed_clock::SkewedClock;
pub use small_disk::SmallDisk;
pub use upstream::{
    BATCH_KEY, BatchKind, BatchStep, BatchUpstream, Call, EXPIRED, End, GARBLED, Gate, Part, REFUSED, Reply, Upstream,
    words,
};
pub use wait::{LONG, until, until_right};
pub use world::World;
