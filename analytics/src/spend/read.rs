//! Reads a report's numbers: whole hours that are settled from `spend_by_hour`, all else from `attempts`, both in one
//! statement. Knows nothing of what the report looks like.

use super::dimension::Dimension;
use crate::rollup::COMMIT;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::spend::{SpendQuery, SpendSums, UNKNOWN};
use serde::Deserialize;

/// Rows of a report at the most; one more is read, so that a longer one is noticed.
pub(super) const MOST_ROWS: usize = 10_000;

/// With more unsettled hours than this, all is read from `attempts`.
const MOST_UNSETTLED: usize = 2_000;

/// In microseconds.
const HOUR: u64 = 3_600_000_000;

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

/// Which whole hours are read where.
#[derive(Default)]
struct Plan {
    /// The whole hours of the report, in microseconds; none when both are the same.
    first: u64,
    last: u64,
    /// Of these, the ones that `spend_by_hour` does not have, or not as they are now; in seconds.
    unsettled: Vec<u32>,
}

/// An hour is settled when it was counted after the last row of it had become visible. Reads a few rows per part.
const UNSETTLED: &str = "
SELECT toUnixTimestamp(hour)
FROM (
    SELECT toStartOfHour(started_at) AS hour, max(inserted_at) AS touched FROM attempt_log
    WHERE hour >= fromUnixTimestamp(?) AND hour < fromUnixTimestamp(?) GROUP BY hour
) AS log
LEFT JOIN (
    SELECT hour, max(counted_at) AS counted FROM spend_hours
    WHERE hour >= fromUnixTimestamp(?) AND hour < fromUnixTimestamp(?) GROUP BY hour
) AS done USING hour
WHERE counted <= touched + toIntervalSecond(?) LIMIT ?";

async fn plan(warehouse: &Warehouse, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> Result<Plan, Error> {
    let (first, last) = (query.since.0.next_multiple_of(HOUR), query.until.0 / HOUR * HOUR);
    if first >= last || dimensions.iter().any(|dimension| dimension.hours().is_none()) {
        return Ok(Plan::default());
    }
    let (from, to) = (first / 1_000_000, last / 1_000_000);
    let unsettled = warehouse.client().query(UNSETTLED).bind(from).bind(to).bind(from).bind(to);
    let unsettled: Vec<u32> = unsettled.bind(COMMIT.as_secs()).bind(MOST_UNSETTLED + 1).fetch_all().await?;
    Ok(if unsettled.len() > MOST_UNSETTLED { Plan::default() } else { Plan { first, last, unsettled } })
}

/// The rows of the report, and the total.
pub(super) async fn read(
    warehouse: &Warehouse,
    query: &SpendQuery,
    dimensions: &[Dimension<'_>],
) -> Result<Vec<Sums>, Error> {
    let plan = plan(warehouse, query, dimensions).await?;
    let parts = [plan.hours(query, dimensions), Some(plan.attempts(query, dimensions))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
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
        Dimension::Column { .. } | Dimension::Hour | Dimension::Budget => None,
    })
}

/// A time in SQL.
pub(crate) fn time(micros: u64) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({micros}))")
}

impl Plan {
    /// The part of the report that comes from `spend_by_hour`, if one does.
    fn hours(&self, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> Option<String> {
        if self.first == self.last {
            return None;
        }
        let keys: String =
            dimensions.iter().enumerate().filter_map(|(i, d)| Some(format!("{} AS key{i}, ", d.hours()?))).collect();
        Some(format!(
            "SELECT {by} AS by, sum(attempts) AS attempts, sum(sole) AS sole, uniqExactMergeState(requests) AS others,
                sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost,
                sum(unknown) AS unknown
            FROM (
                SELECT {keys} attempts, sole, requests, input_tokens, output_tokens, cost_usd, unknown FROM spend_by_hour FINAL
                WHERE hour >= fromUnixTimestamp({first}) AND hour < fromUnixTimestamp({last}) AND hour NOT IN ({unsettled}){projects}
            ) {group}",
            by = texts(dimensions),
            first = self.first / 1_000_000,
            last = self.last / 1_000_000,
            unsettled = self.unsettled(),
            projects = projects(&query.projects),
            group = group(dimensions),
        ))
    }

    /// The part that comes from `attempts`.
    fn attempts(&self, query: &SpendQuery, dimensions: &[Dimension<'_>]) -> String {
        let keys: String =
            dimensions.iter().enumerate().map(|(i, d)| format!("{} AS key{i}, ", d.attempts())).collect();
        format!(
            "SELECT {by} AS by, count() AS attempts, toUInt64(0) AS sole, uniqExactState(request_id) AS others,
                sum(ifNull(total_input_tokens, 0)) AS input_tokens, sum(ifNull(total_output_tokens, 0)) AS output_tokens,
                sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost, countIf(is_unknown) AS unknown
            FROM (
                SELECT {keys} request_id, total_input_tokens, total_output_tokens, cost_usd,
                    notEmpty(unpriced_usage) OR (cost_usd IS NULL AND (charged_usd > 0 OR outcome = 'served')) AS is_unknown
                FROM attempts
                WHERE started_at >= {since} AND started_at < {until}
                  AND (started_at < {first} OR started_at >= {last} OR toStartOfHour(started_at) IN ({unsettled})){projects}
            ) {group}",
            by = texts(dimensions),
            since = time(query.since.0),
            until = time(query.until.0),
            first = time(self.first),
            last = time(self.last),
            unsettled = self.unsettled(),
            projects = projects(&query.projects),
            group = group(dimensions),
        )
    }

    /// The unsettled hours as a list for SQL, which may not be empty: the year 1970 has no attempts.
    fn unsettled(&self) -> String {
        let hours = std::iter::once(&0).chain(&self.unsettled).map(|hour| format!("fromUnixTimestamp({hour})"));
        hours.collect::<Vec<_>>().join(", ")
    }
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
