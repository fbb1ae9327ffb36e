//! The limits that a provider has set to each key: one shared view, from its own answers and from what other workers tell.
//! Chooses the key of a call, and says how long to wait when there is none. Pure but for its locks; holds no clock.

mod standing;

use crate::keys::Key;
use crate::providers::quota::Left;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::LONGEST_WAIT;
use penstock_schemas::name::ModelId;
use penstock_schemas::pool::{Quota, Resumed};
use standing::{Standing, is_current, stand};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Keys and models whose limits are remembered at once; names of models come from callers.
const QUOTAS: usize = 1024;

/// A provider that asks for a longer pause is asked again after this.
const LONGEST: Duration = LONGEST_WAIT;

/// Of a limit, in thousandths: as long as so much is left, weights say which key is used.
const ENOUGH: u64 = 250;

/// One provider's keys and their limits.
#[derive(Debug)]
pub(crate) struct Limits {
    keys: RwLock<Arc<Keys>>,
    turn: AtomicU64,
    /// By a key's digest; of a provider without keys, by none.
    quotas: Mutex<HashMap<(String, ModelId), Quota>>,
    /// When an operator lifted a model's pauses.
    resumed: Mutex<HashMap<ModelId, UnixMicros>>,
}

/// The keys as they are now.
#[derive(Debug)]
struct Keys {
    list: Vec<Arc<Key>>,
    weights: u64,
    /// Whether the operator gave them different weights.
    is_weighted: bool,
}

/// Which key a call may use.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
    /// The provider wants none.
    NoKey,
    /// This one.
    Key(Arc<Key>),
    /// None before then.
    Wait(UnixMicros),
}

impl Pick {
    /// The key, if there is one.
    pub(crate) fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Key(key) => Some(key),
            Self::NoKey | Self::Wait(_) => None,
        }
    }

    fn digest(&self) -> &str {
        self.key().map_or("", |key| &key.digest)
    }
}

impl Keys {
    fn new(list: Vec<Arc<Key>>) -> Self {
        let weights = list.iter().map(|key| u64::from(key.weight)).sum();
        let is_weighted = list.iter().any(|key| key.weight != list[0].weight);
        Self { list, weights, is_weighted }
    }

    /// Whose turn it is, by weight; 0 when there is none.
    fn first(&self, turn: u64) -> usize {
        let mut left = turn.checked_rem(self.weights).unwrap_or(0);
        for (at, key) in self.list.iter().enumerate() {
            match left.checked_sub(u64::from(key.weight)) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }
}

impl Limits {
    /// Keys without a known limit.
    pub(crate) fn new(keys: Vec<Arc<Key>>) -> Self {
        Self {
            keys: RwLock::new(Arc::new(Keys::new(keys))),
            turn: AtomicU64::new(0),
            quotas: Mutex::default(),
            resumed: Mutex::default(),
        }
    }

    fn quotas(&self) -> MutexGuard<'_, HashMap<(String, ModelId), Quota>> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that new calls choose from.
    pub(crate) fn keys(&self) -> Vec<Arc<Key>> {
        self.current().list.clone()
    }

    /// New calls choose from these; those that are under way finish with the key that they have.
    pub(crate) fn replace(&self, keys: Vec<Arc<Key>>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Keys::new(keys));
    }

    /// Whether a call that was refused because of its key can be made with another.
    pub(crate) fn has_open(&self, now: UnixMicros) -> bool {
        self.current().list.iter().any(|key| key.is_open(now))
    }

    /// The key that has most left for a call of about so many tokens, among those that nothing is known against; in turn
    /// and by weight, where nothing is known of what is left.
    pub(crate) fn pick(&self, model: &ModelId, tokens: u64, now: UnixMicros) -> Pick {
        let keys = self.current();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (first, count) = (keys.first(turn), keys.list.len());
        // When all are set aside, calls fail as the provider says.
        let is_any_open = keys.list.iter().any(|key| key.is_open(now));
        let quotas = self.quotas();
        if count == 0 {
            let quota = quotas.get(&(String::new(), model.clone()));
            return match quota.map(|quota| stand(quota, tokens, now)) {
                Some(Standing::Until(until)) => Pick::Wait(until),
                Some(Standing::Free(_)) | None => Pick::NoKey,
            };
        }
        let mut best: Option<(&Arc<Key>, Standing)> = None;
        for key in (0..count).map(|at| &keys.list[(first + at) % count]) {
            if is_any_open && !key.is_open(now) {
                continue;
            }
            let quota = if quotas.is_empty() { None } else { quotas.get(&(key.digest.clone(), model.clone())) };
            let standing = match quota.map(|quota| stand(quota, tokens, now)) {
                None => Standing::Free(u64::MAX),
                // Weights decide as long as there is enough left.
                Some(Standing::Free(share)) if keys.is_weighted && share >= ENOUGH => Standing::Free(u64::MAX),
                Some(standing) => standing,
            };
            if best.as_ref().is_none_or(|(_, best)| standing.is_better_than(*best)) {
                best = Some((key, standing));
            }
        }
        match best {
            None => Pick::NoKey,
            Some((_, Standing::Until(until))) => Pick::Wait(until),
            Some((key, Standing::Free(_))) => {
                key.take(now);
                Pick::Key(key.clone())
            }
        }
    }

