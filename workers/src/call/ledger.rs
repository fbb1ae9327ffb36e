//! What a call writes into the ledger: that an attempt begins, and how it ended. Knows the events and the prices.

use super::CallContext;
use super::settle::settle;
use crate::cost::{self, sum_up};
use crate::exchange::{self, Attempt, Clocks, Report};
use bytes::Bytes;
use penstock_runtime::bus::Recorded;
use penstock_runtime::clock;
use penstock_schemas::alert::Alert;
use penstock_schemas::bound;
use penstock_schemas::envelope::{Dialect, Envelope};
use penstock_schemas::event::{AttemptEnded, AttemptStarted, AttemptTrace, Outcome, StartReservation, UsageEvent};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::ProcessId;
use penstock_schemas::plan::{Link, Worst};
use penstock_schemas::reservation::{Amounts, Reservation};
use penstock_schemas::usage::{Usage, UsageSource};
use std::time::Duration;

impl CallContext {
    pub(super) fn start(&self, (envelope, body): (&Envelope, &Bytes), link: &Link, clocks: &Clocks) -> AttemptStarted {
        let card = self.provider.model(&link.target.model);
        let worst = self.worst((envelope, body), link);
        let now = clock::now();
        AttemptStarted {
            attempt_id: clock::attempt_id(),
            request_id: envelope.request_id,
            started_at: now,
            deadline: exchange::deadline(envelope, clocks, now),
            caller: envelope.caller.clone(),
            target: link.target.clone(),
            virtual_model: envelope.virtual_model.clone(),
            operation: envelope.operation,
            number: envelope.attempts,
            link: u32::try_from(envelope.plan.position()).unwrap_or(u32::MAX),
            stream: envelope.delivery.is_stream(),
            worst_case: worst.usd.map(money),
            price_id: card.and_then(|card| card.price.as_ref()).map(|price| price.price_id.clone()),
            worst_tokens: worst.tokens,
            worker: Some(self.worker.clone()),
            reserved: envelope.reservation.as_ref().map(|reservation| StartReservation {
                id: reservation.id,
                lease: reservation.lease,
                books: reservation.proven(&link.target),
            }),
            batch_id: envelope.batch.clone(),
            native_batch: false,
            trace: self.trace(envelope, link),
        }
    }

    /// What the span of an attempt at a link says besides its row, where its request is part of a trace.
    pub(crate) fn trace(&self, envelope: &Envelope, link: &Link) -> Option<Box<AttemptTrace>> {
        let context = *envelope.trace.as_deref()?;
        let (host, port) = self.provider.server();
        let circuit_open = !self.health.is_closed(link, clock::now());
        let provider = self.provider.telemetry_name.clone();
        Some(Box::new(AttemptTrace { context, provider, host: host.to_owned(), port, circuit_open }))
    }

    /// What an attempt at a link can come to at most.
    pub(crate) fn worst(&self, (envelope, body): (&Envelope, &Bytes), link: &Link) -> Worst {
        link.worst.unwrap_or_else(|| {
            let (card, model) = (self.provider.model(&link.target.model), link.target.model.as_str());
            match &envelope.extent {
                Some(extent) => bound::worst(card, envelope.operation, &extent.at(model)),
                None => bound::worst(card, envelope.operation, &extent(envelope, body).at(model)),
            }
        })
    }

    /// The end of an attempt whose usage is still to be counted; and of its call, because nothing follows what was cut.
    pub(super) async fn note_cut(self, start: AttemptStarted, end: End, mut cut: Cut) {
        cut.report.count(&self.life, cut.body).await;
        let target = start.target.clone();
        let noted = self.note(start, end, cut.report).await;
        if let Some(mut reservation) = cut.reservation {
            reservation.spend(&target, noted.amounts);
            cut.ends.push(noted.recorded);
            settle(&self.desk, &cut.ingress, &reservation, cut.ends).await;
        }
    }

