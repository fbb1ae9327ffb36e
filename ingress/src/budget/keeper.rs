//! Sets aside what requests need, in all their counters at once and in memory, and takes in what was spent. Knows nothing of
//! how shares of the counters come and go.

use super::account::Account;
use super::held::{AtOnce, Held};
use super::rules::{Counted, Want};
use penstock_runtime::bus::{Bucket, Bus, BusError};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::Book;
use penstock_schemas::budget::{Mode, OnExceed, Scope, Unit};
use penstock_schemas::reservation::{Charge, Lease, LeaseId, MoreGiven, MoreWanted, Reservation, Settled};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};
use uuid::Uuid;

/// Longest pause between two looks while a request waits for what others may give back.
const LOOK: Duration = Duration::from_millis(100);

/// Keeps this ingress's shares. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Parts>);

pub(super) struct Parts {
    pub(super) bus: Bus,
    pub(super) budgets: Bucket<Book>,
    pub(super) rates: Bucket<Book>,
    pub(super) leases: Bucket<Lease>,
    state: Mutex<State>,
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

/// A reservation of which nobody has told yet what became of it.
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
#[derive(Debug)]
pub(crate) enum Short {
    /// This counter has no room.
    Counter(Box<Want>, Stood),
    /// Nobody can tell now.
    Unknown,
}

/// A counter as it stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stood {
    pub(crate) settled: u64,
    pub(crate) reserved: u64,
}

impl Keeper {
    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep, as long as the role lives.
    ///
    /// # Errors
    /// When JetStream does not answer, or a bucket has other settings.
    pub(crate) async fn start(bus: &Bus) -> Result<Self, BusError> {
        let state = State {
            lease: LeaseId(Uuid::now_v7()),
            start_by: UnixMicros(0),
            counters: HashMap::new(),
            open: HashMap::new(),
        };
        let keeper = Self(Arc::new(Parts {
            bus: bus.clone(),
            budgets: bus.books().await?,
            rates: bus.rates().await?,
            leases: bus.leases().await?,
            state: Mutex::new(state),
            changed: Notify::new(),
            wanted: Notify::new(),
            new_lease: Notify::new(),
        }));
        let (told, asked) = (keeper.clone(), keeper.clone());
        bus.hear_settled(move |settled| told.settle(&settled)).await?;
        bus.answer_more(move |wanted| {
            let keeper = asked.clone();
            async move { keeper.more(wanted).await }
        })
        .await?;
        keeper.begin();
        Ok(keeper)
    }

    fn begin(&self) {
        let life = self.0.bus.life();
        for bucket in [&self.0.budgets, &self.0.rates] {
            let keeper = self.clone();
            bucket.follow(move |change| keeper.see(change));
        }
        let (keeper, shares, proof) = (self.clone(), self.clone(), self.clone());
        life.service("lease", async move { keeper.renew().await });
        life.service("shares", async move { shares.tend().await });
        life.service("proof", async move { proof.prove().await });
    }

    /// Sets aside what a call needs. While others have it and may give it back, waits until `until`.
    pub(crate) async fn set_aside(&self, wants: &[Want], deadline: UnixMicros, until: Instant) -> Result<Held, Short> {
        self.take(wants, until).await?;
        let id = Uuid::now_v7();
        let mut state = self.state();
        let charges = wants.iter().map(|want| (want.book.clone(), want.amount)).collect();
        let start_by = state.start_by;
        state.open.insert(id, Open { charges, start_by, deadline, over: None });
        let charges = wants.iter().map(charge).collect();
        let reservation = Reservation { id, lease: state.lease, start_by: state.start_by, charges };
        drop(state);
        Ok(Held::new(reservation, self))
    }

    /// Counts a request where it counts as one.
    pub(crate) async fn count(&self, wants: &[Want]) -> Result<AtOnce, Short> {
        self.take(wants, Instant::now()).await?;
        let mut books = Vec::new();
        let mut state = self.state();
        for want in wants {
            match want.counted {
                Counted::AtOnce => books.push(want.book.clone()),
                Counted::Budget { .. } | Counted::Rate(_) => state.settle(&want.book, want.amount, want.amount),
            }
        }
        drop(state);
        Ok(AtOnce::new(books, self))
    }

    /// Sets aside in all counters, or in none.
    async fn take(&self, wants: &[Want], until: Instant) -> Result<(), Short> {
        loop {
            let changed = self.0.changed.notified();
            let short = match self.state().reserve(wants) {
                Ok(()) => return Ok(()),
                Err(short) => short,
            };
            let now = Instant::now();
            let pause = until.min(now + LOOK);
            let Some(want) = short.map(|at| &wants[at]) else {
                // It is not known that the lease lives: that takes a moment at the start, and after a lost connection.
                if now >= until {
                    return Err(Short::Unknown);
                }
                // Whether something came or not: look again.
                let _ = timeout_at(pause, changed).await;
                continue;
            };
            if self.state().is_hopeless(want) {
                return Err(self.short(want));
            }
            match self.fund(want).await {
                Ok(true) => continue,
                Ok(false) if now < until && want.is_budget() => {}
                Ok(false) => return Err(self.short(want)),
                Err(error) => {
                    warn!(%error, counter = want.label, "a share of a counter could not be taken");
                    return Err(Short::Unknown);
                }
            }
            let _ = timeout_at(pause, changed).await;
        }
    }

