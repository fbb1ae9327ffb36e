//! Repeat: was this very request asked before? By its `Idempotency-Key`, or by the `Last-Event-ID` of a client that
//! comes back to a stream. Such a request costs nothing: it gets the answer that is kept, or joins the one under way.

use crate::allow::{self, Allowed};
use crate::http::body::header;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use axum::http::HeaderMap;
use penstock_dialects::client::{Numbers, Rewriter, WrongRequest};
use penstock_runtime::bus::{BusError, Claimed, Intake, Replay, ReplayState};
use penstock_runtime::{clock, heavy, heavy_at_once};
use penstock_schemas::claim::Claim;
use penstock_schemas::name::RequestId;
use penstock_schemas::place;
use std::pin::pin;
use tracing::warn;

/// Asks that an answer be made once, whatever is repeated. Source: the IETF's draft of the header.
const KEY: &str = "idempotency-key";

/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;

/// Asks for a stream that can be gone on with.
const RESUMABLE: &str = "x-penstock-resumable";

/// The last event that a client has seen. Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
const LAST_EVENT: &str = "last-event-id";

/// Times that a key is claimed anew because its answer had failed.
const TRIES: u32 = 3;

/// What a request is: asked for the first time, or a repetition.
pub(crate) struct Repeat {
    /// The keys that stand for it, if it has any.
    pub(crate) claims: ClaimedKeys,
    /// The answer that the same request has already, or soon will have.
    pub(crate) earlier: Option<Earlier>,
    /// The last event that the client has; `None` where events are not numbered.
    seen: Option<u64>,
}

/// The answer to an earlier request, for a caller who may have it.
pub(crate) struct Earlier {
    pub(crate) replay: Box<Replay>,
    pub(crate) allowed: Allowed,
}

/// The keys that stand for a request. Free again when its answer fails, so that asking again is asking anew.
#[derive(Default)]
pub(crate) struct ClaimedKeys(Vec<String>);

impl Repeat {
    /// Whether the answer is to be kept.
    pub(crate) fn is_kept(&self, ingress: &Shared) -> bool {
        self.earlier.is_none() && !self.claims.0.is_empty() && ingress.bus.intake() == Intake::Everything
    }

    /// What puts the answer into the caller's dialect, with numbered events where the client can come back to them.
    pub(crate) async fn rewriter(&self, request: &Request) -> Rewriter {
        let call = self.earlier.as_ref().map_or(request.id, |earlier| earlier.replay.request_id());
        let numbers = self.seen.map(|seen| Numbers::new(call, seen));
        heavy(request.asked.body.len(), || Rewriter::of(&request.asked, call, numbers, clock::now)).await
    }
}

impl ClaimedKeys {
    /// Gives the keys free.
    pub(crate) async fn release(&self, ingress: &Shared) {
        for key in &self.0 {
            if let Err(error) = ingress.replays.release(key).await {
                warn!(%error, "a key whose answer failed stays claimed for a day");
            }
        }
    }
}

/// Finds out, as long as the caller's right to ask holds.
pub(crate) async fn look_up(request: &Request, ingress: &Shared) -> Result<Repeat, Refusal> {
    request.grant().clone().hold(pin!(find(request, ingress))).await
}

async fn find(request: &Request, ingress: &Shared) -> Result<Repeat, Refusal> {
    let headers = &request.headers;
    let is_stream = request.asked.delivery.is_stream();
    if let Some(last) = headers.get(LAST_EVENT).filter(|_| is_stream) {
        return Box::pin(resume(last.to_str().unwrap_or_default(), request, ingress)).await;
    }
    let is_numbered = is_stream && header(headers, RESUMABLE).is_some_and(|value| value == "true" || value == "1");
    let mut claims = ClaimedKeys::default();
    if let Some(key) = headers.get(KEY) {
        let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY);
        let why = || format!("it must be 1 to {LONGEST_KEY} printable ASCII characters");
        let key = key.ok_or_else(|| Refusal::Wrong(WrongRequest::WrongHeader { header: KEY, why: why() }))?;
        claims.0.push(claim_of(request, "key", key));
        if let Some(earlier) = Box::pin(claim(request, ingress, &claims)).await? {
            return Ok(Repeat { claims, earlier: Some(earlier), seen: is_numbered.then_some(0) });
        }
    }
    if is_numbered {
        let own = claim_of(request, "call", &request.id.to_string());
        ingress.replays.claim(&own, &first(request, ingress)).await.map_err(|error| unreadable(&error))?;
        claims.0.push(own);
    }
    Ok(Repeat { claims, earlier: None, seen: is_numbered.then_some(0) })
}

