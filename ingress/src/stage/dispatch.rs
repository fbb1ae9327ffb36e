//! Dispatch: the call onto the bus, and the beginning of its answer back. Where it is sent, and where again, stands in
//! `dispatch/sending`; everything else about retry and fallback is done by the workers. Knows no provider.

use super::record::Record;
use super::reserve::Funded;
use super::route::Route;
use crate::config::OnBreak;
use crate::http::body::header;
use crate::limits::Hold;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use bytes::Bytes;
use penstock_dialects::client::{ClientRequest, carried};
use penstock_dialects::vertex::OtherMaker;
use penstock_runtime::heavy;
use penstock_schemas::envelope::{Body, Dialect, Envelope, Operation};
use penstock_schemas::name::Target;
use penstock_schemas::plan::{Link, Plan};
use penstock_schemas::stage::Stage;
use std::pin::pin;

mod beginning;
mod call;
mod frames;
mod pieces;
mod resume;
mod sending;

pub(crate) use call::{Answer, Placed, Streaming, read_again};
pub(crate) use frames::{Frames, Source};
pub(crate) use resume::Continuation;

/// An answer that has begun, and what goes on with it if it is a stream that breaks.
pub(crate) struct Begun {
    pub(crate) answer: Answer,
    pub(crate) resume: Option<Box<Continuation>>,
}

/// A call that is not sent by itself.
pub(crate) struct SpeltCall {
    pub(crate) envelope: Envelope,
    pub(crate) body: Bytes,
    pub(crate) hold: Option<Hold>,
}

impl From<Answer> for Begun {
    fn from(answer: Answer) -> Self {
        Self { answer, resume: None }
    }
}

/// Sends the request to its first link that is served, and waits for the beginning of the answer, as long as the caller's
/// right to ask holds.
pub(crate) async fn dispatch(funded: Funded, ingress: &Shared, record: &mut Record) -> Result<Begun, Refusal> {
    let grant = funded.request.grant().clone();
    grant.hold(pin!(send(funded, ingress, record))).await
}

async fn send(funded: Funded, ingress: &Shared, record: &mut Record) -> Result<Begun, Refusal> {
    record.enter(Stage::Dispatch);
    if !ingress.bus.is_connected() {
        return Err(Refusal::NotReady("the connection to NATS is down"));
    }
    let Funded { request, route, hold, .. } = funded;
    // A session is never opened twice.
    let hedge = route.hedge.filter(|_| request.asked.operation != Operation::Realtime);
    let (asked, plan) = (&request.asked, &route.plan);
    let is_resumable = route.on_break == OnBreak::Resume && asked.operation == Operation::Chat && !request.is_kept;
    let (pieces, body, native) = heavy(asked.body.len(), || {
        let pieces = pieces::cut(asked, plan, &ingress.models)?;
        let agnostic_alone = (asked.dialect != Dialect::Openai).then_some(0);
        let (body, native) = match &pieces {
            // What is gone on with must be read, so it comes in the agnostic form.
            None if is_resumable => (asked.agnostic()?, agnostic_alone),
            // What is put together at its end must be read, too.
            None if request.call.is_some() => (asked.agnostic()?, agnostic_alone),
            // An answer that is kept is for callers of every dialect.
            None if request.agnostic.is_some() => (request.agnostic.clone().unwrap_or_default(), agnostic_alone),
            None => forms(asked, plan, ingress)?,
            Some(_) => (Bytes::new(), agnostic_alone),
        };
        Ok::<_, Refusal>((pieces, body, native))
    })
    .await?;
    // The pieces of a list are calls of their own: what is put together of them is not kept.
    let kept = request.is_kept && pieces.is_none();
    let reservation = hold.as_ref().map(|hold| hold.reservation.clone());
    record.holds(hold.map(Hold::sent));
    // Answers that are kept for repetitions are not masked, so what the provider was sent must not stand in them.
    let keep_sent = if kept { 0 } else { record.keeps_sent() };
    let envelope = Envelope { native, kept, keep_sent, reservation, ..envelope(request, route, ingress) };
    record.planned(&envelope);
    if let Some(pieces) = pieces {
        // Boxed, so that the many requests in one piece do not pay for the few in several.
        return Box::pin(pieces::send_all(envelope, pieces, ingress, record)).await.map(Begun::from);
    }
    let resumed = is_resumable.then(|| (envelope.clone(), body.clone()));
    let answer = call::send(envelope, body, hedge, ingress, record).await?;
    let resume = match (&answer, resumed) {
        (Answer::Stream(stream), Some((envelope, body))) => {
            Some(Box::new(Continuation::new(ingress.clone(), envelope, body, stream.head.target.clone())))
        }
        _ => None,
    };
    Ok(Begun { answer, resume })
}

/// The call that a line of a group for a provider's own batch API is, and what is set aside for it. `None` when it would take
/// several.
pub(crate) async fn spell(funded: Funded, ingress: &Shared) -> Result<Option<SpeltCall>, Refusal> {
    let Funded { request, route, hold, .. } = funded;
    let (asked, plan) = (&request.asked, &route.plan);
    let spelt = heavy(asked.body.len(), || match pieces::cut(asked, plan, &ingress.models)? {
        Some(_) => Ok(None),
        None => forms(asked, plan, ingress).map(Some),
    })
    .await?;
    let Some((body, native)) = spelt else { return Ok(None) };
    let reservation = hold.as_ref().map(|hold| hold.reservation.clone());
    let envelope = Envelope { native, reservation, ..envelope(request, route, ingress) };
    Ok(Some(SpeltCall { envelope, body, hold }))
}

/// The request in every form that a link of the plan wants, and how much of it is the caller's own.
fn forms(asked: &ClientRequest, plan: &Plan, ingress: &Shared) -> Result<(Bytes, Option<u64>), Refusal> {
    if asked.dialect == Dialect::Openai {
        return Ok((asked.body.clone(), None));
    }
    // What another provider has sealed, the provider of this dialect would refuse.
    let is_sealed = asked.holds_seal();
    let takes_native = |Link { target: Target { provider, model }, .. }: &Link| {
        let usual = ingress.models.dialect(provider);
        let is_other = usual.is_some_and(|usual| OtherMaker::of(usual, model.as_str()).is_some());
        !is_sealed && !is_other && ingress.models.speaks(provider, asked.dialect)
    };
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

fn envelope(request: Request, route: Route, ingress: &Shared) -> Envelope {
    let Route { plan, virtual_model, unsupported, .. } = route;
    let headers = carried::headers(request.asked.dialect, &request.headers);
    let passed = header(&request.headers, "traceparent").filter(|_| request.trace.is_none());
    Envelope {
        request_id: request.id,
        call: request.call,
        caller: request.caller,
        batch: request.batch,
        deadline: request.deadline,
        traceparent: passed.map(ToOwned::to_owned),
        trace: request.trace,
        virtual_model,
        plan,
        operation: request.asked.operation,
        dialect: request.asked.dialect,
        native: None,
        kept: false,
        keep_sent: 0,
        content_type: request.asked.content_type,
        headers,
        query: request.carried_query,
        unsupported: unsupported.unwrap_or(ingress.config.unsupported),
        delivery: request.asked.delivery,
        ingress: ingress.bus.process().clone(),
        attempts: 0,
        next_seq: 0,
        last_failure: None,
        reservation: None,
        extent: Some(Box::new(request.asked.extent)),
        body: Body::Inline,
    }
}
