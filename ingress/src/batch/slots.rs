//! How many lines of one provider this process answers at once, and whose they are. Projects take turns; within a project the
//! batch of the highest priority is next, and then who waits longest. There are no more slots than the provider's pools take:
//! every line that comes back because they are full takes one away, and lines that are answered bring them back, so that the
//! turns decide who is answered, and not who asks most often. Knows nothing of what a line asks.

use penstock_schemas::batch::BatchPriority;
use penstock_schemas::name::ProjectId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Answered lines that bring one slot back.
const ANSWERS: usize = 4;

/// The slots of one provider. Cloning shares them.
#[derive(Clone)]
pub(super) struct LineSlots(Arc<Mutex<Slots>>);

struct Slots {
    /// There are never more.
    most: usize,
    /// So many the pools seem to take.
    limit: usize,
    used: usize,
    /// Lines answered since the limit was last raised.
    answered: usize,
    waiting: HashMap<ProjectId, Vec<Waiter>>,
    /// Whose turn it is, and then whose.
    round: VecDeque<ProjectId>,
}

struct Waiter {
    priority: BatchPriority,
    turn: oneshot::Sender<LineSlot>,
}

/// The right to answer one line; given on when it is dropped.
pub(super) struct LineSlot {
    slots: LineSlots,
}

impl LineSlots {
    /// So many slots; at least one.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let (waiting, round) = (HashMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(Slots { most, limit: most, used: 0, answered: 0, waiting, round })))
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot. Giving up the wait gives up the place.
    pub(super) async fn take(&self, project: &ProjectId, priority: BatchPriority) -> LineSlot {
        loop {
            let turn = {
                let (give, turn) = oneshot::channel();
                self.slots().enter(project, Waiter { priority, turn: give });
                turn
            };
            self.go_on();
            // The other end is dropped only together with all slots.
            if let Ok(slot) = turn.await {
                return slot;
            }
        }
    }

    /// A slot, if one is free and no line waits for one.
    pub(super) fn try_take(&self) -> Option<LineSlot> {
        let mut slots = self.slots();
        if slots.used >= slots.limit || !slots.round.is_empty() {
            return None;
        }
        slots.used += 1;
        Some(LineSlot { slots: self.clone() })
    }

    /// Gives free slots to those who wait.
    fn go_on(&self) {
        loop {
            let next = self.slots().next();
            let Some(waiter) = next else { return };
            // Who has given up drops the slot, and so hands it on.
            drop(waiter.turn.send(LineSlot { slots: self.clone() }));
        }
    }
}

impl Slots {
    fn enter(&mut self, project: &ProjectId, waiter: Waiter) {
        let waiting = self.waiting.entry(project.clone()).or_default();
        if waiting.is_empty() {
            self.round.push_back(project.clone());
        }
        waiting.push(waiter);
    }

    /// Takes a slot for the next one, if there is one of both.
    fn next(&mut self) -> Option<Waiter> {
        if self.used >= self.limit {
            return None;
        }
        let project = self.round.pop_front()?;
        let waiting = self.waiting.get_mut(&project)?;
        let highest = waiting.iter().map(|waiter| waiter.priority).max()?;
        let first = waiting.iter().position(|waiter| waiter.priority == highest)?;
        let waiter = waiting.remove(first);
        if waiting.is_empty() {
            self.waiting.remove(&project);
        } else {
            self.round.push_back(project);
        }
        self.used += 1;
        Some(waiter)
    }
}

impl LineSlot {
    /// The pools were full.
    pub(super) fn was_refused(&self) {
        let mut slots = self.slots.slots();
        // What is under way is as much as they take, without this line.
        slots.limit = slots.limit.min(slots.used).saturating_sub(1).max(1);
        slots.answered = 0;
    }

    /// The line was answered.
    pub(super) fn was_answered(&self) {
        let mut slots = self.slots.slots();
        slots.answered += 1;
        if slots.answered >= ANSWERS {
            (slots.limit, slots.answered) = (slots.most.min(slots.limit + 1), 0);
        }
    }
}

impl Drop for LineSlot {
    fn drop(&mut self) {
        self.slots.slots().used -= 1;
        self.slots.go_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn project(name: &str) -> ProjectId {
        ProjectId::parse(name).unwrap()
    }

    /// The order in which those who wait for the only slot get it.
    fn order(waiters: &[(&'static str, BatchPriority)]) -> String {
        let slots = LineSlots::new(1);
        let mut slot = slots.try_take();
        let mut waiting: Vec<_> = waiters
            .iter()
            .map(|(name, priority)| {
                let (project, slots) = (project(name), slots.clone());
                let mut turn = Box::pin(async move { slots.take(&project, *priority).await });
                assert!((&mut turn).now_or_never().is_none());
                (*name, *priority, turn)
            })
            .collect();
        let mut order = String::new();
        while slot.take().is_some() {
            let next = waiting.iter_mut().enumerate().find_map(|(at, (.., turn))| Some((at, turn.now_or_never()?)));
            slot = next.map(|(at, slot)| {
                let (name, priority, _) = waiting.remove(at);
                order.push_str(&format!("{name}{} ", &priority.as_str()[..1]));
                slot
            });
        }
        order.trim_end().to_owned()
    }

    #[test]
    fn projects_take_turns_and_within_one_the_highest_priority_is_next() {
        use BatchPriority::{High, Low, Normal};
        assert_eq!(order(&[("a", Normal), ("a", Normal), ("a", Normal), ("b", Normal)]), "an bn an an");
        assert_eq!(order(&[("a", Low), ("a", Normal), ("a", High), ("b", Low)]), "ah bl an al");
    }

    #[test]
    fn who_gives_up_is_passed_over() {
        let slots = LineSlots::new(1);
        let slot = slots.try_take();
        let given_up = async { slots.take(&project("a"), BatchPriority::Normal).await };
        assert!(given_up.now_or_never().is_none());
        drop(slot);
        assert!(slots.try_take().is_some());
    }

    #[test]
    fn there_are_no_more_slots_than_the_pools_take_and_answers_bring_them_back() {
        let slots = LineSlots::new(10);
        let all: Vec<LineSlot> = std::iter::from_fn(|| slots.try_take()).collect();
        assert_eq!(all.len(), 10);
        all[4..].iter().for_each(LineSlot::was_refused);
        drop(all);
        let taken = || std::iter::from_fn(|| slots.try_take()).collect::<Vec<LineSlot>>();
        let four = taken();
        assert_eq!(four.len(), 4);
        (0..2 * ANSWERS).for_each(|_| four[0].was_answered());
        drop(four);
        assert_eq!(taken().len(), 6);
        for _ in 0..20 {
            taken()[0].was_refused();
        }
        assert_eq!(taken().len(), 1);
    }
}
