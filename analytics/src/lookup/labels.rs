//! The scored answers that heads learn from, and how many there are. Knows nothing of heads.

use super::rows::{VISIBLE, VisibleProjects, fetch};
use crate::row_key::micros;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use penstock_schemas::rows::{LabelPage, MOST_LISTED, RowReport};

/// Days of scores that count.
const DAYS: u32 = 30;

/// The latest labels of one project that are listed: callers name their users, so only projects can have shares.
const OF_PROJECT: u32 = 2_000;

/// How many there are, and the latest: `{"labels", "newest"}`.
pub(super) async fn count(warehouse: &Warehouse, page: &LabelPage, seen: &VisibleProjects) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT count() AS labels, ifNull(max(toUnixTimestamp64Micro(scored_at)), 0) AS newest FROM ({})",
        joined("request_id")
    );
    let query = bound(warehouse.client().query(&sql), page, seen);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}

/// The latest of them: `{"target", "score", "unit", "propensity", "features", "at"}`.
pub(super) async fn list(warehouse: &Warehouse, page: &LabelPage, seen: &VisibleProjects) -> Result<RowReport, Error> {
    let columns = "project, target, score, unit, toUnixTimestamp64Micro(received_at) AS at,
        JSONExtract(route, 'features', 'Array(Float32)') AS features,
        arrayFirst(one -> JSONExtractString(one, 'target') = target, JSONExtractArrayRaw(route, 'candidates')) AS candidate,
        JSONExtractFloat(candidate, 'propensity') AS propensity";
    // Which labels are a project's latest does not depend on the page.
    let sql = format!(
        "SELECT target, score, unit, at, features, propensity
        FROM (SELECT * FROM ({}) ORDER BY at DESC LIMIT {OF_PROJECT} BY project)
        WHERE at < ? ORDER BY at DESC LIMIT ?",
        joined(columns)
    );
    let before = page.before.map_or(i64::MAX, micros);
    let query = bound(warehouse.client().query(&sql), page, seen).bind(before).bind(MOST_LISTED);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}

/// Answers that `auto` has chosen, each with the mean of its scores, which its own project gave. Answers of the cache are not the target's at that time.
fn joined(columns: &str) -> String {
    format!(
        "SELECT {columns}, scored_at FROM (
            SELECT request_id, project, avg(least(1, greatest(0, number))) AS score, max(at) AS scored_at FROM scores
            WHERE name = ? AND number IS NOT NULL AND at >= now() - INTERVAL {DAYS} DAY AND {VISIBLE} GROUP BY request_id, project
        ) AS scored
        INNER JOIN (
            SELECT request_id, project, received_at, assumeNotNull(target) AS target, route,
                concat(toString(project), ' ', coalesce(user, end_user, toString(key_id))) AS unit
            FROM requests
            WHERE model = ? AND strategy = 'auto' AND target IS NOT NULL AND outcome = 'served' AND cache IN ('off', 'miss')
                AND received_at >= now() - INTERVAL {DAYS} DAY
                AND received_at >= fromUnixTimestamp64Micro(?)
        ) AS asked USING (request_id, project)"
    )
}

fn bound(query: clickhouse::query::Query, page: &LabelPage, seen: &VisibleProjects) -> clickhouse::query::Query {
    seen.bind(query.bind(&page.score)).bind(&page.model).bind(micros(page.since))
}
