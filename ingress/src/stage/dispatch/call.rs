//! One call: sent, and followed to the beginning of its answer; or the kept answer of an earlier one. Knows no provider.

use super::beginning::{Beginning, Fallen, collect, first_content, internal, note};
use super::frames::{Frames, Source};
use super::sending::Sending;
use crate::allow::Allowed;
use crate::cache::flight::Pieces;
use crate::config::Hedge;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stage::record::Record;
use crate::stage::repeat::Earlier;
use crate::state::Shared;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use penstock_runtime::Life;
use penstock_runtime::bus::{Bus, Intake, Replay};
use penstock_schemas::envelope::{Body, Dialect, Envelope};
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::{Ended, Head, Payload};
use std::pin::pin;
use tracing::warn;

/// An answer that has begun.
pub(crate) enum Answer {
    /// All of it.
    Whole(Box<Ended>, Bytes),
    /// Its first content; the rest follows.
    Stream(Box<Streaming>),
}

/// A stream on its way to the client.
pub(crate) struct Streaming {
    pub(crate) head: Head,
    pub(crate) first: Bytes,
    pub(crate) source: Source,
    pub(crate) placed: Option<Placed>,
}

/// A large request in the object store, as long as its call lasts.
pub(crate) struct Placed {
    bus: Bus,
    life: Life,
    body: Body,
}

impl Answer {
    /// Who answers, as far as it was told.
    pub(crate) fn head(&self) -> Option<&Head> {
        match self {
            Self::Whole(ended, _) => ended.head.as_ref(),
            Self::Stream(stream) => Some(&stream.head),
        }
    }

    /// Whether it is JSON in the agnostic form.
    pub(crate) fn is_agnostic(&self) -> bool {
        self.head().is_some_and(|head| head.dialect == Dialect::Openai && head.content_type.is_none())
    }

    fn stream(head: Head, first: Bytes, source: Source, placed: Option<Placed>) -> Self {
        Self::Stream(Box::new(Streaming { head, first, source, placed }))
    }
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
        Beginning::Whole(ended, bytes) => Ok(Answer::Whole(ended, bytes)),
        Beginning::Stream(head, bytes) if record.delivery().is_stream() => {
            Ok(Answer::stream(head, bytes, Source::Live(Box::new(sending.into_call())), Some(placed)))
        }
        Beginning::Stream(head, bytes) => {
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
        Ok(Beginning::Stream(head, first)) => Some((head, first, Source::Live(Box::new(sending.into_call())))),
        // All of it came at once: there is nothing to wait for, and the source says so.
        Ok(Beginning::Whole(ended, bytes)) => {
            let head = ended.head.clone()?;
            Some((head, Bytes::new(), Source::Whole(Some((ended, bytes)))))
        }
        Err(_) => None,
    }
}

/// Gives the answer that is kept of an earlier request, as long as the caller's right to ask holds.
pub(crate) async fn read_again(request: &Request, earlier: Earlier, record: &mut Record) -> Result<Answer, Refusal> {
    let grant = request.grant().clone();
    grant.hold(pin!(read(*earlier.replay, earlier.allowed, record))).await
}

async fn read(mut replay: Replay, _: Allowed, record: &mut Record) -> Result<Answer, Refusal> {
    let begun = first_content(&mut replay).await;
    match note(begun.map_err(Fallen::into_unsent), record)? {
        Beginning::Whole(ended, bytes) => Ok(Answer::Whole(ended, bytes)),
        Beginning::Stream(head, bytes) if record.delivery().is_stream() => {
            Ok(Answer::stream(head, bytes, Source::Again(Box::new(replay)), None))
        }
        Beginning::Stream(head, bytes) => {
            let (ended, bytes) = collect(&mut replay, head, bytes, record).await?;
            Ok(Answer::Whole(ended, bytes))
        }
    }
}

/// A stream whose call others may go on with.
impl Pieces for (Source, Option<Placed>) {
    fn next(&mut self) -> BoxFuture<'_, Result<Payload, Failure>> {
        Frames::next(&mut self.0).boxed()
    }

    fn consumed(&mut self, bytes: usize) {
        Frames::consumed(&mut self.0, bytes);
    }
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
