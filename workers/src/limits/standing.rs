//! How a key stands with a provider: how much of its limits is left, or until when it must wait. Pure: knows no other key.

use penstock_schemas::UnixMicros;
use penstock_schemas::pool::{Allowance, Quota};
use std::time::Duration;

/// A limit that was told so long ago says nothing any more.
const STALE: Duration = Duration::from_secs(120);

/// The longest wait for an allowance that is used up: what is told of it is not an order, and others may use it too.
const REFILL: Duration = Duration::from_secs(60);

/// How a key stands: with so much left, in thousandths; or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Free(u64),
    Until(UnixMicros),
}

impl Standing {
    pub(super) fn is_better_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Free(own), Self::Free(other)) => own > other,
            (Self::Free(_), Self::Until(_)) => true,
            (Self::Until(_), Self::Free(_)) => false,
            (Self::Until(own), Self::Until(other)) => own < other,
        }
    }
}

pub(super) fn stand(quota: &Quota, tokens: u64, now: UnixMicros) -> Standing {
    let mut until = quota.paused_until.filter(|until| *until > now);
    let mut free = u64::MAX;
    let needs = [(quota.requests, 1), (quota.tokens, tokens)];
    for (allowance, need) in needs.into_iter().filter_map(|(allowance, need)| Some((allowance?, need))) {
        if allowance.resets_at <= now {
            continue;
        }
        // A call that is larger than the whole limit can only be tried.
        if allowance.remaining < need && (allowance.remaining == 0 || allowance.limit >= need) {
            until = until.max(Some(refilled(allowance, need, quota.at)));
        }
        free = free.min(share(allowance));
    }
    until.map_or(Standing::Free(free), Standing::Until)
}

/// When so much is there again. Allowances fill up steadily, and are whole when they reset.
/// Source: <https://docs.anthropic.com/en/api/rate-limits>; OpenAI's examples agree.
fn refilled(allowance: Allowance, need: u64, at: UnixMicros) -> UnixMicros {
    let whole = u128::from(allowance.resets_at.0.saturating_sub(at.0));
    let missing = u128::from(allowance.limit.saturating_sub(allowance.remaining));
    let wanted = u128::from(need.saturating_sub(allowance.remaining));
    let wait = (whole * wanted).checked_div(missing).unwrap_or(whole).min(whole).min(REFILL.as_micros());
    at.after(Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX)))
}

fn share(allowance: Allowance) -> u64 {
    (allowance.remaining.saturating_mul(1000)).checked_div(allowance.limit).unwrap_or(allowance.remaining)
}

pub(super) fn is_current(quota: &Quota, now: UnixMicros) -> bool {
    now.since(quota.at) < STALE || quota.paused_until.is_some_and(|until| until > now)
}
