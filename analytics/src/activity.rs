//! How traffic went over time: requests, failures, times and cost, step by step, and by target. Knows nothing of who asks.

use crate::spend::{SpendError, projects, rfc3339, time, within_limit};
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::UnixMicros;
use penstock_schemas::activity::{
    ActivityQuery, ActivityReport, ActivityStep, ActivitySums, FailureCount, TargetActivity,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Targets of a report at the most.
const MOST_TARGETS: usize = 100;

/// Failures of a report at the most.
const MOST_FAILURES: usize = 50;

/// Half, and 95 %, of what was measured; 0 where nothing was. The time to the end is that of whole answers: a failure that
/// comes at once is not a fast answer.
const TIMES: &str = "quantilesIf(0.5, 0.95)(ifNull(first_token_us, 0), first_token_us IS NOT NULL) AS first,
    quantilesIf(0.5, 0.95)(ifNull(total_us, 0), total_us IS NOT NULL AND outcome = 'served') AS total,
    count(first_token_us) AS firsts, countIf(total_us IS NOT NULL AND outcome = 'served') AS totals";

/// A step of requests, or all of them.
#[derive(Row, Deserialize)]
struct Requests {
    at: u32,
    requests: u64,
    failed: u64,
    cached: u64,
    saved_usd: String,
    first: Vec<f64>,
    total: Vec<f64>,
    firsts: u64,
    totals: u64,
}

/// A step of attempts, or all of them.
#[derive(Row, Deserialize)]
struct Attempts {
    at: u32,
    attempts: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: String,
}

#[derive(Row, Deserialize)]
struct OfTarget {
    target: String,
    attempts: u64,
    failed: u64,
    cost_usd: String,
    first: Vec<f64>,
    total: Vec<f64>,
    firsts: u64,
    totals: u64,
}

#[derive(Row, Deserialize)]
struct Failures {
    failure: String,
    requests: u64,
}

impl Warehouse {
    /// How traffic was.
    ///
    /// # Errors
    /// When the query is wrong, or ClickHouse cannot be asked now.
    pub async fn activity(&self, query: &ActivityQuery) -> Result<ActivityReport, SpendError> {
        crate::spend::check_projects(&query.projects)?;
        within_limit(self, report(self, query)).await
    }
}

async fn report(warehouse: &Warehouse, query: &ActivityQuery) -> Result<ActivityReport, Error> {
    let step = query.step();
    let of = |column: &str| {
        let (since, until) = (time(query.since.0), time(query.until.0));
        format!("{column} >= {since} AND {column} < {until}{}", projects(&query.projects))
    };
    let (received, started) = (of("received_at"), of("started_at"));
    let requests = format!(
            "SELECT toUInt32(intDiv(toUnixTimestamp(received_at), {step}) * {step}) AS at, count() AS requests,
                countIf(outcome IN ('refused', 'broken')) AS failed, countIf(cache IN ('exact', 'semantic', 'joined')) AS cached,
                toString(sum(ifNull(saved_usd, toDecimal128(0, 12)))) AS saved_usd, {TIMES}
            FROM requests WHERE {received} GROUP BY GROUPING SETS ((at), ()) ORDER BY at"
    );
    let attempts = format!(
            "SELECT toUInt32(intDiv(toUnixTimestamp(started_at), {step}) * {step}) AS at, count() AS attempts,
                sum(ifNull(total_input_tokens, 0)) AS input_tokens, sum(ifNull(total_output_tokens, 0)) AS output_tokens,
                toString(sum(ifNull(cost_usd, toDecimal128(0, 12)))) AS cost_usd
            FROM attempts WHERE {started} GROUP BY GROUPING SETS ((at), ()) ORDER BY at"
    );
    let targets = format!(
        "SELECT concat(provider, '/', model) AS target, count() AS attempts,
                countIf(outcome IN ('refused', 'broken')) AS failed,
                toString(sum(ifNull(cost_usd, toDecimal128(0, 12)))) AS cost_usd, {TIMES}
            FROM attempts WHERE {started} GROUP BY target ORDER BY attempts DESC, target LIMIT {MOST_TARGETS}"
    );
    let failures = format!(
        "SELECT ifNull(failure, 'other') AS failure, count() AS requests FROM requests
            WHERE {received} AND outcome IN ('refused', 'broken')
            GROUP BY failure ORDER BY requests DESC, failure LIMIT {MOST_FAILURES}"
    );
    let ask = |sql: &str| warehouse.client().query(sql);
    let (requests, attempts, targets, failures) = tokio::try_join!(
        ask(&requests).fetch_all::<Requests>(),
        ask(&attempts).fetch_all::<Attempts>(),
        ask(&targets).fetch_all::<OfTarget>(),
        ask(&failures).fetch_all::<Failures>(),
    )?;
    let (total, steps) = joined(requests, attempts);
    Ok(ActivityReport {
        since: rfc3339(query.since),
        until: rfc3339(query.until),
        step_seconds: step,
        steps,
        total,
        targets: targets.into_iter().map(of_target).collect(),
        failures: failures
            .into_iter()
            .map(|row| FailureCount { failure: row.failure, requests: row.requests })
            .collect(),
    })
}

/// All of it, and its steps. The row for all has no time, which is 0.
fn joined(requests: Vec<Requests>, attempts: Vec<Attempts>) -> (ActivitySums, Vec<ActivityStep>) {
    let mut steps = BTreeMap::<u32, ActivitySums>::new();
    let nothing = || ActivitySums { cost_usd: "0".to_owned(), saved_usd: "0".to_owned(), ..ActivitySums::default() };
    for row in requests {
        let sums = steps.entry(row.at).or_insert_with(nothing);
        (sums.requests, sums.failed, sums.cached) = (row.requests, row.failed, row.cached);
        sums.saved_usd = row.saved_usd;
        [sums.first_token_p50_us, sums.first_token_p95_us] = quantiles(&row.first, row.firsts);
        [sums.total_p50_us, sums.total_p95_us] = quantiles(&row.total, row.totals);
    }
    for row in attempts {
        let sums = steps.entry(row.at).or_insert_with(nothing);
        (sums.attempts, sums.cost_usd) = (row.attempts, row.cost_usd);
        (sums.input_tokens, sums.output_tokens) = (row.input_tokens, row.output_tokens);
    }
    let total = steps.remove(&0).unwrap_or_else(nothing);
    let at = |seconds: u32| rfc3339(UnixMicros(u64::from(seconds) * 1_000_000));
    (total, steps.into_iter().map(|(seconds, sums)| ActivityStep { at: at(seconds), sums }).collect())
}

fn of_target(row: OfTarget) -> TargetActivity {
    let [first_token_p50_us, first_token_p95_us] = quantiles(&row.first, row.firsts);
    let [total_p50_us, total_p95_us] = quantiles(&row.total, row.totals);
    TargetActivity {
        target: row.target,
        attempts: row.attempts,
        failed: row.failed,
        cost_usd: row.cost_usd,
        first_token_p50_us,
        first_token_p95_us,
        total_p50_us,
        total_p95_us,
    }
}

/// Whole microseconds, if anything was measured.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` cuts to the range, and NaN to 0")]
fn quantiles(values: &[f64], measured: u64) -> [Option<u64>; 2] {
    [0, 1].map(|at| values.get(at).filter(|_| measured > 0).map(|value| value.round() as u64))
}
