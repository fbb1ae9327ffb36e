//! What this ingress has learnt from the answers that passed through it: how long each target takes, how long its answers
//! are, which conversation it has just read, and what scores say. Kept in memory only. A new process reads the lengths from the
//! ledger, and uses the workers' gossip until it has measured times of its own. Takes the time; decides nothing.

mod watch;

pub(crate) use watch::{RouteWatch, WatchedCall};

use penstock_schemas::UnixMicros;
use penstock_schemas::name::Target;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Targets of which times are kept: names come from callers.
const TARGETS: usize = 4096;

/// Pairs of target and project of which lengths are kept.
const LENGTHS: usize = 16_384;

/// Conversations of which it is known who has read them.
const CONVERSATIONS: usize = 65_536;

/// What a new figure weighs at least, against the mean of those before.
const LEAST_WEIGHT: f64 = 0.3;

/// After so long without a figure, a new one weighs nearly two thirds.
const FADING: f64 = 10.0;

/// How long providers keep a prompt that was read, unless it is read again. Sources:
/// <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>, 5 minutes;
/// <https://platform.openai.com/docs/guides/prompt-caching>, 5 to 10 minutes.
const WARM: Duration = Duration::from_secs(300);

/// The shortest prompt that providers cache, in tokens: as the same pages say.
const SHORTEST_WARM: u64 = 1024;

/// The part of a warm prompt that is expected to be read from the cache, before it is known of the target.
const USUAL_WARM: f64 = 0.5;

/// All of it. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Learnt(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    paces: HashMap<Target, Pace>,
    lengths: HashMap<(Target, String), Mean>,
    conversations: HashMap<u64, Warmth>,
    turns: HashMap<String, u64>,
    qualities: HashMap<String, HashMap<Target, f64>>,
    next: u64,
}

/// A mean that follows its last figures.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    count: u32,
    at: Option<UnixMicros>,
}

/// How long one target takes.
#[derive(Default)]
struct Pace {
    /// To the first content of a stream, in milliseconds.
    first: Mean,
    /// A whole answer, in milliseconds.
    whole: Mean,
    /// Tokens of output in a second, after the first.
    speed: Mean,
    /// The part of a warm prompt that it read from its cache.
    warm: Mean,
    /// Tokens of an answer.
    length: Mean,
    /// Calls without an answer: whether it is a stream, and since when.
    waiting: HashMap<u64, (bool, UnixMicros)>,
    /// Calls that are not over.
    busy: u32,
}

/// Who has read a conversation last.
#[derive(Clone)]
struct Warmth {
    target: Target,
    tokens: u64,
    at: UnixMicros,
}

/// What answers of a target to a project were like before this process began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownLength {
    pub(super) target: Target,
    pub(super) project: String,
    pub(super) answers: u32,
    pub(super) tokens: f64,
}

impl Mean {
    #[expect(clippy::cast_precision_loss, reason = "times and counts are far below 2^52")]
    fn take(&mut self, value: f64, now: UnixMicros) {
        let age = self.at.map_or(0.0, |at| now.since(at).as_millis() as f64 / 1000.0);
        self.count = self.count.saturating_add(1);
        let weight = (1.0 / f64::from(self.count)).max(LEAST_WEIGHT).max(1.0 - (-age / FADING).exp());
        self.value += weight.min(1.0) * (value - self.value);
        self.at = Some(now);
    }

