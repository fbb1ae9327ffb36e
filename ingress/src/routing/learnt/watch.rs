//! One call, watched while it is under way, so that its times and its length are learnt. Knows nothing of other calls.

use super::{CONVERSATIONS, LENGTHS, Learnt, SHORTEST_WARM, TARGETS, WARM, Warmth, bound, millis};
use penstock_schemas::UnixMicros;
use penstock_schemas::name::Target;
use penstock_schemas::usage::Usage;

/// A call that is under way, from which something is learnt when it is answered.
pub(crate) struct RouteWatch {
    learnt: Learnt,
    number: u64,
    target: Target,
    project: String,
    conversation: Option<u64>,
    is_stream: bool,
    began: UnixMicros,
    /// Who answers, and since when.
    answers: Option<(Target, UnixMicros)>,
    /// Whether how it ended says nothing of how long it takes.
    is_refused: bool,
    clock: fn() -> UnixMicros,
}

/// Whose call is watched, and of which conversation.
pub(crate) struct WatchedCall {
    pub(crate) target: Target,
    pub(crate) project: String,
    pub(crate) conversation: Option<u64>,
    pub(crate) is_stream: bool,
}

impl RouteWatch {
    /// The call begins.
    pub(crate) fn begin(learnt: &Learnt, call: WatchedCall, clock: fn() -> UnixMicros) -> Self {
        let WatchedCall { target, project, conversation, is_stream } = call;
        let began = clock();
        let mut facts = learnt.facts();
        facts.next += 1;
        let number = facts.next;
        bound(&mut facts.paces, TARGETS, &target);
        let pace = facts.paces.entry(target.clone()).or_default();
        pace.waiting.insert(number, (is_stream, began));
        pace.busy += 1;
        drop(facts);
        let (learnt, answers, is_refused) = (learnt.clone(), None, false);
        Self { learnt, number, target, project, conversation, is_stream, began, answers, is_refused, clock }
    }

    /// The first content has come.
    pub(crate) fn first_content(&mut self, target: &Target, attempts: u32) {
        if self.answers.is_some() {
            return;
        }
        let now = (self.clock)();
        self.answers = Some((target.clone(), now));
        let mut facts = self.learnt.facts();
        if let Some(pace) = facts.paces.get_mut(&self.target) {
            pace.waiting.remove(&self.number);
            // Where another answers, the planned one took at least so long; of the other, nothing is known.
            if self.is_stream && (*target == self.target || attempts > 1) {
                pace.first.take(millis(now.since(self.began)), now);
            }
        }
    }

    /// The answer is complete.
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
    pub(crate) fn served(&mut self, usage: &Usage) {
        let now = (self.clock)();
        let Some((target, first)) = self.answers.clone() else { return };
        let mut facts = self.learnt.facts();
        let output = usage.output_total() as f64;
        bound(&mut facts.paces, TARGETS, &target);
        let pace = facts.paces.entry(target.clone()).or_default();
        let seconds = millis(now.since(first)) / 1000.0;
        if self.is_stream && output > 1.0 && seconds > 0.0 {
            pace.speed.take((output - 1.0) / seconds, now);
        }
        if !self.is_stream && target == self.target {
            pace.whole.take(millis(now.since(self.began)), now);
        }
        if output > 0.0 {
            pace.length.take(output, now);
            let key = (target.clone(), self.project.clone());
            bound(&mut facts.lengths, LENGTHS, &key);
            facts.lengths.entry(key).or_default().take(output, now);
        }
        let Some(conversation) = self.conversation else { return };
        let before = facts.conversations.get(&conversation).cloned();
        if let (Some(before), Some(read)) = (before, usage.cache_read)
            && before.target == target
            && now.since(before.at) <= WARM
            && before.tokens >= SHORTEST_WARM
            && let Some(pace) = facts.paces.get_mut(&target)
        {
            pace.warm.take((read as f64 / before.tokens as f64).min(1.0), now);
        }
        bound(&mut facts.conversations, CONVERSATIONS, &conversation);
        let tokens = usage.input_total() + usage.output_total();
        facts.conversations.insert(conversation, Warmth { target, tokens, at: now });
    }

    /// There is no answer, and that says nothing of how long one takes.
    pub(crate) fn refused(&mut self) {
        self.is_refused = true;
    }
}

impl Drop for RouteWatch {
    fn drop(&mut self) {
        let now = (self.clock)();
        let mut facts = self.learnt.facts();
        let Some(pace) = facts.paces.get_mut(&self.target) else { return };
        pace.busy = pace.busy.saturating_sub(1);
        let is_waiting = pace.waiting.remove(&self.number).is_some();
        let waited = millis(now.since(self.began));
        let mean = if self.is_stream { &mut pace.first } else { &mut pace.whole };
        // A caller that gave up has waited so long: that is known, and no more.
        if is_waiting && !self.is_refused && mean.known().is_some_and(|mean| waited > mean) {
            mean.take(waited, now);
        }
    }
}