    /// Any key that is open, for a question that no limit counts.
    pub(crate) fn any(&self, now: UnixMicros) -> Pick {
        let keys = self.current();
        let key = keys.list.iter().find(|key| key.is_open(now)).or(keys.list.first());
        key.map_or(Pick::NoKey, |key| Pick::Key(key.clone()))
    }

    /// Notes what an answer said. True when it closes the key for a while, which others should know at once.
    pub(crate) fn learn(&self, pick: &Pick, model: &ModelId, left: Left, now: UnixMicros) -> bool {
        if left == Left::default() {
            return false;
        }
        // What the provider asks for goes before what its figures would mean.
        let pause = left.retry_after;
        let left = if pause.is_some() { Left::default() } else { left };
        let paused_until = pause.map(|pause| now.after(pause.min(LONGEST)));
        let key = pick.digest().to_owned();
        let quota =
            Quota { key, model: model.clone(), at: now, paused_until, requests: left.requests, tokens: left.tokens };
        self.merge(quota, now);
        pause.is_some() || [left.requests, left.tokens].iter().flatten().any(|left| left.remaining == 0)
    }

    /// Takes in what another worker tells.
    pub(crate) fn hear(&self, quota: Quota, now: UnixMicros) {
        let keys = self.current();
        let is_without = keys.list.is_empty() && quota.key.is_empty();
        if is_without || keys.list.iter().any(|key| key.digest == quota.key) {
            self.merge(quota, now);
        }
    }

    fn lifted(&self) -> MutexGuard<'_, HashMap<ModelId, UnixMicros>> {
        self.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was known of a model's limits up to then: an operator says that calls are to be made again.
    pub(crate) fn resume(&self, model: &ModelId, at: UnixMicros) {
        let mut lifted = self.lifted();
        if lifted.len() >= QUOTAS && !lifted.contains_key(model) {
            lifted.clear();
        }
        let known = lifted.entry(model.clone()).or_insert(at);
        *known = at.max(*known);
        self.quotas().retain(|(_, of), quota| of != model || quota.at > at);
    }

    /// The pauses that were lifted within the longest time that one can last, for workers that have not heard it.
    pub(crate) fn resumed(&self, now: UnixMicros) -> Vec<Resumed> {
        let mut lifted = self.lifted();
        lifted.retain(|_, at| now.since(*at) < LONGEST);
        lifted.iter().map(|(model, at)| Resumed { model: model.clone(), at: *at }).collect()
    }

    /// Until when the provider asked for no calls of a model, of all keys that it asked so.
    pub(crate) fn asked_pause(&self, model: &ModelId, now: UnixMicros) -> Option<UnixMicros> {
        let quotas = self.quotas();
        let pauses = quotas.iter().filter(|((_, of), _)| of == model).filter_map(|(_, quota)| quota.paused_until);
        pauses.filter(|until| *until > now).max()
    }

    fn merge(&self, quota: Quota, now: UnixMicros) {
        if self.lifted().get(&quota.model).is_some_and(|at| quota.at <= *at) {
            return; // from before an operator lifted it
        }
        let mut quotas = self.quotas();
        if quotas.len() >= QUOTAS {
            quotas.retain(|_, quota| is_current(quota, now));
        }
        let entry = quotas.entry((quota.key.clone(), quota.model.clone())).or_insert_with(|| quota.clone());
        let paused_until = entry.paused_until.max(quota.paused_until);
        if quota.at >= entry.at {
            *entry = quota;
        }
        entry.paused_until = paused_until.filter(|until| *until > now);
    }

