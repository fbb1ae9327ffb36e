//! One request, top to bottom. Each stage is a file under `stage/`, and what it finds out stands in the one `Request`. Two
//! things are made in one place only, so that the compiler keeps what must not be forgotten: the right to ask of a caller who
//! is known (`Grant`), without which there is no `Request`, and a call that was admitted and paid for (`Funded`), which alone
//! can be sent. Knows the order of things and none of the things themselves.

use crate::conversation::{self, ToKeep, background, recall};
use crate::http::reply;
use crate::jobs;
use crate::realtime::{Handshake, Talk};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stage::admit::Admitted;
use crate::stage::cache::LookedUp;
use crate::stage::dispatch::{Answer, Begun, SpeltCall};
use crate::stage::guard::RequestGuard;
use crate::stage::record::Record;
use crate::stage::repeat::Earlier;
use crate::stage::signs_of_life::SignsOfLife;
use crate::stage::{admit, cache, dispatch, receive, refer, repeat, reserve, route, shadow};
use crate::state::Shared;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use penstock_dialects::client::{Endpoint, Numbers, Rewriter};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Failed, Summary};
use penstock_schemas::name::RequestId;
use std::pin::pin;
use tokio::sync::OwnedSemaphorePermit;

/// Answers one HTTP request for a model.
pub(crate) async fn serve(ingress: Shared, endpoint: Endpoint, request: axum::extract::Request) -> Response {
    let (id, dialect) = (clock::request_id(), endpoint.dialect);
    let response = match run(&ingress, id, endpoint, request).await {
        Ok(response) => response,
        Err(refusal) => reply::refuse(dialect, &refusal, id),
    };
    ingress.metrics.count(response.status());
    response
}

async fn run(
    ingress: &Shared,
    id: RequestId,
    endpoint: Endpoint,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let is_others = endpoint.translate.is_some();
    let head = receive::read_head(parts, endpoint, id, &ingress.config)?; //          receive: the head
    ingress.soon_ready(head.deadline).await;
    let caller = head.credentials.find_key(ingress).await?; //                        authenticate
    let request = receive::read_rest(head, body, caller, ingress).await?; //          receive: the rest
    let guard = RequestGuard::begin(&request, ingress); //                            record, from here to the last byte
    // What is read here to be put into another form is no client's stream.
    let signs = SignsOfLife::of(&request, ingress).filter(|_| !is_others);
    let answering = answer(ingress.clone(), request, guard).boxed();
    Ok(match signs {
        Some(signs) => signs.among(answering).await,
        None => answering.await.0,
    })
}

/// The response, and why it is a refusal, if it is one.
async fn answer(ingress: Shared, request: Request, mut guard: RequestGuard) -> (Response, Option<Refusal>) {
    let answered = respond(&ingress, request, &mut guard).await;
    let refusal = answered.as_ref().err().cloned();
    (guard.finish(answered, &ingress).await, refusal)
}

/// The response to a request that is no other's repetition, or the answer that the first one got.
async fn respond(ingress: &Shared, mut request: Request, guard: &mut RequestGuard) -> Result<Response, Refusal> {
    if request.is_async {
        let job = Box::pin(jobs::begin(&request, ingress)).await?;
        guard.hand_over().leave();
        return Ok(reply::accepted(&jobs::shown(&job), &jobs::location(&job), job.request_id));
    }
    let repeat = repeat::look_up(&request, ingress).await?;
    let rewriter = repeat.rewriter(&request).await;
    request.is_kept = repeat.is_kept(ingress);
    guard.claims(repeat.claims);
    if let Some(earlier) = repeat.earlier {
        let answer = dispatch::read_again(&request, earlier, guard.record()).await?;
        let mut response = Begun::from(answer).respond(guard.hand_over(), rewriter, None).await?;
        reply::mark_as_repeated(&mut response);
        return Ok(response);
    }
    let memory = match recall(&mut request, ingress).await? {
        Some(ToKeep::Response(memory)) if memory.is_background => {
            let (task, response) = background::begin(ingress, request.id, *memory).await?;
            let (ingress, record) = (ingress.clone(), guard.hand_over());
            ingress.clone().life.work(task.run(in_background(ingress, request, record, rewriter)));
            return Ok(response);
        }
        memory => memory,
    };
    let begun = ask(ingress, request, guard.record()).await?;
    begun.respond(guard.hand_over(), rewriter, memory).await
}

