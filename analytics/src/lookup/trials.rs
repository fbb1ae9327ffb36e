//! What routing asks of the ledger: how good each target's answers were found, and what the arms of an experiment came to.

use super::rows::{Seen, VISIBLE, fetch};
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use penstock_schemas::rows::{MOST_LISTED, RowReport};

/// Days of scores and requests that count.
const RATED: u32 = 30;

/// The means of a score. What is worth less than nothing or more than all counts as that.
pub(super) async fn ratings(warehouse: &Warehouse, score: &str, seen: &Seen) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT target, count() AS scores, avg(least(1, greatest(0, number))) AS mean
        FROM (SELECT request_id, number FROM scores
            WHERE name = ? AND number IS NOT NULL AND at >= now() - INTERVAL {RATED} DAY AND {VISIBLE}) AS scored
        INNER JOIN (SELECT request_id, target FROM requests
            WHERE received_at >= now() - INTERVAL {RATED} DAY AND target IS NOT NULL) AS asked USING (request_id)
        GROUP BY target ORDER BY scores DESC LIMIT ?"
    );
    let query = seen.bind(warehouse.client().query(&sql).bind(score)).bind(MOST_LISTED);
    Ok(RowReport { data: fetch(query).await?, ..RowReport::default() })
}
