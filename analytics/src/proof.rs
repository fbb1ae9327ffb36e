//! What the ledger says of budgets: what was spent under each lease and each reservation, and which attempts are over because
//! their worker is gone. Knows the columns of `attempts`, and nothing of books, limits or who asks.

use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::UnixMicros;
use penstock_schemas::book;
use penstock_schemas::cycle;
use penstock_schemas::name::ProcessId;
use penstock_schemas::reservation::LeaseId;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Longest wait for ClickHouse, by which it ends the statement too.
const LIMIT: Duration = Duration::from_secs(20);

/// In microseconds: no two clocks here are further apart.
const SKEW: u64 = 3_600_000_000;

/// Reservations that are asked for in one statement.
const MOST_IDS: usize = 1_000;

/// No attempt runs longer, in days: older rows are not looked at.
const LONGEST_DAYS: u32 = 7;

/// What was spent in a book under one lease. Dollars are picodollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpentByLease {
    /// The lease.
    pub lease: LeaseId,
    /// By attempts that are over: ended, given up, or past their deadline.
    pub settled_usd: u64,
    /// What those that run can still come to.
    pub pending_usd: u64,
    /// Tokens of attempts that are over.
    pub settled_tokens: u64,
    /// Tokens that those that run can still come to.
    pub pending_tokens: u64,
}

/// What was spent in books, under each lease, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpentByBook(HashMap<String, HashMap<LeaseId, SpentByLease>>);

impl SpentByBook {
    /// What was spent in one of them.
    pub fn of(&self, book: &str) -> impl Iterator<Item = &SpentByLease> {
        self.0.get(book).into_iter().flat_map(HashMap::values)
    }

    fn add(&mut self, row: LeaseRow) {
        let lease = LeaseId(row.id);
        let none = SpentByLease { lease, settled_usd: 0, pending_usd: 0, settled_tokens: 0, pending_tokens: 0 };
        let spent = self.0.entry(row.book).or_default().entry(lease).or_insert(none);
        spent.settled_usd = spent.settled_usd.saturating_add(amount(row.settled_usd));
        spent.pending_usd = spent.pending_usd.saturating_add(amount(row.pending_usd));
        spent.settled_tokens = spent.settled_tokens.saturating_add(row.settled_tokens);
        spent.pending_tokens = spent.pending_tokens.saturating_add(row.pending_tokens);
    }
}

/// What was spent by the attempts of one reservation, in one book. Dollars are picodollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentByReservation {
    /// The reservation.
    pub reservation: Uuid,
    /// One of the books that its attempts count in.
    pub book: String,
    /// By attempts that are over.
    pub usd: u64,
    /// Tokens of attempts that are over.
    pub tokens: u64,
    /// Attempts that still run.
    pub running: u64,
}

/// Why the ledger has no answer: ClickHouse cannot be asked now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoProof(String);

/// For all books of a window at once: there may be as many as users. Which of an attempt's books count is put in, and the
/// condition on its lease.
const BY_LEASE: &str = "
SELECT arrayJoin(arrayFilter(book -> {is_wanted}, books)) AS book, key_id, assumeNotNull(lease) AS id,
    sumIf(charged_usd, NOT running) AS settled_usd,
    sumIf(ifNull(worst_case_usd, toDecimal128(0, 12)), running) AS pending_usd,
    sumIf(charged_tokens, NOT running) AS settled_tokens,
    sumIf(worst_tokens, running) AS pending_tokens
FROM attempts
WHERE {of_lease} AND started_at >= fromUnixTimestamp64Micro(toInt64(?))
GROUP BY book, key_id, id ORDER BY book, id";

/// So many books are named in a statement; of more, all of their window are asked for.
const MOST_BOOKS: usize = 500;

const BY_RESERVATION: &str = "
SELECT assumeNotNull(reservation) AS id, arrayJoin(books) AS book,
    sumIf(charged_usd, NOT running) AS usd,
    sumIf(charged_tokens, NOT running) AS tokens,
    countIf(running) AS still_running
FROM attempts
WHERE reservation IN ? AND started_at >= fromUnixTimestamp64Micro(toInt64(?))
GROUP BY id, book ORDER BY id, book";

const BEFORE: &str = "
SELECT count() FROM (SELECT 1 FROM attempt_log WHERE started_at < fromUnixTimestamp64Micro(toInt64(?)) LIMIT 1)";

/// Starts without an end that may still run, but not at a worker that is alive.
const GONE: &str = "
FROM attempt_log FINAL
WHERE attempt_log.version = 0 AND deadline > now64(6) AND worker IS NOT NULL AND worker NOT IN ?
  AND started_at < fromUnixTimestamp64Micro(toInt64(?))
  AND started_at >= now64(6) - toIntervalDay(?)
SETTINGS do_not_merge_across_partitions_select_final = 1, use_skip_indexes_if_final = 1";

#[derive(Row, Deserialize)]
struct LeaseRow {
    book: String,
    key_id: String,
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    settled_usd: i128,
    pending_usd: i128,
    settled_tokens: u64,
    pending_tokens: u64,
}

#[derive(Row, Deserialize)]
struct ReservationRow {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    book: String,
    usd: i128,
    tokens: u64,
    still_running: u64,
}

