//! The time and the ids that depend on it: the only place where either is made.

use penstock_schemas::UnixMicros;
use penstock_schemas::name::{AttemptId, ProcessId, RequestId};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The time now.
pub fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// An id for a request that begins now.
pub fn request_id() -> RequestId {
    RequestId(Uuid::now_v7())
}

/// An id for an attempt that begins now.
pub fn attempt_id() -> AttemptId {
    AttemptId(Uuid::now_v7())
}

/// A name for this process, unique in the cluster.
pub fn process_id() -> ProcessId {
    ProcessId::parse(Uuid::now_v7().simple().to_string()).expect("hexadecimal digits are a name")
}
