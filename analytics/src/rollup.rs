//! Counts the hours of `spend_by_hour`, each anew from `attempts` after it was touched, and adds them up to the days of
//! `spend_by_day`. Knows nothing of reports: these find out by themselves which hours and days they may read there.

use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

/// Within this time after `inserted_at` a row has become visible, or it never will: an insert that takes longer was ended
/// long before. An hour that was counted sooner after its last row may have missed it, and is counted again.
pub(crate) const COMMIT: Duration = Duration::from_secs(120);

/// Wait between two looks, if nothing is left to do.
const EVERY: Duration = Duration::from_secs(60);

/// Of the time, counting takes one part in so many.
const SHARE: u32 = 5;

/// Hours that are counted together.
const HOURS: usize = 24;

/// Days that are added up together.
const DAYS: usize = 7;

/// The longest that counting them may take: a ClickHouse that is gone without a word would be waited for for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// The hours that were touched after they were counted, but not just now; the newest first. Reads a few rows per part.
const DUE: &str = "
SELECT toUnixTimestamp(hour) AS due
FROM (
    SELECT toStartOfHour(started_at) AS hour, max(inserted_at) AS touched FROM attempt_log GROUP BY hour
) AS log
LEFT JOIN (SELECT hour, max(counted_at) AS counted FROM spend_hours GROUP BY hour) AS done USING hour
WHERE touched <= fromUnixTimestamp64Micro(toInt64(?)) - toIntervalSecond(?) AND counted <= touched + toIntervalSecond(?)
ORDER BY due DESC LIMIT ?";

/// Of some hours, those with an attempt that may still end: their cost changes without a new row.
const RUNNING: &str = "
SELECT DISTINCT toUnixTimestamp(toStartOfHour(started_at))
FROM attempts
WHERE started_at >= fromUnixTimestamp(?) AND started_at < fromUnixTimestamp(?) + 3600
  AND toUnixTimestamp(toStartOfHour(started_at)) IN ? AND running";

/// A request that is served is over, and later attempts of a request have higher numbers: so an attempt that was served
/// and is the first is its request's only one, and can be counted without remembering the request. (Attempts of a
/// request that a dead worker took with it may have the same number; hence the look around.)
const COUNT: &str = "
INSERT INTO spend_by_hour
SELECT
    toStartOfHour(started_at) AS hour, project, key_id, provider, model, ifNull(virtual_model, '') AS virtual_model, operation,
    fromUnixTimestamp64Micro(toInt64(?)) AS counted_at,
    count() AS attempts,
    countIf(is_sole) AS sole,
    uniqExactStateIf(request_id, NOT is_sole) AS requests,
    sum(ifNull(total_input_tokens, 0)) AS input_tokens,
    sum(ifNull(total_output_tokens, 0)) AS output_tokens,
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd,
    countIf(is_unknown) AS unknown
FROM (
    SELECT *, number = 1 AND outcome = 'served' AND request_id NOT IN (
        SELECT request_id FROM attempts
        WHERE outcome != 'served'
          AND started_at >= fromUnixTimestamp(?) - 3600 AND started_at < fromUnixTimestamp(?) + 7200
    ) AS is_sole,
    notEmpty(unpriced_usage) OR (cost_usd IS NULL AND (charged_usd > 0 OR outcome = 'served')) AS is_unknown
    FROM attempts
    WHERE started_at >= fromUnixTimestamp(?) AND started_at < fromUnixTimestamp(?) + 3600
      AND toUnixTimestamp(toStartOfHour(started_at)) IN ?
)
GROUP BY hour, project, key_id, provider, model, virtual_model, operation";

const DONE: &str = "
INSERT INTO spend_hours
SELECT fromUnixTimestamp(arrayJoin(?)), fromUnixTimestamp64Micro(toInt64(?))";

