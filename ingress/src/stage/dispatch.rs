//! Stage 7: the call onto the bus, and its frames back. Whom it is sent to, and to whom again, is `sending`'s; everything
//! else about retry and fallback is the workers' business. Knows no provider.

use super::allow::Allowed;
use super::answer::Answer;
use super::frames::{Frames, Source};
use super::pieces;
use super::record::Record;
use super::reserve::Funded;
use super::resume::Resume;
use super::route::Planned;
use crate::budget::Held;
use crate::config::{Hedge, OnBreak};
use crate::dialect::{self, Asked};
use crate::refusal::Refusal;
use crate::role::Shared;
use bytes::{Bytes, BytesMut};
use penstock_runtime::bus::{Bus, Intake, Replay};
use penstock_runtime::heavy;
use penstock_schemas::envelope::{Body, Dialect, Envelope, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Failed, Head, Payload};
use penstock_schemas::name::Target;
use penstock_schemas::plan::{Link, Plan};
use tracing::warn;

mod sending;
use sending::Sending;
pub(super) use sending::fund_again;

/// How often a whole answer may be held at once: as it came, and in the caller's dialect.
const ANSWER_COPIES: usize = 2;

/// A large request in the object store, as long as its call lasts.
pub(crate) struct Placed {
    bus: Bus,
    life: penstock_runtime::Life,
    body: Body,
}

/// Sends the request to its first link that is served, and waits for the beginning of the answer.
pub(crate) async fn dispatch(funded: Funded, ingress: &Shared, record: &mut Record) -> Result<Answer, Refusal> {
    let Funded { planned, held } = funded;
    if !ingress.bus.is_connected() {
        return Err(Refusal::NotReady("the connection to NATS is down"));
    }
    let request = &planned.missed.admitted.known.received;
    let (hedge, on_break) = (planned.hedge, planned.on_break);
    let is_resumable = on_break == OnBreak::Resume
        && request.asked.operation == Operation::Chat
        && !planned.missed.admitted.known.is_kept;
    let (asked, plan) = (&request.asked, &planned.plan);
    let (pieces, body, native) = heavy(asked.body.len(), || {
        let pieces = pieces::cut(asked, plan, &ingress.models)?;
        let agnostic_alone = (asked.dialect != Dialect::Openai).then_some(0);
        let (body, native) = match &pieces {
            // What is gone on with must be read, so it comes in the agnostic form.
            None if is_resumable => (asked.agnostic()?, agnostic_alone),
            None => forms(asked, plan, ingress)?,
            Some(_) => (Bytes::new(), agnostic_alone),
        };
        Ok::<_, Refusal>((pieces, body, native))
    })?;
    // The pieces of a list are calls of their own: what is put together of them is not kept.
    let kept = planned.missed.admitted.known.is_kept && pieces.is_none();
    record.looked_up(planned.missed.cache);
    let reservation = held.as_ref().map(|held| held.reservation.clone());
    record.holds(held.map(Held::sent));
    let envelope = Envelope { native, kept, reservation, ..envelope(planned, ingress) };
    record.planned(&envelope);
    if let Some(pieces) = pieces {
        // Boxed, so that the many requests in one piece do not pay for the few in several.
        return Box::pin(pieces::send_all(envelope, pieces, ingress, record)).await;
    }
    let resumed = is_resumable.then(|| (envelope.clone(), body.clone()));
    let answer = send(envelope, body, hedge, ingress, record).await?;
    Ok(match resumed {
        None => answer,
        Some((envelope, body)) => answer.resumable(|target| Resume::new(ingress.clone(), envelope, body, target)),
    })
}

