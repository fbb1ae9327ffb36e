//! Cache: was this answered before, or is it being answered? Then its answer costs nothing, and needs no plan. What was not
//! answered before is kept when its answer is complete. Whose answers those are stands in the key, by construction.

mod asked;
mod control;

use super::dispatch::{Answer, Begun, Source, Streaming};
use super::record::Record;
use crate::allow;
use crate::cache::flight::{Absent, Finish, FlightRole, Lead, SharedAnswer, SharedStart};
use crate::cache::{Cache, Completed, FoundAnswer, collected, complete, events};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use asked::Asked;
use bytes::Bytes;
use control::{Control, Use};
use penstock_runtime::{clock, heavy};
use penstock_schemas::cache::{CacheEntry, CacheMode};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::event::CacheResult;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Summary};
use penstock_schemas::name::Target;
use penstock_schemas::stage::Stage;
use std::time::Duration;

/// What came of looking.
pub(crate) enum LookedUp {
    /// The answer.
    Found(Box<Begun>),
    /// There is none. What is to become of the one that is asked for now; `None`: nothing.
    Missed(Option<Box<Missed>>),
}

/// A request whose answer is to be kept.
pub(crate) struct Missed {
    asked: Asked,
    lead: Lead,
}

/// Looks a request up, and waits for the same one that is under way, as long as the caller's right to ask holds.
pub(crate) async fn look_up(request: &mut Request, ingress: &Shared, record: &mut Record) -> Result<LookedUp, Refusal> {
    record.enter(Stage::Cache);
    let control = Control::read(&request.headers)?;
    // What is kept for a repetition under the same key is asked for under it, and by its frames.
    let is_off = control.using == Use::Off || request.is_kept || asked::mode(request, ingress) == CacheMode::Off;
    let asked = if is_off { None } else { Asked::of(request, ingress, &control)? };
    let Some(asked) = asked else {
        record.looked_up(CacheResult::Off);
        return if control.using == Use::Only { Err(Refusal::CacheMiss) } else { Ok(LookedUp::Missed(None)) };
    };
    record.looked_up(CacheResult::Miss);
    let grant = request.grant().clone();
    let found = grant.hold(Box::pin(find(asked, &control, request, ingress, record))).await;
    let found = found?;
    if let LookedUp::Missed(Some(missed)) = &found {
        request.agnostic = Some(missed.asked.agnostic.clone());
    }
    Ok(found)
}

async fn find(
    asked: Asked,
    control: &Control,
    request: &Request,
    ingress: &Shared,
    record: &mut Record,
) -> Result<LookedUp, Refusal> {
    let cache = &ingress.cache;
    let oldest = control.max_age.map_or(asked.ttl, |age| age.min(asked.ttl));
    if control.using != Use::Refresh
        && let Some(found) = cache.find(&asked.key, oldest).await
    {
        return give(found, &asked, request, ingress, record);
    }
    // Here the semantic look-up comes in: `asked.mode`, unless `control.using` is `Use::Exact`.
    if control.using == Use::Only {
        return Err(Refusal::CacheMiss);
    }
    let (place, memory) = ((asked.key, request.asked.delivery), || ingress.memory.none());
    let missed = |asked, lead| Ok(LookedUp::Missed(Some(Box::new(Missed { asked, lead }))));
    if control.using == Use::Refresh || control.max_age.is_some() || !asked.may_join {
        return missed(asked, cache.flights().alone(place, request.id, memory()));
    }
    loop {
        let follower = match cache.flights().join(place, request.id, memory()) {
            FlightRole::Follow(follower) => follower,
            FlightRole::Lead(lead) => {
                // The first of before may just have kept its answer.
                return match cache.find(&asked.key, oldest).await {
                    Some(found) => give(found, &asked, request, ingress, record),
                    None => missed(asked, lead),
                };
            }
        };
        allow::check_name(&request.key, &request.asked.model, ingress)?;
        let leader = follower.leader();
        let waiting = ingress.metrics.waits();
        let shared = follower.wait(request.deadline).await?;
        drop(waiting);
        let answer = match shared {
            SharedAnswer::None(Absent::Left) => continue,
            SharedAnswer::None(Absent::NotShared) => {
                return missed(asked, cache.flights().alone(place, request.id, memory()));
            }
            SharedAnswer::Whole(ended, bytes) => {
                let head = ended.head.map(|head| Head { attempts: 0, ..head });
                Answer::Whole(Box::new(Ended { head, ..*ended }), bytes)
            }
            SharedAnswer::Stream(head, reader) => Answer::Stream(Box::new(Streaming {
                head: Head { attempts: 0, ..*head },
                first: Bytes::new(),
                source: Source::Shared(Box::new(reader)),
                placed: None,
            })),
        };
        record.found(CacheResult::Joined, leader, Duration::ZERO);
        if let Some(head) = answer.head() {
            record.first_content(head);
        }
        return Ok(LookedUp::Found(Box::new(Begun::from(answer))));
    }
}

