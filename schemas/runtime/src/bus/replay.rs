//! Answers that are kept: the frames of a call in a stream of JetStream, besides their way to the ingress, so that any
//! ingress can give the same answer again or take over a client; and who was first to ask. Reads no content.

use super::streams::KEPT_MAX_AGE;
use super::{Bus, BusError, failed};
use crate::clock;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{Message, Request};
use futures_util::StreamExt;
use penstock_schemas::UnixMicros;
use penstock_schemas::claim::Claim;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Control, Frame, Payload, TURN};
use penstock_schemas::name::{ProcessId, RequestId};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Silence after which the worker of a call that is read again is asked whether it still holds it.
const SILENCE: Duration = Duration::from_secs(1);

/// Silences in a row, without a worker that says it lives, after which an answer is given up.
const SILENCES: u32 = 3;

/// Longest wait for a worker's word.
const WORD: Duration = Duration::from_millis(450);

/// The kept answers of a deployment. Cloning shares them.
#[derive(Clone)]
pub struct Replays {
    bus: Bus,
    stream: Stream,
    claims: Store,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The request is the first.
    First,
    /// This one was.
    By(Claim),
}

/// How far a kept answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// Complete.
    Answered,
    /// On its way, for all that is known.
    Running,
    /// It ended in a failure, or nothing of it is kept any more.
    Failed,
}

/// An answer that is read again, from its beginning; what is still to come follows.
pub struct Replay {
    bus: Bus,
    /// Never locked: the lock makes it shareable, which the client library's type is not.
    frames: Mutex<Ordered>,
    claim: Claim,
    deadline: UnixMicros,
    worker: Option<ProcessId>,
    /// Of the worker whose frames are read: see `inbox`.
    next_seq: u32,
}

impl Bus {
    /// The kept answers.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn replays(&self) -> Result<Replays, BusError> {
        let claims = self.key_value_for(&self.subjects.claims_bucket(), KEPT_MAX_AGE).await?;
        Ok(Replays { bus: self.clone(), stream: self.kept_stream().await?, claims })
    }
}

impl Replays {
    /// Claims a key for a request of this ingress.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn claim(&self, key: &str, claim: &Claim) -> Result<Claimed, BusError> {
        let value = serde_json::to_vec(claim).map_err(failed("write a claim"))?;
        match self.claims.create(key, value.into()).await {
            Ok(_) => Ok(Claimed::First),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => match self.claimed(key).await? {
                Some(claim) => Ok(Claimed::By(claim)),
                None => Err(failed("claim a key")("it was released just now")),
            },
            Err(error) => Err(failed("claim a key")(error)),
        }
    }

    /// Who has claimed a key.
    ///
    /// # Errors
    /// When JetStream does not answer, or the claim cannot be read.
    pub async fn claimed(&self, key: &str) -> Result<Option<Claim>, BusError> {
        let value = self.claims.get(key).await.map_err(failed("read a claim"))?;
        value.map(|value| serde_json::from_slice(&value)).transpose().map_err(failed("read a claim"))
    }

    /// Gives a key free, so that the next request with it is the first again.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn release(&self, key: &str) -> Result<(), BusError> {
        self.claims.purge(key).await.map_err(failed("release a claim"))
    }

    /// How far the answer of a claim is.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn standing(&self, claim: &Claim) -> Result<ReplayState, BusError> {
        let subject = self.bus.subjects.kept_reply(&claim.ingress, claim.request_id);
        let last = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(last) => last,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                let is_new = clock::now().since(claim.at) < SILENCE * SILENCES;
                return Ok(if is_new { ReplayState::Running } else { ReplayState::Failed });
            }
            Err(error) => return Err(failed("read a kept answer")(error)),
        };
        Ok(match Frame::decode(&last.payload).map(|frame| frame.payload) {
            Ok(Payload::End(..)) => ReplayState::Answered,
            Ok(Payload::Failed(_)) | Err(_) => ReplayState::Failed,
            Ok(_) => ReplayState::Running,
        })
    }

    /// Reads the answer of a claim from its beginning.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn read(&self, claim: Claim, deadline: UnixMicros) -> Result<Replay, BusError> {
        let filter_subject = self.bus.subjects.kept_reply(&claim.ingress, claim.request_id);
        let config = OrderedConfig { filter_subject, ..OrderedConfig::default() };
        let consumer = self.stream.create_consumer(config).await.map_err(failed("read a kept answer"))?;
        let frames = consumer.messages().await.map_err(failed("read a kept answer"))?;
        Ok(Replay { bus: self.bus.clone(), frames: Mutex::new(frames), claim, deadline, worker: None, next_seq: 0 })
    }
}

impl Replay {
    /// The request whose answer it is.
    pub fn request_id(&self) -> RequestId {
        self.claim.request_id
    }

    /// Waits for the next piece, at most until the reader's own deadline.
    ///
    /// # Errors
    /// `Deadline`; `Lost` when the answer will not go on.
    pub async fn next(&mut self) -> Result<Payload, Failure> {
        let mut silences = 0;
        loop {
            let left = self.deadline.since(clock::now());
            let frames = self.frames.get_mut().unwrap_or_else(PoisonError::into_inner);
            match timeout(left.min(SILENCE), frames.next()).await {
                Ok(Some(Ok(message))) => {
                    if let Some(payload) = self.read(&message.message)? {
                        return Ok(payload);
                    }
                }
                Ok(Some(Err(_)) | None) => return Err(lost("the kept answer cannot be read")),
                Err(_) if left <= SILENCE => {
                    return Err(Failure::gateway(FailureKind::Deadline, "the request's time is over"));
                }
                Err(_) if is_held(self.bus.clone(), self.worker.clone(), self.claim.request_id).await => silences = 0,
                Err(_) => {
                    silences += 1;
                    if silences >= SILENCES {
                        return Err(lost("the kept answer does not go on"));
                    }
                }
            }
        }
    }

    /// Frames of a worker that was given up stand between those of its successor; only one of them has an answer.
    fn read(&mut self, message: &Message) -> Result<Option<Payload>, Failure> {
        let frame = Frame::decode(&message.payload).map_err(|error| lost(&error.to_string()))?;
        if frame.seq / TURN < self.next_seq / TURN {
            return Ok(None);
        }
        match &frame.payload {
            Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => return Ok(None),
            Payload::Accepted(accepted) => self.worker = Some(accepted.worker.clone()),
            Payload::Chunk(Some(head), _) => self.worker = Some(head.worker.clone()),
            Payload::Chunk(None, _) if frame.seq != self.next_seq => {
                return if frame.seq < self.next_seq {
                    Ok(None)
                } else {
                    Err(lost("a part of the answer is not kept"))
                };
            }
            Payload::Chunk(None, _) | Payload::End(..) | Payload::Failed(_) => {}
        }
        self.next_seq = frame.seq + 1;
        Ok(Some(frame.payload))
    }
}

/// Whether a worker says that it still holds a call.
async fn is_held(bus: Bus, worker: Option<ProcessId>, request_id: RequestId) -> bool {
    let Some(worker) = worker else { return false };
    let probe = serde_json::to_vec(&Control::Probe).expect("a control message has a JSON form");
    let request = Request::new().payload(probe.into()).timeout(Some(WORD));
    let answer = bus.client.send_request(bus.subjects.control(&worker, request_id), request).await;
    let frame = answer.ok().and_then(|answer| Frame::decode(&answer.payload).ok());
    frame.is_some_and(|frame| frame.payload == Payload::Alive)
}

fn lost(why: &str) -> Failure {
    Failure::gateway(FailureKind::Lost, why)
}
