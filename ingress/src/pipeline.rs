//! One request, top to bottom. Each stage takes what the one before it made and gives the next, so the compiler keeps the
//! order, and nothing reaches a worker's subject without having been admitted and paid for. Stage 8, the call itself, is
//! `workers/src/pool.rs`. Knows the order of things and none of the things themselves.

use crate::conversation::{background, recall};
use crate::dialect::{Endpoint, Rewriter};
use crate::refusal::Refusal;
use crate::role::Shared;
use crate::stage::allow::Allowed;
use crate::stage::answer::{self, Answer};
use crate::stage::authenticate::{self, Known};
use crate::stage::number::Numbers;
use crate::stage::receive::Received;
use crate::stage::record::{Record, Told};
use crate::stage::repeat::{self, Repeat};
use crate::stage::{admit, cache, dispatch, receive, reserve, route};
use axum::extract::Request;
use axum::response::Response;
use penstock_runtime::bus::{Intake, Replay};
use penstock_runtime::{clock, heavy};
use penstock_schemas::name::RequestId;
use std::pin::pin;

/// Answers one request for a model.
pub(crate) async fn serve(ingress: Shared, endpoint: Endpoint, request: Request) -> Response {
    let (id, dialect) = (clock::request_id(), endpoint.dialect);
    let mut told = Told::default();
    let mut response = match run(&ingress, id, endpoint, request, &mut told).await {
        Ok(response) => response,
        Err(refusal) => answer::refuse(dialect, &refusal, id),
    };
    answer::tell(&mut response, &told);
    ingress.metrics.count(response.status());
    response
}

async fn run(
    ingress: &Shared,
    id: RequestId,
    endpoint: Endpoint,
    request: Request,
    told: &mut Told,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let head = receive::read_head(parts, endpoint, id, &ingress.config)?; //          1 receive: the head
    ingress.soon_ready(head.deadline).await;
    let found = authenticate::find(&head, ingress).await?; //                         2 authenticate
    let received = receive::read_rest(head, body, ingress).await?; //                 1 receive: the rest
    let known = authenticate::know(received, found, ingress)?;
    let mut record = Record::begin(&known, ingress); //                               9 record, from here to the last byte
    let repeat = known.grant.clone().hold(pin!(repeat::look_up(&known, ingress))).await;
    match repeat.inspect_err(|refusal| record.refused(refusal))? {
        Repeat::First(claims) => {
            let rewriter = rewriter(&known.received, id, claims.is_numbered.then(|| Numbers::new(id, 0)));
            let is_kept = claims.is_kept() && ingress.bus.intake() == Intake::Everything;
            let known = Known { is_kept, ..known };
            let answered = Box::pin(once(ingress, known, (record, rewriter), told)).await;
            if answered.is_err() {
                claims.release(ingress).await;
            }
            answered
        }
        Repeat::Again(replay, claims, seen, allowed) => {
            let call = replay.request_id();
            let rewriter = rewriter(&known.received, call, claims.is_numbered.then(|| Numbers::new(call, seen)));
            let answered = Box::pin(again(id, (*replay, allowed), record, rewriter)).await;
            if answered.is_err() {
                claims.release(ingress).await;
            }
            answered
        }
    }
}

/// A request that is no repetition.
async fn once(
    ingress: &Shared,
    known: Known,
    (mut record, rewriter): (Record, Rewriter),
    told: &mut Told,
) -> Result<Response, Refusal> {
    let id = known.received.id;
    let (known, memory) = recall(known, ingress).await.inspect_err(|refusal| record.refused(refusal))?;
    let memory = match memory {
        Some(memory) if memory.is_background => {
            return background::begin(ingress, known, memory, (record, rewriter)).await;
        }
        memory => memory,
    };
    let answer = ask(ingress, known, &mut record).await;
    *told = record.told();
    let answer = answer.inspect_err(|refusal| record.refused(refusal))?;
    answer.respond(id, record, rewriter, memory).await
}

/// A request that was asked before: its answer costs nothing.
async fn again(
    id: RequestId,
    (replay, allowed): (Replay, Allowed),
    mut record: Record,
    rewriter: Rewriter,
) -> Result<Response, Refusal> {
    let grant = record.grant();
    let answer = grant.hold(pin!(dispatch::read_again(replay, allowed, &mut record))).await;
    let answer = answer.inspect_err(|refusal| record.refused(refusal))?;
    let mut response = answer.respond(id, record, rewriter, None).await?;
    answer::mark_as_repeated(&mut response);
    Ok(response)
}

fn rewriter(received: &Received, call: RequestId, numbers: Option<Numbers>) -> Rewriter {
    let asked = &received.asked;
    heavy(asked.body.len(), || Rewriter::of(asked, call, numbers))
}

/// From the admission to the beginning of the answer.
pub(crate) async fn ask(ingress: &Shared, known: Known, record: &mut Record) -> Result<Answer, Refusal> {
    let grant = known.grant.clone();
    let admitted = admit::admit(known, ingress, record).await?; //                    3 admit
    let missed = cache::look_up(admitted); //                                         4 cache
    let planned = route::route(missed, ingress)?; //                                  5 route
    let funded = reserve::reserve(planned, ingress, record).await?; //                6 reserve
    grant.hold(pin!(dispatch::dispatch(funded, ingress, record))).await //            7 dispatch, 8 call
}
