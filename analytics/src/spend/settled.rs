//! Which whole hours and days of a report can be read from where they were counted. Knows no report.

use crate::rollup::COMMIT;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use penstock_schemas::spend::SpendQuery;

/// With more unsettled hours than this, all is read from `attempts`.
const MOST_UNSETTLED: usize = 2_000;

/// Days that are read from `spend_by_day`, at the most; the newest.
const MOST_DAYS: usize = 4_000;

/// In seconds.
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// In microseconds.
const SECOND: u64 = 1_000_000;

/// Whole hours of a report, and whole days of these; times in seconds.
#[derive(Default)]
pub(super) struct Settled {
    /// The whole hours of the report; none when both are the same.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Of these, the ones that `spend_by_hour` does not have, or not as they are now.
    pub(super) unsettled: Vec<u32>,
    /// The days of these hours that `spend_by_day` has as they are now.
    pub(super) days: Vec<u32>,
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

/// A day is settled when all its hours are, and it was added up after the last of them was counted.
const DAYS: &str = "
SELECT toUnixTimestamp(toDateTime(day, 'UTC')) AS at
FROM (
    SELECT toDate(hour) AS day, max(counted_at) AS newest FROM spend_hours
    WHERE hour >= fromUnixTimestamp(?) AND hour < fromUnixTimestamp(?) GROUP BY day
) AS hours
INNER JOIN (SELECT day, max(counted_at) AS counted FROM spend_days GROUP BY day) AS days USING day
WHERE counted > newest ORDER BY at DESC LIMIT ?";

impl Settled {
    /// What is settled within the time of `query`. `of_days`: whether days are of any use.
    pub(super) async fn within(warehouse: &Warehouse, query: &SpendQuery, of_days: bool) -> Result<Self, Error> {
        let (first, last) =
            (query.since.0.div_ceil(SECOND).next_multiple_of(HOUR), query.until.0 / SECOND / HOUR * HOUR);
        if first >= last {
            return Ok(Self::default());
        }
        let unsettled = warehouse.client().query(UNSETTLED).bind(first).bind(last).bind(first).bind(last);
        let unsettled: Vec<u32> = unsettled.bind(COMMIT.as_secs()).bind(MOST_UNSETTLED + 1).fetch_all().await?;
        if unsettled.len() > MOST_UNSETTLED {
            return Ok(Self::default());
        }
        let (first_day, end) = (first.next_multiple_of(DAY), last / DAY * DAY);
        if !of_days || first_day >= end {
            return Ok(Self { first, last, unsettled, days: Vec::new() });
        }
        let days = warehouse.client().query(DAYS).bind(first_day).bind(end).bind(MOST_DAYS);
        let mut days: Vec<u32> = days.fetch_all().await?;
        days.retain(|day| !unsettled.iter().any(|hour| u64::from(*hour) / DAY == u64::from(*day) / DAY));
        Ok(Self { first, last, unsettled, days })
    }

    /// Whether nothing of the report was counted.
    pub(super) fn is_nothing(&self) -> bool {
        self.first == self.last
    }
}
