//! What a provider claims to have used is weighed here against what can be and what was counted. Knows nothing of how an
//! answer comes.

use super::Exchange;
use super::report::{Attempt, Report, is_counted};
use crate::claim::Possible;
use crate::count::{self, Sent};
use penstock_dialects::provider::Form;
use penstock_runtime::heavy;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::extent::{Extent, searches};

impl Exchange<'_> {
    fn searches(&self) -> bool {
        self.wanted.operation == Operation::Chat && searches(self.envelope.plan.current().target.model.as_str())
    }

    /// What can be, by the request; the report has the service that it asked for.
    fn possible(&self, report: &mut Report) -> Possible {
        let read;
        let extent = match &self.envelope.extent {
            // A list of texts is perhaps asked for in pieces.
            Some(extent) if self.wanted.operation != Operation::Embeddings => extent,
            _ => {
                let dialect = if self.wanted.form == Form::Agnostic { Dialect::Openai } else { self.envelope.dialect };
                read = Extent::read(dialect, self.wanted.operation, self.body)
                    .unwrap_or_else(|_| Extent::unknown(self.body.len()));
                &read
            }
        };
        report.service = extent.service;
        let model = self.envelope.plan.current().target.model.as_str();
        Possible::of(self.card, self.wanted.operation, &extent.at(model))
    }

    /// Takes a claim that cannot be out of the report: what is counted stands in its place, or as much of it as can be. Of an
    /// answer that is complete it is known whether it has words.
    fn doubt(&self, possible: &Possible, report: &mut Report, has_words: Option<bool>) {
        let Some(claim) = report.observed.usage else { return };
        let is_short = has_words.is_some_and(|has_words| possible.is_short(&claim, has_words));
        if is_short || !possible.holds(&claim, report.length) {
            report.observed.usage = None;
            report.claimed = Some(claim);
            if !is_counted(self.wanted.operation) {
                report.counted = possible.cut(&claim);
            }
        }
    }

    /// Weighs what an answer claims that is not complete: what it said so far was perhaps of its beginning.
    pub(super) fn weigh_broken(&self, attempt: &Attempt, report: &mut Report) {
        let possible = self.possible(report);
        self.doubt(&possible, report, None);
        let Some(claim) = report.observed.usage else { return };
        report.is_low = is_counted(self.wanted.operation) && possible.is_low(&claim, report.sent.all_words());
        // Another attempt follows, which does not wait for a count.
        if report.is_low && matches!(attempt, Attempt::Refused(_)) {
            report.observed.usage = None;
            report.claimed = Some(claim);
        }
    }

    /// Weighs what a complete answer claims, and counts it where it claims nothing, or what cannot be. `takes_back`: it claimed
    /// more before, and then none.
    pub(super) async fn weigh(&self, mut answer: Sent, takes_back: bool, report: &mut Report) {
        // A list of texts is read again.
        let possible = heavy(self.body.len(), || self.possible(report)).await;
        if let Some(usage) = report.observed.usage.as_mut().filter(|_| self.searches()) {
            usage.searches = usage.searches.or(Some(1));
        }
        let claim = report.observed.usage;
        let is_low = |words| claim.is_some_and(|claim| possible.is_low(&claim, words));
        let is_text = matches!(self.wanted.operation, Operation::Chat | Operation::Completions);
        let says_none = takes_back || claim.is_some_and(|claim| claim.output_total() == 0);
        // The words are fewer than the answer that holds them: most need not be looked for.
        let length = usize::try_from(report.length).unwrap_or(usize::MAX);
        let may_matter = is_text && (says_none || is_low(report.length));
        let words = if may_matter { heavy(length, || answer.all_words()).await } else { 0 };
        let is_low = is_low(words);
        self.doubt(&possible, report, Some(words > 0));
        if !is_counted(self.wanted.operation) {
            return;
        }
        let request = self.body.clone();
        match report.observed.usage {
            None => report.counted = count::usage(self.life, request, answer).await,
            Some(_) if takes_back && words > 0 => {
                report.sent = answer;
                report.count(self.life, request).await;
            }
            Some(claim) if is_low => {
                let counted = count::usage(self.life, request, answer).await;
                if let Some(right) = counted.and_then(|counted| possible.put_right(&claim, &counted)) {
                    (report.observed.usage, report.claimed, report.counted) = (None, Some(claim), Some(right));
                }
            }
            Some(_) => {}
        }
    }
}
