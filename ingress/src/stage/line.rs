//! A line of a batch as a request: it has no HTTP head, its deadline is its own, and its caller is found by the id of the key
//! that the batch was left with, and checked as any other. Knows nothing of files and queues.

use super::authenticate::{self, Found, Sender};
use super::receive::check_user;
use crate::http::body::reserve;
use crate::refusal::Refusal;
use crate::request::{Arrival, Request};
use crate::session;
use crate::state::Shared;
use axum::http::HeaderMap;
use bytes::Bytes;
use penstock_dialects::client::Endpoint;
use penstock_runtime::{clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::batch::Batch;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::job::KeptJob;
use penstock_schemas::name::RequestId;
use std::collections::BTreeMap;

/// One line.
pub(crate) struct Line<'a> {
    pub(crate) id: RequestId,
    /// When it is sent.
    pub(crate) at: UnixMicros,
    /// Until when it must be answered.
    pub(crate) ends: UnixMicros,
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Bytes,
    pub(crate) batch: &'a Batch,
}

/// Who asked for a batch, as they stand now.
///
/// # Errors
/// When they may not ask any more.
pub(crate) fn find_owner(batch: &Batch, ingress: &Shared) -> Result<Found, Refusal> {
    match &batch.of_token {
        Some(key) => authenticate::find_by_token(key, ingress),
        None => authenticate::find_by_id(&batch.caller.key_id, ingress),
    }
}

/// Until when a line that is sent now must be answered.
pub(crate) fn deadline(batch: &Batch, ingress: &Shared) -> UnixMicros {
    clock::now().after(ingress.config.total_timeout).min(batch.expires_at)
}

/// The request of a job whose caller comes back for the answer: in one piece, unless its stream is kept.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_job(
    endpoint: Endpoint,
    body: Bytes,
    job: &KeptJob,
    ingress: &Shared,
) -> Result<Request, Refusal> {
    let caller = match &job.of_token {
        Some(key) => authenticate::find_by_token(key, ingress),
        None => authenticate::find_by_id(&job.caller.key_id, ingress),
    }?;
    read_job_for(caller, (endpoint, body), job, ingress).await
}

/// The same in the name of a caller who is to read its answer.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_job_for(
    caller: Found,
    (endpoint, body): (Endpoint, Bytes),
    job: &KeptJob,
    ingress: &Shared,
) -> Result<Request, Refusal> {
    let memory = reserve(&ingress.memory, &body, endpoint.operation).await?;
    let mut asked = heavy(body.len(), || endpoint.read(body, job.content_type.clone())).await?;
    asked.delivery = job.stream.filter(|_| job.kept.is_some()).unwrap_or(Delivery::Whole);
    let sender = Sender { user: job.caller.user.clone(), tags: job.caller.tags.clone() };
    let grant = caller.grant(&asked, sender, ingress)?;
    let at = clock::now();
    let deadline = at.after(ingress.config.total_timeout).min(job.expires_at);
    let (headers, carried_query) = (HeaderMap::new(), BTreeMap::new());
    let trace = ingress.config.trace(job.request_id, None);
    let arrival = Arrival { id: job.request_id, at, deadline, headers, carried_query, known_at: at, trace };
    let mut request = Request::new(grant, arrival, asked, memory);
    (request.is_kept, request.call) = (job.kept.is_some(), job.kept.as_ref().map(|kept| kept.request_id));
    Ok(request)
}

/// The request that a line is.
///
/// # Errors
/// When its key is not good any more, the memory is in use, or the line is not a request.
pub(crate) async fn read(line: Line<'_>, ingress: &Shared) -> Result<Request, Refusal> {
    let Line { id, at, ends, endpoint, body, batch } = line;
    let caller = find_owner(batch, ingress)?;
    let memory = reserve(&ingress.memory, &body, endpoint.operation).await?;
    let asked = heavy(body.len(), || endpoint.read(body, None)).await?;
    check_user(&asked)?;
    let sender = Sender { user: batch.caller.user.clone(), tags: batch.caller.tags.clone() };
    let grant = caller.grant(&asked, sender, ingress)?;
    let (headers, carried_query) = (HeaderMap::new(), BTreeMap::new());
    let trace = ingress.config.trace(id, None);
    let arrival = Arrival { id, at, deadline: ends, headers, carried_query, known_at: at, trace };
    let mut request = Request::new(grant, arrival, asked, memory);
    request.session = session::of_body(&request.asked.body).map(Box::new);
    request.batch = Some(batch.id.clone());
    Ok(request)
}
