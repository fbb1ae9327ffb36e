//! Whether a worker lives: asked once for all calls that it holds, since most calls wait for seconds and there may be thousands.
//! Knows nothing of the calls.

use super::{Inbox, Slot, is_nobody};
use async_nats::Message;
use penstock_schemas::frame::pulse_id;
use penstock_schemas::name::{ProcessId, RequestId};
use penstock_schemas::subject;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two questions to a worker, and how long a call hears nothing before it asks.
pub(super) const BEAT: Duration = Duration::from_millis(150);

/// Timers are not exact: a question that is due in so short a time is asked now.
const EARLY: Duration = Duration::from_millis(10);

/// The workers that the calls of an ingress have asked about.
#[derive(Default)]
pub(super) struct Pulses {
    made: u64,
    by_worker: HashMap<ProcessId, Arc<Pulse>>,
}

/// What one ingress knows of one worker.
pub(super) struct Pulse {
    worker: ProcessId,
    /// Stands for a call in what is asked and answered.
    id: RequestId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the last question, and of the last one that was answered.
    asked: u32,
    answered: u32,
    asked_at: Option<Instant>,
    /// When the server said that nobody listens there.
    gone_at: Option<Instant>,
}

/// What is known of a worker.
pub(super) enum Vital {
    /// So many questions to it have no answer.
    Unanswered(u32),
    /// Its process has ended, or has lost its connection.
    Gone,
}

impl Pulse {
    /// What is known of the worker by somebody who last heard from it at `heard_at`. Asks it again when that is due.
    pub(super) fn feel(&self, inbox: &Inbox, heard_at: Instant) -> Vital {
        let now = Instant::now();
        let (unanswered, due) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.gone_at.is_some_and(|at| at > heard_at) {
                return Vital::Gone;
            }
            let unanswered = state.asked.wrapping_sub(state.answered);
            let is_due = state.asked_at.is_none_or(|at| now.duration_since(at) + EARLY >= BEAT);
            if is_due {
                state.asked = state.asked.wrapping_add(1);
                state.asked_at = Some(now);
            }
            (unanswered, is_due.then_some(state.asked))
        };
        if let Some(number) = due {
            inbox.probe(self.worker.clone(), self.id, number);
        }
        Vital::Unanswered(unanswered)
    }

    /// Takes the answer of the worker, or of the server in its place.
    pub(super) fn hear(&self, message: &Message) {
        let Some(number) = subject::mark(&message.subject) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_nobody(message) && number == state.asked {
            state.gone_at = Some(Instant::now());
        }
        // Answers come in the order of the questions, or not at all.
        state.answered = number;
    }
}

impl Inbox {
    /// The pulse of a worker, which all calls that it holds share.
    pub(super) fn pulse(&self, worker: &ProcessId) -> Arc<Pulse> {
        let mut pulses = self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pulse) = pulses.by_worker.get(worker) {
            return pulse.clone();
        }
        let mut slots = self.slots();
        // Those that no call has are known here and to their slot alone.
        pulses.by_worker.retain(|_, pulse| Arc::strong_count(pulse) > 2 || slots.remove(&pulse.id).is_none());
        pulses.made += 1;
        let pulse = Arc::new(Pulse { worker: worker.clone(), id: pulse_id(pulses.made), state: Mutex::default() });
        slots.insert(pulse.id, Slot::Pulse(pulse.clone()));
        pulses.by_worker.insert(worker.clone(), pulse.clone());
        pulse
    }
}
