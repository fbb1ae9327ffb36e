//! Takes shares of counters' books and gives them back. A share is a slice of what is left, so slices shrink near the limit;
//! what is not needed goes back soon, and at once when another ingress waits for it.

use super::counters::{Counter, State};
use super::keeper::Keeper;
use super::rules::{CounterSort, Want};
use penstock_runtime::bus::{Bucket, BusError, Change};
use penstock_runtime::clock;
use penstock_runtime::schedule::full_jitter;
use penstock_schemas::book::Book;
use penstock_schemas::reservation::LeaseId;
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

/// The part of what is left that one ingress takes at once, beside as many others as have a share.
const SLICES: u64 = 8;

/// How often a change of a book is made anew on what another has written meanwhile.
const TRIES: u32 = 50;

/// Between two looks at all shares: how late others learn what is spent.
const TEND: Duration = Duration::from_millis(500);

/// After which time without a request nothing is kept for the next one.
const IDLE: Duration = Duration::from_millis(1500);

/// How long a counter is kept after its cycle has ended, for calls that began before.
const AFTER_END: Duration = Duration::from_secs(900);

/// How old a rate's book may become unchanged, while somebody has a place in it: see the bucket's age limit.
const REFRESH: Duration = Duration::from_secs(60);

/// While all places are taken, the book is read again this often: places of an ingress that is gone expire without a message.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Silence after which an ingress is gone. One that cannot be heard takes itself for gone sooner.
const GONE: Duration = Duration::from_secs(15);

impl Keeper {
    /// Takes more of a counter, so that what is wanted fits; false when there is not enough.
    pub(super) async fn fund(&self, want: &Want) -> Result<bool, BusError> {
        let Some(turn) = self.turn(&want.book) else { return Ok(true) };
        let _turn = turn.lock().await;
        let unneeded = self.take_what_is_to_give(&want.book);
        for attempt in 1..=TRIES {
            let Some(draft) = self.draft(&want.book, want.amount) else { return Ok(true) };
            if draft.missing == 0 && unneeded == 0 {
                return Ok(true); // another request has taken enough for both
            }
            if draft.is_waiting && unneeded == 0 {
                return Ok(false);
            }
            let Some((mut book, revision)) = self.read(want.sort(), &want.book, &draft).await? else { continue };
            let before = book.clone();
            if want.sort() == CounterSort::AtOnce && book.left(want.limit) < draft.missing {
                self.free_places_of_gone(&mut book, draft.lease).await?;
            }
            let slice = book.left(want.limit) / (SLICES * book.shares.len().max(1) as u64);
            book.tell(draft.lease, draft.settled, unneeded);
            let mut taken = book.take(draft.lease, draft.missing, slice, want.limit);
            if taken == 0 && !want.is_hard() {
                book.take_anyway(draft.lease, draft.missing);
                taken = draft.missing;
            }
            (book.label, book.unit) = (want.label.clone(), Some(want.unit));
            book.named_by =
                want.named_by.as_ref().map_or_else(|| std::mem::take(&mut book.named_by), ToString::to_string);
            if taken == 0 && book == before {
                self.look_again_later(&want.book);
                return Ok(false);
            }
            if self.write(&want.book, book, revision, &draft).await? {
                return Ok(taken > 0 || draft.missing == 0);
            }
            sleep(full_jitter(attempt, Duration::from_millis(1), Duration::from_millis(20))).await;
        }
        Ok(false)
    }

    /// Tells what is spent and gives back what is free but for `keep`.
    async fn give_back(&self, key: &str, keep: u64) -> Result<(), BusError> {
        let Some(turn) = self.turn(key) else { return Ok(()) };
        let _turn = turn.lock().await;
        let let_go = |counter: &mut Counter| {
            (counter.account.let_go(keep).saturating_add(std::mem::take(&mut counter.to_give)), counter.sort)
        };
        let Some((unneeded, sort)) = self.state().counters.get_mut(key).map(let_go) else { return Ok(()) };
        for attempt in 1..=TRIES {
            let Some(draft) = self.draft(key, 0) else { return Ok(()) };
            let Some((mut book, revision)) = self.read(sort, key, &draft).await? else { return Ok(()) };
            book.tell(draft.lease, draft.settled, unneeded);
            if draft.missing > 0 {
                book.take_anyway(draft.lease, draft.missing);
            }
            if self.write(key, book, revision, &draft).await? {
                return Ok(());
            }
            sleep(full_jitter(attempt, Duration::from_millis(1), Duration::from_millis(20))).await;
        }
        Ok(())
    }

