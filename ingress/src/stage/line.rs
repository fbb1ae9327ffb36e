//! A line of a batch as a request: it has no HTTP head, its deadline is its own, and its caller is found by the id of the key
//! that the batch was left with, and checked as any other. Knows nothing of files and queues.

use super::authenticate::{self, Sender};
use super::receive::check_user;
use crate::dialect::Endpoint;
use crate::http::body::reserve;
use crate::refusal::Refusal;
use crate::request::{Arrival, Request};
use crate::state::Shared;
use axum::http::HeaderMap;
use bytes::Bytes;
use penstock_runtime::{clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::name::KeyId;
use std::collections::BTreeMap;

/// One line.
pub(crate) struct Line {
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Bytes,
    /// The key that the batch was left with.
    pub(crate) key: KeyId,
    /// What was said of its sender then.
    pub(crate) sender: Sender,
    pub(crate) deadline: UnixMicros,
}

/// The request that a line is.
///
/// # Errors
/// When its key is not good any more, the memory is in use, or the line is not a request.
pub(crate) fn read(line: Line, ingress: &Shared) -> Result<Request, Refusal> {
    let Line { endpoint, body, key, sender, deadline } = line;
    let caller = authenticate::find_by_id(&key, ingress)?;
    let memory = reserve(&ingress.memory, body.len())?;
    let asked = heavy(body.len(), || endpoint.read(body, None))?;
    check_user(&asked)?;
    let grant = caller.grant(&asked, sender, ingress)?;
    let (id, at) = (clock::request_id(), clock::now());
    let arrival = Arrival { id, at, deadline, headers: HeaderMap::new(), carried_query: BTreeMap::new() };
    Ok(Request::new(grant, arrival, asked, memory))
}
