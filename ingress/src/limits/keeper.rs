//! Sets aside what requests need, in all their counters at once and in memory, and takes in what was spent. Knows nothing of
//! how shares of the counters come and go.

use super::counters::{Counters, NotReserved, Open, State, Stood};
use super::crowd::Crowd;
use super::held::{Hold, Place};
use super::rules::{CounterKind, Want};
use crate::config::IngressConfig;
use penstock_runtime::bus::{Bus, BusError};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::budget::{Mode, OnExceed};
use penstock_schemas::reservation::{Charge, LeaseId, MoreGiven, MoreWanted, Reservation, Settled};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

/// Longest pause between two looks while a request waits for what others may give back.
const LOOK: Duration = Duration::from_millis(100);

/// How long NATS may take nothing of shares before this ingress is not ready: a cluster elects in less, and what is held already
/// serves meanwhile.
const MOMENT: Duration = Duration::from_secs(10);

/// Keeps this ingress's shares. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Counters>);

/// Why nothing was set aside.
#[derive(Debug)]
pub(crate) enum Short {
    /// This counter has no room.
    Counter(Box<Want>, Stood),
    /// There are as many counters like this as there may be.
    Crowded(Box<Want>),
    /// Nobody can tell now.
    Unknown,
}

impl Keeper {
    pub(super) fn counters(&self) -> &Counters {
        &self.0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Begins to keep, as long as the role lives.
    ///
    /// # Errors
    /// When JetStream does not answer, or a bucket has other settings.
    pub(crate) async fn start(bus: &Bus, config: &IngressConfig) -> Result<Self, BusError> {
        let state = State {
            lease: LeaseId(clock::id()),
            start_by: UnixMicros(0),
            counters: HashMap::new(),
            open: HashMap::new(),
            crowd: Crowd::new(config.counters),
        };
        let keeper = Self(Arc::new(Counters {
            bus: bus.clone(),
            budgets: bus.books().await?,
            emptied: bus.books_emptied().await?,
            rates: bus.rates().await?,
            day_rates: bus.day_rates().await?,
            leases: bus.leases().await?,
            state: Mutex::new(state),
            refused: Mutex::new(None),
            changed: Notify::new(),
            wanted: Notify::new(),
            new_lease: Notify::new(),
        }));
        let (told, asked) = (keeper.clone(), keeper.clone());
        bus.hear_settled(move |settled| told.0.settle(&settled)).await?;
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
        for bucket in [&self.0.budgets, &self.0.rates, &self.0.day_rates] {
            let keeper = self.clone();
            bucket.follow(move |change| keeper.see(change));
        }
        let (keeper, shares, proof) = (self.clone(), self.clone(), self.clone());
        life.service("lease", async move { keeper.renew().await });
        life.service("shares", async move { shares.tend().await });
        life.service("proof", async move { proof.prove().await });
    }

    /// Sets aside what a call needs. While others have it and may give it back, waits until `until`.
    pub(crate) async fn set_aside(&self, wants: &[Want], deadline: UnixMicros, until: Instant) -> Result<Hold, Short> {
        let lease = self.take(wants, until).await?;
        let id = clock::id();
        let mut state = self.state();
        if state.lease != lease {
            return Err(Short::Unknown); // and with the lease, what was taken is gone
        }
        let charges = wants.iter().map(|want| (want.book.clone(), want.amount)).collect();
        let start_by = state.start_by;
        state.open.insert(id, Open { charges, start_by, deadline, over: None });
        let charges = wants.iter().map(charge).collect();
        let reservation = Reservation { id, lease, start_by, charges };
        drop(state);
        Ok(Hold::new(reservation, &self.0))
    }

    /// Counts a request where it counts as one.
    pub(crate) async fn count(&self, wants: &[Want]) -> Result<Place, Short> {
        let lease = self.take(wants, Instant::now()).await?;
        let mut books = Vec::new();
        let mut state = self.state();
        if state.lease != lease {
            return Err(Short::Unknown);
        }
        for want in wants {
            match want.counted {
                CounterKind::AtOnce => books.push(want.book.clone()),
                CounterKind::Budget { .. } | CounterKind::Rate(_) => state.settle(&want.book, want.amount, want.amount),
            }
        }
        drop(state);
        Ok(Place::new(lease, books, &self.0))
    }

    /// Sets aside in all counters, or in none. Gives the lease that it is taken under.
    async fn take(&self, wants: &[Want], until: Instant) -> Result<LeaseId, Short> {
        loop {
            let changed = self.0.changed.notified();
            let short = match self.state().reserve(wants) {
                Ok(lease) => return Ok(lease),
                Err(short) => short,
            };
            let now = Instant::now();
            let pause = until.min(now + LOOK);
            let want = match short {
                NotReserved::Short(at) => &wants[at],
                NotReserved::Crowded(at) => return Err(Short::Crowded(Box::new(wants[at].clone()))),
                NotReserved::NoLease if now >= until => return Err(Short::Unknown),
                NotReserved::NoLease => {
                    // Whether something came or not: look again.
                    let _ = timeout_at(pause, changed).await;
                    continue;
                }
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

    /// What would be left of a counter if all that is set aside came back.
    pub(crate) fn unspent(&self, want: &Want) -> u64 {
        want.limit.saturating_sub(self.state().stood(want).settled)
    }

    /// Sets aside the same once more, for another call of the same request.
    pub(crate) async fn set_aside_again(&self, reservation: &Reservation, deadline: UnixMicros) -> Result<Hold, Short> {
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
        let lease = match self.take(&wants, Instant::now()).await {
            Ok(lease) => lease,
            Err(Short::Counter(want, _)) => {
                return MoreGiven::Refused(format!("the budget `{}` has nothing left for this", want.label));
            }
            Err(Short::Crowded(_) | Short::Unknown) => {
                return MoreGiven::Refused("the budgets cannot be checked now".to_owned());
            }
        };
        self.state().extend(&wanted, &wants, lease).unwrap_or_else(gone)
    }

    /// The answer to what was written for counters, once it was noted that it was not taken.
    pub(super) fn taken<T>(&self, answer: Result<T, BusError>) -> Result<T, BusError> {
        answer.inspect_err(|_| {
            self.0.refused().get_or_insert_with(Instant::now);
        })
    }

    /// Whether something can be set aside and counted: NATS takes what is written of it, or has not for a moment only.
    pub(crate) fn is_able(&self) -> bool {
        self.0.refused().is_none_or(|since| since.elapsed() < MOMENT)
    }

    /// What became of a reservation, where it is not told over the bus.
    pub(crate) fn settle(&self, settled: &Settled) {
        self.0.settle(settled);
    }

    /// No worker has got it: all of it is free again.
    pub(crate) fn release(&self, reservation: &Reservation) {
        self.0.release(reservation);
    }
}

fn charge(want: &Want) -> Charge {
    let (scope, is_strict) = match &want.counted {
        CounterKind::Budget { scope, mode, on_exceed } => {
            (Some(scope), *mode == Mode::Strict && *on_exceed != OnExceed::Alert)
        }
        CounterKind::Rate(_) | CounterKind::AtOnce => (None, false),
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
