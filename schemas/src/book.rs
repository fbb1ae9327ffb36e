//! The book of one counter in one window: how much of the limit is set aside, and for whom. All of it is one value in NATS
//! KV, changed only against the revision that was read, so every change is atomic and what is set aside never adds up to
//! more than the limit, whoever crashes when.
//!
//! An ingress takes a share (`held`) and works with it in memory: of it, `settled` is spent and the rest covers what is in
//! flight or comes next. It gives back what it does not need. When it dies, its share is replaced by what the ledger says
//! that it spent. Pure: knows neither NATS nor the ledger.

use crate::budget::Unit;
use crate::reservation::LeaseId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A counter, in its own unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    /// What was spent under leases that are over, as the ledger says.
    pub past: u64,
    /// What attempts under such leases, whose end is not known yet, can still come to.
    pub pending: u64,
    /// The shares of those that live.
    pub shares: BTreeMap<LeaseId, Share>,
    /// What is counted; absent as long as nobody has a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Whom the counter is for, for people: `search-users[ann]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// What one ingress holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// All of it: spent, in flight and free.
    pub held: u64,
    /// What is spent of it, as last told.
    pub settled: u64,
    /// What it would take besides, if others gave back what they do not need.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wanted: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Book {
    /// Everything that counts against the limit.
    pub fn total(&self) -> u64 {
        self.shares.values().fold(self.past.saturating_add(self.pending), |sum, share| sum.saturating_add(share.held))
    }

    /// What is spent, as last told.
    pub fn settled(&self) -> u64 {
        self.shares.values().fold(self.past, |sum, share| sum.saturating_add(share.settled))
    }

    /// What is set aside and not spent.
    pub fn reserved(&self) -> u64 {
        self.total().saturating_sub(self.settled())
    }

    /// What nobody has taken.
    pub fn left(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.total())
    }

    /// Takes between `least` and `most` more for a share. What is taken; zero when not even `least` is left.
    pub fn take(&mut self, lease: LeaseId, least: u64, most: u64, limit: u64) -> u64 {
        let left = self.left(limit);
        let share = self.shares.entry(lease).or_default();
        if left < least {
            share.wanted = least;
            return 0;
        }
        let taken = most.max(least).min(left);
        share.held = share.held.saturating_add(taken);
        share.wanted = 0;
        taken
    }

    /// Takes more whatever the limit says: for what has been spent already, or where going over only alerts.
    pub fn take_anyway(&mut self, lease: LeaseId, amount: u64) {
        let share = self.shares.entry(lease).or_default();
        share.held = share.held.saturating_add(amount);
        share.wanted = 0;
    }

    /// Gives back what a share does not need, and tells what it has spent.
    pub fn tell(&mut self, lease: LeaseId, settled: u64, unneeded: u64) {
        let share = self.shares.entry(lease).or_default();
        share.held = share.held.saturating_sub(unneeded).max(settled);
        share.settled = settled;
        share.wanted = 0;
    }

    /// Replaces the shares of leases that are over by what the ledger says: `past` was spent under all leases but those that
    /// live on, and attempts whose end is not known can still come to `pending`.
    pub fn heal(&mut self, live: impl Fn(&LeaseId) -> bool, past: u64, pending: u64) {
        self.shares.retain(|lease, _| live(lease));
        self.past = past;
        self.pending = pending;
    }

    /// Whether somebody waits for what others may not need.
    pub fn is_wanted_by_another(&self, own: LeaseId) -> bool {
        self.shares.iter().any(|(lease, share)| *lease != own && share.wanted > 0)
    }
}

/// The key of a counter's book in NATS KV: the name of the limit, which of its counters where it has several, the window.
pub fn key(name: &str, part: Option<&str>, window: &str) -> String {
    match part {
        None => format!("{name}.{window}"),
        Some(part) => format!("{name}.{part}.{window}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_share_is_taken_told_and_healed_within_the_limit() {
        let (one, two) = (LeaseId(Uuid::from_u128(1)), LeaseId(Uuid::from_u128(2)));
        let mut book = Book::default();
        assert_eq!(book.take(one, 10, 60, 100), 60);
        assert_eq!(book.take(two, 10, 60, 100), 40);
        assert_eq!((book.take(two, 1, 60, 100), book.is_wanted_by_another(one)), (0, true));
        book.tell(one, 25, 30);
        assert_eq!((book.total(), book.settled(), book.reserved(), book.left(100)), (70, 25, 45, 30));
        assert_eq!(book.take(two, 31, 60, 100), 0);
        assert_eq!(book.take(two, 30, 60, 100), 30);
        // The first dies: the ledger knows of 27, and of an attempt that may come to 3.
        book.heal(|lease| *lease == two, 27, 3);
        assert_eq!((book.total(), book.settled(), book.left(100)), (100, 27, 0));
    }
}
