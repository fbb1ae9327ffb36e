//! What was spent so far in the cycles that run, and in each of the last days. Knows the columns of `attempts`, and nothing of
//! what follows from it.

use super::dimension::Dimension;
use super::read::{MOST_ROWS, group, projects, tags, texts, time};
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::UnixMicros;
use penstock_schemas::forecast::{DAYS, Spent};
use serde::Deserialize;

/// In microseconds.
const DAY: u64 = 86_400_000_000;

/// Books that are read at the most.
const MOST_BOOKS: usize = 20_000;

/// What was spent in dollars.
#[derive(Row, Deserialize)]
pub(super) struct Spending {
    pub(super) by: Vec<Option<String>>,
    so_far: i128,
    days: Vec<i128>,
}

/// What was spent in one book.
#[derive(Row, Deserialize)]
pub(super) struct BookSpending {
    /// Its key.
    pub(super) book: String,
    usd: i128,
    usd_days: Vec<i128>,
    tokens: u64,
    tokens_days: Vec<u64>,
}

impl Spending {
    pub(super) fn spent(&self) -> Spent {
        Spent { so_far: amount(self.so_far), days: days(self.days.iter().copied().map(amount)) }
    }
}

impl BookSpending {
    pub(super) fn usd(&self) -> Spent {
        Spent { so_far: amount(self.usd), days: days(self.usd_days.iter().copied().map(amount)) }
    }

    pub(super) fn tokens(&self) -> Spent {
        Spent { so_far: self.tokens, days: days(self.tokens_days.iter().copied()) }
    }
}

/// Since `from`, broken down, of these projects or of all; the dearest first.
pub(super) async fn by_dimensions(
    warehouse: &Warehouse,
    dimensions: &[Dimension<'_>],
    only: &[String],
    (from, now): (UnixMicros, UnixMicros),
) -> Result<Vec<Spending>, Error> {
    let keys: String = dimensions.iter().enumerate().map(|(i, d)| format!("{} AS key{i}, ", d.attempts())).collect();
    let sql = format!(
        "SELECT {by} AS by, sumIf(cost, started_at >= {from}) AS so_far, {days} AS days
        FROM (
            SELECT {keys} started_at, ifNull(cost_usd, toDecimal128(0, 12)) AS cost FROM attempts
            WHERE started_at >= {since} AND started_at < {now}{only}
        ) {group}
        ORDER BY so_far DESC, by LIMIT {MOST_ROWS}",
        by = texts(dimensions),
        from = time(from.0),
        days = daily("cost", now),
        since = time(from.0.min(now.0.saturating_sub(DAYS as u64 * DAY))),
        now = time(now.0),
        only = projects(only),
        group = group(dimensions),
    );
    tags(dimensions).fold(warehouse.client().query(&sql), |rows, tag| rows.bind(tag).bind(tag)).fetch_all().await
}

/// Of every book, as it counts there, from `since` or the last days on, whichever is longer ago.
pub(super) async fn by_book(
    warehouse: &Warehouse,
    since: UnixMicros,
    now: UnixMicros,
) -> Result<Vec<BookSpending>, Error> {
    let sql = format!(
        "SELECT toString(book) AS book, sum(charged_usd) AS usd, {usd_days} AS usd_days, sum(charged_tokens) AS tokens,
            {tokens_days} AS tokens_days
        FROM (
            SELECT started_at, arrayJoin(books) AS book, charged_tokens, charged_usd
            FROM attempts WHERE started_at >= {since} AND started_at < {now}
        )
        GROUP BY book ORDER BY book LIMIT {MOST_BOOKS}",
        usd_days = daily("charged_usd", now),
        tokens_days = daily("charged_tokens", now),
        since = time(since.0.min(now.0.saturating_sub(DAYS as u64 * DAY))),
        now = time(now.0),
    );
    warehouse.client().query(&sql).fetch_all().await
}

/// The sums of the last 24 hours, of those before them, and so on.
fn daily(column: &str, now: UnixMicros) -> String {
    let day = |at: u64| {
        let (from, to) = (now.0.saturating_sub((at + 1) * DAY), now.0.saturating_sub(at * DAY));
        format!("sumIf({column}, started_at >= {} AND started_at < {})", time(from), time(to))
    };
    format!("[{}]", (0..DAYS as u64).map(day).collect::<Vec<_>>().join(", "))
}

fn days(found: impl Iterator<Item = u64>) -> [u64; DAYS] {
    let mut days = [0; DAYS];
    for (day, found) in days.iter_mut().zip(found) {
        *day = found;
    }
    days
}

/// Sums of costs are never negative.
fn amount(picodollars: i128) -> u64 {
    u64::try_from(picodollars).unwrap_or(u64::MAX)
}
