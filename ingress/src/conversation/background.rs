//! Responses that nobody waits for: answered at once as `queued`, worked on here as a task that a stop waits for, and asked
//! for by their ids at any ingress. The kept response is the only thing that those share: a worker that finds it changed by
//! somebody else lets go, and one that is gone is known by a pulse that no longer comes.

use super::follow::follow;
use super::{ResponseToKeep, unavailable};
use crate::http::reply;
use crate::refusal::Refusal;
use crate::state::Shared;
use axum::response::Response;
use bytes::Bytes;
use penstock_dialects::responses::client as responses;
use penstock_runtime::bus::Version;
use penstock_runtime::clock;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tracing::{error, warn};

/// How many of them one ingress works on at once.
pub(crate) const AT_ONCE: usize = 512;

/// How soon a cancel is noticed.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks the pulse is renewed.
const PULSE: u32 = 20;

/// How long after its last pulse a worker is believed to be gone.
const GONE: Duration = Duration::from_secs(60);

/// Wait before the store is tried again, and how often.
const AGAIN: (Duration, u32) = (Duration::from_secs(1), 5);

/// A response in the making.
pub(crate) struct Task {
    id: RequestId,
    memory: ResponseToKeep,
    version: Version,
    _permit: OwnedSemaphorePermit,
}

/// Keeps that a response will come, and says so; it comes of [`Task::run`].
pub(crate) async fn begin(
    ingress: &Shared,
    id: RequestId,
    memory: ResponseToKeep,
) -> Result<(Task, Response), Refusal> {
    let Ok(permit) = ingress.rooms.background.clone().try_acquire_owned() else {
        let why = "too many responses are in the background here: send the request again later";
        return Err(Failure::gateway(FailureKind::Busy, why).into());
    };
    let queued = responses::waiting(&memory.body, id, false);
    let due = clock::now().after(GONE);
    let state = memory.record(queued.to_string().as_bytes(), false, Some(due)).expect("a response is JSON");
    let kept = memory.shelf.put_input(&memory.id, &memory.input).await.map_err(|error| unavailable(&error))?;
    let version = memory.shelf.replace(&memory.id, &state, None).await.map_err(|error| unavailable(&error))?;
    let Some(version) = version.filter(|_| kept) else {
        let why = "the request is too large to be kept until it is answered";
        return Err(Failure::gateway(FailureKind::TooLarge, why).into());
    };
    let response = if memory.is_followed {
        follow(memory.shelf.clone(), memory.id.clone(), 0, id)
    } else {
        reply::json(&queued, id)
    };
    Ok((Task { id, memory, version, _permit: permit }, response))
}

impl Task {
    /// Keeps what `work` answers: the bytes in the caller's dialect, and whether they came in it.
    pub(crate) async fn run(mut self, work: impl Future<Output = Result<(Bytes, bool), Refusal>> + Send) {
        if !self.pulse().await {
            return;
        }
        let outcome = {
            let mut work = std::pin::pin!(work);
            let mut looks = 0;
            loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    () = sleep(LOOK) => {
                        looks += 1;
                        let goes_on = if looks % PULSE == 0 { self.pulse().await } else { self.is_wanted().await };
                        if !goes_on {
                            return; // What is dropped here is cancelled, at the provider too.
                        }
                    }
                }
            }
        };
        let (response, native) = match outcome {
            Ok(answer) => answer,
            Err(refusal) => (self.failed(&refusal).to_string().into(), false),
        };
        self.finish(&response, native).await;
    }

    fn failed(&self, refusal: &Refusal) -> Value {
        let failure = match refusal {
            Refusal::Failed(failure) => (**failure).clone(),
            other => Failure::gateway(FailureKind::BadRequest, other.to_string()),
        };
        responses::failed(&self.memory.body, self.id, &failure)
    }

    /// Says that it is worked on. False when nobody wants it any more.
    async fn pulse(&mut self) -> bool {
        let state = responses::waiting(&self.memory.body, self.id, true).to_string();
        let due = clock::now().after(GONE);
        let Some(state) = self.memory.record(state.as_bytes(), false, Some(due)) else { return true };
        match self.memory.shelf.replace(&self.memory.id, &state, Some(self.version)).await {
            Ok(Some(version)) => {
                self.version = version;
                true
            }
            Ok(None) => false,
            // The answer may still be kept once the store is back.
            Err(error) => {
                warn!(response = self.memory.id, %error, "a pulse could not be written");
                true
            }
        }
    }

    async fn is_wanted(&self) -> bool {
        self.memory.shelf.is_still(&self.memory.id, self.version).await.unwrap_or(true)
    }

    async fn finish(&self, response: &[u8], native: bool) {
        let Some(record) = self.memory.record(response, native, None) else { return };
        // Before the response is shown as completed: a client that sees this may continue the conversation at once.
        if self.is_wanted().await {
            self.memory.add_to_conversation(response, native).await;
        }
        for _ in 0..AGAIN.1 {
            match self.memory.shelf.replace(&self.memory.id, &record, Some(self.version)).await {
                Ok(Some(_)) => return,
                Ok(None) if self.is_wanted().await => {
                    let too_large = Failure::gateway(FailureKind::TooLarge, "the response is too large to be kept");
                    let failed = responses::failed(&self.memory.body, self.id, &too_large).to_string();
                    let Some(record) = self.memory.record(failed.as_bytes(), false, None) else { return };
                    let replaced = self.memory.shelf.replace(&self.memory.id, &record, Some(self.version)).await;
                    return drop(replaced);
                }
                Ok(None) => return,
                Err(error) => warn!(response = self.memory.id, %error, "a response could not be kept yet"),
            }
            sleep(AGAIN.0).await;
        }
        error!(response = self.memory.id, "a response in the background is lost: the store does not take it");
    }
}