    /// Once: where the answer to a change of the book is lost, it may have been given back. Otherwise the next change finds
    /// that it is held still.
    fn take_what_is_to_give(&self, key: &str) -> u64 {
        self.state().counters.get_mut(key).map_or(0, |counter| std::mem::take(&mut counter.to_give))
    }

    fn turn(&self, key: &str) -> Option<Arc<tokio::sync::Mutex<()>>> {
        self.state().counters.get(key).map(|counter| counter.turn.clone())
    }

    /// The counter as it is, when `amount` more is to be set aside.
    fn draft(&self, key: &str, amount: u64) -> Option<Draft> {
        let state = self.state();
        let counter = state.counters.get(key)?;
        let missing = counter.account.missing(amount);
        let share = counter.seen.shares.get(&state.lease);
        let is_waiting = share.is_some_and(|share| share.wanted >= missing)
            && counter.seen.left(counter.limit) < missing
            && !counter.must_look();
        let (lease, settled, must_have_share) = (state.lease, counter.account.settled(), counter.has_share);
        Some(Draft { lease, settled, missing, must_have_share, is_waiting })
    }

    pub(super) fn bucket(&self, sort: CounterSort) -> &Bucket<Book> {
        match sort {
            CounterSort::Budget => &self.counters().budgets,
            CounterSort::Rate | CounterSort::AtOnce => &self.counters().rates,
            CounterSort::DayRate => &self.counters().day_rates,
        }
    }

    /// Frees the places that ingresses had which are gone: their requests are over.
    async fn free_places_of_gone(&self, book: &mut Book, own: LeaseId) -> Result<(), BusError> {
        let others: Vec<LeaseId> = book.shares.keys().copied().filter(|lease| *lease != own).collect();
        for lease in others {
            let written = self.counters().leases.get(&lease.to_string()).await?;
            // One that has just begun may not have said so yet.
            let heard = written.map_or_else(|| lease.made_at(), |written| written.at);
            if clock::now().since(heard) >= GONE {
                book.shares.remove(&lease);
            }
        }
        Ok(())
    }

    fn look_again_later(&self, key: &str) {
        if let Some(counter) = self.state().counters.get_mut(key) {
            counter.looked = Some(Instant::now());
        }
    }

    /// The book and its revision. `None` when our share is gone from it: others took us for dead, and we begin anew.
    async fn read(&self, sort: CounterSort, key: &str, draft: &Draft) -> Result<Option<(Book, u64)>, BusError> {
        let found = self.bucket(sort).get_with_revision(key).await?;
        let (book, revision) = match found {
            Some(found) => found,
            None if draft.must_have_share => (Book::default(), 0),
            None => (self.missing_book(sort, key).await?, 0),
        };
        if draft.must_have_share && !book.shares.contains_key(&draft.lease) {
            if sort == CounterSort::Budget {
                warn!(book = key, "this ingress was taken for dead: it begins under a new lease");
                self.begin_lease(draft.lease);
            } else if let Some(counter) = self.state().counters.get_mut(key) {
                // A rate's book is gone with its age: what we held of it too.
                counter.account.hold(0);
                counter.has_share = false;
            }
            return Ok(None);
        }
        Ok(Some((book, revision)))
    }

