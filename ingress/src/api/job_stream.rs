//! The answer of a job as a stream of events. Where its request asks for a stream, it is the stream of the caller's dialect,
//! from its beginning, while it comes, and resumable; else it is one event once the job is over. Comments keep the
//! connection alive meanwhile.

use crate::http::reply;
use crate::jobs::{self, shown};
use crate::keys::grant::Grant;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::authenticate::Found;
use crate::stage::{line, repeat};
use crate::state::Shared;
use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use penstock_dialects::client::Endpoint;
use penstock_runtime::bus::KeptValue;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::job::{JobStatus, KeptJob, job_id};
use penstock_schemas::name::RequestId;
use penstock_schemas::place;
use std::time::Duration;
use tokio::select;
use tokio::time::sleep;

/// Between two looks at a job that has not begun.
const LOOK: Duration = Duration::from_millis(200);

/// Looks after which a comment says that the connection is alive.
const COMMENT: u32 = 75;

/// How long a stream waits for its beginning.
const LONGEST: Duration = Duration::from_secs(600);

/// Who reads the answer of a job.
struct Reader {
    ingress: Shared,
    found: Found,
    grant: Grant,
    id: String,
    /// How many events of the stream they have.
    seen: u64,
    until: UnixMicros,
}

/// What a reader does.
enum Reading {
    /// Waits for the beginning.
    Waits(Box<Reader>),
    /// Reads the answer as it comes.
    Reads(BodyDataStream),
}

/// The events of a job, behind the one that the caller has.
///
/// # Errors
/// When the events that the caller has are those of a stream that was given up.
pub(super) fn follow(
    ingress: &Shared,
    found: Found,
    job: &KeptJob,
    last: Option<(RequestId, u64)>,
) -> Result<Response, Refusal> {
    let seen = match (last, &job.kept) {
        (None, _) => 0,
        (Some((call, seen)), Some(kept)) if kept.request_id == call => seen,
        (Some(_), _) => return Err(Refusal::UnknownStream),
    };
    let until = clock::now().after(LONGEST);
    let grant = found.plain_grant(ingress)?;
    let reader = Reader { ingress: ingress.clone(), found, grant, id: job_id(job.request_id), seen, until };
    let events = stream::unfold(Some(Reading::Waits(Box::new(reader))), |reading| async {
        match reading? {
            Reading::Waits(reader) => Some(reader.wait().await),
            Reading::Reads(mut stream) => {
                let next = stream.next().await?;
                Some((next, Some(Reading::Reads(stream))))
            }
        }
    });
    // One without bytes would be taken for the end.
    let events = events.filter(|next| std::future::ready(next.as_ref().map_or(true, |bytes| !bytes.is_empty())));
    Ok(reply::events(Body::from_stream(events), clock::request_id()))
}

type Next = (Result<Bytes, axum::Error>, Option<Reading>);

impl Reader {
    /// Waits for the beginning, or for the next comment.
    async fn wait(mut self: Box<Self>) -> Next {
        for _ in 0..COMMENT {
            let Ok((job, _, _memory)) = jobs::get(&self.found.key.project, &self.id, &self.ingress).await else {
                return (Ok(Bytes::new()), None); // it was forgotten
            };
            // First how far it is, then its stream: one that is over gets no other stream any more.
            if job.kept.is_some()
                && let Ok(response) = Box::pin(self.read(&job)).await
            {
                return (Ok(Bytes::new()), Some(Reading::Reads(response.into_body().into_data_stream())));
            }
            if job.status.is_final() || clock::now() >= self.until || self.ingress.life.is_stopping() {
                return (Ok(end(&job)), None);
            }
            select! {
                () = sleep(LOOK) => {}
                _ = self.grant.over() => return (Ok(Bytes::new()), None),
            }
        }
        (Ok(Bytes::from_static(b": in progress\n\n")), Some(Reading::Waits(self)))
    }

    /// The stream of the last try, if it has begun.
    async fn read(&self, job: &KeptJob) -> Result<Response, Refusal> {
        let (ingress, project) = (&self.ingress, &self.found.key.project);
        let missing = || Refusal::NotReady("the stream of the job is not there");
        let claim = job.kept.clone().ok_or_else(missing)?;
        let input = ingress.conversations.get((project, &place::input(&self.id)), &ingress.memory).await;
        let KeptValue { bytes: body, memory: _held, .. } = input.ok().flatten().ok_or_else(missing)?;
        let endpoint = Endpoint { model: job.model.clone(), ..Endpoint::new(job.dialect, job.operation) };
        let mut request = line::read_job_for(self.found.clone(), (endpoint, body), job, ingress).await?;
        request.deadline = self.until;
        let earlier = repeat::read(claim, &request, ingress).await?;
        pipeline::read_stream(ingress, request, earlier, self.seen).await
    }
}

/// What says how a job ended of which there is no stream: its error in the words of its dialect, or the job.
fn end(job: &KeptJob) -> Bytes {
    let refusal = job.response.as_ref().filter(|_| job.status == JobStatus::Failed && job.stream.is_some());
    let event = match refusal {
        Some(refusal) if job.dialect == Dialect::Openai || job.dialect == Dialect::Google => {
            format!("data: {}\n\n", refusal.body)
        }
        Some(refusal) => format!("event: error\ndata: {}\n\n", refusal.body),
        None => {
            let job = serde_json::to_string(&shown(job)).expect("a job has a JSON form");
            format!("event: job\ndata: {job}\n\n")
        }
    };
    event.into()
}
