//! What an attempt teaches: limits, keys that are refused, how well the provider is; and what an operator hears of it. Decides
//! nothing about the call.

use super::CallContext;
use crate::exchange::{Attempt, Report};
use crate::keys::{Key, KeyFault};
use crate::limits::Pick;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::envelope::Envelope;
use penstock_schemas::name::ModelId;
use std::sync::PoisonError;
use tracing::{error, warn};

impl CallContext {
    /// Notes what the attempt says of the provider, for all pools.
    pub(super) fn learn(&self, model: &ModelId, key: &Pick, attempt: &Attempt, report: &Report) {
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

    /// Says in the log what an operator may want to know of an attempt.
    pub(super) fn log(&self, envelope: &Envelope, attempt: &Attempt, report: &Report) {
        let target = &envelope.plan.current().target;
        if let Attempt::Refused(failure) | Attempt::Broken(failure) = attempt {
            let (request_id, number, failure) = (&envelope.request_id, envelope.attempts, failure.kind.as_str());
            warn!(%request_id, model = %target, attempt = number, failure, "an attempt failed");
        }
        if report.observed.usage_mismatch {
            warn!(model = %target, "the provider's usage figures contradict each other");
        }
    }
}