/// The answer that was found, as if it came from a worker.
fn give(
    found: FoundAnswer,
    asked: &Asked,
    request: &Request,
    ingress: &Shared,
    record: &mut Record,
) -> Result<LookedUp, Refusal> {
    allow::check_name(&request.key, &request.asked.model, ingress)?;
    let FoundAnswer { entry, content, age } = found;
    let delivery = request.asked.delivery;
    let bytes = if delivery.is_stream() {
        let events = heavy(content.len(), || events(&content, delivery));
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
    };
    let summary = Summary { cost: cost_today(&entry.target, &entry.summary, ingress), ..entry.summary };
    record.found(CacheResult::Exact, entry.request_id, age);
    record.first_content(&head);
    ingress.cache.hit(request.id, (request.caller.project.clone(), asked.key, entry.request_id));
    let ended = Ended { head: Some(head), summary };
    Ok(LookedUp::Found(Box::new(Begun::from(Answer::Whole(Box::new(ended), bytes)))))
}

/// What the answer would cost now.
fn cost_today(target: &Target, summary: &Summary, ingress: &Shared) -> Option<penstock_schemas::money::Picodollars> {
    let card = ingress.models.card(target)?;
    card.price.as_ref()?.prices.cost(&summary.usage).or(summary.cost)
}

/// Has an answer kept, and shared with those who wait for it.
pub(crate) fn share(
    missed: Option<Box<Missed>>,
    begun: Result<Begun, Refusal>,
    ingress: &Shared,
    record: &mut Record,
) -> Result<Begun, Refusal> {
    let Some(missed) = missed else { return begun };
    let Missed { asked, lead } = *missed;
    let is_shared = begun.as_ref().is_ok_and(|begun| begun.answer.is_agnostic()) && record.limits().sent_down.is_none();
    let Begun { answer, resume } = match begun {
        Ok(begun) if is_shared => begun,
        // Not what this key stands for, or nothing at all.
        begun => {
            lead.alone();
            return begun;
        }
    };
    let answer = match answer {
        Answer::Whole(ended, bytes) => {
            // A short stream comes at once too.
            let completed = heavy(bytes.len(), || {
                if record.delivery().is_stream() {
                    collected(std::slice::from_ref(&bytes), &ended.summary)
                } else {
                    complete(asked.operation, bytes.clone())
                }
            });
            if let Some(completed) = completed {
                keep(&ingress.cache, &asked, &ended, completed);
            }
            lead.whole(&ended, &bytes);
            Answer::Whole(ended, bytes)
        }
        Answer::Stream(streaming) => {
            // What is gone on with when it breaks is its own reader's alone.
            let lead = if resume.is_some() { lead.apart(ingress.memory.none()) } else { lead };
            Answer::Stream(Box::new(shared(*streaming, asked, lead, ingress, record)))
        }
    };
    Ok(Begun { answer, resume })
}

/// A stream that others may read too, and that is kept when it is complete.
fn shared(streaming: Streaming, asked: Asked, lead: Lead, ingress: &Shared, record: &mut Record) -> Streaming {
    let Streaming { head, first, source, placed } = streaming;
    let (cache, of) = (ingress.cache.clone(), head.clone());
    let finish: Finish = Box::new(move |pieces, ended| {
        let bytes = pieces.iter().map(Bytes::len).sum();
        if let Some(completed) = heavy(bytes, || collected(pieces, &ended.summary)) {
            let ended = Ended { head: Some(of), summary: ended.summary.clone() };
            keep(&cache, &asked, &ended, completed);
        }
    });
    let begun =
        SharedStart { head: head.clone(), first, pieces: Box::new((source, placed)), deadline: record.deadline() };
    let reader = lead.stream(begun, finish, Box::new(record.hand_on()));
    Streaming { head, first: Bytes::new(), source: Source::Shared(Box::new(reader)), placed: None }
}

fn keep(cache: &Cache, asked: &Asked, ended: &Ended, completed: Completed) {
    let Some(head) = &ended.head else { return };
    let kept_at = clock::now();
    let entry = CacheEntry {
        project: asked.project.clone(),
        namespace: asked.namespace.clone(),
        request_id: asked.request_id,
        asked_at: asked.at,
        kept_at,
        expires_at: kept_at.after(asked.ttl),
        operation: asked.operation,
        target: head.target.clone(),
        dropped: head.dropped.clone(),
        summary: ended.summary.clone(),
        cut: completed.cut,
        bytes: completed.bytes.len() as u64,
        apart: false,
    };
    cache.keep(asked.key, entry, completed.bytes);
}