    /// Writes a book; true when nobody was quicker.
    async fn write(&self, key: &str, book: Book, revision: u64, draft: &Draft) -> Result<bool, BusError> {
        let sort = self.state().counters.get(key).map_or(CounterSort::Budget, |counter| counter.sort);
        let bucket = self.bucket(sort);
        let written = match revision {
            0 => bucket.create(key, &book).await,
            revision => bucket.update(key, &book, revision).await,
        };
        if self.taken(written)?.is_none() {
            return Ok(false);
        }
        let mut state = self.state();
        if revision == 0 && !book.named_by.is_empty() {
            state.crowd.note(key, &book.named_by, clock::now());
        }
        if state.lease == draft.lease
            && let Some(counter) = state.counters.get_mut(key)
            && let Some(share) = book.shares.get(&draft.lease)
        {
            counter.account.hold(share.held);
            counter.has_share = true;
            counter.told = share.settled;
            (counter.written, counter.looked) = (Instant::now(), Some(Instant::now()));
            counter.seen = book;
            // What was let go meanwhile is in the book still, and so in what is held.
            counter.to_give = 0;
            counter.fit_limit();
        }
        drop(state);
        self.counters().changed.notify_waiters();
        Ok(true)
    }

    /// Another ingress, or the healer, has changed a book.
    pub(super) fn see(&self, change: Change<Book>) {
        let mut state = self.state();
        let (key, book) = match change {
            Change::Put(key, book) => (key, book),
            Change::Deleted(key) => return state.crowd.forget(&key),
            Change::Current => return,
        };
        if !book.named_by.is_empty() {
            state.crowd.note(&key, &book.named_by, clock::now());
        }
        let lease = state.lease;
        let Some(counter) = state.counters.get_mut(&key) else { return };
        let is_wanted = book.is_wanted_by_another(lease) && counter.account.free() > 0;
        counter.seen = book;
        counter.fit_limit();
        let is_wanted = is_wanted || counter.to_give > 0;
        drop(state);
        self.counters().changed.notify_waiters();
        if is_wanted {
            self.counters().wanted.notify_one();
        }
    }

    /// Everything that was held under the old lease is the ledger's to settle now.
    pub(super) fn begin_lease(&self, old: LeaseId) {
        let mut state = self.state();
        if state.lease == old {
            state.begin_lease();
            drop(state);
            self.counters().new_lease.notify_one();
        }
    }

    /// Looks after all shares, for ever.
    pub(super) async fn tend(&self) {
        loop {
            select! {
                () = sleep(TEND) => {}
                () = self.counters().wanted.notified() => {}
            }
            let due = self.state().due(Instant::now());
            let all = due.into_iter().map(|(key, keep)| async move {
                if let Err(error) = self.give_back(&key, keep).await {
                    debug!(%error, book = key, "a share could not be told of; it will be soon");
                }
            });
            futures_util::future::join_all(all).await;
        }
    }

    /// Gives back everything that is free: the role is ending.
    pub(crate) async fn finish(&self) {
        let keys: Vec<String> = self.state().counters.keys().cloned().collect();
        for key in keys {
            if let Err(error) = self.give_back(&key, 0).await {
                warn!(%error, book = key, "a share could not be given back; it will be taken back");
            }
        }
        let lease = self.state().lease;
        if let Err(error) = self.counters().leases.delete(&lease.to_string()).await {
            warn!(%error, "the lease could not be ended; it will run out");
        }
    }
}

/// A counter as it is before a change of its book.
struct Draft {
    lease: LeaseId,
    settled: u64,
    /// What must be taken.
    missing: u64,
    must_have_share: bool,
    /// Others know already that we wait for it, and there is nothing yet.
    is_waiting: bool,
}

impl State {
    pub(super) fn begin_lease(&mut self) {
        self.lease = LeaseId(clock::id());
        self.start_by = penstock_schemas::UnixMicros(0);
        self.open.clear();
        self.counters.clear();
    }

    /// The counters of which something is to be told, and how much of each is kept. Forgets those that are over.
    fn due(&mut self, now: Instant) -> Vec<(String, u64)> {
        let lease = self.lease;
        let wall = clock::now();
        self.counters.retain(|_, counter| !counter.is_over(wall) && !counter.is_unused(now));
        let due = self.counters.iter().filter_map(|(key, counter)| Some((key.clone(), counter.keep(lease, now)?)));
        due.collect()
    }
}

