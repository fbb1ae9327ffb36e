//! The counters of this ingress in memory, and what is set aside in them. Knows nothing of how shares of them come and go.

use super::account::Account;
use super::rules::{CounterKind, Want};
use penstock_runtime::bus::{Bucket, Bus};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::Book;
use penstock_schemas::budget::{Mode, OnExceed, Scope, Unit};
use penstock_schemas::reservation::{Lease, LeaseId, MoreWanted, Reservation, Settled};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::error;
use uuid::Uuid;

/// What a keeper, and what is held of it, share.
pub(super) struct Counters {
    pub(super) bus: Bus,
    pub(super) budgets: Bucket<Book>,
    pub(super) rates: Bucket<Book>,
    pub(super) leases: Bucket<Lease>,
    pub(super) state: Mutex<State>,
    /// Something was given back, here or elsewhere.
    pub(super) changed: Notify,
    /// Somebody else needs what we may not.
    pub(super) wanted: Notify,
    /// The lease must be made known at once.
    pub(super) new_lease: Notify,
}

pub(super) struct State {
    pub(super) lease: LeaseId,
    /// Until when calls may begin under the lease.
    pub(super) start_by: UnixMicros,
    pub(super) counters: HashMap<String, Counter>,
    pub(super) open: HashMap<Uuid, Open>,
}

/// A counter that this ingress has to do with.
pub(super) struct Counter {
    pub(super) account: Account,
    pub(super) unit: Unit,
    pub(super) limit: u64,
    pub(super) until: Option<UnixMicros>,
    pub(super) label: String,
    pub(super) is_rate: bool,
    on_exceed: OnExceed,
    /// The book as it was last seen.
    pub(super) seen: Book,
    /// What is no longer held here, because the limit was lowered, and still is in the book.
    pub(super) to_give: u64,
    /// Whether our share has ever stood in the book.
    pub(super) has_share: bool,
    /// What was last told of what is spent.
    pub(super) told: u64,
    /// When something was last set aside or settled.
    pub(super) active: Instant,
    /// Whether the ledger has agreed since.
    pub(super) is_proven: bool,
    /// One change of the book at a time.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

/// A reservation that is not settled yet.
pub(super) struct Open {
    /// In which counters, and how much.
    pub(super) charges: Vec<(String, u64)>,
    /// Until when an attempt may begin with it.
    pub(super) start_by: UnixMicros,
    /// When the call is over at the latest.
    pub(super) deadline: UnixMicros,
    /// Since when nobody here waits for it.
    pub(super) over: Option<Instant>,
}

/// Why nothing was set aside.
pub(super) enum NotReserved {
    /// It is not known that this ingress's lease lives: that takes a moment at the start, and after a lost connection.
    NoLease,
    /// The counter of the want at this place has not enough.
    Short(usize),
}

/// A counter as it stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stood {
    pub(crate) settled: u64,
    pub(crate) reserved: u64,
}

impl Counters {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No worker has got it: all of it is free again.
    pub(super) fn release(&self, reservation: &Reservation) {
        self.settle(&Settled { id: reservation.id, spent: vec![0; reservation.charges.len()] });
    }

    /// A worker tells what became of a reservation.
    pub(super) fn settle(&self, settled: &Settled) {
        let mut state = self.state();
        let Some(open) = state.open.remove(&settled.id) else { return };
        for ((book, reserved), spent) in open.charges.iter().zip(&settled.spent) {
            if spent > reserved {
                error!(
                    book,
                    reserved, spent, "a call has cost more than the most that it could: is a limit or a price wrong?"
                );
            }
            state.settle(book, *reserved, *spent);
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// Sets aside in all counters, or in none.
    pub(super) fn reserve(&mut self, wants: &[Want]) -> Result<(), NotReserved> {
        let needs_lease = wants.iter().any(Want::is_budget);
        if needs_lease && clock::now() >= self.start_by {
            return Err(NotReserved::NoLease);
        }
        for (at, want) in wants.iter().enumerate() {
            let counter = self.counters.entry(want.book.clone()).or_insert_with(|| Counter::of(want));
            if counter.limit != want.limit {
                counter.limit = want.limit;
                counter.fit_limit();
            }
            if !counter.account.reserve(want.amount) {
                for want in &wants[..at] {
                    self.settle(&want.book, want.amount, 0);
                }
                return Err(NotReserved::Short(at));
            }
            counter.touch();
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, book: &str, reserved: u64, spent: u64) {
        if let Some(counter) = self.counters.get_mut(book) {
            counter.account.settle(reserved, spent);
            counter.touch();
        }
    }

    pub(super) fn stood(&self, want: &Want) -> Stood {
        let Some(counter) = self.counters.get(&want.book) else { return Stood { settled: 0, reserved: 0 } };
        let own = counter.seen.shares.get(&self.lease).map_or(0, |share| share.settled);
        let settled = (counter.seen.settled().saturating_sub(own)).saturating_add(counter.account.settled());
        let total = counter.seen.total();
        Stood { settled, reserved: total.saturating_sub(settled) }
    }

    /// Whether it would not fit even if everything that is set aside came back: what is spent cannot.
    pub(super) fn is_hopeless(&self, want: &Want) -> bool {
        want.is_hard() && self.stood(want).settled.saturating_add(want.amount) > want.limit
    }

    pub(super) fn again(&self, reservation: &Reservation) -> Option<Vec<Want>> {
        reservation
            .charges
            .iter()
            .map(|charge| self.counters.get(&charge.book)?.want(&charge.book, charge.reserved))
            .collect()
    }

    /// What must be set aside beyond what is; `None` when the reservation is settled.
    pub(super) fn further(&self, wanted: &MoreWanted) -> Option<Vec<Want>> {
        let open = self.open.get(&wanted.id)?;
        let further = open.charges.iter().zip(&wanted.needed).filter(|((_, reserved), needed)| *needed > reserved);
        further.map(|((book, reserved), needed)| self.counters.get(book)?.want(book, needed - reserved)).collect()
    }
}

impl Counter {
    fn of(want: &Want) -> Self {
        Self {
            account: Account::default(),
            unit: want.unit,
            limit: want.limit,
            until: want.until,
            label: want.label.clone(),
            is_rate: !want.is_budget(),
            on_exceed: want.on_exceed(),
            seen: Book::default(),
            to_give: 0,
            has_share: false,
            told: 0,
            active: Instant::now(),
            is_proven: true,
            turn: Arc::default(),
        }
    }

    /// More of the same counter. Who goes over it is refused, whatever it does with whole requests.
    fn want(&self, book: &str, amount: u64) -> Option<Want> {
        let scope = Scope::default();
        let counted = if self.is_rate {
            CounterKind::Rate("tokens")
        } else {
            CounterKind::Budget { scope: Box::new(scope), mode: Mode::Strict, on_exceed: self.on_exceed.clone() }
        };
        let (book, label) = (book.to_owned(), self.label.clone());
        Some(Want { book, label, unit: self.unit, limit: self.limit, amount, until: self.until, counted })
    }

    /// Where more is set aside in all than the limit, which was lowered, nothing of what is free here may be used: it is
    /// given back, so that what is taken anew is taken within the limit.
    pub(super) fn fit_limit(&mut self) {
        let is_over = self.seen.total() > self.limit;
        if is_over && self.on_exceed != OnExceed::Alert {
            self.to_give = self.to_give.saturating_add(self.account.let_go(0));
        }
    }

    fn touch(&mut self) {
        self.active = Instant::now();
        self.is_proven = false;
    }
}
