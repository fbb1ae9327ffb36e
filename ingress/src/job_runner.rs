//! Answers the jobs that wait: each is a request of its own, made through the same pipeline, in the name of who asked. One
//! that was under way when its process died is made again.

use crate::conversation::unread;
use crate::dialect;
use crate::jobs::{end, get, tell, write};
use crate::pipeline;
use crate::refusal::Refusal;
use crate::stage::line;
use crate::state::Shared;
use crate::status;
use penstock_dialects::client::Endpoint;
use penstock_runtime::bus::{BusError, Intake, KeptValue, Version, Work};
use penstock_runtime::{Life, clock};
use penstock_schemas::claim::Claim;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::job::{JobResponse, JobStatus, KeptJob, QueuedJob};
use penstock_schemas::place;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How many of them one ingress works on at once.
const AT_ONCE: usize = 256;

/// How soon a cancel is noticed.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks the process that works on a job says so.
const PULSE: u32 = 20;

/// How long after its last word that process is believed to be gone.
const GONE: Duration = Duration::from_secs(30);

/// Wait before the queue is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Tries to keep an answer.
const KEEP: u32 = 5;

/// Begins to answer jobs, as long as the role lives.
pub(crate) fn start(ingress: &Shared, life: &Life) {
    let ingress = ingress.clone();
    life.service("running jobs", async move {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            if let Err(error) = run(&ingress, &slots).await {
                warn!(%error, "the queue of jobs cannot be read; opening it again");
            }
            sleep(REOPEN).await;
        }
    });
}

async fn run(ingress: &Shared, slots: &Arc<Semaphore>) -> Result<(), BusError> {
    let mut queue = ingress.bus.async_jobs().await?;
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the slots are never closed");
        let work = queue.next().await?;
        if !ingress.is_ready() {
            // It stops, or has not read all keys and models yet.
            work.again(REOPEN).await?;
            continue;
        }
        let ingress = ingress.clone();
        ingress.life.clone().work(async move {
            if let Err(error) = Working::run(&ingress, &work).await {
                warn!(job = work.value.id, %error, "a job stands still; it comes again");
            }
            drop(slot);
        });
    }
}

/// A job that this process works on.
struct Working<'a> {
    ingress: &'a Shared,
    place: &'a QueuedJob,
    job: KeptJob,
    version: Version,
}

impl<'a> Working<'a> {
    async fn run(ingress: &'a Shared, work: &'a Work<QueuedJob>) -> Result<(), BusError> {
        let place = &work.value;
        let (job, version, _) = match get(&place.project, &place.id, ingress).await {
            Ok(found) => found,
            // It was forgotten.
            Err(Refusal::Failed(failure)) if failure.kind == FailureKind::NotFound => return work.done().await,
            Err(_) => return work.again(REOPEN).await,
        };
        if job.status.is_final() {
            tell(&job, ingress).await?;
            return work.done().await;
        }
        let now = clock::now();
        if let Some(due) = job.due.filter(|due| *due > now) {
            return work.again(due.since(now)).await; // another process works on it
        }
        let kept = keep_as(&job, ingress);
        let mut working = Self { ingress, place, job: KeptJob { kept, ..job }, version };
        if !working.pulse().await? {
            return work.again(REOPEN).await;
        }
        let answer = working.job.clone();
        let answered = {
            let mut answer = std::pin::pin!(answer_for(ingress, place, &answer));
            let mut looks = 0;
            loop {
                select! {
                    answered = &mut answer => break answered,
                    () = sleep(LOOK) => {
                        looks += 1;
                        let is_wanted = if looks % PULSE == 0 {
                            work.goes_on().await?;
                            working.pulse().await?
                        } else {
                            working.is_wanted().await
                        };
                        if !is_wanted {
                            // What is dropped here is cancelled, at the provider too.
                            return work.again(Duration::ZERO).await;
                        }
                    }
                }
            }
        };
        match answered {
            Answered::Again(wait) if clock::now().after(wait) < working.job.expires_at => {
                (working.job.due, working.job.kept) = (None, None);
                working.job.status = JobStatus::Queued;
                working.replace().await?;
                work.again(wait).await
            }
            Answered::Again(_) => working.finish(JobStatus::Expired, None, work).await,
            Answered::Completed(response) => working.finish(JobStatus::Completed, Some(response), work).await,
            Answered::Failed(response) => working.finish(JobStatus::Failed, Some(response), work).await,
        }
    }

