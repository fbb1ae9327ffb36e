//! How a pool takes calls off the bus: sync calls while a slot is free, calls of batches while those leave it one. Knows
//! slots and subscriptions, and nothing of what is done with a call.

use super::Pool;
use crate::slots::Pause;
use penstock_runtime::bus::{Arrived, BusError, Calls};
use penstock_schemas::envelope::Traffic;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{error, warn};

/// Wait before a pool that could not subscribe tries again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// A pool's way to the calls of batches.
enum BatchCalls {
    /// They are taken.
    Open(Box<Calls>),
    /// They are not; others may take them.
    Shut(Pause),
}

impl BatchCalls {
    /// The next call. While they are not taken there is none.
    async fn next(&mut self) -> Option<Arrived> {
        match self {
            Self::Open(calls) => calls.next().await,
            Self::Shut(_) => std::future::pending().await,
        }
    }

    fn pause(&self) -> Option<Pause> {
        match self {
            Self::Open(_) => None,
            Self::Shut(pause) => Some(*pause),
        }
    }
}

impl Pool {
    /// Takes calls until the role stops: only while a slot is free, so that calls go to workers that have one.
    pub(crate) async fn run(self) {
        let mut batch = BatchCalls::Shut(Pause::at_share());
        while !self.life.is_stopping() {
            tokio::select! {
                () = self.slots.wait() => {}
                () = self.life.stopping() => break,
            }
            match self.open(Traffic::Sync).await {
                Ok(sync) => batch = self.take_while_free(sync, batch).await,
                Err(error) => {
                    warn!(provider = %self.provider.id, %error, "the pool could not subscribe; trying again");
                    sleep(RESUBSCRIBE).await;
                }
            }
        }
        self.shut(batch, Pause::at_share());
    }

    /// Takes the calls that are given to this very worker: because another one is gone, or because all workers are busy.
    pub(crate) async fn run_direct(self, traffic: Traffic) {
        let mut calls = match self.desk.direct_calls(&self.provider.id, traffic).await {
            Ok(calls) => calls,
            Err(error) => return error!(provider = %self.provider.id, %error, "no calls can be given to this worker"),
        };
        loop {
            let arrived = tokio::select! {
                arrived = calls.next() => arrived,
                () = self.life.stopping() => None,
            };
            let Some(arrived) = arrived else { break };
            self.take(arrived, traffic);
        }
        self.take_leftovers(calls, traffic).await;
    }

    /// Takes both kinds until there is no slot, and then none. Gives what is to be known of the batches' for the next time.
    async fn take_while_free(&self, mut sync: Calls, mut batch: BatchCalls) -> BatchCalls {
        while let Some(slot) = self.slots.reserve() {
            let pause = batch.pause();
            tokio::select! {
                biased;
                () = self.life.stopping() => break,
                arrived = sync.next() => {
                    let Some(arrived) = arrived else { return batch };
                    self.life.work(self.clone().serve(arrived, self.slots.give_to_caller(slot)));
                }
                arrived = batch.next() => match (arrived, self.slots.give_to_batch(slot)) {
                    (Some(arrived), Some(slot)) => self.life.work(self.clone().serve(arrived, slot)),
                    (Some(arrived), None) => self.life.work(self.clone().turn_away(arrived)),
                    (None, _) => batch = BatchCalls::Shut(Pause::of(RESUBSCRIBE)),
                },
                () = again(self, pause) => {
                    drop(slot);
                    batch = self.open_batch().await;
                }
            }
            if pause.is_none() && !self.slots.has_share() {
                batch = self.shut(batch, Pause::at_share());
            }
        }
        batch = self.shut(batch, Pause::after_full());
        self.take_beside(sync, Traffic::Sync);
        batch
    }

    /// Begins to take calls. Callers of this process give no more than there are slots: a call that finds none costs both sides
    /// much.
    async fn open(&self, traffic: Traffic) -> Result<Calls, BusError> {
        let slots = self.slots.clone();
        // One is kept free for whatever comes next.
        let room = move || match traffic {
            Traffic::Sync => slots.free() + 1,
            Traffic::Batch => slots.left().min(slots.free() + 1),
        };
        self.desk.calls(&self.provider.id, traffic, Arc::new(room)).await
    }

    async fn open_batch(&self) -> BatchCalls {
        match self.open(Traffic::Batch).await {
            Ok(calls) => BatchCalls::Open(Box::new(calls)),
            Err(error) => {
                warn!(provider = %self.provider.id, %error, "the pool could not subscribe to batches; trying again");
                BatchCalls::Shut(Pause::of(RESUBSCRIBE))
            }
        }
    }

    /// Takes no more calls of batches.
    fn shut(&self, batch: BatchCalls, pause: Pause) -> BatchCalls {
        if let BatchCalls::Open(calls) = batch {
            self.take_beside(*calls, Traffic::Batch);
        }
        BatchCalls::Shut(pause)
    }

    /// Takes no more calls of these, and what was on its way in a task of its own.
    fn take_beside(&self, mut calls: Calls, traffic: Traffic) {
        calls.shut();
        let pool = self.clone();
        self.life.work(async move { pool.take_leftovers(calls, traffic).await });
    }

    async fn take_leftovers(&self, calls: Calls, traffic: Traffic) {
        calls.close().await.into_iter().for_each(|arrived| self.take(arrived, traffic));
    }

    fn take(&self, arrived: Arrived, traffic: Traffic) {
        match (self.slots.take(traffic), traffic) {
            (Some(slot), _) => self.life.work(self.clone().serve(arrived, slot)),
            (None, Traffic::Sync) => self.life.work(self.clone().line_up(arrived)),
            (None, Traffic::Batch) => self.life.work(self.clone().turn_away(arrived)),
        }
    }
}

/// Waits until the calls of batches are to be taken again; for ever when they are.
async fn again(pool: &Pool, pause: Option<Pause>) {
    match pause {
        Some(pause) => pool.slots.batch_again(pause).await,
        None => std::future::pending().await,
    }
}
