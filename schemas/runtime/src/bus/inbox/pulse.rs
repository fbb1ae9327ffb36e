//! Whether a worker lives: asked once for all calls that wait for it, since most wait for seconds and there may be thousands. A
//! call sleeps meanwhile, and is woken when its worker is in trouble. Knows nothing of the calls.

use super::{Inbox, Slot, is_nobody};
use async_nats::Message;
use penstock_schemas::frame::pulse_id;
use penstock_schemas::name::{ProcessId, RequestId};
use penstock_schemas::subject;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Between two questions to a worker, and how long a call hears nothing before it wants to know.
pub(super) const BEAT: Duration = Duration::from_millis(150);

/// A wait that ends so much too late says that this machine is short of time, and a worker on it may be too: such waits
/// do not count, up to so many of them.
pub(super) const LATE: Duration = Duration::from_millis(25);
pub(super) const LATE_WAITS: u32 = 10;

/// Fewer questions without an answer than this are no trouble.
const TROUBLE: u32 = 2;

/// Timers are not exact: what is due in so short a time is due.
const EARLY: Duration = Duration::from_millis(10);

/// The workers that the calls of an ingress wait for.
#[derive(Default)]
pub(super) struct Pulses {
    made: u64,
    by_worker: HashMap<ProcessId, Arc<WorkerPulse>>,
}

/// What one ingress knows of one worker.
pub(super) struct WorkerPulse {
    worker: ProcessId,
    /// Stands for a call in what is asked and answered.
    id: RequestId,
    questions: Mutex<Questions>,
    vitals: watch::Sender<Vitals>,
}

#[derive(Clone, Copy, Default)]
struct Questions {
    /// The number of the last one, and of the last one that was answered.
    asked: u32,
    answered: u32,
    /// Beats since the last answer; those that were late are counted apart.
    unanswered: u32,
    late: u32,
}

/// The state of a worker that calls wait on. `unanswered` stays 0 until it reaches [`TROUBLE`], so that calls are not woken before.
#[derive(Clone, Copy, Default)]
struct Vitals {
    unanswered: u32,
    /// When the server said that nobody listens there.
    gone_at: Option<Instant>,
}

/// Why nobody need wait for a worker any longer.
pub(super) enum WorkerTrouble {
    /// It does not answer.
    Silent,
    /// Its process has ended, or has lost its connection.
    Gone,
}

impl Questions {
    /// Counts whether the last question was answered, and asks the next one: how it stands then.
    fn ask(&mut self, is_late: bool) -> Self {
        if self.asked != self.answered {
            let is_excused = is_late && self.late < LATE_WAITS;
            *(if is_excused { &mut self.late } else { &mut self.unanswered }) += 1;
        }
        self.asked = self.asked.wrapping_add(1);
        *self
    }

    /// Takes the answer to a question: whether the worker is gone. `None`: it says nothing. The server's answer for one who was
    /// gone at an earlier question is none of the worker: it may be back, or it may be that the server is just slow.
    fn hear(&mut self, number: u32, is_nobody: bool) -> Option<bool> {
        let is_gone = is_nobody && number == self.asked;
        if is_nobody && !is_gone {
            return None;
        }
        // Answers come in the order of the questions, or not at all.
        *self = Self { asked: self.asked, answered: number, ..Self::default() };
        Some(is_gone)
    }
}

impl WorkerPulse {
    /// Waits until there is no hope for who last heard from the worker at `heard_at`, and bears so many questions without an
    /// answer.
    pub(super) async fn trouble(&self, heard_at: Instant, patience: u32) -> WorkerTrouble {
        let mut vitals = self.vitals.subscribe();
        loop {
            let Vitals { unanswered, gone_at } = *vitals.borrow_and_update();
            if gone_at.is_some_and(|at| at > heard_at) {
                return WorkerTrouble::Gone;
            }
            if unanswered >= patience && heard_at.elapsed() + EARLY >= BEAT * (patience + 1) {
                return WorkerTrouble::Silent;
            }
            vitals.changed().await.expect("this pulse has the sender");
        }
    }

    /// Asks the worker, and counts whether it has answered the question before.
    fn beat(&self, inbox: &Inbox, is_late: bool) {
        let Questions { asked: number, unanswered, .. } = self.questions().ask(is_late);
        if unanswered >= TROUBLE {
            self.vitals.send_modify(|vitals| vitals.unanswered = unanswered);
        }
        inbox.probe(self.worker.clone(), self.id, number);
    }

    /// Takes the answer of the worker, or of the server in its place.
    pub(super) fn hear(&self, message: &Message) {
        let Some(number) = subject::mark(&message.subject) else { return };
        let mut questions = self.questions();
        let was_in_trouble = questions.unanswered >= TROUBLE;
        let Some(is_gone) = questions.hear(number, is_nobody(message)) else { return };
        drop(questions);
        if is_gone || was_in_trouble {
            self.vitals.send_modify(|vitals| {
                vitals.unanswered = 0;
                vitals.gone_at = is_gone.then(Instant::now).or(vitals.gone_at);
            });
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call has it: the list of pulses and the slot for its answers do always.
    fn is_wanted(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 2
    }
}

impl Inbox {
    /// The pulse of a worker, which all calls that it holds share. It beats while one of them has it.
    pub(super) fn pulse(&self, worker: &ProcessId) -> Arc<WorkerPulse> {
        let mut pulses = self.pulses();
        self.0.pulse_wanted.notify_one();
        if let Some(pulse) = pulses.by_worker.get(worker) {
            return pulse.clone();
        }
        let mut slots = self.slots();
        pulses.by_worker.retain(|_, pulse| pulse.is_wanted() || slots.remove(&pulse.id).is_none());
        pulses.made += 1;
        let pulse = Arc::new(WorkerPulse {
            worker: worker.clone(),
            id: pulse_id(pulses.made),
            questions: Mutex::default(),
            vitals: watch::Sender::default(),
        });
        slots.insert(pulse.id, Slot::Pulse(pulse.clone()));
        pulses.by_worker.insert(worker.clone(), pulse.clone());
        pulse
    }

    /// Asks the workers that calls wait for, for ever.
    pub(super) async fn ask_workers(self) {
        let mut last: Option<Instant> = None;
        loop {
            let wanted: Vec<_> = self.pulses().by_worker.values().filter(|pulse| pulse.is_wanted()).cloned().collect();
            if wanted.is_empty() {
                self.0.pulse_wanted.notified().await;
                last = None;
                continue;
            }
            let is_late = last.is_some_and(|last| last.elapsed() > BEAT + LATE);
            last = Some(Instant::now());
            wanted.iter().for_each(|pulse| pulse.beat(&self, is_late));
            drop(wanted);
            sleep(BEAT).await;
        }
    }

    fn pulses(&self) -> MutexGuard<'_, Pulses> {
        self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_gone_is_noticed_where_the_server_takes_longer_than_a_beat_to_say_so() {
        let mut questions = Questions::default();
        questions.ask(false);
        let mut unanswered = Vec::new();
        for number in 1..=3 {
            unanswered.push(questions.ask(false).unanswered);
            assert_eq!(questions.hear(number, true), None);
        }
        assert_eq!(unanswered, [1, 2, 3]);
        assert_eq!(questions.hear(4, true), Some(true), "the server has caught up");
    }

    #[test]
    fn a_worker_that_answers_late_lives() {
        let mut questions = Questions::default();
        questions.ask(false);
        for number in 1..=5 {
            assert_eq!(questions.ask(false).unanswered, 1);
            assert_eq!(questions.hear(number, false), Some(false));
        }
    }
}
