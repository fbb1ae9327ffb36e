//! Cache: was this answered before, or is it being answered? Then its answer costs nothing, and needs no plan. What was not
//! answered before is kept when its answer is complete. Whose answers those are stands in the key, by construction.

mod asked;
mod control;
mod meaning;

use super::dispatch::{Answer, Begun, Source, Streaming};
use super::record::Record;
use crate::allow;
use crate::cache::flight::{Absent, Finish, FlightRole, Lead, SharedAnswer, SharedStart};
use crate::cache::{Completed, FoundAnswer, Hit, collected, complete, events, write_vector};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use asked::Asked;
use bytes::Bytes;
use control::{Control, Use};
use meaning::{Check, Meaning};
use penstock_runtime::{clock, heavy, heavy_at_once};
use penstock_schemas::cache::{CacheEntry, CacheMode, KeptQuestion, SemanticHit};
use penstock_schemas::envelope::{Delivery, Dialect};
use penstock_schemas::event::CacheResult;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Summary};
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{RequestId, Target};
use penstock_schemas::stage::Stage;
use std::time::Duration;

/// How long a complete answer waits for the vector of its question, before it is kept without one.
const VECTOR: Duration = Duration::from_secs(10);

/// What came of looking.
pub(crate) enum LookedUp {
    /// The answer.
    Found(Box<Begun>),
    /// There is none. What is to become of the one that is asked for now; `None`: nothing.
    Missed(Option<Box<Missed>>),
}

impl LookedUp {
    /// What the answer would have cost, as far as that is known yet.
    fn cost(&self) -> Option<Picodollars> {
        match self {
            Self::Found(begun) => match &begun.answer {
                Answer::Whole(ended, _) => ended.summary.cost,
                Answer::Stream(_) => None,
            },
            Self::Missed(_) => None,
        }
    }
}

/// A request whose answer is to be kept.
pub(crate) struct Missed {
    asked: Asked,
    lead: Lead,
    /// A kept answer that the new one is compared with.
    check: Option<Box<Check>>,
}

/// Looks a request up, and waits for the same one that is under way, as long as the caller's right to ask holds.
pub(crate) async fn look_up(request: &mut Request, ingress: &Shared, record: &mut Record) -> Result<LookedUp, Refusal> {
    record.enter(Stage::Cache);
    let control = Control::read(&request.headers)?;
    // What is kept for a repetition under the same key is asked for under it, and by its frames. A judge's questions are alike and
    // want each its own answer.
    let is_apart = request.is_kept || request.is_judging;
    let is_off = control.using == Use::Off || is_apart || asked::mode(request, ingress) == CacheMode::Off;
    let asked = if is_off { None } else { Asked::of(request, ingress, &control).await? };
    let Some(asked) = asked else {
        record.looked_up(CacheResult::Off);
        return if control.using == Use::Only { Err(Refusal::CacheMiss) } else { Ok(LookedUp::Missed(None)) };
    };
    record.looked_up(CacheResult::Miss);
    let grant = request.grant().clone();
    let found = grant.hold(Box::pin(find(asked, &control, request, ingress, record))).await;
    let saved = found.as_ref().ok().and_then(LookedUp::cost);
    ingress.cache.count(&request.caller.project, &control.namespace, record.cache(), saved);
    let found = found?;
    if let LookedUp::Missed(Some(missed)) = &found {
        request.agnostic = Some(missed.asked.agnostic.clone());
    }
    Ok(found)
}