impl Counter {
    fn is_over(&self, now: penstock_schemas::UnixMicros) -> bool {
        let has_ended = self.until.is_some_and(|until| until.after(AFTER_END) < now);
        let is_done = self.account.reserved() == 0 && (self.is_rate() || self.told == self.account.settled());
        let rate_ended = self.is_rate() && self.until.is_some_and(|until| until < now);
        is_done && (has_ended || rate_ended)
    }

    /// Whether the counter has been idle for a while and holds no place, so that it can be dropped: there is one for each user.
    fn is_unused(&self, now: Instant) -> bool {
        let is_held = self.account.free() > 0 || self.account.reserved() > 0 || self.to_give > 0;
        self.sort == CounterSort::AtOnce && !is_held && now.duration_since(self.active) > REFRESH
    }

    /// Whether the book is to be looked at, though others know that we wait.
    fn must_look(&self) -> bool {
        self.sort == CounterSort::AtOnce && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN)
    }

    /// How much is kept of what is free; `None` when there is nothing to tell.
    fn keep(&self, lease: LeaseId, now: Instant) -> Option<u64> {
        let free = self.account.free();
        if self.to_give > 0 || free > 0 && self.seen.is_wanted_by_another(lease) {
            return Some(0);
        }
        let idle = now.duration_since(self.active);
        if self.is_rate() && self.until.is_some() {
            return None; // it is over soon, and nobody waits for it
        }
        let is_held = free > 0 || self.account.reserved() > 0;
        if self.is_rate() && is_held && now.duration_since(self.written) > REFRESH {
            return Some(free); // so that the book does not grow old
        }
        let slice = self.seen.left(self.limit) / (SLICES * self.seen.shares.len().max(1) as u64);
        let keep = if idle > IDLE { 0 } else { slice };
        let is_much = free > keep.saturating_mul(2);
        let has_news = !self.is_rate() && self.told != self.account.settled();
        (is_much || has_news || self.account.missing(0) > 0).then_some(keep.min(free))
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::tests::counter;
    use super::super::crowd::Crowd;
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_book_with_places_is_written_again_each_minute_and_no_more_often() {
        let (lease, begun) = (LeaseId(clock::id()), Instant::now());
        let mut counter = counter(CounterSort::AtOnce, 8);
        counter.account.hold(1);
        assert!(counter.account.reserve(1));
        (counter.active, counter.written) = (begun, begun);
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!([later(59), later(61)].map(|now| counter.keep(lease, now)), [None, Some(0)]);
        counter.written = later(61);
        assert_eq!([later(62), later(122)].map(|now| counter.keep(lease, now)), [None, Some(0)]);
        counter.account.settle(1, 0);
        counter.account.hold(0);
        assert_eq!(counter.keep(lease, later(600)), None, "nobody has a place in it");
    }

    #[test]
    fn counters_of_requests_at_once_are_forgotten_when_nobody_has_a_place_in_them() {
        let begun = Instant::now();
        let (used, unused) = (counter(CounterSort::AtOnce, 8), counter(CounterSort::AtOnce, 8));
        let mut counters = HashMap::from([("used".to_owned(), used), ("unused".to_owned(), unused)]);
        counters.values_mut().for_each(|counter| counter.active = begun);
        let used = counters.get_mut("used").unwrap();
        used.account.hold(1);
        assert!(used.account.reserve(1));
        counters.insert("budget".to_owned(), counter(CounterSort::Budget, 8));
        let lease = LeaseId(clock::id());
        let start_by = penstock_schemas::UnixMicros(0);
        let crowd = Crowd::new(usize::MAX);
        let mut state = State { lease, start_by, counters, open: HashMap::new(), crowd };
        state.due(begun + Duration::from_secs(59));
        assert_eq!(state.counters.len(), 3);
        state.due(begun + Duration::from_secs(61));
        let mut left: Vec<&str> = state.counters.keys().map(String::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["budget", "used"]);
    }
}
