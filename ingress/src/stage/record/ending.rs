//! What becomes of a request, as its record notes it: who was tried, who answers, and how that ends. Knows nothing of what the
//! record holds meanwhile.

use super::Record;
use crate::refusal::Refusal;
use crate::status;
use penstock_runtime::clock;
use penstock_schemas::event::Outcome;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Head, Summary};
use penstock_schemas::name::Target;
use penstock_schemas::stage::Stage;

impl Record {
    /// Notes who was tried last, and how many attempts there were.
    pub(crate) fn tried(&mut self, target: Option<Target>, attempts: u32) {
        self.edit(|event| {
            event.attempts = attempts;
            event.target = target.or(event.target.take());
        });
    }

    /// Notes who answers.
    pub(crate) fn first_content(&mut self, head: &Head) {
        self.enter(Stage::Answer);
        self.was_sent(head.sent.clone());
        if let Some(watch) = &mut self.watch {
            watch.first_content(&head.target, head.attempts);
        }
        self.edit(|event| {
            event.target = Some(head.target.clone());
            event.attempts = head.attempts;
            event.status = status::ANSWERED.as_u16();
            let took = clock::now().since(event.received_at);
            event.first_token_us = Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        });
    }

    /// The answer is complete.
    pub(crate) fn served(&mut self, summary: &Summary) {
        let cost = self.cost(summary);
        if let Some(watch) = &mut self.watch {
            watch.served(&summary.usage);
        }
        self.edit(|event| {
            event.outcome = Outcome::Served;
            event.failure = None;
            event.cost = cost;
            event.saved = if event.cache.is_hit() { summary.cost } else { None };
        });
    }

    /// There is no answer.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        if let Some(capture) = &mut self.capture {
            capture.answers(refusal.to_string().as_bytes(), false);
        }
        // Who waited in vain has waited so long.
        let is_slow = matches!(refusal, Refusal::Failed(failure) if failure.kind == FailureKind::Timeout);
        if let Some(watch) = self.watch.as_mut().filter(|_| !is_slow) {
            watch.refused();
        }
        self.edit(|event| {
            event.outcome = Outcome::Refused;
            event.failure = match refusal {
                Refusal::Failed(failure) => Some(failure.kind),
                _ => None,
            };
            event.status = status::of(refusal, event.dialect).as_u16();
        });
    }

    /// The answer ended in the middle.
    pub(crate) fn broken(&mut self, failure: &Failure) {
        self.edit(|event| {
            event.outcome = Outcome::Broken;
            event.failure = Some(failure.kind);
        });
    }

    /// Writes no row for this request: the job that answers it later writes one.
    pub(crate) fn leave(mut self) {
        self.event = None;
    }
}