/// From the admission to the beginning of the answer: the same for a client that waits, a response in the background and a
/// line of a batch.
async fn ask(ingress: &Shared, mut request: Request, record: &mut Record) -> Result<Begun, Refusal> {
    refer::refer(&mut request, ingress, record).await?; //                            refer: what is in the files that it names?
    let admitted = admit::admit(&mut request, ingress, record).await?; //             admit: may it come now?
    let looked_up = cache::look_up(&mut request, ingress, record).await?; //          cache: was it answered before?
    let missed = match looked_up {
        LookedUp::Found(begun) => return Ok(*begun),
        LookedUp::Missed(missed) => missed,
    };
    let begun = Box::pin(ask_anew(ingress, request, admitted, record)).await;
    cache::share(missed, begun, ingress, record).await
}

/// What the cache has not.
async fn ask_anew(
    ingress: &Shared,
    mut request: Request,
    admitted: Admitted,
    record: &mut Record,
) -> Result<Begun, Refusal> {
    let route = route::route(&mut request, ingress).await?; //                            route: who can answer it?
    record.routed(&route, &request);
    shadow::copies(&request, ingress).into_iter().for_each(|copy| {
        ingress.life.work(answer_copy(ingress.clone(), copy));
    });
    let funded = reserve::reserve(request, route, admitted, ingress, record).await?; // reserve: is there money for it?
    dispatch::dispatch(funded, ingress, record).await //                              dispatch, and call: workers/src/call.rs
}

/// Answers one request for a session: as any other up to the provider's first word, and then with the switch to a WebSocket.
pub(crate) async fn serve_session(ingress: Shared, request: axum::extract::Request) -> Response {
    let id = clock::request_id();
    let response = match run_session(&ingress, id, request).await {
        Ok(response) => response,
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    };
    ingress.metrics.count(response.status());
    response
}

async fn run_session(ingress: &Shared, id: RequestId, request: axum::extract::Request) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let handshake = Handshake::read(&mut parts)?;
    let head = receive::read_head(parts, Endpoint::new(Dialect::Openai, Operation::Realtime), id, &ingress.config)?;
    ingress.soon_ready(head.deadline).await;
    let caller = head.credentials.find_key(ingress).await?;
    let request = receive::begin_session(head, caller, &handshake.model, ingress)?;
    let mut guard = RequestGuard::begin(&request, ingress);
    let answered = Box::pin(begin_session(ingress, request, handshake, &mut guard)).await;
    Ok(guard.finish(answered, ingress).await)
}

/// From the admission to the provider's first word. There is no cache and no copy of what is said one after the other.
async fn begin_session(
    ingress: &Shared,
    mut request: Request,
    handshake: Handshake,
    guard: &mut RequestGuard,
) -> Result<Response, Refusal> {
    let (id, record) = (request.id, guard.record());
    let admitted = admit::admit(&mut request, ingress, record).await?;
    let route = route::route(&mut request, ingress).await?;
    record.routed(&route, &request);
    let funded = reserve::reserve(request, route, admitted, ingress, record).await?;
    let begun = dispatch::dispatch(funded, ingress, record).await?;
    let Answer::Stream(streaming) = begun.answer else {
        return Err(Failure::gateway(FailureKind::Internal, "a session that is over before it begins").into());
    };
    let talk = Talk::new(*streaming, guard.hand_over(), handshake.model.clone(), ingress)?;
    Ok(handshake.switch(talk, id))
}

/// Answers a copy of a request, off its way: admitted and paid for as any request of the key that it has. Nobody gets the answer.
fn answer_copy(ingress: Shared, (mut request, place): (Request, OwnedSemaphorePermit)) -> BoxFuture<'static, ()> {
    async move {
        let _place = place;
        let (mut record, mut rewriter) =
            (Record::begin(&request, &ingress), Rewriter::of(&request.asked, request.id, None, clock::now));
        let answered = async {
            let admitted = admit::admit(&mut request, &ingress, &mut record).await?;
            let begun = Box::pin(ask_anew(&ingress, request, admitted, &mut record)).await?;
            Ok::<_, Refusal>(begun.into_bytes(&mut record, &mut rewriter).await?)
        };
        let answered = answered.await;
        if let Err(refusal) = answered {
            record.refused(&refusal);
        }
    }
    .boxed()
}

/// The answer in one piece in the caller's dialect, for a caller who does not wait for it.
async fn answer_whole(
    ingress: &Shared,
    request: Request,
    record: &mut Record,
    rewriter: &mut Rewriter,
) -> Result<(Bytes, Summary), Refusal> {
    record.deliver_whole();
    let answered = async {
        let begun = ask(ingress, request, record).await?;
        Ok(begun.into_bytes(record, rewriter).await?)
    };
    Box::pin(answered).await.inspect_err(|refusal| record.refused(refusal))
}

