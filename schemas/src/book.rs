//! The book of one counter in one window: how much of the limit is set aside, and for whom. All of it is one value in NATS
//! KV, changed only against the revision that was read, so every change is atomic and what is set aside never adds up to
//! more than the limit, whoever crashes when.
//!
//! An ingress takes a share (`held`) and works with it in memory: of it, `settled` is spent and the rest covers what is in
//! flight or comes next. It gives back what it does not need. When it dies, its share is replaced by what the ledger says
//! that it spent. Pure: knows neither NATS nor the ledger.

use crate::UnixMicros;
use crate::budget::{Budget, Unit};
use crate::cycle;
use crate::reservation::LeaseId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

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
    /// The project that has named the user, end user or session that it is for, where it is for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub named_by: String,
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

/// Whose counter it is. No two are written alike: names hold neither capitals nor `=` nor `.`, see `name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter<'a> {
    /// A budget of the operator's, by its name; and its generation, if it has one.
    Budget(&'a str, Option<&'a str>),
    /// A budget of a virtual key's own: the key's id, and the budget's name; and its generation, if it has one.
    OfKey(&'a str, &'a str, Option<&'a str>),
    /// A rate of the operator's: the limit's name, and what is counted.
    Rate(&'a str, &'a str),
    /// A rate of a virtual key's own: the key's id, and what is counted.
    RateOfKey(&'a str, &'a str),
}

impl fmt::Display for Counter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(name, None) => f.write_str(name),
            Self::Budget(name, Some(generation)) => write!(f, "B={name}={generation}"),
            Self::OfKey(key, name, None) => write!(f, "K={key}={name}"),
            Self::OfKey(key, name, Some(generation)) => write!(f, "K={key}={name}={generation}"),
            Self::Rate(limit, what) => write!(f, "R={limit}={what}"),
            Self::RateOfKey(key, what) => write!(f, "S={key}={what}"),
        }
    }
}

impl<'a> Counter<'a> {
    /// Reads what [`Counter`] writes; `None` where it is nothing of that kind.
    pub fn parse(counter: &'a str) -> Option<Self> {
        let mut parts = counter.split('=');
        let read = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
            (name, None, None, None) => Self::Budget(name, None),
            ("B", Some(name), Some(generation), None) => Self::Budget(name, Some(generation)),
            ("K", Some(key), Some(name), generation) => Self::OfKey(key, name, generation),
            ("R", Some(limit), Some(what), None) => Self::Rate(limit, what),
            ("S", Some(key), Some(what), None) => Self::RateOfKey(key, what),
            _ => return None,
        };
        parts.next().is_none().then_some(read)
    }

    /// The name for people.
    pub fn label(&self) -> String {
        match self {
            Self::Budget(name, _) => (*name).to_owned(),
            Self::OfKey(key, name, _) => format!("{key}/{name}"),
            Self::Rate(limit, what) => format!("{limit}-{what}"),
            Self::RateOfKey(key, what) => format!("{key}/own-{what}"),
        }
    }

    /// The key of its book in NATS KV: the counter, its part where it has several, the window.
    pub fn key(&self, part: Option<&str>, window: &str) -> String {
        match part {
            None => format!("{self}.{window}"),
            Some(part) => format!("{self}.{part}.{window}"),
        }
    }
}

/// The key in the bucket of books under which [`Emptied`] stands.
pub const EMPTIED: &str = "emptied";

/// When the bucket of books was emptied, or made in place of a lost one. A counter that began earlier has lost its book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Emptied {
    /// When that was seen; 0: it never was.
    pub at: UnixMicros,
}

/// The earliest moment at which the counter of this book can have begun: with its window, or with its budget's generation.
pub fn begun(key: &str) -> UnixMicros {
    let window = cycle::span(key.rsplit('.').next().unwrap_or_default()).map_or(UnixMicros(0), |(from, _)| from);
    let generation = key.split_once('.').and_then(|(counter, _)| match Counter::parse(counter)? {
        Counter::Budget(_, generation) | Counter::OfKey(_, _, generation) => u64::from_str_radix(generation?, 16).ok(),
        Counter::Rate(..) | Counter::RateOfKey(..) => None,
    });
    window.max(UnixMicros(generation.unwrap_or_default()))
}

/// By the names of budgets, what sets the books of each apart from those of earlier budgets of that name: a budget that is
/// deleted and made again begins with nothing spent, whatever is still set aside in the old one. A budget that was made
/// before there were generations has none.
pub type Generations = BTreeMap<String, String>;

