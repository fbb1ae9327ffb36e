//! What is set aside for one call in the budgets that it falls under, as it travels with the call, and what is said about
//! it on the way: that more is needed, and what became of it. Knows nothing of how budgets are kept.

use crate::UnixMicros;
use crate::budget::Unit;
use crate::name::{ProcessId, Target};
use crate::pattern::matches;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// How long after [`Reservation::start_by`] the ledger may take to have the start of an attempt; what takes longer does not call
/// its provider. So what the ledger says a little later of a reservation, or of a lease that is over, is all that ever comes.
pub const RECORDED: Duration = Duration::from_secs(5);

/// What an ingress holds its share of every budget under: a new one each time that it starts, or was given up for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub Uuid);

impl LeaseId {
    /// When it was made.
    pub fn made_at(&self) -> UnixMicros {
        let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |made| made.to_unix());
        UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1_000)))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What is set aside for one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Names it: UUIDv7.
    pub id: Uuid,
    /// Whose share of the budgets it is taken from.
    pub lease: LeaseId,
    /// Until when an attempt may begin with it. Later, who holds the lease may be given up for dead, and what it has not
    /// spent be given to others.
    pub start_by: UnixMicros,
    /// In which counters, and how much.
    pub charges: Vec<Charge>,
}

/// What is set aside in one counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The counter: the key of its `Book`.
    pub book: String,
    /// What it counts.
    pub unit: Unit,
    /// How much is set aside.
    pub reserved: u64,
    /// How much the attempts so far have come to, each at its cost, or at its worst case where that is not known.
    #[serde(default)]
    pub spent: u64,
    /// Only attempts at such models count; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only attempts at such providers count; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whether no more than what is set aside may be spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_strict: bool,
    /// Whether a stream is stopped when it comes to more than can be set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_metered: bool,
    /// Whether the ledger proves the counter: budgets, not rates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_proven: bool,
}

/// What an attempt comes to, or can come to, in every unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Picodollars.
    pub usd: u64,
    /// Tokens.
    pub tokens: u64,
}

impl Amounts {
    /// The amount in `unit`. Requests are counted where they are admitted.
    pub fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Usd => self.usd,
            Unit::Tokens => self.tokens,
            Unit::Requests => 0,
        }
    }
}

impl Charge {
    /// Whether an attempt at `target` counts here.
    pub fn counts(&self, target: &Target) -> bool {
        let is_model =
            |pattern: &String| matches(pattern, target.model.as_str()) || matches(pattern, &target.to_string());
        self.provider.as_ref().is_none_or(|pattern| matches(pattern, target.provider.as_str()))
            && self.model.as_ref().is_none_or(is_model)
    }
}

impl Reservation {
    /// Whether an attempt at `target` that can come to `worst` may begin now. Estimates are no bound.
    pub fn covers(&self, target: &Target, worst: Amounts, now: UnixMicros) -> bool {
        let is_covered = |charge: &Charge| {
            !charge.is_strict || charge.spent.saturating_add(worst.of(charge.unit)) <= charge.reserved
        };
        now < self.start_by && self.charges.iter().filter(|charge| charge.counts(target)).all(is_covered)
    }

    /// Until when an attempt that was covered may call its provider: see [`RECORDED`]. `None` where nothing is bounded.
    pub fn call_by(&self) -> Option<UnixMicros> {
        self.charges.iter().any(|charge| charge.is_strict).then(|| self.start_by.after(RECORDED))
    }

    /// Whether the ledger proves any of its counters.
    pub fn is_proven(&self) -> bool {
        self.charges.iter().any(|charge| charge.is_proven)
    }

    /// Notes what an attempt at `target` has come to.
    pub fn spend(&mut self, target: &Target, amounts: Amounts) {
        for charge in self.charges.iter_mut().filter(|charge| charge.counts(target)) {
            charge.spent = charge.spent.saturating_add(amounts.of(charge.unit));
        }
    }

    /// The counters that the ledger is to tell an attempt at `target` to.
    pub fn proven(&self, target: &Target) -> Vec<String> {
        let counts = |charge: &&Charge| charge.is_proven && charge.counts(target);
        self.charges.iter().filter(counts).map(|charge| charge.book.clone()).collect()
    }
}

/// A worker asks for more: for another attempt, or for more of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoreWanted {
    /// The reservation.
    pub id: Uuid,
    /// What must be set aside in each of its counters, in their order.
    pub needed: Vec<u64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoreGiven {
    /// So much is set aside now, until then.
    Granted {
        /// In each counter.
        reserved: Vec<u64>,
        /// As in [`Reservation::start_by`].
        start_by: UnixMicros,
    },
    /// There is no more: why, for the caller.
    Refused(String),
}

/// What became of a reservation: told once, when nothing more will be spent of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The reservation.
    pub id: Uuid,
    /// What was spent in each of its counters, in their order.
    pub spent: Vec<u64>,
}

/// A lease that lives, in NATS KV under its id: written again and again while it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub ingress: ProcessId,
    /// When it was written, by the holder's clock.
    pub at: UnixMicros,
}

/// What the ledger is asked: what was spent of these reservations, and under this lease in these books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofWanted {
    /// The lease.
    pub lease: LeaseId,
    /// Reservations of which nobody has told what became of them.
    pub reservations: Vec<Uuid>,
    /// Books in which nothing is in flight.
    pub books: Vec<String>,
    /// Books that are lost: what was spent in each under all leases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// Whether any attempt has begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<UnixMicros>,
}

impl ProofWanted {
    /// Nothing, as yet.
    pub fn of(lease: LeaseId) -> Self {
        Self { lease, reservations: Vec::new(), books: Vec::new(), lost: Vec::new(), before: None }
    }
}

/// The answer. What is not in it has spent nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Everything that was written before the question has been read.
    Known {
        /// Of each reservation, in each book.
        reservations: Vec<Proven>,
        /// Of the lease, in each book.
        books: Vec<Proven>,
        /// Of all leases, in each book that is lost; absent: the role is older than the question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Vec<Proven>>,
        /// Whether any attempt has begun before, where that was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_older: Option<bool>,
    },
    /// It cannot be told now.
    NotYet,
}

/// What the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// The reservation; absent: all of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Uuid>,
    /// The book.
    pub book: String,
    /// What was spent.
    pub settled: Amounts,
    /// What attempts that are running can come to.
    pub pending: Amounts,
    /// How many of them there are.
    pub running: u64,
}
