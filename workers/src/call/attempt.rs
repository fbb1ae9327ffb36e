//! One attempt of a call: a key that is open, the request in the provider's words, the call between its two entries in the
//! ledger, and what it teaches. Decides nothing about other attempts.

use super::ledger::{Cut, End};
use super::{Call, CallContext};
use crate::count;
use crate::exchange::{self, Attempt, Clocks, Exchange, Report};
use crate::limits::Pick;
use crate::media::{Addresses, Fetched};
use crate::providers::Adapter;
use crate::retry::Policy;
use crate::sink::FrameSink;
use bytes::Bytes;
use penstock_dialects::openai::provider::{may_need_responses, needs_responses};
use penstock_dialects::provider::{Form, Quirk, Wanted};
use penstock_runtime::clock;
use penstock_runtime::schedule::full_jitter;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::Alert;
use penstock_schemas::envelope::{Dialect, Envelope, Operation};
use penstock_schemas::event::{AttemptStarted, UsageEvent};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{self, Head, Payload, Summary};
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::Target;
use penstock_schemas::plan::Link;
use penstock_schemas::usage::{Usage, UsageSource};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

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

/// An attempt that is over, before the ledger knows.
struct Made {
    start: AttemptStarted,
    key: Pick,
    attempt: Attempt,
    report: Report,
    total: Duration,
    body: Bytes,
}

impl<S: FrameSink> Call<S> {
    /// A key that the provider has not closed, after a short wait if need be.
    pub(super) async fn open_key(&mut self, link: &Link, policy: &Policy) -> Result<Pick, Attempt> {
        let model = &link.target.model;
        let tokens = self.body.len() as u64 / BYTES_PER_TOKEN;
        let began = clock::now();
        loop {
            let now = clock::now();
            let until = match self.context.provider.limits.pick(model, tokens, now) {
                Pick::Wait(until) => until,
                pick => return Ok(pick),
            };
            let wait = until.since(now);
            if until.since(began) > policy.patience || until >= self.envelope.deadline {
                let mut failure = Failure::provider(FailureKind::RateLimited, self.context.why_closed(link, wait, now));
                failure.retry_after_ms = u64::try_from(wait.as_millis()).ok();
                return Err(Attempt::Refused(failure));
            }
            // Not all at once when the wait is over.
            let wait = wait + full_jitter(1, wait / 10 + AFTER_PAUSE, wait / 10 + AFTER_PAUSE);
            self.sink.wait(sleep(wait)).await.ok_or(Attempt::Cancelled)?;
        }
    }

    /// One attempt, between its start and its end in the ledger.
    pub(super) async fn attempt(&mut self, link: &Link, key: Pick) -> Attempt {
        if self.envelope.operation == Operation::Realtime {
            return Box::pin(self.session(link, &key)).await;
        }
        let provider = self.context.provider.clone();
        let card = provider.model(&link.target.model);
        let Some((adapter, form, body)) = self.context.words(&self.envelope, &self.body, card) else {
            return cannot_speak(&link.target);
        };
        let Envelope { operation, delivery, dialect, .. } = self.envelope;
        let (body, left_out) = self.mends.apply(form, dialect, body);
        let wanted = Wanted { operation, form, delivery };
        let body = match self.fetch(adapter, wanted, body).await {
            Ok(body) => body,
            Err(attempt) => return attempt,
        };
        if let Err(failure) = self.record_ends().await {
            return Attempt::Broken(failure);
        }
        if let Err(failure) = self.afford(link).await {
            return Attempt::Refused(failure);
        }
        self.envelope.attempts += 1;
        let clocks = clocks(link, &self.envelope, card.is_some_and(|card| has(card, "reasoning")));
        let start = self.context.start((&self.envelope, &self.body), link, &clocks);
        if start.price_id.is_none() {
            self.context.alarm.raise(Alert::unpriced_model(&link.target, start.started_at));
        }
        let appending = self.context.journal.begin(UsageEvent::started(&start));
        let pending = match self.sink.wait(timeout(exchange::LEDGER.min(clocks.total), appending)).await {
            Some(Ok(pending)) => pending,
            Some(Err(_)) => return Attempt::Refused(exchange::ledger_failed()),
            None => return Attempt::Cancelled,
        };
        let exchange = Exchange {
            provider: &provider,
            memory: &self.context.memory,
            card,
            adapter,
            wanted,
            key: key.clone(),
            envelope: &self.envelope,
            body: &body,
            left_out,
            clocks,
            id: start.attempt_id,
            number: self.envelope.attempts,
            desk: &self.context.desk,
            worker: &self.context.worker,
            life: &self.context.life,
            began: Instant::now(),
        };
        let (attempt, mut report) = exchange.make(pending, &mut self.sink).await;
        let total = exchange.began.elapsed();
        self.sent = report.sent_body.take();
        self.conclude(Made { start, key, attempt, report, total, body }).await
    }

    /// Learns of an attempt that is over, and writes its end into the ledger.
    async fn conclude(&mut self, made: Made) -> Attempt {
        let Made { start, key, attempt, report, total, body } = made;
        let target = start.target.clone();
        self.context.learn(&target.model, &key, &attempt, &report);
        self.context.log(&self.envelope, &attempt, &report);
        let cancelled = if self.sink.is_outrun() { FailureKind::Hedge } else { FailureKind::Cancelled };
        let (is_cut, end) = (report.is_cut(&attempt, start.operation), End::of(&attempt, total, cancelled));
        if is_cut {
            // The caller does not wait for the count.
            let (reservation, ingress) = (self.envelope.reservation.take(), self.envelope.ingress.clone());
            let cut = Cut { report, body, reservation, ingress, ends: std::mem::take(&mut self.ends) };
            self.context.life.work(self.context.clone().note_cut(start, end, cut));
        } else {
            let noted = self.context.note(start, end, report).await;
            self.ends.push(noted.recorded);
            if let Some(reservation) = &mut self.envelope.reservation {
                reservation.spend(&target, noted.amounts);
            }
        }
        attempt
    }