/// Claims the first of `claims` for this request; or the answer of the request that has it.
async fn claim(request: &Request, ingress: &Shared, claims: &ClaimedKeys) -> Result<Option<Earlier>, Refusal> {
    let key = &claims.0[0];
    for _ in 0..TRIES {
        let claim =
            match ingress.replays.claim(key, &first(request, ingress)).await.map_err(|error| unreadable(&error))? {
                Claimed::First => return Ok(None),
                Claimed::By(claim) => claim,
            };
        if claim.digest != digest(request) {
            return Err(Refusal::OtherRequest { what: "idempotency key" });
        }
        if ingress.replays.standing(&claim).await.map_err(|error| unreadable(&error))? == ReplayState::Failed {
            claims.release(ingress).await;
            continue;
        }
        return read(claim, request, ingress).await.map(Some);
    }
    Err(Refusal::NotReady("the earlier request with this idempotency key fails again and again"))
}

/// The answer of the stream that the client was reading, behind the last event that it has.
async fn resume(last: &str, request: &Request, ingress: &Shared) -> Result<Repeat, Refusal> {
    let (call, event) = read_event(last)?;
    let key = claim_of(request, "call", &call.to_string());
    let claim = ingress.replays.claimed(&key).await.map_err(|error| unreadable(&error))?;
    let claim = claim.ok_or(Refusal::UnknownStream)?;
    if claim.digest != digest(request) {
        return Err(Refusal::OtherRequest { what: "id of the last event" });
    }
    let earlier = Some(read(claim, request, ingress).await?);
    Ok(Repeat { claims: ClaimedKeys(vec![key]), earlier, seen: Some(event) })
}

/// The call and the number of an event of a resumable stream.
fn read_event(id: &str) -> Result<(RequestId, u64), Refusal> {
    let wrong = || {
        Refusal::Wrong(WrongRequest::WrongHeader {
            header: LAST_EVENT,
            why: "it must be the `id` of an event of a resumable stream, such as 0190….12".to_owned(),
        })
    };
    let (call, event) = id.split_once('.').ok_or_else(wrong)?;
    Ok((RequestId::parse(call).ok_or_else(wrong)?, event.parse().map_err(|_| wrong())?))
}

/// The event that a client has seen last, if it has seen any.
pub(crate) fn last_event(headers: &HeaderMap) -> Result<Option<(RequestId, u64)>, Refusal> {
    headers.get(LAST_EVENT).map(|last| read_event(last.to_str().unwrap_or_default())).transpose()
}

/// What is kept under a claim, for a caller who may have it.
pub(crate) async fn read(claim: Claim, request: &Request, ingress: &Shared) -> Result<Earlier, Refusal> {
    let allowed = allow::check_name(&request.key, &request.asked.model, ingress)?;
    let replay = ingress.replays.read(claim, request.deadline).await.map_err(|error| unreadable(&error))?;
    Ok(Earlier { replay: Box::new(replay), allowed })
}

fn first(request: &Request, ingress: &Shared) -> Claim {
    Claim { request_id: request.id, ingress: ingress.bus.process().clone(), digest: digest(request), at: clock::now() }
}

/// Where a key is claimed: no project can meet another's.
fn claim_of(request: &Request, kind: &str, key: &str) -> String {
    place::claim(&request.caller.project, kind, key)
}

/// What was asked: the same key with anything else is a mistake.
fn digest(request: &Request) -> String {
    let asked = &request.asked;
    let shape = format!("{:?} {:?} {:?} {}", asked.dialect, asked.operation, asked.delivery, asked.model);
    heavy_at_once(asked.body.len(), || place::digest(&[shape.as_bytes(), &asked.body]))
}

fn unreadable(error: &BusError) -> Refusal {
    warn!(%error, "what is kept of earlier answers cannot be read");
    Refusal::NotReady("what is kept of earlier answers cannot be read")
}