    /// What others are told.
    pub(crate) fn tell(&self, now: UnixMicros) -> Vec<Quota> {
        let mut quotas = self.quotas();
        quotas.retain(|_, quota| is_current(quota, now));
        quotas.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::ConfiguredKey;
    use penstock_runtime::Secret;
    use penstock_schemas::pool::Allowance;

    fn limits(keys: &[&str]) -> Limits {
        weighted(&keys.iter().map(|key| (*key, 1)).collect::<Vec<_>>())
    }

    fn weighted(keys: &[(&str, u32)]) -> Limits {
        let key = |(name, weight): &(&str, u32)| {
            let key = ConfiguredKey { weight: *weight, ..ConfiguredKey::new(*name, Secret::new(*name)) };
            Arc::new(Key::new(key, false))
        };
        Limits::new(keys.iter().map(key).collect())
    }

    fn left(remaining: u64) -> Left {
        let allowance = Allowance { remaining, limit: 100, resets_at: UnixMicros(60_000_000) };
        Left { requests: Some(allowance), ..Left::default() }
    }

    fn pause(seconds: u64) -> Left {
        Left { retry_after: Some(Duration::from_secs(seconds)), ..Left::default() }
    }

    fn model() -> ModelId {
        ModelId::parse("m").unwrap()
    }

    /// The names of the keys of the next calls; until when there is none.
    fn picks(limits: &Limits, count: usize, now: UnixMicros) -> String {
        let name = |pick: &Pick| match pick {
            Pick::Key(key) => key.id.clone(),
            Pick::NoKey => "none".to_owned(),
            Pick::Wait(until) => format!("wait until {}", until.0),
        };
        (0..count).map(|_| name(&limits.pick(&model(), 1, now))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_key_with_most_left_is_chosen_and_a_closed_one_never() {
        let (limits, now) = (limits(&["one", "two"]), UnixMicros(1_000_000));
        assert_eq!(picks(&limits, 3, now), "one two one");
        let [one, two] = [0, 1].map(|at| Pick::Key(limits.keys()[at].clone()));
        limits.learn(&one, &model(), left(10), now);
        limits.learn(&two, &model(), left(90), now);
        assert_eq!(picks(&limits, 2, now), "two two");
        assert!(limits.learn(&two, &model(), pause(5), now));
        assert_eq!(picks(&limits, 2, now), "one one");
        limits.learn(&one, &model(), left(0), now);
        // 59 s until all of 100 are there again: one is there after 0.59 s.
        assert_eq!(picks(&limits, 1, now), "wait until 1590000");
        assert_eq!(picks(&limits, 1, UnixMicros(6_000_001)), "two");
        let other = ModelId::parse("other").unwrap();
        assert!(matches!(limits.pick(&other, 1, now), Pick::Key(_)));
    }

    #[test]
    fn keys_are_used_by_weight_as_long_as_enough_is_left() {
        let (limits, now) = (weighted(&[("one", 3), ("two", 1)]), UnixMicros(1_000_000));
        assert_eq!(picks(&limits, 8, now), "one one one two one one one two");
        let one = Pick::Key(limits.keys()[0].clone());
        limits.learn(&one, &model(), left(50), now);
        assert_eq!(picks(&limits, 4, now), "one one one two");
        limits.learn(&one, &model(), left(20), now);
        assert_eq!(picks(&limits, 4, now), "two two two two");
    }

    #[test]
    fn a_key_that_is_set_aside_is_passed_over_unless_there_is_no_other() {
        let (limits, now) = (limits(&["one", "two"]), UnixMicros(1_000_000));
        limits.keys()[0].set_aside(now);
        assert_eq!(picks(&limits, 3, now), "two two two");
        let later = now.after(Duration::from_secs(30));
        assert!(picks(&limits, 4, later).contains("one"), "one call tries it");
        assert_eq!(picks(&limits, 2, later), "two two");
        limits.keys()[1].set_aside(later);
        assert!(!limits.has_open(later));
        assert_eq!(picks(&limits, 4, later).matches("one").count(), 2, "calls fail as the provider says");
        limits.replace(Vec::new());
        assert_eq!(picks(&limits, 1, later), "none");
    }

    #[test]
    fn one_worker_s_pause_holds_for_the_others() {
        let (one, two) = (limits(&["secret"]), limits(&["secret"]));
        let now = UnixMicros(1_000_000);
        one.learn(&Pick::Key(one.keys()[0].clone()), &model(), pause(2), now);
        for quota in one.tell(now) {
            assert!(!format!("{quota:?}").contains("secret"));
            two.hear(quota, now);
        }
        assert_eq!(picks(&two, 1, now), "wait until 3000000");
    }

    #[test]
    fn a_pause_that_was_lifted_does_not_come_back_from_others_but_a_new_one_holds() {
        let (one, two) = (limits(&["secret"]), limits(&["secret"]));
        let (now, later) = (UnixMicros(1_000_000), UnixMicros(2_000_000));
        one.learn(&Pick::Key(one.keys()[0].clone()), &model(), pause(600), now);
        assert_eq!(one.asked_pause(&model(), now), Some(UnixMicros(601_000_000)));
        let old = one.tell(now);
        one.resume(&model(), later);
        old.iter().for_each(|quota| one.hear(quota.clone(), later));
        assert_eq!((picks(&one, 1, later).as_str(), one.asked_pause(&model(), later)), ("secret", None));
        // Another worker that did not hear it learns of it from this one.
        old.iter().for_each(|quota| two.hear(quota.clone(), later));
        for Resumed { model, at } in one.resumed(later) {
            two.resume(&model, at);
        }
        assert_eq!(picks(&two, 1, later), "secret");
        let again = UnixMicros(3_000_000);
        one.learn(&Pick::Key(one.keys()[0].clone()), &model(), pause(2), again);
        assert_eq!(picks(&one, 1, again), "wait until 5000000");
        assert_eq!(one.resumed(later.after(LONGEST)), []);
    }

    #[test]
    fn a_provider_without_keys_can_be_paused_too() {
        let (limits, now) = (limits(&[]), UnixMicros(1_000_000));
        assert_eq!(picks(&limits, 1, now), "none");
        limits.learn(&Pick::NoKey, &model(), pause(2), now);
        assert_eq!(picks(&limits, 1, now), "wait until 3000000");
    }
}
