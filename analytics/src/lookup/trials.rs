//! What routing asks of the ledger: how good each target's answers were found and how long they were, and what the arms of an
//! experiment came to.

use super::rows::{VISIBLE, VisibleProjects, fetch};
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use penstock_schemas::rows::{MOST_LISTED, RowReport};

/// Days of scores and requests that count.
const RATED: u32 = 30;

/// Days of answers whose lengths count: models change, and so do those who ask.
const MEASURED: u32 = 7;

/// The means of a score. What is worth less than nothing or more than all counts as that.
pub(super) async fn ratings(warehouse: &Warehouse, score: &str, seen: &VisibleProjects) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT target, count() AS scores, avg(least(1, greatest(0, number))) AS mean
        FROM (SELECT request_id, project, number FROM scores
            WHERE name = ? AND number IS NOT NULL AND at >= now() - INTERVAL {RATED} DAY AND {VISIBLE}) AS scored
        INNER JOIN (SELECT request_id, project, target FROM requests
            WHERE received_at >= now() - INTERVAL {RATED} DAY AND target IS NOT NULL) AS asked USING (request_id, project)
        GROUP BY target ORDER BY scores DESC LIMIT ?"
    );
    let query = seen.bind(warehouse.client().query(&sql).bind(score)).bind(MOST_LISTED);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}

/// The lengths of answers, in tokens, by target and project.
pub(super) async fn lengths(warehouse: &Warehouse, seen: &VisibleProjects) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT concat(toString(provider), '/', toString(model)) AS target, toString(project) AS project, count() AS answers,
            avg(total_output_tokens) AS tokens
        FROM attempts
        WHERE started_at >= now() - INTERVAL {MEASURED} DAY AND outcome = 'served' AND total_output_tokens > 0
            AND operation IN ('chat', 'completions') AND {VISIBLE}
        GROUP BY target, project ORDER BY answers DESC, target, project LIMIT ?"
    );
    let query = seen.bind(warehouse.client().query(&sql)).bind(MOST_LISTED);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}

/// The sums of an experiment: of each unit, which is who is kept in one arm, the means of its requests; of each arm, the sums of
/// these and of their squares. What we refuse ourselves, for a budget, is no failure of an arm.
pub(super) async fn experiment(
    warehouse: &Warehouse,
    (name, score): (&str, &str),
    seen: &VisibleProjects,
) -> Result<RowReport, Error> {
    let sums = ["errors", "cost", "latency", "score"].map(|figure| {
        format!(
            "count({figure}) AS {figure}_units, ifNull(sum({figure}), 0) AS {figure}_sum,
            ifNull(sum({figure} * {figure}), 0) AS {figure}_squares"
        )
    });
    let sql = format!(
        "SELECT arm, sum(asked) AS requests, count() AS units, {}
        FROM (
            SELECT arm, unit, count() AS asked, avg(is_failed) AS errors, avg(usd) AS cost, avg(ms) AS latency, avg(mark) AS score
            FROM (
                SELECT request_id, project, arm, concat(toString(project), ' ', coalesce(end_user, user, nullIf(session, ''), toString(request_id))) AS unit,
                    toFloat64(outcome IN ('refused', 'broken') AND failure IS NOT NULL) AS is_failed,
                    toFloat64(cost_usd) AS usd, if(outcome = 'served', total_us / 1000, NULL) AS ms
                FROM requests WHERE experiment = ? AND received_at >= now() - INTERVAL {RATED} DAY AND {VISIBLE}
            ) AS asked
            LEFT JOIN (
                SELECT request_id, project, toNullable(avg(number)) AS mark FROM scores
                WHERE name = ? AND number IS NOT NULL AND at >= now() - INTERVAL {RATED} DAY GROUP BY request_id, project
            ) AS marked USING (request_id, project)
            GROUP BY arm, unit
        ) GROUP BY arm ORDER BY arm LIMIT ?",
        sums.join(", ")
    );
    let query = seen.bind(warehouse.client().query(&sql).bind(name)).bind(score).bind(MOST_LISTED);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}