/// Sends one call, and waits for the beginning of its answer.
pub(super) async fn send(
    mut envelope: Envelope,
    body: Bytes,
    hedge: Option<Hedge>,
    ingress: &Shared,
    record: &mut Record,
) -> Result<Answer, Refusal> {
    let id = envelope.call_id();
    if ingress.bus.intake() != Intake::Everything && !ingress.bus.is_inline(&body) {
        return Err(Refusal::NotReady("the disk is nearly full: requests that would be stored on it are not taken"));
    }
    envelope.body = ingress.bus.place_body(id, &body).await.map_err(|error| internal(&error))?;
    let placed = Placed { bus: ingress.bus.clone(), life: ingress.life.clone(), body: envelope.body.clone() };
    let call = if envelope.kept {
        ingress.inbox.expect_kept(&envelope.caller.project, id, envelope.deadline)
    } else {
        ingress.inbox.expect(id, envelope.deadline)
    };
    let mut sending = Sending::new(ingress, call, envelope, body);
    let begun = match hedge.and_then(|hedge| sending.hedge(hedge)) {
        None => sending.answer().await,
        Some((wait, second)) => Box::pin(sending.race(wait, second)).await,
    };
    record.holds(sending.take_held());
    match note(begun, record)? {
        Begun::Whole(ended, bytes) => Ok(Answer::Whole(ended, bytes)),
        Begun::Stream(head, bytes) if record.delivery().is_stream() => {
            Ok(Answer::stream(head, bytes, Source::Live(Box::new(sending.into_call())), Some(placed)))
        }
        Begun::Stream(head, bytes) => {
            let (ended, bytes) = collect(&mut sending.into_call(), head, bytes, record).await?;
            Ok(Answer::Whole(ended, bytes))
        }
    }
}

/// Sends a call for the rest of a stream, and waits for its beginning. `None` when there is none.
pub(super) async fn send_stream(
    envelope: Envelope,
    body: Bytes,
    ingress: &Shared,
    record: &mut Record,
) -> Option<(Head, Bytes, Source)> {
    let mut envelope = Envelope { body: Body::Inline, kept: false, ..envelope };
    if let Some(reservation) = &envelope.reservation {
        let held = ingress.keeper.set_aside_again(reservation, envelope.deadline).await.ok()?;
        envelope.reservation = Some(held.reservation.clone());
        record.holds([held.sent()]);
    }
    let call = ingress.inbox.expect(envelope.call_id(), envelope.deadline);
    let mut sending = Sending::new(ingress, call, envelope, body);
    match Box::pin(sending.answer()).await {
        Ok(Begun::Stream(head, first)) => Some((head, first, Source::Live(Box::new(sending.into_call())))),
        // All of it came at once: there is nothing to wait for, and the source says so.
        Ok(Begun::Whole(ended, bytes)) => {
            let head = ended.head.clone()?;
            Some((head, Bytes::new(), Source::Whole(Some((ended, bytes)))))
        }
        Err(_) => None,
    }
}

/// The request in every form that a link of the plan wants, and how much of it is the caller's own.
fn forms(asked: &Asked, plan: &Plan, ingress: &Shared) -> Result<(Bytes, Option<u64>), Refusal> {
    if asked.dialect == Dialect::Openai {
        return Ok((asked.body.clone(), None));
    }
    // What another provider has sealed, the provider of this dialect would refuse.
    let is_sealed = asked.holds_seal();
    let takes_native = |link: &Link| !is_sealed && ingress.models.speaks(&link.target.provider, asked.dialect);
    if plan.links().iter().all(takes_native) {
        return Ok((asked.body.clone(), None));
    }
    let agnostic = asked.agnostic()?;
    if !plan.links().iter().any(takes_native) {
        return Ok((agnostic, Some(0)));
    }
    let native = asked.body.len();
    Ok(([&asked.body[..], &agnostic].concat().into(), Some(native as u64)))
}

/// The beginning of an answer.
enum Begun {
    /// Head and end came together.
    Whole(Box<Ended>, Bytes),
    /// The first content, with more to come.
    Stream(Head, Bytes),
}

/// Gives an answer that is kept.
pub(crate) async fn read_again(mut replay: Replay, _: Allowed, record: &mut Record) -> Result<Answer, Refusal> {
    let begun = first_content(&mut replay).await;
    match note(begun.map_err(Fallen::into_unsent), record)? {
        Begun::Whole(ended, bytes) => Ok(Answer::Whole(ended, bytes)),
        Begun::Stream(head, bytes) if record.delivery().is_stream() => {
            Ok(Answer::stream(head, bytes, Source::Again(Box::new(replay)), None))
        }
        Begun::Stream(head, bytes) => {
            let (ended, bytes) = collect(&mut replay, head, bytes, record).await?;
            Ok(Answer::Whole(ended, bytes))
        }
    }
}

/// Why no answer has begun, and who was tried last.
struct Fallen {
    failure: Failure,
    tried: Option<(Option<Target>, u32)>,
}

/// The same, as the caller is told it.
struct Unsent {
    refusal: Refusal,
    tried: Option<(Option<Target>, u32)>,
}