impl Warehouse {
    /// What was spent in each of these books under each lease, or under one; a book without attempts is not in the answer.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked now.
    pub async fn spent_by_lease(&self, books: &[&str], only: Option<LeaseId>) -> Result<SpentByBook, NoProof> {
        let mut windows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for book in books {
            windows.entry(window(book)).or_default().push(book);
        }
        let mut spent = SpentByBook::default();
        for (window, books) in windows {
            let wanted: HashSet<&str> = books.iter().copied().collect();
            for row in self.rows_of_window(window, &books, only).await? {
                if wanted.contains(&*row.book) {
                    spent.add(row);
                }
            }
            // What was spent under the former name counts, where it was this key's own.
            let formers = books.iter().filter_map(|book| match book::former(book) {
                Some((former, Some(owner))) => Some(((former, owner.to_owned()), *book)),
                _ => None,
            });
            let formers: HashMap<(String, String), &str> = formers.collect();
            if formers.is_empty() {
                continue;
            }
            let names: Vec<&str> = formers.keys().map(|(former, _)| former.as_str()).collect();
            for row in self.rows_of_window(window, &names, only).await? {
                if let Some(book) = formers.get(&(row.book.clone(), row.key_id.clone())) {
                    spent.add(LeaseRow { book: (*book).to_owned(), ..row });
                }
            }
        }
        Ok(spent)
    }

    async fn rows_of_window(
        &self,
        window: &str,
        books: &[&str],
        only: Option<LeaseId>,
    ) -> Result<Vec<LeaseRow>, NoProof> {
        let from = cycle::span(window).map_or(UnixMicros(0), |(from, _)| from);
        // Nothing was spent under a lease before it was made.
        let since = only.map_or(from.0, |lease| from.0.max(made_at(&lease.0))).saturating_sub(SKEW);
        let is_few = books.len() <= MOST_BOOKS;
        let is_wanted = if is_few { "has(?, toString(book))" } else { "endsWith(toString(book), ?)" };
        let of_lease = if only.is_some() { "lease = toUUID(?)" } else { "lease IS NOT NULL" };
        let statement = BY_LEASE.replace("{is_wanted}", is_wanted).replace("{of_lease}", of_lease);
        let query = self.bounded(&statement);
        let query = if is_few { query.bind(books) } else { query.bind(format!(".{window}")) };
        let query = only.map_or(query.clone(), |lease| query.bind(lease.to_string()));
        self.within_limit(query.bind(since).fetch_all::<LeaseRow>()).await
    }

    /// Whether any attempt has begun before.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked now.
    pub async fn has_attempts_before(&self, at: UnixMicros) -> Result<bool, NoProof> {
        Ok(self.within_limit(self.bounded(BEFORE).bind(at.0).fetch_one::<u64>()).await? > 0)
    }

    /// What was spent by the attempts of each of some reservations, in each book; one without attempts is not in the answer.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked now.
    pub async fn spent_by_reservation(&self, ids: &[Uuid]) -> Result<Vec<SpentByReservation>, NoProof> {
        let mut spent = Vec::new();
        for ids in ids.chunks(MOST_IDS) {
            let since = ids.iter().map(made_at).min().unwrap_or_default().saturating_sub(SKEW);
            let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let query = self.bounded(BY_RESERVATION).bind(texts).bind(since);
            let rows = self.within_limit(query.fetch_all::<ReservationRow>()).await?;
            spent.extend(rows.into_iter().map(|row| SpentByReservation {
                reservation: row.id,
                book: row.book,
                usd: amount(row.usd),
                tokens: row.tokens,
                running: row.still_running,
            }));
        }
        Ok(spent)
    }

    /// Gives up attempts that began before `older_than` at workers that are not among those alive: from now on they count at
    /// their worst case, until their end comes after all. How many they are.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked now. Then they may have been given up or not; doing it again is harmless.
    pub async fn give_up(&self, workers_alive: &[ProcessId], older_than: UnixMicros) -> Result<u64, NoProof> {
        // An empty list is no list to ClickHouse; no worker has an empty name.
        let alive = workers_alive.iter().map(ProcessId::as_str);
        let alive: Vec<&str> = std::iter::once("").chain(alive).collect();
        let query = |sql: &str| self.bounded(sql).bind(&alive).bind(older_than.0).bind(LONGEST_DAYS);
        let count = query(&format!("SELECT count() {GONE}")).fetch_one::<u64>();
        let count = self.within_limit(count).await?;
        if count > 0 {
            let columns = "* EXCEPT (inserted_at)";
            let sql = format!("INSERT INTO attempt_log ({columns}) SELECT {columns} REPLACE (1 AS version) {GONE}");
            self.within_limit(query(&sql).execute()).await?;
        }
        Ok(count)
    }

    /// A statement that ClickHouse ends by itself when it takes too long.
    fn bounded(&self, sql: &str) -> clickhouse::query::Query {
        self.client().query(sql).with_setting("max_execution_time", LIMIT.as_secs().to_string())
    }

    async fn within_limit<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, NoProof> {
        let trouble = match timeout(LIMIT, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Trouble::judge(&error, self.address()),
            Err(_) => Trouble::too_slow(self.address()),
        };
        Err(NoProof(trouble.to_string()))
    }
}

/// The window of a book, by its key.
fn window(book: &str) -> &str {
    book.rsplit('.').next().unwrap_or_default()
}

/// Sums are never negative, nor larger than all the money that budgets can have.
fn amount(picodollars: i128) -> u64 {
    u64::try_from(picodollars).unwrap_or(u64::MAX)
}

/// When a UUIDv7 was made, in microseconds; 0 for any other.
fn made_at(id: &Uuid) -> u64 {
    let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |made| made.to_unix());
    seconds * 1_000_000 + u64::from(nanos / 1_000)
}
