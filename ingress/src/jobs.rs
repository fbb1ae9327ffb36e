//! Requests whose callers come back for the answer: kept, queued, answered by any ingress (`job_runner`), and kept until they are a
//! month old. Knows nothing of HTTP.

use crate::conversation::{unavailable, unread};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use bytes::Bytes;
use memchr::memmem;
use penstock_dialects::client::ClientRequest;
use penstock_dialects::json::whole_characters;
use penstock_runtime::bus::{BusError, JobPost, KeptValue, Post, Version};
use penstock_runtime::memory::Reserved;
use penstock_runtime::{clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::job::{JobResponse, JobStatus, KeptJob, LaterJob, QueuedJob, is_job_id, job_id};
use penstock_schemas::name::ProjectId;
use penstock_schemas::place;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tracing::error;

/// How long a job waits and is worked on at most.
const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Keeps a request, and puts it into the queue.
///
/// # Errors
/// When it cannot be answered so, is too large to be kept, or the store does not answer.
pub(crate) async fn begin(request: &Request, ingress: &Shared) -> Result<KeptJob, Refusal> {
    let asked = &request.asked;
    if asked.operation == Operation::Speech || asked.purpose != Default::default() {
        let why = "what answers this request is not JSON, or stands for a conversation: leave `respond-async` out";
        return Err(Failure::gateway(FailureKind::BadRequest, why).into());
    }
    let now = clock::now();
    let job = KeptJob {
        request_id: request.id,
        status: JobStatus::Queued,
        created_at: now,
        completed_at: None,
        expires_at: request.run_at.unwrap_or(now).max(now).after(WINDOW),
        response: None,
        caller: request.caller.clone(),
        of_token: request.grant().of_token().map(|key| Box::new((**key).clone())),
        dialect: asked.dialect,
        operation: asked.operation,
        model: Some(asked.model.clone()),
        content_type: asked.content_type.clone(),
        webhook: request.webhook.clone(),
        run_at: request.run_at,
        stream: Some(asked.delivery).filter(|how| how.is_stream() && is_made_as_stream(asked)),
        kept: None,
        due: None,
    };
    let (project, id) = (&request.caller.project, job_id(request.id));
    let store = &ingress.conversations;
    let kept = async {
        Ok::<_, BusError>(
            store.put(project, &place::input(&id), &asked.body).await? && store.put(project, &id, &write(&job)).await?,
        )
    };
    if !kept.await.map_err(|error| unavailable(&error))? {
        let why = "the request is too large to be kept until it is answered, or the disk is nearly full";
        return Err(Failure::gateway(FailureKind::TooLarge, why).into());
    }
    let project = project.clone();
    match request.run_at.filter(|at| *at > now) {
        Some(run_at) => ingress.later_jobs.put(LaterJob { project, id, run_at }).await?,
        None => ingress.bus.put_async(&QueuedJob { project, id }).await.map_err(|error| unavailable(&error))?,
    }
    Ok(job)
}

/// Whether the answer is made as a stream where the request asks for one.
fn is_made_as_stream(asked: &ClientRequest) -> bool {
    // A response in the background is made in one piece.
    let is_background = asked.dialect == Dialect::Responses && memmem::find(&asked.body, b"\"background\"").is_some();
    asked.operation == Operation::Chat && !is_background
}

/// The jobs of a project, the newest first, behind this one, without their answers; and whether there are more.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn list(
    project: &ProjectId,
    (after, limit): (Option<&str>, usize),
    ingress: &Shared,
) -> Result<(Vec<KeptJob>, bool), Refusal> {
    let mut ids = ingress.conversations.names(project, is_job_id);
    // An id begins with its time.
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let mut behind = ids.into_iter().filter(|id| after.is_none_or(|after| id.as_str() < after));
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        let Some(id) = behind.next() else { return Ok((jobs, false)) };
        match get(project, &id, ingress).await {
            Ok((job, ..)) => jobs.push(KeptJob { response: None, ..job }),
            // It was forgotten meanwhile.
            Err(Refusal::Failed(failure)) if failure.kind == FailureKind::NotFound => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok((jobs, behind.next().is_some()))
}

/// Has the webhook of a job that is over told of it. Telling it again is harmless.
///
/// # Errors
/// When JetStream does not confirm it.
pub(crate) async fn tell(job: &KeptJob, ingress: &Shared) -> Result<(), BusError> {
    let Some(webhook) = job.webhook.as_ref().filter(|_| job.status.is_final()) else { return Ok(()) };
    let mut shown = json!(shown(&KeptJob { response: None, ..job.clone() }));
    shown.as_object_mut().map(|fields| fields.remove("response"));
    let post = JobPost { id: job_id(job.request_id), shown };
    if !ingress.bus.post(&Post::job(webhook.clone(), post)).await? {
        error!(webhook, job = job_id(job.request_id), "too many posts wait for a webhook: it is not told of this job");
    }
    Ok(())
}

/// A job of a project, with the memory for it.
///
/// # Errors
/// When there is none, or the store does not answer.
pub(crate) async fn get(
    project: &ProjectId,
    id: &str,
    ingress: &Shared,
) -> Result<(KeptJob, Version, Reserved), Refusal> {
    let unknown = || {
        let id: String = id.chars().take(64).collect();
        let mut failure = Failure::gateway(FailureKind::NotFound, format!("the job `{id}` does not exist"));
        failure.param = Some("job_id".to_owned());
        Refusal::from(failure)
    };
    if !is_job_id(id) {
        return Err(unknown());
    }
    let found = ingress.conversations.get((project, id), &ingress.memory).await;
    let KeptValue { bytes, version, memory } = found.map_err(unread)?.ok_or_else(unknown)?;
    let job = heavy(bytes.len(), || serde_json::from_slice(&bytes)).await.map_err(|error| unavailable(&error))?;
    Ok((job, version, memory))
}

/// A job that is no longer wanted. One that is over stays as it is.
///
/// # Errors
/// As [`get`].
pub(crate) async fn cancel(project: &ProjectId, id: &str, ingress: &Shared) -> Result<KeptJob, Refusal> {
    loop {
        let (mut job, version, _memory) = get(project, id, ingress).await?;
        if job.status.is_final() {
            return Ok(job);
        }
        end(&mut job, JobStatus::Cancelled, None);
        let replaced = ingress.conversations.replace((project, id), &write(&job), Some(version)).await;
        if replaced.map_err(|error| unavailable(&error))?.is_some() {
            if job.run_at.is_some() {
                ingress.later_jobs.forget(id).await;
            }
            return Ok(job);
        }
    }
}

/// Forgets a job, which is cancelled first.
///
/// # Errors
/// As [`get`].
pub(crate) async fn forget(project: &ProjectId, id: &str, ingress: &Shared) -> Result<(), Refusal> {
    cancel(project, id, ingress).await?;
    let (store, input) = (&ingress.conversations, place::input(id));
    let both = async { tokio::try_join!(store.forget(project, id), store.forget(project, &input)) };
    both.await.map(drop).map_err(|error| unavailable(&error))
}

/// Notes how a job is over.
pub(crate) fn end(job: &mut KeptJob, status: JobStatus, response: Option<JobResponse>) {
    (job.status, job.response, job.due, job.completed_at) = (status, response, None, Some(clock::now()));
}

/// A job, as it is kept.
pub(crate) fn write(job: &KeptJob) -> Bytes {
    serde_json::to_vec(job).expect("a job has a JSON form").into()
}

/// A job, as its caller sees it.
#[derive(Serialize)]
pub(crate) struct ShownJob {
    id: String,
    object: &'static str,
    status: JobStatus,
    created_at: u64,
    completed_at: Option<u64>,
    expires_at: u64,
    run_at: Option<u64>,
    request_id: String,
    response: Option<JobResponse>,
}

/// Shows a job to its caller.
pub(crate) fn shown(job: &KeptJob) -> ShownJob {
    let seconds = |at: UnixMicros| at.0 / 1_000_000;
    ShownJob {
        id: job_id(job.request_id),
        object: "job",
        status: job.status,
        created_at: seconds(job.created_at),
        completed_at: job.completed_at.map(seconds),
        expires_at: seconds(job.expires_at),
        run_at: job.run_at.map(seconds),
        request_id: job.request_id.to_string(),
        response: job
            .response
            .as_ref()
            .map(|response| JobResponse { body: whole_characters(&response.body), ..response.clone() }),
    }
}

/// Where a job is asked for.
pub(crate) fn location(job: &KeptJob) -> String {
    format!("/v1/jobs/{}", job_id(job.request_id))
}