/// The answer as it is kept, and whether it came in the caller's dialect.
async fn in_background(
    ingress: Shared,
    request: Request,
    mut record: Record,
    mut rewriter: Rewriter,
) -> Result<(Bytes, bool), Refusal> {
    let (bytes, _) = answer_whole(&ingress, request, &mut record, &mut rewriter).await?;
    Ok(rewriter.kept().unwrap_or((bytes, false)))
}

/// The answer to a line of a batch, in the caller's dialect. Its record is written when this is over.
pub(crate) async fn answer_line(ingress: &Shared, mut request: Request) -> Result<(Bytes, Summary), Refusal> {
    let (mut record, mut rewriter) =
        (Record::begin(&request, ingress), Rewriter::of(&request.asked, request.id, None, clock::now));
    let memory = recall(&mut request, ingress).await.inspect_err(|refusal| record.refused(refusal))?;
    let answer = answer_whole(ingress, request, &mut record, &mut rewriter).await?;
    conversation::keep(memory, &mut rewriter, &answer.1).await;
    Ok(answer)
}

/// The same of a job whose stream may be read while it comes: it is kept, and put together at its end.
pub(crate) async fn answer_as_stream(ingress: &Shared, mut request: Request) -> Result<(Bytes, Summary), Refusal> {
    let (mut record, mut rewriter) =
        (Record::begin(&request, ingress), Rewriter::of(&request.asked, request.id, None, clock::now));
    let answered = async {
        let memory = recall(&mut request, ingress).await?;
        let begun = ask(ingress, request, &mut record).await?;
        let grant = record.grant();
        let answer = grant.hold(pin!(begun.put_together(&mut record, &mut rewriter))).await?;
        conversation::keep(memory, &mut rewriter, &answer.1).await;
        Ok::<_, Refusal>(answer)
    };
    let answered = Box::pin(answered).await;
    answered.inspect_err(|refusal| record.refused(refusal))
}

/// That stream for a caller who reads it, behind the event that they have; what is still to come follows.
pub(crate) async fn read_stream(
    ingress: &Shared,
    request: Request,
    earlier: Earlier,
    seen: u64,
) -> Result<Response, Refusal> {
    let mut record = Record::unwritten(&request, ingress);
    let numbers = Numbers::new(earlier.replay.request_id(), seen);
    let rewriter = Rewriter::of(&request.asked, request.id, Some(numbers), clock::now);
    let answer = dispatch::read_again(&request, earlier, &mut record).await?;
    Begun::from(answer).respond(record, rewriter, None).await
}

/// A line of a batch as the call that goes with others through its provider's own batch API: admitted and paid for as any
/// request. `None` when it would take several. Its record is written when it is answered.
pub(crate) async fn prepare_line(ingress: &Shared, mut request: Request) -> Result<Option<SpeltCall>, Refusal> {
    let mut record = Record::begin(&request, ingress);
    let prepared = async {
        recall(&mut request, ingress).await?;
        refer::refer(&mut request, ingress, &mut record).await?;
        let admitted = admit::admit(&mut request, ingress, &mut record).await?;
        let route = route::route(&mut request, ingress).await?;
        record.routed(&route, &request);
        let funded = reserve::reserve(request, route, admitted, ingress, &mut record).await?;
        dispatch::spell(funded, ingress).await
    };
    let prepared = Box::pin(prepared).await;
    record.leave();
    prepared
}

/// The answer to such a line, in the caller's dialect, out of what its provider's batch holds.
pub(crate) async fn finish_line(
    ingress: &Shared,
    mut request: Request,
    ended: Result<(Box<Ended>, Bytes), Failed>,
) -> Result<(Bytes, Summary), Refusal> {
    let (mut record, mut rewriter) =
        (Record::begin(&request, ingress), Rewriter::of(&request.asked, request.id, None, clock::now));
    let memory = recall(&mut request, ingress).await.inspect_err(|refusal| record.refused(refusal))?;
    record.deliver_whole();
    let answered = match ended {
        Ok((ended, bytes)) => {
            ended.head.iter().for_each(|head| record.first_content(head));
            Begun::from(Answer::Whole(ended, bytes)).into_bytes(&mut record, &mut rewriter).await
        }
        Err(Failed { failure, target, attempts, .. }) => {
            record.tried(target, attempts);
            Err(failure)
        }
    };
    let answer = answered.map_err(Refusal::from).inspect_err(|refusal| record.refused(refusal))?;
    conversation::keep(memory, &mut rewriter, &answer.1).await;
    Ok(answer)
}