/// The days whose hours are all counted as they are now, and one of them after the day was; the newest first.
const DAYS_DUE: &str = "
SELECT toUnixTimestamp(toDateTime(day, 'UTC')) AS due
FROM (
    SELECT toDate(hour) AS day, max(counted) AS newest, min(counted > touched + toIntervalSecond(?)) AS is_settled
    FROM (SELECT toStartOfHour(started_at) AS hour, max(inserted_at) AS touched FROM attempt_log GROUP BY hour) AS log
    LEFT JOIN (SELECT hour, max(counted_at) AS counted FROM spend_hours GROUP BY hour) AS done USING hour
    GROUP BY day
) AS hours
LEFT JOIN (SELECT day, max(counted_at) AS counted FROM spend_days GROUP BY day) AS days USING day
WHERE is_settled AND counted <= newest
ORDER BY due DESC LIMIT ?";

const ADD_UP: &str = "
INSERT INTO spend_by_day
SELECT
    toDate(hour) AS day, project, key_id, provider, model, virtual_model, operation,
    fromUnixTimestamp64Micro(toInt64(?)) AS counted_at,
    sum(attempts), sum(sole), uniqExactMergeState(requests), sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(unknown)
FROM spend_by_hour FINAL
WHERE hour >= fromUnixTimestamp(?) AND hour < fromUnixTimestamp(?) + 86400
  AND toUnixTimestamp(toDateTime(toDate(hour), 'UTC')) IN ?
GROUP BY day, project, key_id, provider, model, virtual_model, operation";

const ADDED_UP: &str = "
INSERT INTO spend_days
SELECT toDate(fromUnixTimestamp(arrayJoin(?)), 'UTC'), fromUnixTimestamp64Micro(toInt64(?))";

/// Counts for ever.
pub(crate) async fn run(warehouse: Warehouse) {
    loop {
        let begun = Instant::now();
        let counted = match timeout(LONGEST, count(&warehouse)).await {
            Ok(Ok(counted)) => counted,
            // An outage is reported by the ledger.
            Ok(Err(error)) => {
                debug!(reason = %Trouble::judge(&error, warehouse.address()), "hours could not be counted");
                0
            }
            Err(_) => 0,
        };
        let least = if counted > 0 { Duration::ZERO } else { EVERY };
        sleep(least.max(begun.elapsed() * (SHARE - 1))).await;
    }
}

/// Counts the hours and days that are due, some of them; says how many.
async fn count(warehouse: &Warehouse) -> Result<usize, Error> {
    Ok(count_hours(warehouse).await? + count_days(warehouse).await?)
}

/// ClickHouse's clock is the only one that matters here. It is read before anything else: what is inserted from then on
/// counts as later than this count.
async fn now(warehouse: &Warehouse) -> Result<i64, Error> {
    warehouse.client().query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one().await
}

async fn count_hours(warehouse: &Warehouse) -> Result<usize, Error> {
    let client = warehouse.client();
    let now = now(warehouse).await?;
    let commit = COMMIT.as_secs();
    let due = client.query(DUE).bind(now).bind(commit).bind(commit).bind(HOURS);
    let due: Vec<u32> = due.fetch_all().await?;
    let (Some(last), Some(first)) = (due.first().copied(), due.last().copied()) else { return Ok(0) };
    let running = client.query(RUNNING).bind(first).bind(last).bind(&due);
    let running: Vec<u32> = running.fetch_all().await?;
    let hours: Vec<u32> = due.into_iter().filter(|hour| !running.contains(hour)).collect();
    if hours.is_empty() {
        return Ok(0);
    }
    let insert = client.query(COUNT).bind(now).bind(first).bind(last).bind(first).bind(last).bind(&hours);
    insert.execute().await?;
    client.query(DONE).bind(&hours).bind(now).execute().await?;
    debug!(hours = hours.len(), "counted");
    Ok(hours.len())
}

async fn count_days(warehouse: &Warehouse) -> Result<usize, Error> {
    let client = warehouse.client();
    let now = now(warehouse).await?;
    let days: Vec<u32> = client.query(DAYS_DUE).bind(COMMIT.as_secs()).bind(DAYS).fetch_all().await?;
    let (Some(last), Some(first)) = (days.first(), days.last()) else { return Ok(0) };
    client.query(ADD_UP).bind(now).bind(first).bind(last).bind(&days).execute().await?;
    client.query(ADDED_UP).bind(&days).bind(now).execute().await?;
    debug!(days = days.len(), "added up");
    Ok(days.len())
}
