//! What crosses a process boundary: requests, replies, envelopes, usage, money, failures, names of subjects.
//! Pure: no tokio, no NATS, no HTTP, no clock, no randomness.
//!
//! Evolution: fields are only ever added, and added as optional; a name is never used again for something else. The
//! golden files under `schemas/tests/golden` are what older processes may still send, and must keep decoding.

pub mod activity;
pub mod alert;
pub mod asked_tools;
pub mod audit;
pub mod batch;
pub mod body;
pub mod book;
pub mod bound;
pub mod budget;
pub mod cache;
pub mod caller;
pub mod carry;
pub mod chat;
pub mod claim;
pub mod conversation;
pub mod cycle;
pub mod dashboard;
pub mod dialect;
pub mod directory;
pub mod duration;
pub mod envelope;
pub mod event;
pub mod experiment;
pub mod extent;
pub mod failure;
pub mod file;
pub mod forecast;
pub mod form;
pub mod frame;
pub mod head;
pub mod hex;
pub mod job;
pub mod key;
pub mod kind;
pub mod ledger_line;
pub mod load;
pub mod managed;
pub mod message;
pub mod model;
pub mod money;
pub mod name;
pub mod native_batch;
pub mod native_lane;
pub mod network;
pub mod off_policy;
pub mod pattern;
pub mod percent;
pub mod place;
pub mod plan;
pub mod pool;
pub mod price;
pub mod provider_key;
pub mod question;
pub mod reservation;
pub mod rfc3339;
pub mod route;
pub mod rows;
pub mod score;
pub mod session;
pub mod shown;
pub mod spend;
pub mod sse;
pub mod stage;
pub mod subject;
pub mod target;
pub mod trace;
pub mod usage;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The time that has passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: UnixMicros) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The number of its day since 1970, in UTC.
    pub fn day(self) -> u32 {
        u32::try_from(self.0 / 86_400_000_000).unwrap_or(u32::MAX)
    }

    /// This moment, `wait` later.
    pub fn after(self, wait: std::time::Duration) -> UnixMicros {
        UnixMicros(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}
