//! The bus: everything that is said over NATS, in types. Knows the names of `schemas::subject`, and no role.
//!
//! `inbox` is an ingress's side of a call and `desk` a worker's; `journal` writes the durable ledger, `ledger` reads it, and
//! `dead` keeps what it cannot hold; `bucket` holds what every process keeps in memory, and `directory` the one document of
//! what the operator manages; `kept` holds conversations, and `files` what callers give us to keep; `query` is for questions,
//! `alerts` for what somebody must be told, and `work` for what is kept until it is done; `jobs` holds the lines of batches and
//! their results; `cached` holds answers that may be given again; `time` is what all processes agree on;
//! `shortcut` is the way between roles of one process.

mod alerts;
mod bodies;
mod bucket;
mod cached;
mod cached_questions;
mod connect;
mod dead;
mod desk;
mod directory;
mod files;
mod gossip;
mod hash_key;
mod heads;
mod inbox;
mod jobs;
mod journal;
mod kept;
mod kept_quota;
mod ledger;
mod ledger_health;
mod lost_streams;
mod native;
mod numbers;
mod provision;
mod query;
mod replay;
mod reserve;
mod rows;
mod shortcut;
mod snapshot;
mod store;
mod store_health;
mod stored;
mod streams;
mod time;
mod work;

pub use alerts::{Alarm, JobPost, Post, PostContent};
pub use bucket::{Bucket, BucketPast, Change, PINS};
pub use cached::{CacheStore, CacheUpdate, MOST_CACHED};
pub use connect::{Bus, Intake, NatsConfig, NatsTls};
pub use dead::{DeadLetter, DeadLetters, DeadReason, Letter};
pub use desk::{Arrived, Calls, ClientPieces, Desk, Heard, Incoming, PassOn, Replies};
pub use directory::{Directories, NotChanged};
pub use files::{
    CONTENT_MEMORY, FileError, FileLimits, FileOrder, FileQuery, FileQuota, FileWriter, Files, NewFile, NewPart,
    NewUpload, PART_BYTES, PartWriter,
};
pub use inbox::{Inbox, PendingCall, Pusher};
pub use jobs::{Job, JobReader, Jobs, Results, WORD};
pub use journal::{Journal, Pending, Recorded};
pub use kept::{Kept, KeptValue, Version};
pub use ledger::{UsageBatch, UsageReader};
pub use ledger_health::{LedgerFailure, LedgerHealth, LedgerState};
pub use native::{NativeObjects, ObjectReader, ObjectWriter};
pub use replay::{Claimed, Replay, ReplayState, Replays};
pub use rows::EventFeed;
pub use shortcut::FreeRoom;
pub use snapshot::StreamCopy;
pub use work::{Work, WorkReader};

/// Why something on the bus did not work.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No NATS server could be reached.
    #[error("NATS at {url} cannot be reached: {reason}. Is nats-server running, and is [nats] url right?")]
    Unreachable {
        /// Where it was looked for, without user and password.
        url: String,
        /// What the client says.
        reason: String,
    },
    /// The server is older than what counters, per-message TTL and schedules need.
    #[error("nats-server {0} is too old: Penstock needs 2.12 or newer")]
    TooOld(String),
    /// A stream or bucket exists with other settings than we need: somebody must decide.
    #[error(
        "the stream {name} has other settings than Penstock needs: {differences}. Mend or remove it, then start again"
    )]
    OtherSettings {
        /// The stream.
        name: String,
        /// Each setting: what it is and what it must be.
        differences: String,
    },
    /// There is no room here for what was found.
    #[error(transparent)]
    Memory(#[from] crate::memory::MemoryFull),
    /// JetStream or the connection failed.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the client says.
        reason: String,
    },
}

/// Turns any error of the client library into ours.
fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> BusError {
    move |error| BusError::Failed { what, reason: error.to_string() }
}