    fn known(&self) -> Option<f64> {
        (self.count > 0).then_some(self.value)
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^52")]
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Makes room for a name that is new.
fn bound<K: Hash + Eq, V>(map: &mut HashMap<K, V>, most: usize, key: &K) {
    if map.len() >= most && !map.contains_key(key) {
        map.clear();
    }
}

impl Pace {
    /// The mean, and what waits by now longer than it: a call that is not answered yet says as much as one that took so long.
    fn with_waiting(&self, mean: Mean, is_stream: bool, now: UnixMicros) -> Option<f64> {
        let since = self.waiting.values().filter(|(stream, _)| *stream == is_stream).map(|(_, since)| *since);
        let mut waits: Vec<f64> = since.map(|since| millis(now.since(since))).collect();
        waits.sort_by(f64::total_cmp);
        let Some(mut expected) = mean.known() else { return waits.last().copied() };
        for wait in waits {
            expected += LEAST_WEIGHT * (wait - expected).max(0.0);
        }
        Some(expected)
    }
}

impl Learnt {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time to the first content of a stream, in milliseconds; and the tokens in a second after it.
    pub(crate) fn stream(&self, target: &Target, now: UnixMicros) -> (Option<f64>, Option<f64>) {
        let facts = self.facts();
        let Some(pace) = facts.paces.get(target) else { return (None, None) };
        (pace.with_waiting(pace.first, true, now), pace.speed.known())
    }

    /// The time of a whole answer, in milliseconds.
    pub(crate) fn whole(&self, target: &Target, now: UnixMicros) -> Option<f64> {
        let facts = self.facts();
        let pace = facts.paces.get(target)?;
        pace.with_waiting(pace.whole, false, now)
    }

    /// Calls of this ingress that are not over.
    pub(crate) fn busy(&self, target: &Target) -> u32 {
        self.facts().paces.get(target).map_or(0, |pace| pace.busy)
    }

    /// The tokens of an answer for this project, else for any; `None` when none came yet.
    pub(crate) fn length(&self, target: &Target, project: &str) -> Option<f64> {
        let facts = self.facts();
        let own = facts.lengths.get(&(target.clone(), project.to_owned())).and_then(Mean::known);
        own.or_else(|| facts.paces.get(target)?.length.known())
    }

    /// The tokens that the target is expected to read from its own cache, of a prompt of so many.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a count of tokens"
    )]
    pub(crate) fn cached(&self, conversation: Option<u64>, target: &Target, tokens: u64, now: UnixMicros) -> u64 {
        let facts = self.facts();
        let Some(warmth) = conversation.and_then(|key| facts.conversations.get(&key)) else { return 0 };
        if warmth.target != *target || now.since(warmth.at) > WARM || warmth.tokens < SHORTEST_WARM {
            return 0;
        }
        let part = facts.paces.get(target).and_then(|pace| pace.warm.known()).unwrap_or(USUAL_WARM);
        (warmth.tokens.min(tokens) as f64 * part) as u64
    }

    /// The next turn of a virtual model, from 0.
    pub(crate) fn turn(&self, model: &str) -> u64 {
        let mut facts = self.facts();
        let turn = facts.turns.entry(model.to_owned()).or_default();
        *turn = turn.wrapping_add(1);
        *turn - 1
    }

    /// The mean of the scores of this name, from 0 to 1.
    pub(crate) fn quality(&self, score: &str, target: &Target) -> Option<f64> {
        self.facts().qualities.get(score)?.get(target).copied()
    }

    /// Takes what was known of lengths before this process began, where it has seen no answer itself.
    pub(super) fn recall(&self, all: impl Iterator<Item = KnownLength>) {
        let mut facts = self.facts();
        let mut sums: HashMap<Target, (f64, u32)> = HashMap::new();
        for KnownLength { target, project, answers, tokens } in all {
            let (sum, count) = sums.entry(target.clone()).or_default();
            (*sum, *count) = (*sum + tokens * f64::from(answers), count.saturating_add(answers));
            let key = (target, project);
            bound(&mut facts.lengths, LENGTHS, &key);
            facts.lengths.entry(key).or_insert(Mean { value: tokens, count: answers, at: None });
        }
        for (target, (sum, count)) in sums {
            bound(&mut facts.paces, TARGETS, &target);
            let length = &mut facts.paces.entry(target).or_default().length;
            if length.count == 0 && count > 0 {
                *length = Mean { value: sum / f64::from(count), count, at: None };
            }
        }
    }

