//! One attempt of a pool: a key that is open, the request in the provider's words, the call between its two entries in the
//! ledger, and what it teaches. Decides nothing about other attempts.

use super::ledger::{Cut, End};
use super::{Held, Pool};
use crate::attempt::{self, Attempt, Call, Clocks, Report};
use crate::count;
use crate::keys::{Key, KeyFault};
use crate::limits::Pick;
use crate::media::{Fetched, Wanted as Addresses};
use crate::providers::{Adapter, Form, Quirk, Wanted};
use crate::retry::Policy;
use bytes::Bytes;
use penstock_runtime::clock;
use penstock_runtime::schedule::full_jitter;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::envelope::{Dialect, Envelope, Operation};
use penstock_schemas::event::UsageEvent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{self, Head, Payload, Summary};
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{ModelId, Target};
use penstock_schemas::plan::Link;
use penstock_schemas::usage::{Usage, UsageSource};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

/// Bytes of a request that are taken for one token when only the order of size counts.
const BYTES_PER_TOKEN: u64 = 4;

/// The least time over which calls that waited for the same moment are spread.
const AFTER_PAUSE: Duration = Duration::from_millis(20);

/// Pauses from here on are told in minutes.
const MINUTES: Duration = Duration::from_secs(120);

/// Default times of a link: first content, first content of a reasoning model, silence, all.
const FIRST_TOKEN: Duration = Duration::from_secs(60);
const FIRST_TOKEN_REASONING: Duration = Duration::from_secs(600);
const IDLE: Duration = Duration::from_secs(60);
const TOTAL: Duration = Duration::from_secs(600);

impl Pool {
    /// A key that the provider has not closed, after a short wait if need be.
    pub(super) async fn open_key(&self, held: &mut Held, link: &Link, policy: &Policy) -> Result<Pick, Attempt> {
        let model = &link.target.model;
        let tokens = held.body.len() as u64 / BYTES_PER_TOKEN;
        let began = clock::now();
        loop {
            let now = clock::now();
            let until = match self.provider.limits.pick(model, tokens, now) {
                Pick::Wait(until) => until,
                pick => return Ok(pick),
            };
            let wait = until.since(now);
            if until.since(began) > policy.patience || until >= held.envelope.deadline {
                let mut failure = Failure::provider(FailureKind::RateLimited, self.why_closed(link, wait, now));
                failure.retry_after_ms = u64::try_from(wait.as_millis()).ok();
                return Err(Attempt::Refused(failure));
            }
            // Not all at once when the wait is over.
            let wait = wait + full_jitter(1, wait / 10 + AFTER_PAUSE, wait / 10 + AFTER_PAUSE);
            held.replies.wait(sleep(wait)).await.ok_or(Attempt::Cancelled)?;
        }
    }

