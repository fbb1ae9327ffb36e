//! Between 2 and 3: was this very request asked before? By its `Idempotency-Key`, or by the `Last-Event-ID` of a client that
//! comes back to a stream. Such a request costs nothing: it gets the answer that is kept, or joins the one under way.

use super::allow::{self, Allowed};
use super::authenticate::Known;
use super::receive::header;
use crate::refusal::Refusal;
use crate::role::Shared;
use penstock_runtime::bus::{BusError, Claimed, Replay, Standing};
use penstock_runtime::{clock, heavy};
use penstock_schemas::claim::Claim;
use penstock_schemas::name::RequestId;
use penstock_schemas::place;
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

/// What a request is.
pub(crate) enum Repeat {
    /// One that is asked for the first time; its keys, if it has any.
    First(Claims),
    /// One that has an answer, or soon will have: from this event on.
    Again(Box<Replay>, Claims, u64, Allowed),
}

/// The keys that stand for a request. Given free when its answer fails, so that asking again is asking anew.
#[derive(Default)]
pub(crate) struct Claims {
    keys: Vec<String>,
    /// Whether the events of the answer are numbered.
    pub(crate) is_numbered: bool,
}

impl Claims {
    /// Whether the answer is kept.
    pub(crate) fn is_kept(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Gives the keys free.
    pub(crate) async fn release(&self, ingress: &Shared) {
        for key in &self.keys {
            if let Err(error) = ingress.replays.release(key).await {
                warn!(%error, "a key whose answer failed stays claimed for a day");
            }
        }
    }
}

/// Finds out.
pub(crate) async fn look_up(known: &Known, ingress: &Shared) -> Result<Repeat, Refusal> {
    let headers = &known.received.headers;
    let is_stream = known.received.asked.delivery.is_stream();
    if let Some(last) = headers.get(LAST_EVENT).filter(|_| is_stream) {
        return Box::pin(resume(last.to_str().unwrap_or_default(), known, ingress)).await;
    }
    let is_numbered = is_stream && header(headers, RESUMABLE).is_some_and(|value| value == "true" || value == "1");
    let mut claims = Claims { keys: Vec::new(), is_numbered };
    if let Some(key) = headers.get(KEY) {
        let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY);
        let why = || format!("it must be 1 to {LONGEST_KEY} printable ASCII characters");
        let key = key.ok_or_else(|| Refusal::WrongHeader { header: KEY, why: why() })?;
        claims.keys.push(claim_of(known, "key", key));
        if let Some(again) = Box::pin(claim(known, ingress, &mut claims)).await? {
            return Ok(again);
        }
    }
    if is_numbered {
        let own = claim_of(known, "call", &known.received.id.to_string());
        ingress.replays.claim(&own, &first(known, ingress)).await.map_err(|error| unreadable(&error))?;
        claims.keys.push(own);
    }
    Ok(Repeat::First(claims))
}

/// Claims the first of `claims` for this request; or the answer of the request that has it.
async fn claim(known: &Known, ingress: &Shared, claims: &mut Claims) -> Result<Option<Repeat>, Refusal> {
    let key = claims.keys[0].clone();
    for _ in 0..TRIES {
        let claim =
            match ingress.replays.claim(&key, &first(known, ingress)).await.map_err(|error| unreadable(&error))? {
                Claimed::First => return Ok(None),
                Claimed::By(claim) => claim,
            };
        if claim.digest != digest(known) {
            return Err(Refusal::OtherRequest { what: "idempotency key" });
        }
        if ingress.replays.standing(&claim).await.map_err(|error| unreadable(&error))? == Standing::Failed {
            claims.release(ingress).await;
            continue;
        }
        return read(claim, std::mem::take(claims), 0, known, ingress).await.map(Some);
    }
    Err(Refusal::NotReady("the earlier request with this idempotency key fails again and again"))
}

/// The answer of the stream that the client was reading, behind the last event that it has.
async fn resume(last: &str, known: &Known, ingress: &Shared) -> Result<Repeat, Refusal> {
    let wrong = || Refusal::WrongHeader {
        header: LAST_EVENT,
        why: "it must be the `id` of an event of a resumable stream, such as 0190….12".to_owned(),
    };
    let (call, event) = last.split_once('.').ok_or_else(wrong)?;
    let (call, event) = (RequestId::parse(call).ok_or_else(wrong)?, event.parse().map_err(|_| wrong())?);
    let key = claim_of(known, "call", &call.to_string());
    let claim = ingress.replays.claimed(&key).await.map_err(|error| unreadable(&error))?;
    let claim = claim.ok_or(Refusal::UnknownStream)?;
    if claim.digest != digest(known) {
        return Err(Refusal::OtherRequest { what: "id of the last event" });
    }
    let claims = Claims { keys: vec![key], is_numbered: true };
    read(claim, claims, event, known, ingress).await
}

async fn read(claim: Claim, claims: Claims, from: u64, known: &Known, ingress: &Shared) -> Result<Repeat, Refusal> {
    let allowed = allow::check_name(&known.key, &known.received.asked.model, ingress)?;
    let replay = ingress.replays.read(claim, known.received.deadline).await.map_err(|error| unreadable(&error))?;
    Ok(Repeat::Again(Box::new(replay), claims, from, allowed))
}

fn first(known: &Known, ingress: &Shared) -> Claim {
    Claim {
        request_id: known.received.id,
        ingress: ingress.bus.process().clone(),
        digest: digest(known),
        at: clock::now(),
    }
}

/// Where a key is claimed: no project can meet another's.
fn claim_of(known: &Known, kind: &str, key: &str) -> String {
    place::claim(&known.caller.project, kind, key)
}

/// What was asked: the same key with anything else is a mistake.
fn digest(known: &Known) -> String {
    let asked = &known.received.asked;
    let shape = format!("{:?} {:?} {:?} {}", asked.dialect, asked.operation, asked.delivery, asked.model);
    heavy(asked.body.len(), || place::digest(&[shape.as_bytes(), &asked.body]))
}

fn unreadable(error: &BusError) -> Refusal {
    warn!(%error, "what is kept of earlier answers cannot be read");
    Refusal::NotReady("what is kept of earlier answers cannot be read")
}