    fn short(&self, want: &Want) -> Short {
        Short::Counter(Box::new(want.clone()), self.state().stood(want))
    }

    /// What is left of a counter, as far as is known here.
    pub(crate) fn remaining(&self, want: &Want) -> u64 {
        let state = self.state();
        let Some(counter) = state.counters.get(&want.book) else { return want.limit };
        counter.seen.left(want.limit).saturating_add(counter.account.free())
    }

    /// Sets aside the same once more, for another call of the same request.
    pub(crate) async fn set_aside_again(&self, reservation: &Reservation, deadline: UnixMicros) -> Result<Held, Short> {
        let wants = self.state().again(reservation).ok_or(Short::Unknown)?;
        let mut held = self.set_aside(&wants, deadline, Instant::now()).await?;
        let charges = reservation.charges.iter().zip(&mut held.reservation.charges);
        charges
            .for_each(|(earlier, charge)| *charge = Charge { reserved: charge.reserved, spent: 0, ..earlier.clone() });
        Ok(held)
    }

    /// A worker needs more of what is set aside for its call.
    async fn more(&self, wanted: MoreWanted) -> MoreGiven {
        let gone = || MoreGiven::Refused("what was set aside for this call is settled already".to_owned());
        let Some(wants) = self.state().further(&wanted) else { return gone() };
        match self.take(&wants, Instant::now()).await {
            Ok(()) => {}
            Err(Short::Counter(want, _)) => {
                return MoreGiven::Refused(format!("the budget `{}` has nothing left for this", want.label));
            }
            Err(Short::Unknown) => return MoreGiven::Refused("the budgets cannot be checked now".to_owned()),
        }
        let mut state = self.state();
        let start_by = state.start_by;
        match state.open.get_mut(&wanted.id) {
            Some(open) => {
                open.start_by = start_by;
                for ((_, reserved), needed) in open.charges.iter_mut().zip(&wanted.needed) {
                    *reserved = (*reserved).max(*needed);
                }
                let reserved = open.charges.iter().map(|(_, reserved)| *reserved).collect();
                MoreGiven::Granted { reserved, start_by }
            }
            None => {
                wants.iter().for_each(|want| state.settle(&want.book, want.amount, 0));
                gone()
            }
        }
    }

    /// No worker has got it: all of it is free again.
    pub(crate) fn release(&self, reservation: &Reservation) {
        self.settle(&Settled { id: reservation.id, spent: vec![0; reservation.charges.len()] });
    }

    /// A worker tells what became of a reservation.
    fn settle(&self, settled: &Settled) {
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
        self.0.changed.notify_waiters();
    }
}

impl State {
    /// Sets aside in all counters, or says which one has not enough; `None`: nothing can be set aside now.
    fn reserve(&mut self, wants: &[Want]) -> Result<(), Option<usize>> {
        let needs_lease = wants.iter().any(Want::is_budget);
        if needs_lease && clock::now() >= self.start_by {
            return Err(None);
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
                return Err(Some(at));
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

    fn stood(&self, want: &Want) -> Stood {
        let Some(counter) = self.counters.get(&want.book) else { return Stood { settled: 0, reserved: 0 } };
        let own = counter.seen.shares.get(&self.lease).map_or(0, |share| share.settled);
        let settled = (counter.seen.settled().saturating_sub(own)).saturating_add(counter.account.settled());
        let total = counter.seen.total();
        Stood { settled, reserved: total.saturating_sub(settled) }
    }

    /// Whether it would not fit even if everything that is set aside came back: what is spent cannot.
    fn is_hopeless(&self, want: &Want) -> bool {
        want.is_hard() && self.stood(want).settled.saturating_add(want.amount) > want.limit
    }

    fn again(&self, reservation: &Reservation) -> Option<Vec<Want>> {
        reservation
            .charges
            .iter()
            .map(|charge| self.counters.get(&charge.book)?.want(&charge.book, charge.reserved))
            .collect()
    }

    /// What must be set aside beyond what is; `None` when the reservation is settled.
    fn further(&self, wanted: &MoreWanted) -> Option<Vec<Want>> {
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
            Counted::Rate("tokens")
        } else {
            Counted::Budget { scope, mode: Mode::Strict, on_exceed: self.on_exceed.clone() }
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

fn charge(want: &Want) -> Charge {
    let (scope, is_strict) = match &want.counted {
        Counted::Budget { scope, mode, on_exceed } => {
            (Some(scope), *mode == Mode::Strict && *on_exceed != OnExceed::Alert)
        }
        Counted::Rate(_) | Counted::AtOnce => (None, false),
    };
    Charge {
        book: want.book.clone(),
        unit: want.unit,
        reserved: want.amount,
        spent: 0,
        model: scope.and_then(|scope| scope.model.clone()),
        provider: scope.and_then(|scope| scope.provider.clone()),
        is_strict,
        is_metered: want.is_budget() && want.is_hard(),
        is_proven: want.is_budget(),
    }
}