async fn find(
    mut asked: Asked,
    control: &Control,
    request: &mut Request,
    ingress: &Shared,
    record: &mut Record,
) -> Result<LookedUp, Refusal> {
    let cache = &ingress.cache;
    let oldest = control.max_age.map_or(asked.ttl, |age| age.min(asked.ttl));
    if control.using != Use::Refresh
        && let Some(found) = cache.find(&asked.key, oldest).await
    {
        return give((found, None), request, ingress, record);
    }
    let check = match meaning::look_up(&mut asked, control, oldest, request, ingress).await {
        Meaning::Found(found) => return give((found.0, Some(found.1)), request, ingress, record),
        Meaning::Nothing(check) => check,
    };
    if control.using == Use::Only {
        return Err(Refusal::CacheMiss);
    }
    let (place, memory) = ((asked.key, request.asked.delivery), || ingress.memory.none());
    let is_alone = control.using == Use::Refresh || control.max_age.is_some() || !asked.may_join || check.is_some();
    let missed = |asked, lead| Ok(LookedUp::Missed(Some(Box::new(Missed { asked, lead, check }))));
    if is_alone {
        return missed(asked, cache.flights().alone(place, request.id, memory()));
    }
    loop {
        let follower = match cache.flights().join(place, request.id, memory()) {
            FlightRole::Follow(follower) => follower,
            FlightRole::Lead(lead) => {
                // The first of before may just have kept its answer.
                return match cache.find(&asked.key, oldest).await {
                    Some(found) => give((found, None), request, ingress, record),
                    None => missed(asked, lead),
                };
            }
        };
        allow::check_name(&request.key, &request.asked.model, ingress)?;
        let leader = follower.leader();
        let waiting = ingress.metrics.waits();
        let shared = follower.wait(request.deadline).await?;
        drop(waiting);
        let answer = match without_attempts(shared) {
            Ok(answer) => answer,
            Err(Absent::Left) => continue,
            Err(Absent::NotShared) => {
                return missed(asked, cache.flights().alone(place, request.id, memory()));
            }
        };
        record.found(CacheResult::Joined, leader, Duration::ZERO);
        if let Some(head) = answer.head() {
            record.first_content(head);
        }
        return Ok(LookedUp::Found(Box::new(Begun::from(answer))));
    }
}

/// The answer that another request caused: none of its attempts is this one's.
fn without_attempts(shared: SharedAnswer) -> Result<Answer, Absent> {
    match shared {
        SharedAnswer::None(absent) => Err(absent),
        SharedAnswer::Whole(ended, bytes) => {
            let head = ended.head.map(|head| Head { attempts: 0, sent: None, ..head });
            Ok(Answer::Whole(Box::new(Ended { head, ..*ended }), bytes))
        }
        SharedAnswer::Stream(head, reader) => Ok(Answer::Stream(Box::new(Streaming {
            head: Head { attempts: 0, ..*head },
            first: Bytes::new(),
            source: Source::Shared(Box::new(reader)),
            placed: None,
        }))),
    }
}

/// The answer that was found, as if it came from a worker; with what it is, where it is that to another question.
fn give(
    (found, semantic): (FoundAnswer, Option<SemanticHit>),
    request: &Request,
    ingress: &Shared,
    record: &mut Record,
) -> Result<LookedUp, Refusal> {
    allow::check_name(&request.key, &request.asked.model, ingress)?;
    present((found, semantic), (request.id, request.asked.delivery), ingress, record).map(LookedUp::Found)
}

fn present(
    (found, semantic): (FoundAnswer, Option<SemanticHit>),
    (request, delivery): (RequestId, Delivery),
    ingress: &Shared,
    record: &mut Record,
) -> Result<Box<Begun>, Refusal> {
    let FoundAnswer { key, entry, content, age } = found;
    let bytes = if delivery.is_stream() {
        let events = heavy_at_once(content.len(), || events(&content, delivery));
        events.map_err(|error| {
            Failure::gateway(FailureKind::Internal, format!("a cached answer cannot be read: {error}"))
        })?
    } else {
        content
    };
    let head = Head {
        worker: ingress.bus.process().clone(),
        target: entry.target.clone(),
        dialect: Dialect::Openai,
        attempts: 0,
        dropped: entry.dropped,
        content_type: None,
        input_tokens: Some(entry.summary.usage.input_total()),
        sent: None,
    };
    let summary = Summary { cost: cost_today(&entry.target, &entry.summary, ingress), ..entry.summary };
    let result = if semantic.is_some() { CacheResult::Semantic } else { CacheResult::Exact };
    record.found(result, entry.request_id, age);
    record.similar(semantic.as_ref().map(|hit| hit.probability));
    record.first_content(&head);
    ingress.cache.hit(request, Hit { project: entry.project, key, source: entry.request_id, semantic });
    let ended = Ended { head: Some(head), summary };
    Ok(Box::new(Begun::from(Answer::Whole(Box::new(ended), bytes))))
}

/// What the answer would cost now.
fn cost_today(target: &Target, summary: &Summary, ingress: &Shared) -> Option<Picodollars> {
    let card = ingress.models.card(target)?;
    card.price.as_ref()?.prices.cost(&summary.usage).or(summary.cost)
}

