//! Reads a report's numbers: whole days and hours that are settled from `spend_by_day` and `spend_by_hour`, all else from
//! `attempts`, all in one statement. Knows nothing of what the report looks like.

use super::dimension::Dimension;
use super::settled::Settled;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::spend::{SpendQuery, SpendSums, UNKNOWN};
use serde::Deserialize;

/// Rows of a report at the most; one more is read, so that a longer one is noticed.
pub(super) const MOST_ROWS: usize = 10_000;

/// A row of the answer; the one with all rows together is the total.
#[derive(Row, Deserialize)]
pub(super) struct Sums {
    pub(super) is_total: u8,
    pub(super) by: Vec<Option<String>>,
    requests: u64,
    attempts: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: String,
    unknown: u64,
}

impl Sums {
    pub(super) fn sums(self) -> SpendSums {
        SpendSums {
            requests: self.requests,
            attempts: self.attempts,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost_usd: if self.unknown > 0 && self.cost_usd == "0" { UNKNOWN.to_owned() } else { self.cost_usd },
            unknown: self.unknown,
        }
    }
}

/// The rows of the report, and the total.
pub(super) async fn read(
    warehouse: &Warehouse,
    query: &SpendQuery,
    dimensions: &[Dimension<'_>],
) -> Result<Vec<Sums>, Error> {
    let is_counted = dimensions.iter().all(|dimension| dimension.hours().is_some());
    let of_days = dimensions.iter().all(|dimension| dimension.days().is_some());
    let settled = if is_counted { Settled::within(warehouse, query, of_days).await? } else { Settled::default() };
    let mut parts = vec![attempts(&settled, query, dimensions)];
    if !settled.is_nothing() {
        parts.push(hours(&settled, query, dimensions));
    }
    if !settled.days.is_empty() {
        parts.push(days(&settled, query, dimensions));
    }
    let sql = format!(
        "SELECT toUInt8(grouping(by)) AS is_total, by, sum(sole) + uniqExactMerge(others) AS requests,
            sum(attempts) AS attempts, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
            toString(sum(cost)) AS cost_usd, sum(unknown) AS unknown
        FROM ({})
        GROUP BY GROUPING SETS ((by), ())
        ORDER BY is_total DESC, sum(cost) DESC, by
        LIMIT {}",
        parts.join(" UNION ALL "),
        MOST_ROWS + 2,
    );
    let rows = tags(dimensions).fold(warehouse.client().query(&sql), |rows, tag| rows.bind(tag).bind(tag));
    rows.fetch_all().await
}

/// The names of tags, each of which is to be bound twice.
pub(super) fn tags<'a>(dimensions: &[Dimension<'a>]) -> impl Iterator<Item = &'a str> {
    dimensions.iter().filter_map(|dimension| match dimension {
        Dimension::Tag(tag) => Some(*tag),
        Dimension::Column { .. } | Dimension::Day | Dimension::Hour | Dimension::Budget => None,
    })
}

/// A time in SQL.
pub(crate) fn time(micros: u64) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({micros}))")
}

/// The part of the report that comes from `spend_by_day`.
fn days(settled: &Settled, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> String {
    let from = format!("spend_by_day FINAL WHERE day IN ({})", days_of(&settled.days));
    counted(&from, query, dimensions, dimensions.iter().filter_map(Dimension::days))
}

/// The part that comes from `spend_by_hour`.
fn hours(settled: &Settled, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> String {
    let from = format!(
        "spend_by_hour FINAL WHERE hour >= fromUnixTimestamp({first}) AND hour < fromUnixTimestamp({last})
          AND hour NOT IN ({unsettled}) AND toDate(hour) NOT IN ({days})",
        first = settled.first,
        last = settled.last,
        unsettled = hours_of(&settled.unsettled),
        days = days_of(&settled.days),
    );
    counted(&from, query, dimensions, dimensions.iter().filter_map(Dimension::hours))
}

/// A part that comes from where it was counted.
fn counted(
    from: &str,
    query: &SpendQuery,
    dimensions: &[Dimension<'_>],
    columns: impl Iterator<Item = &'static str>,
) -> String {
    let keys: String = columns.enumerate().map(|(i, column)| format!("{column} AS key{i}, ")).collect();
    format!(
        "SELECT {by} AS by, sum(attempts) AS attempts, sum(sole) AS sole, uniqExactMergeState(requests) AS others,
            sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost,
            sum(unknown) AS unknown
        FROM (
            SELECT {keys} attempts, sole, requests, input_tokens, output_tokens, cost_usd, unknown FROM {from}{projects}
        ) {group}",
        by = texts(dimensions),
        projects = projects(&query.projects),
        group = group(dimensions),
    )
}

/// The part that comes from `attempts`.
fn attempts(settled: &Settled, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> String {
    let keys: String = dimensions.iter().enumerate().map(|(i, d)| format!("{} AS key{i}, ", d.attempts())).collect();
    format!(
        "SELECT {by} AS by, count() AS attempts, toUInt64(0) AS sole, uniqExactState(request_id) AS others,
            sum(ifNull(total_input_tokens, 0)) AS input_tokens, sum(ifNull(total_output_tokens, 0)) AS output_tokens,
            sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost, countIf(is_unknown) AS unknown
        FROM (
            SELECT {keys} request_id, total_input_tokens, total_output_tokens, cost_usd,
                notEmpty(unpriced_usage) OR (cost_usd IS NULL AND (charged_usd > 0 OR outcome = 'served')) AS is_unknown
            FROM attempts
            WHERE started_at >= {since} AND started_at < {until}
              AND (started_at < fromUnixTimestamp({first}) OR started_at >= fromUnixTimestamp({last})
                   OR toStartOfHour(started_at) IN ({unsettled})){projects}
        ) {group}",
        by = texts(dimensions),
        since = time(query.since.0),
        until = time(query.until.0),
        first = settled.first,
        last = settled.last,
        unsettled = hours_of(&settled.unsettled),
        projects = projects(&query.projects),
        group = group(dimensions),
    )
}

/// Hours as a list for SQL, which may not be empty: the year 1970 has no attempts.
fn hours_of(seconds: &[u32]) -> String {
    let hours = std::iter::once(&0).chain(seconds).map(|hour| format!("fromUnixTimestamp({hour})"));
    hours.collect::<Vec<_>>().join(", ")
}

/// Days as a list for SQL, which may not be empty either.
fn days_of(seconds: &[u32]) -> String {
    let days = std::iter::once(&0).chain(seconds).map(|day| format!("toDate({})", day / 86_400));
    days.collect::<Vec<_>>().join(", ")
}

/// Names of projects need no quoting: they were checked.
pub(crate) fn projects(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    if names.is_empty() { String::new() } else { format!(" AND project IN ({})", names.join(", ")) }
}

pub(super) fn texts(dimensions: &[Dimension<'_>]) -> String {
    let texts: Vec<String> = dimensions.iter().enumerate().map(|(i, d)| d.text(&format!("key{i}"))).collect();
    format!("CAST([{}], 'Array(Nullable(String))')", texts.join(", "))
}

pub(super) fn group(dimensions: &[Dimension<'_>]) -> String {
    let keys: Vec<String> = (0..dimensions.len()).map(|i| format!("key{i}")).collect();
    if keys.is_empty() { String::new() } else { format!("GROUP BY {}", keys.join(", ")) }
}