    /// The request with the images and documents in it that the provider would not fetch itself; fetched once for all
    /// attempts at this link.
    async fn fetch(&mut self, adapter: &'static dyn Adapter, wanted: Wanted, body: Bytes) -> Result<Bytes, Attempt> {
        let Some(addresses) = self.context.not_taken(adapter, wanted, self.envelope.dialect) else { return Ok(body) };
        if let Some(fetched) = &self.fetched {
            return Ok(fetched.body.clone());
        }
        let left = self.envelope.deadline.since(clock::now());
        let fetched = self
            .sink
            .wait(timeout(left, self.context.provider.media.inline(&body, addresses, &self.context.memory)))
            .await;
        let fetched = fetched.ok_or(Attempt::Cancelled)?.map_err(|_| {
            let why = "the images and documents of the request could not be fetched in time";
            Attempt::Refused(Failure::gateway(FailureKind::Deadline, why))
        })?;
        let fetched = fetched.map_err(Attempt::Refused)?.unwrap_or_else(|| Fetched::nothing(body));
        Ok(self.fetched.insert(fetched).body.clone())
    }

    /// The answer to the question how many tokens a request is, where the provider has none, or `refused` for want of such an
    /// address: counted here, and said so. No provider is called, so there is no attempt either.
    pub(super) async fn count(&mut self, link: &Link, refused: Option<&Failure>) -> Option<Payload> {
        if self.envelope.operation != Operation::CountTokens {
            return None;
        }
        let (adapter, form, body) =
            self.context.words(&self.envelope, &self.body, self.context.provider.model(&link.target.model))?;
        if adapter.counts_tokens() && !refused.is_some_and(lacks_address) {
            return None;
        }
        // Within `wait`, the ingress learns that the call is still held: the vocabulary takes a while to load.
        let tokens = self.sink.wait(count::input(&self.context.life, body)).await??;
        let head = Head {
            worker: self.context.worker.clone(),
            target: link.target.clone(),
            dialect: if form == Form::Own { self.envelope.dialect } else { Dialect::Openai },
            attempts: self.envelope.attempts,
            dropped: Vec::new(),
            content_type: None,
            input_tokens: None,
            sent: None,
        };
        let cost = Some(Picodollars::default());
        let summary = Summary { usage: Usage::default(), usage_source: UsageSource::Counted, cost };
        let ended = frame::Ended { head: Some(head), summary };
        Some(Payload::End(Box::new(ended), serde_json::json!({ "input_tokens": tokens }).to_string().into()))
    }
}

impl CallContext {
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

    /// What the provider does not fetch itself. The caller's own bytes are left alone, unless they are in OpenAI's form and
    /// go to a server that takes less than OpenAI.
    pub(crate) fn not_taken(&self, adapter: &dyn Adapter, wanted: Wanted, caller: Dialect) -> Option<Addresses> {
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

    /// A chat that its model only answers as a response, where the provider has these too.
    fn as_response(&self, envelope: &Envelope, body: &Bytes) -> Option<(&'static dyn Adapter, Bytes)> {
        let is_open = envelope.operation == Operation::Chat && envelope.dialect.form() != Dialect::Responses;
        let model = envelope.plan.current().target.model.as_str();
        let adapter = self.provider.responding().filter(|_| is_open && may_need_responses(model))?;
        let chat = envelope.agnostic(body)?;
        needs_responses(model, &chat).then_some((adapter, chat))
    }

    /// How to speak to the provider, and the request in the form for it.
    pub(crate) fn words(
        &self,
        envelope: &Envelope,
        body: &Bytes,
        card: Option<&ModelCard>,
    ) -> Option<(&'static dyn Adapter, Form, Bytes)> {
        let native = envelope.native(body);
        if let Some((adapter, chat)) = self.as_response(envelope, body) {
            return Some((adapter, Form::Agnostic, chat));
        }
        let (model, operation) = (&envelope.plan.current().target.model, envelope.operation);
        if let Some(adapter) = self.provider.of_other_maker(model, operation) {
            return Some((adapter, Form::Agnostic, envelope.agnostic(body)?));
        }
        let (adapter, form) = self.provider.speak(envelope.dialect, native.is_some(), (operation, card))?;
        let body = match form {
            Form::Own => native?,
            Form::Agnostic => envelope.agnostic(body)?,
        };
        Some((adapter, form, body))
    }
}

/// Whether a copy has no such address, which is not that it has no such model.
fn lacks_address(failure: &Failure) -> bool {
    !failure.message.contains("model") && matches!(failure.provider_status, Some(404 | 405 | 501))
}

pub(super) fn cannot_speak(target: &Target) -> Attempt {
    let why = format!("no worker can turn this request into the dialect of {target}");
    Attempt::Refused(Failure::gateway(FailureKind::Unsupported, why))
}

fn has(card: &ModelCard, capability: &str) -> bool {
    card.capabilities.iter().any(|have| have == capability)
}

pub(super) fn clocks(link: &Link, envelope: &Envelope, reasons: bool) -> Clocks {
    let or = |millis: Option<u64>, default| millis.map_or(default, Duration::from_millis);
    let left = envelope.deadline.since(clock::now());
    Clocks {
        connect: link.connect_ms.map(Duration::from_millis),
        first_token: or(link.first_token_ms, if reasons { FIRST_TOKEN_REASONING } else { FIRST_TOKEN }),
        idle: or(link.idle_ms, IDLE),
        total: or(link.total_ms, TOTAL).min(left),
    }
}
