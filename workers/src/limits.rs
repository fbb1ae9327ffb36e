//! The limits that a provider has set to each key: one shared view, from its own answers and from what other workers tell.
//! Chooses the key that has most left, and says how long to wait when none has. Pure but for its lock; holds no clock.

use crate::providers::quota::Left;
use penstock_runtime::Secret;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::ModelId;
use penstock_schemas::pool::{Allowance, Quota};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Keys and models whose limits are remembered at once; names of models come from callers.
const QUOTAS: usize = 1024;

/// A limit that was told so long ago says nothing any more.
const STALE: Duration = Duration::from_secs(120);

/// The longest pause that is believed: a provider that asks for more is asked again after this.
const LONGEST: Duration = Duration::from_secs(3600);

/// The longest wait for an allowance that is used up: what is told of it is not an order, and others may use it too.
const REFILL: Duration = Duration::from_secs(60);

/// One provider's keys and their limits.
#[derive(Debug)]
pub struct Limits {
    keys: Vec<Key>,
    turn: AtomicUsize,
    quotas: Mutex<HashMap<(usize, ModelId), Quota>>,
}

#[derive(Debug)]
struct Key {
    secret: Secret,
    /// What stands for it in the gossip.
    digest: String,
}

/// Which key a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The provider wants none.
    NoKey,
    /// This one.
    Key(usize),
    /// None before then.
    Wait(UnixMicros),
}

impl Limits {
    /// Keys without a known limit.
    pub fn new(keys: Vec<Secret>) -> Self {
        let key = |secret: Secret| Key { digest: digest(secret.reveal()), secret };
        Self { keys: keys.into_iter().map(key).collect(), turn: AtomicUsize::new(0), quotas: Mutex::default() }
    }

    fn quotas(&self) -> MutexGuard<'_, HashMap<(usize, ModelId), Quota>> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that has most left for a call of about so many tokens; in turn, where nothing is known.
    pub fn pick(&self, model: &ModelId, tokens: u64, now: UnixMicros) -> Pick {
        let quotas = self.quotas();
        if quotas.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            return turn.checked_rem(self.keys.len()).map_or(Pick::NoKey, Pick::Key);
        }
        let count = self.keys.len().max(1); // a provider without keys has limits too
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let states = (0..count).map(|at| {
            let at = (first + at) % count;
            (at, quotas.get(&(at, model.clone())).map_or(Standing::Free(u64::MAX), |quota| stand(quota, tokens, now)))
        });
        let mut best = (0, Standing::Until(UnixMicros(u64::MAX)));
        for (at, standing) in states {
            if standing.is_better_than(best.1) {
                best = (at, standing);
            }
        }
        match best.1 {
            Standing::Until(until) => Pick::Wait(until),
            Standing::Free(_) if self.keys.is_empty() => Pick::NoKey,
            Standing::Free(_) => Pick::Key(best.0),
        }
    }

    /// Any key, for a question that no limit counts.
    pub fn any(&self) -> Pick {
        if self.keys.is_empty() { Pick::NoKey } else { Pick::Key(0) }
    }

    /// The last four characters of a pick's key: what tells an operator which one it is.
    pub fn hint(&self, pick: Pick) -> String {
        let key = self.secret(pick).map(Secret::reveal).filter(|key| key.len() >= 12);
        key.and_then(|key| key.get(key.len() - 4..)).map_or_else(String::new, |last| format!("…{last}"))
    }

    /// The key of a pick.
    pub fn secret(&self, pick: Pick) -> Option<&Secret> {
        match pick {
            Pick::Key(at) => self.keys.get(at).map(|key| &key.secret),
            Pick::NoKey | Pick::Wait(_) => None,
        }
    }

    /// Notes what an answer said. True when it closes the key for a while, which others should know at once.
    pub fn learn(&self, pick: Pick, model: &ModelId, left: Left, now: UnixMicros) -> bool {
        if left == Left::default() {
            return false;
        }
        // What the provider asks for goes before what its figures would mean.
        let pause = left.retry_after;
        let left = if pause.is_some() { Left::default() } else { left };
        let at = if let Pick::Key(at) = pick { at } else { 0 };
        let paused_until = pause.map(|pause| now.after(pause.min(LONGEST)));
        let key = self.keys.get(at).map_or_else(String::new, |key| key.digest.clone());
        let quota =
            Quota { key, model: model.clone(), at: now, paused_until, requests: left.requests, tokens: left.tokens };
        self.merge(at, quota, now);
        pause.is_some() || [left.requests, left.tokens].iter().flatten().any(|left| left.remaining == 0)
    }

    /// Takes in what another worker tells.
    pub fn hear(&self, quota: Quota, now: UnixMicros) {
        let at = self.keys.iter().position(|key| key.digest == quota.key);
        if let Some(at) = at.or_else(|| (self.keys.is_empty() && quota.key.is_empty()).then_some(0)) {
            self.merge(at, quota, now);
        }
    }

    fn merge(&self, at: usize, quota: Quota, now: UnixMicros) {
        let mut quotas = self.quotas();
        if quotas.len() >= QUOTAS {
            quotas.retain(|_, quota| is_current(quota, now));
        }
        let entry = quotas.entry((at, quota.model.clone())).or_insert_with(|| quota.clone());
        let paused_until = entry.paused_until.max(quota.paused_until);
        if quota.at >= entry.at {
            *entry = quota;
        }
        entry.paused_until = paused_until.filter(|until| *until > now);
    }

    /// What others are told.
    pub fn tell(&self, now: UnixMicros) -> Vec<Quota> {
        let mut quotas = self.quotas();
        quotas.retain(|_, quota| is_current(quota, now));
        quotas.values().cloned().collect()
    }
}

