//! What a pool writes into the ledger: that an attempt begins, and how it ended. Knows the events and the prices.

use super::{Held, Pool};
use crate::attempt::{self, Attempt, Clocks, Report};
use crate::cost::{sum_up, worst_case};
use bytes::Bytes;
use penstock_runtime::clock;
use penstock_schemas::event::{AttemptEnded, AttemptStarted, Outcome, UsageEvent};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::plan::Link;
use std::time::Duration;

impl Pool {
    pub(super) fn start(&self, held: &Held, link: &Link, clocks: &Clocks) -> AttemptStarted {
        let envelope = &held.envelope;
        let card = self.provider.model(&link.target.model);
        // Limits stand in the agnostic form, which every dialect's own can be told from only by its adapter.
        let request = envelope.agnostic(&held.body).unwrap_or_else(|| held.body.clone());
        let now = clock::now();
        AttemptStarted {
            attempt_id: clock::attempt_id(),
            request_id: envelope.request_id,
            started_at: now,
            deadline: attempt::deadline(envelope, clocks, now),
            caller: envelope.caller.clone(),
            target: link.target.clone(),
            virtual_model: envelope.virtual_model.clone(),
            operation: envelope.operation,
            number: envelope.attempts,
            link: u32::try_from(envelope.plan.position()).unwrap_or(u32::MAX),
            stream: envelope.delivery.is_stream(),
            worst_case: worst_case(card, envelope.operation, &request),
            price_id: card.and_then(|card| card.price.as_ref()).map(|price| price.price_id.clone()),
            worst_tokens: 0,
            worker: Some(self.worker.clone()),
            reserved: None,
        }
    }

    pub(super) async fn note_cut(self, start: AttemptStarted, end: End, mut report: Report, body: Bytes) {
        report.count(&self.life, body).await;
        self.note(start, end, report).await;
    }

    /// Writes the end of an attempt into the ledger.
    pub(super) async fn note(&self, start: AttemptStarted, end: End, report: Report) {
        let ended = self.end(start, end, report);
        self.metrics.count(&ended);
        self.journal.note(UsageEvent::AttemptEnded(Box::new(ended.event))).await;
    }

    fn end(&self, start: AttemptStarted, end: End, report: Report) -> Ended {
        let End { outcome, failure, total } = end;
        let summary = sum_up(self.provider.model(&start.target.model), report.observed.usage, report.counted);
        let event = AttemptEnded {
            ended_at: start.started_at.after(total),
            outcome,
            failure,
            provider_status: report.status,
            usage: summary.usage,
            usage_source: summary.usage_source,
            cost: summary.cost,
            charged_tokens: summary.usage.input_total() + summary.usage.output_total(),
            first_token_us: report.first_token.map(micros),
            total_us: micros(total),
            model_version: report.observed.model_version,
            provider_request_id: report.observed.provider_request_id,
            finish_reason: report.observed.finish_reason,
            start,
        };
        Ended { event, usage_mismatch: report.observed.usage_mismatch }
    }
}

/// How and when an attempt ended.
#[derive(Clone, Copy)]
pub(super) struct End {
    outcome: Outcome,
    failure: Option<FailureKind>,
    total: Duration,
}

impl End {
    /// `cancelled` is why, if it was.
    pub(super) fn of(attempt: &Attempt, total: Duration, cancelled: FailureKind) -> Self {
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
pub struct Ended {
    /// For the ledger.
    pub event: AttemptEnded,
    /// Whether the provider's figures contradict each other.
    pub usage_mismatch: bool,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
