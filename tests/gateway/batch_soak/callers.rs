//! Callers who ask at a fixed rate, each on a connection of its own, and what became of their requests. Know nothing of what
//! else goes on.

use penstock_tests::Ask;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// A request that is over.
struct Asked {
    /// Which of the requests it was.
    which: usize,
    sent: Instant,
    took: Duration,
    /// `None`: the connection was refused or broke.
    status: Option<u16>,
}

/// What became of requests.
#[derive(Debug)]
pub(crate) struct SeenAnswer {
    /// How many ended with each status; 0: with none.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// How long half of them took at most.
    pub(crate) half: Duration,
    /// How long 99 of 100 took at most.
    pub(crate) most: Duration,
}

impl fmt::Display for SeenAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}, p50 {:.3?}, p99 {:.3?}", self.statuses, self.half, self.most)
    }
}

/// The callers. Dropping them ends what they do.
pub(crate) struct SteadyCallers {
    asks: watch::Sender<Vec<Ask>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

impl SteadyCallers {
    /// Callers who together send so many requests in a second, these in turn.
    pub(crate) fn start(asks: Vec<Ask>, per_second: u32) -> Self {
        let (asks, known) = watch::channel(asks);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (mut task, seen) = (JoinSet::new(), asked.clone());
        task.spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = JoinSet::new();
            for at in 0.. {
                // The time counts from when it was to be sent.
                let begun = ticks.tick().await.into_std();
                let which = at % known.borrow().len().max(1);
                let ask = known.borrow().get(which).cloned();
                let (Some(ask), seen) = (ask, seen.clone()) else { return };
                sent.spawn(async move {
                    let status = ask.try_send().await.map(|answer| answer.status.as_u16());
                    let asked = Asked { which, sent: begun, took: begun.elapsed(), status };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                });
                while sent.try_join_next().is_some() {}
            }
        });
        Self { asks, asked, _task: task }
    }

    /// Sends these from now on: the gateway is elsewhere.
    pub(crate) fn send(&self, asks: Vec<Ask>) {
        self.asks.send_replace(asks);
    }

    /// What became of one of the requests, each time that it was sent between two times.
    pub(crate) fn between(&self, which: usize, from: Instant, to: Instant) -> SeenAnswer {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.iter().filter(|asked| asked.which == which && (from..to).contains(&asked.sent));
        let (mut statuses, mut times) = (BTreeMap::new(), Vec::new());
        for asked in asked {
            *statuses.entry(asked.status.unwrap_or(0)).or_default() += 1;
            times.push(asked.took);
        }
        times.sort_unstable();
        let [half, most] = [50, 99].map(|part| times.get(times.len() * part / 100).copied().unwrap_or_default());
        SeenAnswer { statuses, half, most }
    }
}
