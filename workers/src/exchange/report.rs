//! How an exchange with a provider ended, and what is known of it besides. Knows nothing of how it went.

use crate::cost::sum_up;
use crate::count::{self, Sent};
use crate::provider::Provider;
use crate::providers::quota::Left;
use bytes::Bytes;
use penstock_dialects::provider::{Observed, Quirk};
use penstock_dialects::strike::strike_in;
use penstock_dialects::tool_map::ToolMap;
use penstock_runtime::{Life, Secret};
use penstock_schemas::body::SentBody;
use penstock_schemas::envelope::Operation;
use penstock_schemas::extent::AskedService;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::usage::Usage;
use std::mem;
use std::time::Duration;
use tokio::sync::oneshot;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The answer is complete and with the client.
    Served,
    /// Nothing reached the client.
    Refused(Failure),
    /// It ended after something had reached the client.
    Broken(Failure),
    /// The client went away.
    Cancelled,
}

/// Why an exchange went no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// The client went away.
    Cancelled,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What is known of an attempt besides its end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What the answer said of itself.
    pub observed: Observed,
    /// From the start to the first content.
    pub first_token: Option<Duration>,
    /// Whether something went out to the client, or may have: then nothing can be had from elsewhere.
    pub has_begun: bool,
    /// Whether the request left this process, or may have.
    pub was_sent: bool,
    /// The provider's HTTP status.
    pub status: Option<u16>,
    /// What the provider says of its limits.
    pub left: Left,
    /// The fields of the request that were left out.
    pub dropped: Vec<String>,
    /// The count of the request that is under way, and what it came to.
    pub counting: Option<oneshot::Receiver<Option<u64>>>,
    pub input_tokens: Option<u64>,
    /// What was sent, where that is wanted and not what the caller sent.
    pub sent_body: Option<Box<SentBody>>,
    /// The tools that were spelt otherwise.
    pub tools: Option<ToolMap>,
    /// What was counted here, because the provider did not report it.
    pub counted: Option<Usage>,
    /// The media type of an answer that need not be JSON.
    pub content_type: Option<String>,
    /// What was sent to the client of an answer that comes in pieces.
    pub sent: Sent,
    /// The length of the answer, in bytes.
    pub length: u64,
    /// What the provider claims, where that cannot be.
    pub claimed: Option<Usage>,
    /// The service that was asked for.
    pub service: AskedService,
    /// Whether what it claims is far too little for what was sent of it.
    pub is_low: bool,
    /// The key that it was asked with, which no word of its answer may hold.
    pub key: Option<Secret>,
}

impl Attempt {
    /// The end of an exchange: what failed before anything had gone out can be had from elsewhere. Decided here alone.
    pub(super) fn of(result: Result<(), Stop>, report: &Report) -> Self {
        match result {
            Ok(()) => Self::Served,
            Err(Stop::Cancelled) => Self::Cancelled,
            Err(Stop::Failed(failure)) if report.has_begun => Self::Broken(failure),
            Err(Stop::Failed(failure)) => Self::Refused(failure),
        }
    }
}

impl Report {
    /// Whether the answer was cut off before the provider could say what it comes to, so that it must be counted. Who said
    /// why it stopped has also said that, or never would.
    pub(crate) fn is_cut(&self, attempt: &Attempt, operation: Operation) -> bool {
        let is_known = self.observed.usage.is_some() && self.observed.finish_reason.is_some() && !self.is_low;
        let is_cut = matches!(attempt, Attempt::Broken(_) | Attempt::Cancelled) && self.status == Some(200);
        is_cut && !is_known && is_counted(operation)
    }

    /// What it came to. At a dearer service than the prices are for that is not known, unless the provider says it.
    pub(crate) fn sum_up(&self, card: Option<&ModelCard>, provider: &Provider) -> Summary {
        let summary = sum_up(card, self.observed.usage, self.counted);
        let cost = summary.cost.filter(|_| !self.is_dearer());
        Summary { cost: cost.or_else(|| self.told_cost(card, provider)), ..summary }
    }

    /// What the provider says that the whole of it costs, where no price is known and the operator or the catalogue says that it
    /// can be believed.
    pub(crate) fn told_cost(&self, card: Option<&ModelCard>, provider: &Provider) -> Option<Picodollars> {
        let is_priced = card.is_some_and(|card| card.price.is_some());
        let is_believed = !is_priced && self.observed.usage.is_some() && provider.settings.has(Quirk::TellsCost);
        self.observed.told_cost.filter(|_| is_believed)
    }

    /// Whether each token costs more than the prices say: the provider says so, or was asked for it and does not say that it
    /// had no room.
    pub(crate) fn is_dearer(&self) -> bool {
        match (self.observed.is_dearer, self.service) {
            (Some(true), _) | (_, AskedService::Surcharged) | (None, AskedService::Tier) => true,
            (Some(false) | None, AskedService::Usual) | (Some(false), AskedService::Tier) => false,
        }
    }

    /// Whether the provider may charge for an attempt of which it has told no usage: not when it refused to do anything.
    pub(crate) fn may_be_charged(&self, failure: Option<FailureKind>) -> bool {
        let is_refusal = self.status.is_some_and(|status| status != 200) || failure.is_some_and(refuses);
        self.was_sent && !is_refusal
    }

    /// Strikes the key out of what goes into the ledger of the answer.
    pub(super) fn strike_observed(&mut self) {
        let key = self.key.as_ref().map(Secret::reveal);
        let Observed { model_version, provider_request_id, finish_reason, system_fingerprint, .. } = &mut self.observed;
        for text in [model_version, provider_request_id, finish_reason, system_fingerprint].into_iter().flatten() {
            strike_in(text, key);
        }
    }

    /// Counts what was sent.
    pub(crate) async fn count(&mut self, life: &Life, request: Bytes) {
        if let Some(counted) = count::usage(life, request, mem::take(&mut self.sent)).await {
            self.counted = Some(count::larger(self.observed.usage.take(), counted));
        }
    }
}

/// Whether a failure is the provider's word that it has done nothing; one that is ours, or an answer that broke off, is not.
fn refuses(kind: FailureKind) -> bool {
    match kind {
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::ProviderAuth
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::BadRequest
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported
        | FailureKind::NoPool
        | FailureKind::Busy => true,
        FailureKind::Timeout
        | FailureKind::Broken
        | FailureKind::Ledger
        | FailureKind::Budget
        | FailureKind::Revoked
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Cancelled
        | FailureKind::Hedge
        | FailureKind::Internal => false,
    }
}

/// Whether it is tokens that this operation costs.
pub(super) fn is_counted(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_refused_until_something_went_out_and_then_it_is_broken() {
        let failed = || Err(Stop::Failed(Failure::provider(FailureKind::Broken, "")));
        let of = |result, has_begun| Attempt::of(result, &Report { has_begun, ..Report::default() });
        assert!(matches!(of(failed(), false), Attempt::Refused(_)));
        assert!(matches!(of(failed(), true), Attempt::Broken(_)));
        for has_begun in [false, true] {
            assert!(matches!(of(Err(Stop::Cancelled), has_begun), Attempt::Cancelled));
            assert!(matches!(of(Ok(()), has_begun), Attempt::Served));
        }
    }
}
