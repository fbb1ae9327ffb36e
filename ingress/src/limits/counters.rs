//! The counters of this ingress in memory, and what is set aside in them. Knows nothing of how shares of them come and go.

use super::account::Account;
use super::crowd::Crowd;
use super::rules::{CounterKind, CounterSort, TOKENS_A_DAY, Want};
use penstock_runtime::bus::{Bucket, Bus};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{Book, Emptied};
use penstock_schemas::budget::{Mode, OnExceed, Scope, Unit};
use penstock_schemas::reservation::{Lease, LeaseId, MoreGiven, MoreWanted, Reservation, Settled};
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
    pub(super) emptied: Bucket<Emptied>,
    pub(super) rates: Bucket<Book>,
    pub(super) day_rates: Bucket<Book>,
    pub(super) leases: Bucket<Lease>,
    pub(super) state: Mutex<State>,
    /// Since when NATS takes nothing of all this, as far as is known.
    pub(super) refused: Mutex<Option<Instant>>,
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
    pub(super) crowd: Crowd,
}

/// A counter that this ingress has to do with.
pub(super) struct Counter {
    pub(super) account: Account,
    pub(super) unit: Unit,
    pub(super) limit: u64,
    pub(super) until: Option<UnixMicros>,
    pub(super) label: String,
    pub(super) sort: CounterSort,
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
    /// When the book was last looked at in vain, and when our share was last written into it.
    pub(super) looked: Option<Instant>,
    pub(super) written: Instant,
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
    /// The project has as many such counters as it may have.
    Crowded(usize),
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

    pub(super) fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Sets aside in all counters, or in none. Gives the lease that it is taken under.
    pub(super) fn reserve(&mut self, wants: &[Want]) -> Result<LeaseId, NotReserved> {
        let needs_lease = wants.iter().any(Want::is_budget);
        if needs_lease && clock::now() >= self.start_by {
            return Err(NotReserved::NoLease);
        }
        let is_new = |want: &Want| !self.counters.contains_key(&want.book);
        if let Some(at) = wants.iter().position(|want| is_new(want) && self.crowd.is_full_for(want)) {
            return Err(NotReserved::Crowded(at));
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
        Ok(self.lease)
    }

    /// Adds what was taken to a reservation. `None`, and it is free again, when the reservation is settled.
    pub(super) fn extend(&mut self, wanted: &MoreWanted, taken: &[Want], lease: LeaseId) -> Option<MoreGiven> {
        if self.lease != lease {
            return None;
        }
        let Some(open) = self.open.get_mut(&wanted.id) else {
            taken.iter().for_each(|want| self.settle(&want.book, want.amount, 0));
            return None;
        };
        open.start_by = self.start_by;
        // Added, since the same reservation may have been extended meanwhile: a worker that waited in vain asks again.
        for (book, reserved) in &mut open.charges {
            let more = taken.iter().filter(|want| want.book == *book).map(|want| want.amount).sum();
            *reserved = reserved.saturating_add(more);
        }
        let reserved = open.charges.iter().map(|(_, reserved)| *reserved).collect();
        Some(MoreGiven::Granted { reserved, start_by: self.start_by })
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
            sort: want.sort(),
            on_exceed: want.on_exceed(),
            seen: Book::default(),
            to_give: 0,
            has_share: false,
            told: 0,
            active: Instant::now(),
            looked: None,
            written: Instant::now(),
            is_proven: true,
            turn: Arc::default(),
        }
    }

    /// More of the same counter. Who goes over it is refused, whatever it does with whole requests.
    fn want(&self, book: &str, amount: u64) -> Option<Want> {
        let scope = Scope::default();
        let counted = match self.sort {
            CounterSort::DayRate => CounterKind::Rate(TOKENS_A_DAY),
            CounterSort::Rate | CounterSort::AtOnce => CounterKind::Rate("tokens"),
            CounterSort::Budget => {
                CounterKind::Budget { scope: Box::new(scope), mode: Mode::Strict, on_exceed: self.on_exceed.clone() }
            }
        };
        let (book, label) = (book.to_owned(), self.label.clone());
        let (unit, limit, until) = (self.unit, self.limit, self.until);
        Some(Want { book, label, unit, limit, amount, until, counted, named_by: None })
    }