    /// Why no call of a target is made for a while.
    fn why_closed(&self, link: &Link, wait: Duration, now: UnixMicros) -> String {
        let Target { provider, model } = &link.target;
        let Some(until) = self.provider.limits.asked_pause(model, now) else {
            return format!("the limit of {provider} for {model} is used up for {wait:.1?}");
        };
        let left = until.since(now);
        let left = if left < MINUTES { format!("{left:.1?}") } else { format!("{} min", left.as_secs() / 60) };
        let at = i64::try_from(until.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
        let at = at.map_or_else(String::new, |at| format!(" until {}", at.strftime("%H:%M:%S UTC")));
        format!(
            "{provider} asked for no calls of {model}{at} (for {left}), by its Retry-After; an operator lifts it with \
             `penstock targets --resume {provider}/{model}`"
        )
    }

    /// One attempt, between its start and its end in the ledger.
    pub(super) async fn attempt(&self, held: &mut Held, link: &Link, key: Pick) -> Attempt {
        let card = self.provider.model(&link.target.model);
        let Some((adapter, form, body)) = self.words(held, card) else { return cannot_speak(&link.target) };
        let Envelope { operation, delivery, .. } = held.envelope;
        let wanted = Wanted { operation, form, delivery };
        let body = match self.fetch(held, adapter, wanted, body).await {
            Ok(body) => body,
            Err(attempt) => return attempt,
        };
        if let Err(failure) = self.afford(held, link).await {
            return Attempt::Refused(failure);
        }
        held.envelope.attempts += 1;
        let clocks = clocks(link, &held.envelope, card.is_some_and(|card| has(card, "reasoning")));
        let start = self.start(held, link, &clocks);
        if start.price_id.is_none() {
            self.alarm.raise(Alert::unpriced_model(&link.target, start.started_at));
        }
        let appending = self.journal.begin(UsageEvent::AttemptStarted(Box::new(start.clone())));
        let pending = match held.replies.wait(timeout(attempt::LEDGER.min(clocks.total), appending)).await {
            Some(Ok(pending)) => pending,
            Some(Err(_)) => return attempt::ledger_failed(),
            None => return Attempt::Cancelled,
        };
        let call = Call {
            provider: &self.provider,
            memory: &self.memory,
            card,
            adapter,
            wanted,
            key: key.clone(),
            envelope: &held.envelope,
            body: &body,
            clocks,
            id: start.attempt_id,
            number: held.envelope.attempts,
            desk: &self.desk,
            worker: &self.worker,
            life: &self.life,
            began: Instant::now(),
        };
        let (attempt, report) = call.make(pending, &mut held.replies).await;
        let total = call.began.elapsed();
        self.learn(&link.target.model, &key, &attempt, &report);
        let cancelled = if held.replies.is_outrun() { FailureKind::Hedge } else { FailureKind::Cancelled };
        self.tell(&held.envelope, &attempt, &report);
        let (is_cut, ended) = (report.is_cut(&attempt, operation), End::of(&attempt, total, cancelled));
        if is_cut {
            // The caller does not wait for the count.
            let (reservation, ingress) = (held.envelope.reservation.take(), held.envelope.ingress.clone());
            self.life.work(self.clone().note_cut(start, ended, Cut { report, body, reservation, ingress }));
        } else {
            let amounts = self.note(start, ended, report).await;
            if let Some(reservation) = &mut held.envelope.reservation {
                reservation.spend(&link.target, amounts);
            }
        }
        attempt
    }

    /// Says in the log what an operator may want to know of an attempt.
    fn tell(&self, envelope: &Envelope, attempt: &Attempt, report: &Report) {
        let target = &envelope.plan.current().target;
        if let Attempt::Refused(failure) | Attempt::Broken(failure) = attempt {
            let (request_id, number, failure) = (&envelope.request_id, envelope.attempts, failure.kind.as_str());
            warn!(%request_id, model = %target, attempt = number, failure, "an attempt failed");
        }
        if report.observed.usage_mismatch {
            warn!(model = %target, "the provider's usage figures contradict each other");
        }
    }

    /// The request with the images and documents in it that the provider would not fetch itself; fetched once for all
    /// attempts at this link.
    async fn fetch(
        &self,
        held: &mut Held,
        adapter: &'static dyn Adapter,
        wanted: Wanted,
        body: Bytes,
    ) -> Result<Bytes, Attempt> {
        let Some(addresses) = self.not_taken(adapter, wanted, held.envelope.dialect) else { return Ok(body) };
        if let Some(fetched) = &held.fetched {
            return Ok(fetched.body.clone());
        }
        let left = held.envelope.deadline.since(clock::now());
        let fetched =
            held.replies.wait(timeout(left, self.provider.media.inline(&body, addresses, &self.memory))).await;
        let fetched = fetched.ok_or(Attempt::Cancelled)?.map_err(|_| {
            let why = "the images and documents of the request could not be fetched in time";
            Attempt::Refused(Failure::gateway(FailureKind::Deadline, why))
        })?;
        let fetched = fetched.map_err(Attempt::Refused)?.unwrap_or_else(|| Fetched::nothing(body));
        Ok(held.fetched.insert(fetched).body.clone())
    }

    /// What the provider does not fetch itself. The caller's own bytes are left alone, unless they are in OpenAI's form and
    /// go to a server that takes less than OpenAI.
    fn not_taken(&self, adapter: &dyn Adapter, wanted: Wanted, caller: Dialect) -> Option<Addresses> {
        let takes_images = adapter.takes_urls() && !self.provider.settings.has(Quirk::NoUrls);
        let is_agnostic = wanted.form == Form::Agnostic;
        match wanted.operation {
            Operation::Chat if !takes_images && (is_agnostic || caller.form() == Dialect::Openai) => {
                Some(Addresses::All)
            }
            Operation::Chat if is_agnostic && !adapter.takes_document_urls() => Some(Addresses::Documents),
            _ => None,
        }
    }

    /// The answer to the question how many tokens a request is, where the provider has none: counted here, and said so. No
    /// provider is called, so there is no attempt either.
    pub(super) async fn count(&self, held: &mut Held, link: &Link) -> Option<Payload> {
        if held.envelope.operation != Operation::CountTokens {
            return None;
        }
        let (adapter, form, body) = self.words(held, self.provider.model(&link.target.model))?;
        if adapter.counts_tokens() {
            return None;
        }
        // Within `wait`, the ingress learns that the call is still held: the vocabulary takes a while to load.
        let tokens = held.replies.wait(count::input(&self.life, body)).await??;
        let head = Head {
            worker: self.worker.clone(),
            target: link.target.clone(),
            dialect: if form == Form::Own { held.envelope.dialect } else { Dialect::Openai },
            attempts: held.envelope.attempts,
            dropped: Vec::new(),
            content_type: None,
            input_tokens: None,
        };
        let cost = Some(Picodollars::default());
        let summary = Summary { usage: Usage::default(), usage_source: UsageSource::Counted, cost };
        let ended = frame::Ended { head: Some(head), summary };
        Some(Payload::End(Box::new(ended), serde_json::json!({ "input_tokens": tokens }).to_string().into()))
    }

    /// Notes what the attempt says of the provider, for all pools.
    fn learn(&self, model: &ModelId, key: &Pick, attempt: &Attempt, report: &Report) {
        let now = clock::now();
        let failure = match attempt {
            Attempt::Served => None,
            Attempt::Refused(failure) | Attempt::Broken(failure) => Some(failure),
            Attempt::Cancelled => return,
        };
        let fault = failure.and_then(KeyFault::of);
        match (key.key(), fault) {
            (Some(key), Some(fault)) => self.set_aside(key, fault, now),
            (Some(key), None) if failure.is_none() => key.is_good(),
            _ => {}
        }
        if fault.is_some() && self.provider.limits.has_open(now) {
            return; // the next call has another key: this one's failure says nothing of the provider
        }
        let is_closed = self.provider.limits.learn(key, model, report.left, now);
        let first_token = report.first_token.map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        let mut vitals = self.news.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fault = vitals.note(model, failure.map(|failure| failure.kind), first_token, now);
        drop(vitals);
        if is_closed || is_fault {
            self.news.is_urgent();
        }
    }

    /// Calls have other keys for a while, and a human hears of it.
    fn set_aside(&self, key: &Key, fault: KeyFault, now: UnixMicros) {
        let Some(wait) = key.set_aside(now) else { return };
        let (provider, id, hint, reason) = (&self.provider.id, &key.id, key.hint(), fault.as_str());
        error!(%provider, key = id, hint, reason, ?wait, "the provider refuses the key: only the operator can mend that");
        self.metrics.key_set_aside(provider, fault);
        let day = now.0 / 86_400_000_000;
        let alert =
            Alert::new(AlertKind::ProviderKeyFailing, &format!("{provider}/{id}"), reason, &day.to_string(), now);
        let what = match fault {
            KeyFault::Refused => "is refused by the provider",
            KeyFault::Exhausted => "is exhausted: the provider says that its money is spent",
        };
        let alert = alert.saying(format!("the key {id} {hint} of {provider} {what}"));
        self.alarm.raise(alert.with("provider", provider).with("key", id).with("reason", reason));
    }

    /// How to speak to the provider, and the request in the form for it.
    fn words(&self, held: &Held, card: Option<&ModelCard>) -> Option<(&'static dyn Adapter, Form, Bytes)> {
        let native = held.envelope.native(&held.body);
        let (adapter, form) =
            self.provider.speak(held.envelope.dialect, native.is_some(), (held.envelope.operation, card))?;
        let body = match form {
            Form::Own => native?,
            Form::Agnostic => held.envelope.agnostic(&held.body)?,
        };
        Some((adapter, form, body))
    }
}

fn cannot_speak(target: &Target) -> Attempt {
    let why = format!("no worker can turn this request into the dialect of {target}");
    Attempt::Refused(Failure::gateway(FailureKind::Unsupported, why))
}

fn has(card: &ModelCard, capability: &str) -> bool {
    card.capabilities.iter().any(|have| have == capability)
}

fn clocks(link: &Link, envelope: &Envelope, reasons: bool) -> Clocks {
    let or = |millis: Option<u64>, default| millis.map_or(default, Duration::from_millis);
    let left = envelope.deadline.since(clock::now());
    Clocks {
        connect: link.connect_ms.map(Duration::from_millis),
        first_token: or(link.first_token_ms, if reasons { FIRST_TOKEN_REASONING } else { FIRST_TOKEN }),
        idle: or(link.idle_ms, IDLE),
        total: or(link.total_ms, TOTAL).min(left),
    }
}
