//! Has the ledger settle what nobody tells of: calls whose worker died, messages that were lost. And when nothing is in
//! flight in a budget, compares what was spent of it here with the ledger, and believes the ledger.

use super::counters::{Open, State};
use super::keeper::Keeper;
use penstock_runtime::clock;
use penstock_schemas::reservation::{Proof, ProofWanted, Proven, RECORDED};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use uuid::Uuid;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// How long the worker of a call that is over here has to tell, and the ledger to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after its last moment to begin an attempt may come into the ledger, and how far clocks may differ.
const BEGINNING: Duration = RECORDED.saturating_add(Duration::from_secs(2));

/// How long nothing happens in a budget before it is compared.
const QUIET: Duration = Duration::from_secs(3);

/// Reservations and budgets that are asked for at once.
const MOST: usize = 500;

/// Between two questions that were not answered.
const AGAIN: Duration = Duration::from_secs(3);

impl Keeper {
    /// Looks for what is to be proven, for ever.
    pub(super) async fn prove(&self) {
        loop {
            sleep(LOOK).await;
            let wanted = self.state().unproven(Instant::now());
            if wanted.reservations.is_empty() && wanted.books.is_empty() {
                continue;
            }
            let asked_at = Instant::now();
            match self.counters().bus.ask_proof(&wanted).await {
                Ok(Proof::Known { reservations, books, .. }) => {
                    self.state().take_in(&wanted, &reservations, &books, asked_at);
                    self.counters().changed.notify_waiters();
                }
                Ok(Proof::NotYet) => sleep(AGAIN).await,
                Err(error) => {
                    debug!(%error, "the ledger cannot be asked; what is set aside stays so");
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

impl State {
    fn unproven(&self, now: Instant) -> ProofWanted {
        let wall = clock::now();
        let is_late = |over: Option<Instant>| over.is_some_and(|over| now.duration_since(over) > PATIENCE);
        let is_over = |open: &Open| is_late(open.over) || open.deadline.after(PATIENCE) < wall;
        // Nothing can begin with it any more, and what has begun is in the ledger.
        let late = self.open.iter().filter(|(_, open)| is_over(open) && open.start_by.after(BEGINNING) < wall);
        let quiet = self.counters.iter().filter(|(_, counter)| {
            let is_idle = counter.account.reserved() == 0 && now.duration_since(counter.active) > QUIET;
            !counter.is_rate() && !counter.is_proven && is_idle
        });
        ProofWanted {
            reservations: late.map(|(id, _)| *id).take(MOST).collect(),
            books: quiet.map(|(key, _)| key.clone()).take(MOST).collect(),
            ..ProofWanted::of(self.lease)
        }
    }

    fn take_in(&mut self, wanted: &ProofWanted, reservations: &[Proven], books: &[Proven], asked_at: Instant) {
        if self.lease != wanted.lease {
            return;
        }
        let mut found: HashMap<Uuid, Vec<&Proven>> = HashMap::new();
        for proven in reservations {
            found.entry(proven.reservation.unwrap_or_default()).or_default().push(proven);
        }
        for id in &wanted.reservations {
            let proven = found.remove(id).unwrap_or_default();
            if proven.iter().all(|proven| proven.running == 0) {
                self.settle_by_ledger(*id, &proven);
            }
        }
        for key in &wanted.books {
            let of_book = books.iter().find(|proven| proven.book == *key);
            let Some(counter) = self.counters.get_mut(key) else { continue };
            let is_same = counter.active < asked_at && counter.account.reserved() == 0;
            if !is_same || of_book.is_some_and(|proven| proven.running > 0) {
                continue;
            }
            let settled = of_book.map_or(0, |proven| proven.settled.of(counter.unit));
            if settled != counter.account.settled() {
                let here = counter.account.settled();
                warn!(book = key, here, ledger = settled, "a budget was settled by the ledger");
                counter.account.correct(settled);
            }
            counter.is_proven = true;
        }
    }

    /// Where the ledger does not count, as for rates, what was set aside is taken for spent.
    fn settle_by_ledger(&mut self, id: Uuid, proven: &[&Proven]) {
        let Some(open) = self.open.remove(&id) else { return };
        for (book, reserved) in &open.charges {
            let Some(counter) = self.counters.get(book) else { continue };
            let spent = match proven.iter().find(|proven| proven.book == *book) {
                Some(proven) => proven.settled.of(counter.unit),
                None if counter.is_rate() => *reserved,
                None => 0,
            };
            self.settle(book, *reserved, spent);
        }
    }
}