/// How a key stands: with so much left, in thousandths; or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Free(u64),
    Until(UnixMicros),
}

impl Standing {
    fn is_better_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Free(own), Self::Free(other)) => own > other,
            (Self::Free(_), Self::Until(_)) => true,
            (Self::Until(_), Self::Free(_)) => false,
            (Self::Until(own), Self::Until(other)) => own < other,
        }
    }
}

fn stand(quota: &Quota, tokens: u64, now: UnixMicros) -> Standing {
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

fn is_current(quota: &Quota, now: UnixMicros) -> bool {
    now.since(quota.at) < STALE || quota.paused_until.is_some_and(|until| until > now)
}

fn digest(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(keys: &[&str]) -> Limits {
        Limits::new(keys.iter().map(|key| Secret::new(*key)).collect())
    }

    fn left(remaining: u64) -> Left {
        let allowance = Allowance { remaining, limit: 100, resets_at: UnixMicros(60_000_000) };
        Left { requests: Some(allowance), ..Left::default() }
    }

    fn pause(seconds: u64) -> Left {
        Left { retry_after: Some(Duration::from_secs(seconds)), ..Left::default() }
    }

    #[test]
    fn the_key_with_most_left_is_chosen_and_a_closed_one_never() {
        let (limits, model, now) = (limits(&["one", "two"]), ModelId::parse("m").unwrap(), UnixMicros(1_000_000));
        assert_eq!([0, 1, 0].map(Pick::Key), [(); 3].map(|()| limits.pick(&model, 1, now)));
        limits.learn(Pick::Key(0), &model, left(10), now);
        limits.learn(Pick::Key(1), &model, left(90), now);
        assert_eq!(limits.pick(&model, 1, now), Pick::Key(1));
        assert!(limits.learn(Pick::Key(1), &model, pause(5), now));
        assert_eq!(limits.pick(&model, 1, now), Pick::Key(0));
        limits.learn(Pick::Key(0), &model, left(0), now);
        // 59 s until all of 100 are there again: one is there after 0.59 s.
        assert_eq!(limits.pick(&model, 1, now), Pick::Wait(UnixMicros(1_590_000)));
        assert_eq!(limits.pick(&model, 1, UnixMicros(6_000_001)), Pick::Key(1));
        let other = ModelId::parse("other").unwrap();
        assert!(matches!(limits.pick(&other, 1, now), Pick::Key(_)));
    }

    #[test]
    fn one_worker_s_pause_holds_for_the_others() {
        let (one, two) = (limits(&["secret"]), limits(&["secret"]));
        let (model, now) = (ModelId::parse("m").unwrap(), UnixMicros(1_000_000));
        one.learn(Pick::Key(0), &model, pause(2), now);
        for quota in one.tell(now) {
            assert!(!format!("{quota:?}").contains("secret"));
            two.hear(quota, now);
        }
        assert_eq!(two.pick(&model, 1, now), Pick::Wait(UnixMicros(3_000_000)));
    }

    #[test]
    fn a_provider_without_keys_can_be_paused_too() {
        let (limits, model, now) = (limits(&[]), ModelId::parse("m").unwrap(), UnixMicros(1_000_000));
        assert_eq!(limits.pick(&model, 1, now), Pick::NoKey);
        limits.learn(Pick::NoKey, &model, pause(2), now);
        assert_eq!(limits.pick(&model, 1, now), Pick::Wait(UnixMicros(3_000_000)));
    }
}
