//! The first value of a book that is not in its bucket. A new counter begins with nothing. A lost book (it, its bucket or all that
//! was in the bucket was removed) begins with what the ledger says. Knows nothing of how shares are taken.

use super::keeper::Keeper;
use super::rules::CounterSort;
use penstock_runtime::bus::{BucketPast, BusError};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{self, Book, EMPTIED, Emptied};
use penstock_schemas::reservation::{Proof, ProofWanted};
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// After so long nothing is spent any more of shares of a book that is lost, but by attempts that the ledger knows: who holds
/// one sees within 3 s that it is gone, and calls begin with what was set aside before for another 13 s.
const OUTLIVED: Duration = Duration::from_secs(20);

/// Attempts that began so many microseconds before the bucket was made had another one.
const EARLIER: u64 = 10_000_000;

/// Before the ledger is asked again that could not tell.
const AGAIN: Duration = Duration::from_secs(1);

impl Keeper {
    /// A book that the bucket does not have.
    ///
    /// # Errors
    /// When it is not known, or cannot be told yet, what it begins with.
    pub(super) async fn missing_book(&self, sort: CounterSort, key: &str) -> Result<Book, BusError> {
        if sort == CounterSort::Budget
            && let Some(at) = self.lost_at(key).await?
        {
            return self.book_of_ledger(key, at).await;
        }
        // What is counted in its place that was written by an earlier version: all of it is taken for spent, until the
        // ledger says how much it is.
        let Some((former, _)) = book::former(key) else { return Ok(Book::default()) };
        let found = self.bucket(sort).get_with_revision(&former).await?;
        Ok(found.map(|(book, _)| Book { past: book.total(), ..Book::default() }).unwrap_or_default())
    }

    /// When the book was lost; `None`: there was none.
    async fn lost_at(&self, key: &str) -> Result<Option<UnixMicros>, BusError> {
        if let Some(at) = self.counters().budgets.removed_at(key).await? {
            return Ok(Some(at));
        }
        let Emptied { at } = self.emptied().await?;
        Ok((book::begun(key) < at).then_some(at))
    }

    /// When the bucket was emptied, or made in the place of one that is gone. Who finds it empty says so in it, before anything
    /// else is written.
    async fn emptied(&self) -> Result<Emptied, BusError> {
        let (bucket, now) = (&self.counters().emptied, clock::now());
        if let Some(known) = bucket.get(EMPTIED).await? {
            return Ok(known);
        }
        let at = match bucket.past().await? {
            BucketPast::Emptied => now,
            BucketPast::New { since } if self.is_ledger_older(since).await? => since,
            BucketPast::New { .. } | BucketPast::InUse => UnixMicros(0),
        };
        let emptied = Emptied { at };
        if self.taken(bucket.create(EMPTIED, &emptied).await)?.is_some() {
            return Ok(emptied);
        }
        bucket.get(EMPTIED).await?.ok_or_else(|| not_yet("another ingress has just begun to"))
    }

    /// Whether the ledger has attempts of a time before this one.
    async fn is_ledger_older(&self, than: UnixMicros) -> Result<bool, BusError> {
        let before = Some(UnixMicros(than.0.saturating_sub(EARLIER)));
        let lease = self.state().lease;
        let wanted = ProofWanted { before, ..ProofWanted::of(lease) };
        match self.counters().bus.ask_proof(&wanted).await {
            Ok(Proof::Known { is_older: Some(is_older), .. }) => Ok(is_older),
            _ => Err(not_yet("the ledger cannot tell")),
        }
    }

    /// Writes into the bucket what stands there already, to see whether it takes it.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn try_budgets(&self) -> Result<(), BusError> {
        let bucket = &self.counters().emptied;
        match bucket.get_with_revision(EMPTIED).await? {
            Some((emptied, revision)) => bucket.update(EMPTIED, &emptied, revision).await.map(drop),
            None => self.emptied().await.map(drop),
        }
    }

    /// What the ledger says, once nothing more can come of shares of the lost book.
    async fn book_of_ledger(&self, key: &str, lost_at: UnixMicros) -> Result<Book, BusError> {
        let (lease, unit, looked) = {
            let state = self.state();
            let counter = state.counters.get(key).ok_or_else(|| not_yet("nobody wants it any more"))?;
            (state.lease, counter.unit, counter.looked)
        };
        if clock::now().since(lost_at) < OUTLIVED {
            return Err(not_yet("what others held of it may be spent still"));
        }
        if looked.is_some_and(|looked| looked.elapsed() < AGAIN) {
            return Err(not_yet("the ledger cannot tell"));
        }
        let wanted = ProofWanted { lost: vec![key.to_owned()], ..ProofWanted::of(lease) };
        if let Ok(Proof::Known { lost: Some(lost), .. }) = self.counters().bus.ask_proof(&wanted).await
            && let Some(spent) = lost.iter().find(|spent| spent.book == key)
        {
            warn!(book = key, "a book that was lost is made anew of the ledger");
            return Ok(Book { past: spent.settled.of(unit), pending: spent.pending.of(unit), ..Book::default() });
        }
        if let Some(counter) = self.state().counters.get_mut(key) {
            counter.looked = Some(Instant::now());
        }
        Err(not_yet("the ledger cannot tell"))
    }
}

fn not_yet(reason: &str) -> BusError {
    BusError::Failed { what: "make a lost book anew", reason: reason.to_owned() }
}