    /// Says that it is worked on. False when it was changed meanwhile.
    async fn pulse(&mut self) -> Result<bool, BusError> {
        (self.job.status, self.job.due) = (JobStatus::InProgress, Some(clock::now().after(GONE)));
        self.replace().await
    }

    async fn replace(&mut self) -> Result<bool, BusError> {
        let place = (&self.place.project, self.place.id.as_str());
        let replaced = self.ingress.conversations.replace(place, &write(&self.job), Some(self.version)).await?;
        Ok(replaced.map(|version| self.version = version).is_some())
    }

    async fn is_wanted(&self) -> bool {
        let place = (&self.place.project, self.place.id.as_str());
        let found = self.ingress.conversations.get(place, &self.ingress.memory).await;
        found.map_or(true, |found| found.is_some_and(|found| found.version == self.version))
    }

    async fn finish(
        &mut self,
        status: JobStatus,
        response: Option<JobResponse>,
        work: &Work<QueuedJob>,
    ) -> Result<(), BusError> {
        end(&mut self.job, status, response);
        for _ in 0..KEEP {
            match timeout(GONE, self.replace()).await {
                Ok(Ok(true)) => {
                    tell(&self.job, self.ingress).await?;
                    return work.done().await;
                }
                Ok(Ok(false)) if self.is_wanted().await => {
                    let why = Failure::gateway(FailureKind::TooLarge, "the answer is too large to be kept");
                    let body = dialect::error_body(self.job.dialect, &why.clone().into(), self.job.request_id);
                    let body = to_raw_value(&body).expect("an error has a JSON form");
                    let response =
                        JobResponse { status_code: status::of(&why.into(), self.job.dialect).as_u16(), body };
                    end(&mut self.job, JobStatus::Failed, Some(response));
                }
                Ok(Ok(false)) => return work.again(Duration::ZERO).await, // it was cancelled or forgotten
                Ok(Err(error)) => warn!(job = self.place.id, %error, "an answer could not be kept yet"),
                Err(_) => warn!(job = self.place.id, "an answer could not be kept yet: the store does not answer"),
            }
            sleep(REOPEN).await;
        }
        work.again(REOPEN).await
    }
}

/// Under which names the stream of this try is kept, if it is one: each try has its own.
fn keep_as(job: &KeptJob, ingress: &Shared) -> Option<Claim> {
    job.stream.filter(|_| ingress.bus.intake() == Intake::Everything)?;
    let (request_id, process) = (clock::request_id(), ingress.bus.process().clone());
    Some(Claim { request_id, ingress: process, digest: String::new(), at: clock::now() })
}

enum Answered {
    Completed(JobResponse),
    Failed(JobResponse),
    Again(Duration),
}

async fn answer_for(ingress: &Shared, place: &QueuedJob, job: &KeptJob) -> Answered {
    let sent = async {
        let input = place::input(&place.id);
        let found = ingress.conversations.get((&place.project, &input), &ingress.memory).await;
        let found = found.map_err(unread)?.ok_or(Refusal::NotReady("its request is gone"))?;
        let KeptValue { bytes: body, memory: _held, .. } = found;
        let endpoint = Endpoint { model: job.model.clone(), ..Endpoint::new(job.dialect, job.operation) };
        let request = line::read_job(endpoint, body, job, ingress).await?;
        if job.kept.is_some() {
            pipeline::answer_as_stream(ingress, request).await
        } else {
            pipeline::answer_line(ingress, request).await
        }
    };
    match Box::pin(sent).await {
        Ok((body, _)) => Answered::Completed(JobResponse { status_code: status::ANSWERED.as_u16(), body: raw(&body) }),
        Err(refusal) => {
            let may_wait = matches!(&refusal, Refusal::NotReady(_) | Refusal::Draining | Refusal::OverRate(_))
                || matches!(&refusal, Refusal::Failed(failure) if matches!(
                    failure.kind,
                    FailureKind::Busy | FailureKind::NoPool | FailureKind::RateLimited
                ));
            if may_wait {
                return Answered::Again(refusal.retry_after().unwrap_or(REOPEN).max(REOPEN));
            }
            let body = dialect::error_body(job.dialect, &refusal, job.request_id);
            let body = to_raw_value(&body).expect("an error has a JSON form");
            Answered::Failed(JobResponse { status_code: status::of(&refusal, job.dialect).as_u16(), body })
        }
    }
}

fn raw(body: &[u8]) -> Box<RawValue> {
    let text = || to_raw_value(&String::from_utf8_lossy(body)).expect("a text has a JSON form");
    serde_json::from_slice(body).unwrap_or_else(|_| text())
}