/// Has an answer kept, and shared with those who wait for it.
pub(crate) async fn share(
    missed: Option<Box<Missed>>,
    begun: Result<Begun, Refusal>,
    ingress: &Shared,
    record: &mut Record,
) -> Result<Begun, Refusal> {
    let Some(missed) = missed else { return begun };
    let Missed { asked, lead, check } = *missed;
    let is_shared = begun.as_ref().is_ok_and(|begun| begun.answer.is_agnostic()) && record.limits().sent_down.is_none();
    let Begun { answer, resume } = match begun {
        Ok(begun) if is_shared => begun,
        // Not what this key stands for, or nothing at all.
        begun => {
            lead.alone();
            return match (begun, check) {
                // A hit that was to be checked is better than none.
                (Err(Refusal::Failed(_) | Refusal::OverBudget(_)), Some(check)) if check.is_hit => {
                    let to = (record.id(), record.delivery());
                    present((check.found, Some(check.hit)), to, ingress, record).map(|begun| *begun)
                }
                (begun, _) => begun,
            };
        }
    };
    let keeping = Keeping { asked, check, ingress: ingress.clone() };
    let answer = match answer {
        Answer::Whole(ended, bytes) => {
            // A short stream comes at once too.
            let completed = heavy(bytes.len(), || {
                if record.delivery().is_stream() {
                    collected(std::slice::from_ref(&bytes), &ended.summary)
                } else {
                    complete(keeping.asked.operation, bytes.clone())
                }
            })
            .await;
            if let Some(completed) = completed {
                keeping.keep(&ended, completed);
            }
            lead.whole(&ended, &bytes);
            Answer::Whole(ended, bytes)
        }
        Answer::Stream(streaming) => {
            // What is gone on with when it breaks is its own reader's alone.
            let lead = if resume.is_some() { lead.apart(ingress.memory.none()) } else { lead };
            Answer::Stream(Box::new(shared(*streaming, keeping, lead, record)))
        }
    };
    Ok(Begun { answer, resume })
}

/// A stream that others may read too, and that is kept when it is complete.
fn shared(streaming: Streaming, keeping: Keeping, lead: Lead, record: &mut Record) -> Streaming {
    let Streaming { head, first, source, placed } = streaming;
    let of = head.clone();
    let finish: Finish = Box::new(move |pieces, ended| {
        let bytes = pieces.iter().map(Bytes::len).sum();
        if let Some(completed) = heavy_at_once(bytes, || collected(pieces, &ended.summary)) {
            let ended = Ended { head: Some(of), summary: ended.summary.clone() };
            keeping.keep(&ended, completed);
        }
    });
    let begun =
        SharedStart { head: head.clone(), first, pieces: Box::new((source, placed)), deadline: record.deadline() };
    let reader = lead.stream(begun, finish, Box::new(record.hand_on()));
    Streaming { head, first: Bytes::new(), source: Source::Shared(Box::new(reader)), placed: None }
}

/// What is kept once the answer is complete.
struct Keeping {
    asked: Asked,
    check: Option<Box<Check>>,
    ingress: Shared,
}

impl Keeping {
    fn keep(self, ended: &Ended, completed: Completed) {
        let Self { asked, check, ingress } = self;
        let Some(head) = &ended.head else { return };
        if let Some(check) = check.filter(|_| !completed.cut) {
            check.begin(completed.bytes.clone(), &ingress);
        }
        let kept_at = clock::now();
        let mut entry = CacheEntry {
            project: asked.project,
            namespace: asked.namespace,
            request_id: asked.request_id,
            asked_at: asked.at,
            kept_at,
            expires_at: kept_at.after(asked.ttl),
            operation: asked.operation,
            target: head.target.clone(),
            dropped: head.dropped.clone(),
            summary: ended.summary.clone(),
            cut: completed.cut,
            question: None,
            bytes: completed.bytes.len() as u64,
            apart: false,
        };
        let key = asked.key;
        let compared = asked.question.zip(asked.embedding).filter(|_| !completed.cut);
        let Some((question, embedding)) = compared else {
            ingress.cache.keep(key, entry, completed.bytes);
            return;
        };
        let kept = move |vector: &[f32]| {
            let (space, text) = (question.space.spelled(), question.text);
            write_vector(vector).map(|vector| Box::new(KeptQuestion { space, text, vector }))
        };
        if let Some(vector) = embedding.now() {
            entry.question = kept(&vector);
            ingress.cache.keep(key, entry, completed.bytes);
            return;
        }
        // A vector that is late is kept all the same; until then the answer is for the same request.
        ingress.cache.hold(key, &entry, &completed.bytes);
        let cache = ingress.cache.clone();
        ingress.life.work(async move {
            entry.question = embedding.wait(VECTOR).await.and_then(|vector| kept(&vector));
            cache.keep(key, entry, completed.bytes);
        });
    }
}
