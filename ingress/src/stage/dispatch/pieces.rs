//! Dispatch of a list of texts that is longer than a provider takes at once: asked for in pieces, one after the other, and
//! joined in order. All or nothing; each piece is a call of its own in the ledger. Knows the limits and no provider.

use super::call::{Answer, send};
use super::sending::fund_again;
use crate::models::Models;
use crate::refusal::Refusal;
use crate::stage::record::Record;
use crate::state::Shared;
use bytes::Bytes;
use penstock_dialects::client::ClientRequest;
use penstock_dialects::openai::client::lists::{self, Joined};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Envelope, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Summary};
use penstock_schemas::plan::Plan;
use penstock_schemas::usage::UsageSource;

/// A piece of a request, and how many texts are in it.
pub(super) type Piece = (Bytes, usize);

/// The request in its agnostic form, in pieces that every target of the plan takes; `None` when one call is enough.
pub(super) fn cut(asked: &ClientRequest, plan: &Plan, models: &Models) -> Result<Option<Vec<Piece>>, Refusal> {
    if asked.operation != Operation::Embeddings {
        return Ok(None);
    }
    let limits = plan.links().iter().filter_map(|link| models.most_inputs(&link.target.provider));
    let Some(most) = limits.min().and_then(|most| usize::try_from(most).ok()) else { return Ok(None) };
    Ok(lists::cut(&asked.agnostic()?, most))
}

/// Asks for every piece. Whoever embeds the first embeds all: vectors of different models cannot be compared.
pub(super) async fn send_all(
    mut envelope: Envelope,
    pieces: Vec<Piece>,
    ingress: &Shared,
    record: &mut Record,
) -> Result<Answer, Refusal> {
    let mut joined = Joined::default();
    let mut sum: Option<Ended> = None;
    for (piece, count) in pieces {
        envelope.call = Some(clock::request_id());
        if sum.is_some() {
            let held = fund_again(ingress, &mut envelope).await;
            record.holds(
                held.ok_or_else(|| Failure::gateway(FailureKind::Budget, "there is no budget for all of the list"))?,
            );
        }
        let Answer::Whole(ended, bytes) = send(envelope.clone(), piece, None, ingress, record).await? else {
            return Err(Failure::gateway(FailureKind::Internal, "a stream came where none was asked for").into());
        };
        joined.add(bytes, count)?;
        if let Some(head) = &ended.head {
            envelope.attempts = head.attempts;
            envelope.plan = envelope.plan.up_to(&head.target).unwrap_or(envelope.plan);
        }
        sum = Some(match sum {
            None => *ended,
            Some(sum) => Ended { head: ended.head, summary: add(&sum.summary, &ended.summary) },
        });
    }
    let sum = sum.ok_or_else(|| Failure::gateway(FailureKind::Internal, "a list was cut into nothing"))?;
    Ok(Answer::Whole(Box::new(sum), joined.finish()?))
}

/// What both consumed. A part that is not known makes the whole unknown.
fn add(a: &Summary, b: &Summary) -> Summary {
    let usage_source = match (a.usage_source, b.usage_source) {
        (UsageSource::Unknown, _) | (_, UsageSource::Unknown) => UsageSource::Unknown,
        (UsageSource::Counted, _) | (_, UsageSource::Counted) => UsageSource::Counted,
        (UsageSource::Provider, UsageSource::Provider) => UsageSource::Provider,
    };
    let cost = a.cost.zip(b.cost).map(|(a, b)| a + b);
    Summary { usage: a.usage.plus(b.usage), usage_source, cost }
}