impl From<Failure> for Fallen {
    fn from(failure: Failure) -> Self {
        Self { failure, tried: None }
    }
}

impl Fallen {
    fn into_unsent(self) -> Unsent {
        Unsent { refusal: self.failure.into(), tried: self.tried }
    }
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, tried: None }
    }
}

/// Notes how an answer begins, or why it does not.
fn note(begun: Result<Begun, Unsent>, record: &mut Record) -> Result<Begun, Refusal> {
    match &begun {
        Ok(Begun::Stream(head, _)) => record.first_content(head),
        Ok(Begun::Whole(ended, _)) => ended.head.iter().for_each(|head| record.first_content(head)),
        Err(Unsent { tried: Some((target, attempts)), .. }) => record.tried(target.clone(), *attempts),
        Err(Unsent { tried: None, .. }) => {}
    }
    begun.map_err(|unsent| unsent.refusal)
}

async fn first_content(frames: &mut impl Frames) -> Result<Begun, Fallen> {
    loop {
        match frames.next().await? {
            Payload::Accepted(_) | Payload::Alive | Payload::Gone => {}
            Payload::Chunk(Some(head), bytes) => return Ok(Begun::Stream(head, bytes)),
            Payload::End(ended, bytes) => return Ok(Begun::Whole(ended, bytes)),
            Payload::Chunk(None, _) => {
                return Err(Failure::gateway(FailureKind::Internal, "an answer without a head").into());
            }
            Payload::Failed(failed) => {
                return Err(Fallen { failure: failed.failure, tried: Some((failed.target, failed.attempts)) });
            }
        }
    }
}

/// The rest of an answer that is wanted in one piece, and was too large for one frame.
async fn collect(
    call: &mut impl Frames,
    head: Head,
    first: Bytes,
    record: &mut Record,
) -> Result<(Box<Ended>, Bytes), Refusal> {
    call.consumed(first.len());
    record.hold_more(first.len() * ANSWER_COPIES)?;
    let mut whole = BytesMut::from(first);
    loop {
        match call.next().await? {
            Payload::Accepted(_) | Payload::Alive | Payload::Gone => {}
            Payload::Chunk(_, bytes) => {
                // First its place, then the credit for more.
                record.hold_more(bytes.len() * ANSWER_COPIES)?;
                call.consumed(bytes.len());
                whole.extend_from_slice(&bytes);
            }
            Payload::End(ended, bytes) => {
                whole.extend_from_slice(&bytes);
                return Ok((Box::new(Ended { head: Some(head), ..*ended }), whole.freeze()));
            }
            Payload::Failed(failed) => return Err(refused(failed, record).into()),
        }
    }
}

fn refused(failed: Failed, record: &mut Record) -> Failure {
    record.tried(failed.target, failed.attempts);
    failed.failure
}

fn envelope(planned: Planned, ingress: &Shared) -> Envelope {
    let Planned { missed, plan, virtual_model, unsupported, .. } = planned;
    let known = missed.admitted.known;
    let headers = dialect::carried::headers(known.received.asked.dialect, &known.received.headers);
    let traceparent = super::receive::header(&known.received.headers, "traceparent").map(ToOwned::to_owned);
    Envelope {
        request_id: known.received.id,
        call: None,
        caller: known.caller,
        batch: known.received.batch,
        deadline: known.received.deadline,
        traceparent,
        virtual_model,
        plan,
        operation: known.received.asked.operation,
        dialect: known.received.asked.dialect,
        native: None,
        kept: false,
        content_type: known.received.asked.content_type,
        headers,
        query: known.received.carried_query,
        unsupported: unsupported.unwrap_or(ingress.config.unsupported),
        delivery: known.received.asked.delivery,
        ingress: ingress.bus.process().clone(),
        attempts: 0,
        next_seq: 0,
        last_failure: None,
        reservation: None,
        extent: Some(Box::new(known.received.asked.extent)),
        body: Body::Inline,
    }
}

fn internal(error: &penstock_runtime::bus::BusError) -> Refusal {
    warn!(%error, "a call could not be sent");
    Refusal::NotReady("the bus does not take the call")
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Body::Stored(_) = &self.body {
            let (bus, body) = (self.bus.clone(), self.body.clone());
            self.life.work(async move {
                if let Err(error) = bus.drop_body(&body).await {
                    warn!(%error, "a stored request could not be removed; its age will");
                }
            });
        }
    }
}