    /// Takes the means of the scores of a name.
    pub(crate) fn rate(&self, score: &str, means: HashMap<Target, f64>) {
        self.facts().qualities.insert(score.to_owned(), means);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use penstock_schemas::usage::Usage;
    use std::sync::atomic::{AtomicU64, Ordering};

    thread_local! {
        static NOW: AtomicU64 = const { AtomicU64::new(1_800_000_000_000_000) };
    }

    pub(in crate::routing) fn clock() -> UnixMicros {
        UnixMicros(NOW.with(|now| now.load(Ordering::Relaxed)))
    }

    /// Time passes, for this test alone.
    pub(in crate::routing) fn pass(millis: u64) {
        NOW.with(|now| now.fetch_add(millis * 1000, Ordering::Relaxed));
    }

    pub(in crate::routing) fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    pub(in crate::routing) fn begin(learnt: &Learnt, name: &str, is_stream: bool) -> RouteWatch {
        let project = "p".to_owned();
        let call = WatchedCall { target: target(name), project, conversation: Some(7), is_stream };
        RouteWatch::begin(learnt, call, clock)
    }

    /// A stream that takes so long to its first content, and so long after it.
    pub(in crate::routing) fn stream(learnt: &Learnt, name: &str, (first, rest): (u64, u64), usage: &Usage) {
        let mut watch = begin(learnt, name, true);
        pass(first);
        watch.first_content(&target(name), 1);
        pass(rest);
        watch.served(usage);
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    #[test]
    fn first_tokens_and_speed_are_learnt_apart() {
        let learnt = Learnt::default();
        stream(&learnt, "a/m", (200, 1000), &tokens(10, 101));
        let (first, speed) = learnt.stream(&target("a/m"), clock());
        assert_eq!((first.unwrap().round(), speed.unwrap().round()), (200.0, 100.0));
        assert_eq!(learnt.whole(&target("a/m"), clock()), None);
        assert_eq!(
            (learnt.length(&target("a/m"), "p"), learnt.length(&target("a/m"), "q")),
            (Some(101.0), Some(101.0))
        );
        stream(&learnt, "a/m", (200, 1000), &tokens(10, 1));
        let (first, speed) = learnt.stream(&target("a/m"), clock());
        assert_eq!((first.unwrap().round(), speed.unwrap().round()), (200.0, 100.0), "one token has no speed");
    }

    #[test]
    fn calls_without_an_answer_count_before_they_are_answered() {
        let learnt = Learnt::default();
        stream(&learnt, "a/m", (20, 0), &tokens(10, 1));
        let waiting: Vec<RouteWatch> = (0..3).map(|_| begin(&learnt, "a/m", true)).collect();
        assert_eq!(learnt.busy(&target("a/m")), 3);
        pass(1000);
        let now = learnt.stream(&target("a/m"), clock()).0.unwrap();
        assert!(now > 500.0, "{now}");
        drop(waiting);
        assert_eq!(learnt.busy(&target("a/m")), 0);
        let after = learnt.stream(&target("a/m"), clock()).0.unwrap();
        assert!(after > 500.0, "callers that gave up have waited: {after}");
    }

    #[test]
    fn what_is_refused_says_nothing_of_times() {
        let learnt = Learnt::default();
        stream(&learnt, "a/m", (20, 0), &tokens(10, 1));
        let mut watch = begin(&learnt, "a/m", true);
        pass(5000);
        watch.refused();
        drop(watch);
        assert_eq!(learnt.stream(&target("a/m"), clock()).0.unwrap().round(), 20.0);
    }

    #[test]
    fn a_warm_prompt_is_worth_what_the_target_read_of_others() {
        let learnt = Learnt::default();
        let cached = |tokens| learnt.cached(Some(7), &target("a/m"), tokens, clock());
        assert_eq!(cached(5000), 0);
        stream(&learnt, "a/m", (20, 0), &tokens(3900, 100));
        assert_eq!((cached(5000), cached(1000)), (2000, 500), "half, before anything is known");
        let usage = Usage { cache_read: Some(3600), ..tokens(1000, 100) };
        stream(&learnt, "a/m", (20, 0), &usage);
        assert_eq!(cached(5000), 4230, "90 % of 4,700");
        assert_eq!(learnt.cached(Some(7), &target("b/m"), 5000, clock()), 0);
        pass(301_000);
        assert_eq!(cached(5000), 0, "it is cold again");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let learnt = Learnt::default();
        for number in 0..TARGETS + 10 {
            drop(begin(&learnt, &format!("a/m{number}"), true));
        }
        assert!(learnt.facts().paces.len() <= TARGETS);
    }
}