/// Brings the generations to what has become of the budgets: each that is new, or counts in another unit, gets one.
pub fn renew(generations: &mut Generations, before: &[Budget], after: &[Budget], now: UnixMicros) {
    generations.retain(|name, _| after.iter().any(|budget| budget.name == *name));
    for budget in after {
        let is_same = |other: &&Budget| other.name == budget.name && other.limit().0 == budget.limit().0;
        if !before.iter().any(|other| is_same(&other)) {
            generations.insert(budget.name.clone(), format!("{:x}", now.0));
        }
    }
}

/// The key that a book had until 2026-11, when a key's own counters could be written like another's; and of a key's own
/// budget, the key's id. `None` where nothing has changed.
pub fn former(key: &str) -> Option<(String, Option<&str>)> {
    let (counter, rest) = key.split_once('.')?;
    let mut parts = counter.split('=');
    let (kind, owner, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None; // generations came later
    }
    match kind {
        // Of what is in flight nothing would ever come back to the new book.
        "R" | "S" if name == "at-once" => None,
        "K" => Some((format!("{owner}_{name}.{rest}"), Some(owner))),
        "R" => Some((format!("{owner}-{name}.{rest}"), None)),
        "S" => Some((format!("{owner}_own-{name}.{rest}"), None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_book_is_found_under_its_former_key() {
        for (counter, part, key, former_key, owner) in [
            (Counter::Budget("b_monthly", None), None, "b_monthly.2026-11", None, None),
            (Counter::Budget("b", Some("7f")), None, "B=b=7f.2026-11", None, None),
            (Counter::Budget("users", None), Some("7f"), "users.7f.2026-11", None, None),
            (Counter::OfKey("b", "monthly", None), None, "K=b=monthly.2026-11", Some("b_monthly.2026-11"), Some("b")),
            (Counter::OfKey("b", "m", None), Some("7f"), "K=b=m.7f.2026-11", Some("b_m.7f.2026-11"), Some("b")),
            (Counter::OfKey("b", "m", Some("7f")), None, "K=b=m=7f.2026-11", None, None),
            (Counter::Rate("l", "at-once"), None, "R=l=at-once.2026-11", None, None),
            (Counter::Rate("l", "day"), None, "R=l=day.2026-11", Some("l-day.2026-11"), None),
            (Counter::RateOfKey("b", "day"), None, "S=b=day.2026-11", Some("b_own-day.2026-11"), None),
        ] {
            assert_eq!(counter.key(part, "2026-11"), key);
            assert_eq!(Counter::parse(&counter.to_string()), Some(counter));
            assert_eq!(former(key), former_key.map(|former| (former.to_owned(), owner)));
        }
    }

    #[test]
    fn a_counter_begins_with_its_window_or_its_generation() {
        let day = 24 * 3_600_000_000;
        for (key, begins) in [
            ("b.all", 0),
            ("B=b=7f.all", 0x7f),
            ("K=key_1=b=7f.ann.all", 0x7f),
            ("B=b=7f.1970-01-11", 9 * day),
            ("b.ann.1970-01-11", 9 * day),
        ] {
            assert_eq!(begun(key), UnixMicros(begins), "{key}");
        }
    }

    #[test]
    fn what_is_no_counter_is_not_read_as_one() {
        for other in ["K=b", "B=b", "B=b=1=2", "K=b=m=7f=2", "R=l", "S=a=b=c", "X=a=b"] {
            assert_eq!(Counter::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_budget_that_is_made_again_or_counts_in_another_unit_gets_another_generation_and_no_other_does() {
        let budget = |name: &str, limit: &str| -> Budget {
            serde_json::from_str(&format!(r#"{{"name":"{name}",{limit}}}"#)).unwrap()
        };
        let (usd, more_usd, tokens) = (r#""limit_usd":"1""#, r#""limit_usd":"2""#, r#""limit_tokens":1"#);
        let mut generations = Generations::new();
        let mut before: Vec<Budget> = vec![budget("old", usd)];
        for (now, after, expected) in [
            (1, vec![budget("old", more_usd), budget("new", usd)], "new=1"),
            (2, vec![budget("old", more_usd), budget("new", more_usd)], "new=1"),
            (3, vec![budget("old", more_usd), budget("new", tokens)], "new=3"),
            (4, vec![budget("old", more_usd)], ""),
            (5, vec![budget("new", tokens)], "new=5"),
            (17, vec![budget("old", usd), budget("new", tokens)], "new=5 old=11"),
        ] {
            renew(&mut generations, &before, &after, UnixMicros(now));
            let shown: Vec<String> = generations.iter().map(|(name, made)| format!("{name}={made}")).collect();
            assert_eq!(shown.join(" "), expected, "{now}");
            before = after;
        }
    }

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
