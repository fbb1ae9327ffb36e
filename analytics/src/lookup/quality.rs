//! What answers were worth, over time and by who gave them: scores, and what can be said of answers without reading them.

use super::rows::{VISIBLE, VisibleProjects, fetch};
use crate::row_key::micros;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use clickhouse::query::Query;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::activity::ActivityQuery;
use penstock_schemas::rows::{RequestFilter, RowReport};
use serde_json::{Value, json};

/// Rows of each list at the most: 121 steps, for some 20 targets and names.
const MOST: u32 = 5_000;

/// How long after its request a score may come and still be counted to it, in days.
const LATE_DAYS: u64 = 90;

/// The report: one row.
pub(super) async fn report(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
) -> Result<RowReport, Error> {
    let until = filter.until.unwrap_or_else(clock::now);
    let span = ActivityQuery { since: filter.since, until, projects: Vec::new() };
    let step = span.step();
    let (scores, checks) = tokio::try_join!(
        scores(warehouse, filter, seen, (step, until)),
        checks(warehouse, filter, seen, (step, until)),
    )?;
    let data = vec![json!({ "step_seconds": step, "scores": scores, "checks": checks })];
    Ok(RowReport { data, ..RowReport::default() })
}

fn at(column: &str, step: u64) -> String {
    format!("formatDateTime(toStartOfInterval({column}, INTERVAL {step} SECOND), '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS at")
}

/// The values of the conditions that both lists begin with.
fn bound(query: Query, filter: &RequestFilter, until: UnixMicros, seen: &VisibleProjects) -> Query {
    let query = seen.bind(query.bind(micros(filter.since)).bind(micros(until)));
    let project = filter.project.clone().unwrap_or_default();
    query.bind(&project).bind(&project)
}

/// Scores by step, name and target; a score of no request that is known has no target, and is left out.
async fn scores(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
    (step, until): (u64, UnixMicros),
) -> Result<Vec<Value>, Error> {
    let sql = format!(
        "WITH given AS (
            SELECT request_id, project, name, number, at AS given_at FROM scores
            WHERE at >= fromUnixTimestamp64Micro(?) AND at < fromUnixTimestamp64Micro(?) AND {VISIBLE}
                AND (? = '' OR project = ?) AND number IS NOT NULL
        )
        SELECT {}, name, answered.target AS target, count() AS scores, avg(number) AS mean
        FROM given INNER JOIN (
            SELECT DISTINCT request_id, project, ifNull(toString(target), model) AS target FROM request_log
            WHERE received_at >= fromUnixTimestamp64Micro(?) AND request_id IN (SELECT request_id FROM given)
                AND (? = '' OR model = ? OR target = ?)
        ) AS answered ON given.request_id = answered.request_id AND given.project = answered.project
        GROUP BY at, name, target ORDER BY at DESC, name, target LIMIT ?",
        at("given_at", step)
    );
    let query = bound(warehouse.client().query(&sql), filter, until, seen);
    let asked = UnixMicros(filter.since.0.saturating_sub(LATE_DAYS * 86_400_000_000));
    let model = filter.model.clone().unwrap_or_default();
    fetch(query.bind(micros(asked)).bind(&model).bind(&model).bind(&model).bind(MOST)).await
}

/// Answers by step and target: how many, which share was refused, cut or empty, and how long they were.
async fn checks(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
    (step, until): (u64, UnixMicros),
) -> Result<Vec<Value>, Error> {
    let sql = format!(
        "SELECT {}, concat(provider, '/', model) AS target, count() AS answers, countIf(is_refused) AS refused,
            countIf(is_cut) AS cut, countIf(is_empty) AS empty, ifNull(avg(output_tokens), 0) AS output_tokens
        FROM answer_checks
        WHERE started_at >= fromUnixTimestamp64Micro(?) AND started_at < fromUnixTimestamp64Micro(?) AND {VISIBLE}
            AND (? = '' OR project = ?) AND (? = '' OR model = ? OR concat(provider, '/', model) = ?)
        GROUP BY at, target ORDER BY at DESC, target LIMIT ?",
        at("started_at", step)
    );
    let query = bound(warehouse.client().query(&sql), filter, until, seen);
    let model = filter.model.clone().unwrap_or_default();
    fetch(query.bind(&model).bind(&model).bind(&model).bind(MOST)).await
}