    /// Whether it is a rate, of whichever time.
    pub(super) fn is_rate(&self) -> bool {
        self.sort != CounterSort::Budget
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A counter of such a sort that ends never.
    pub(in crate::limits) fn counter(sort: CounterSort, limit: u64) -> Counter {
        Counter { sort, limit, ..Counter::of(&want_of(0)) }
    }

    const BOOK: &str = "B=b=1.total";

    /// A want of so much in one budget.
    pub(in crate::limits) fn want_of(amount: u64) -> Want {
        let counted =
            CounterKind::Budget { scope: Box::new(Scope::default()), mode: Mode::Strict, on_exceed: OnExceed::Reject };
        let (book, label, unit) = (BOOK.to_owned(), "b".to_owned(), Unit::Usd);
        Want { book, label, unit, limit: 100, amount, until: None, counted, named_by: None }
    }

    fn state() -> State {
        let lease = LeaseId(clock::id());
        let start_by = clock::now().after(std::time::Duration::from_secs(3600));
        let mut state =
            State { lease, start_by, counters: HashMap::new(), open: HashMap::new(), crowd: Crowd::new(usize::MAX) };
        let mut counter = Counter::of(&want_of(0));
        counter.account.hold(100);
        state.counters.insert(BOOK.to_owned(), counter);
        state
    }

    fn open(state: &mut State, reserved: u64) -> Uuid {
        let (id, deadline) = (clock::id(), state.start_by);
        assert!(state.reserve(&[want_of(reserved)]).is_ok());
        let charges = vec![(BOOK.to_owned(), reserved)];
        state.open.insert(id, Open { charges, start_by: state.start_by, deadline, over: None });
        id
    }

    fn reserved(state: &State) -> u64 {
        state.counters[BOOK].account.reserved()
    }

    #[test]
    fn what_a_worker_asks_for_twice_because_the_first_answer_was_late_is_all_given_back() {
        let mut state = state();
        let id = open(&mut state, 10);
        let asked = [25, 30].map(|needed| MoreWanted { id, needed: vec![needed] });
        let further = asked.clone().map(|wanted| state.further(&wanted).unwrap());
        for (wanted, wants) in asked.iter().zip(&further) {
            let lease = state.reserve(wants).ok().unwrap();
            let given = state.extend(wanted, wants, lease);
            let enough = matches!(&given, Some(MoreGiven::Granted { reserved, .. }) if reserved[0] >= wanted.needed[0]);
            assert!(enough, "{given:?}");
        }
        let all = state.open.remove(&id).unwrap().charges[0].1;
        assert_eq!(all, reserved(&state));
        state.settle(BOOK, all, 7);
        assert_eq!((reserved(&state), state.counters[BOOK].account.settled()), (0, 7));
    }

    #[test]
    fn what_was_taken_under_a_lease_that_is_over_takes_nothing_from_what_others_have_under_the_next() {
        let mut state = state();
        let id = open(&mut state, 10);
        let wanted = MoreWanted { id, needed: vec![25] };
        let wants = state.further(&wanted).unwrap();
        let lease = state.reserve(&wants).ok().unwrap();
        state.begin_lease();
        let mut counter = Counter::of(&want_of(0));
        counter.account.hold(100);
        state.counters.insert(BOOK.to_owned(), counter);
        state.start_by = clock::now().after(std::time::Duration::from_secs(3600));
        open(&mut state, 40);
        assert_eq!(state.extend(&wanted, &wants, lease), None);
        assert_eq!(reserved(&state), 40);
    }
}