    /// Writes the end of an attempt into the ledger: what it has come to.
    pub(crate) async fn note(&self, start: AttemptStarted, end: End, report: Report) -> Noted {
        let ended = self.end(start, end, report);
        let usd = ended.event.charged.or(ended.event.cost).map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0));
        let amounts = Amounts { usd, tokens: ended.event.charged_tokens };
        self.metrics.count(&ended.event, &self.provider);
        if ended.usage_mismatch {
            self.metrics.mismatch(&ended.event.start.target.provider);
        }
        self.warn_of(&ended.event);
        let recorded = self.journal.note(UsageEvent::AttemptEnded(Box::new(ended.event))).await;
        Noted { amounts, recorded }
    }

    /// Tells a human of usage that has no price, and of claims that cannot be.
    fn warn_of(&self, ended: &AttemptEnded) {
        let target = &ended.start.target;
        // A model without any price was told of when the attempt began.
        let unpriced = ended.unpriced.as_ref().filter(|_| ended.start.price_id.is_some());
        for (class, count) in unpriced.iter().flat_map(|unpriced| unpriced.used()) {
            self.alarm.raise(Alert::unpriced_usage(target, class, count, ended.ended_at));
        }
        if let Some(claimed) = &ended.claimed {
            let claimed: Vec<String> = claimed.used().map(|(class, count)| format!("{count} {class}")).collect();
            self.alarm.raise(Alert::impossible_usage(target, &claimed.join(", "), ended.ended_at));
        }
    }

    fn end(&self, start: AttemptStarted, end: End, report: Report) -> Ended {
        let End { outcome, failure, total } = end;
        let card = if start.native_batch {
            self.provider.model_in_batch(&start.target.model)
        } else {
            self.provider.model_as_served(&start.target.model, report.observed.is_flex)
        };
        let summary = report.sum_up(card, &self.provider);
        let is_known = summary.usage_source != UsageSource::Unknown;
        let card_of_it = card.filter(|_| !report.is_dearer());
        let is_told = report.told_cost(card, &self.provider).is_some();
        let unpriced = Some(cost::unpriced(card_of_it, &summary.usage))
            .filter(|unpriced| !is_told && *unpriced != Usage::default());
        let rest = unpriced.and_then(|unpriced| cost::with_rest(card, &summary, &unpriced, start.worst_case));
        // A dearer service costs no less than the usual one.
        let usual = sum_up(card, report.observed.usage, report.counted).cost.filter(|_| report.is_dearer());
        let rest = rest.map(|rest| rest.max(usual.unwrap_or_default()));
        let (charged, charged_tokens) = match (is_known, report.may_be_charged(failure)) {
            (true, _) => (rest, summary.usage.input_total().saturating_add(summary.usage.output_total())),
            (false, true) => (start.worst_case, start.worst_tokens),
            (false, false) => (None, 0),
        };
        let asked = &report.observed.tools;
        let tools = report.tools.as_ref().map_or_else(|| asked.clone(), |map| map.own_names(asked));
        let event = AttemptEnded {
            ended_at: start.started_at.after(total),
            outcome,
            failure,
            provider_status: report.status,
            usage: summary.usage,
            usage_source: summary.usage_source,
            claimed: report.claimed.map(Box::new),
            unpriced: unpriced.map(Box::new),
            cost: summary.cost,
            charged,
            charged_tokens,
            first_token_us: report.first_token.map(micros),
            total_us: micros(total),
            model_version: report.observed.model_version,
            provider_request_id: report.observed.provider_request_id,
            finish_reason: report.observed.finish_reason,
            system_fingerprint: report.observed.system_fingerprint,
            tools,
            start,
        };
        Ended { event, usage_mismatch: report.observed.usage_mismatch }
    }
}

/// The extent of a request that came without one.
fn extent(envelope: &Envelope, body: &Bytes) -> Extent {
    let agnostic = envelope.agnostic(body);
    let dialect = if agnostic.is_some() { Dialect::Openai } else { envelope.dialect };
    let request = agnostic.unwrap_or_else(|| body.clone());
    Extent::read(dialect, envelope.operation, &request).unwrap_or_else(|_| Extent::unknown(request.len()))
}

/// An attempt that was cut off, with what is needed to count what it consumed.
pub(super) struct Cut {
    pub(super) report: Report,
    pub(super) body: Bytes,
    pub(super) reservation: Option<Reservation>,
    pub(super) ingress: ProcessId,
    /// Earlier attempts' ends that the ledger may not have yet.
    pub(super) ends: Vec<Recorded>,
}

/// What an attempt that is over has come to. As long as its end is not in the ledger, it may still come to its worst case: where
/// this process is killed, that is what the ledger counts.
pub(crate) struct Noted {
    pub(crate) amounts: Amounts,
    pub(crate) recorded: Recorded,
}

/// How and when an attempt ended.
#[derive(Clone, Copy)]
pub(crate) struct End {
    outcome: Outcome,
    failure: Option<FailureKind>,
    total: Duration,
}

impl End {
    /// `cancelled` is why, if it was.
    pub(crate) fn of(attempt: &Attempt, total: Duration, cancelled: FailureKind) -> Self {
        let (outcome, failure) = match attempt {
            Attempt::Served => (Outcome::Served, None),
            Attempt::Refused(failure) => (Outcome::Refused, Some(failure.kind)),
            Attempt::Broken(failure) => (Outcome::Broken, Some(failure.kind)),
            Attempt::Cancelled => (Outcome::Cancelled, Some(cancelled)),
        };
        Self { outcome, failure, total }
    }
}

/// An attempt's end, and what is said about it besides.
struct Ended {
    /// For the ledger.
    event: AttemptEnded,
    /// Whether the provider's figures contradict each other.
    usage_mismatch: bool,
}

fn money(picodollars: u64) -> Picodollars {
    Picodollars(i64::try_from(picodollars).unwrap_or(i64::MAX))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
