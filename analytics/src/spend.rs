//! Who spent what: the one report behind the command line, the admin API and the bus. Whole hours that are settled come
//! from `spend_by_hour`, all else from `attempts`, so that the numbers are those of SQL on `attempts`, to the picodollar.
//! Times of day are UTC.

mod dimension;
mod read;

use self::dimension::Dimension;
use self::read::{MOST_ROWS, read};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use jiff::Timestamp;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::ProjectId;
use penstock_schemas::spend::{DIMENSIONS, SpendQuery, SpendReport, SpendRow, SpendSums};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for ClickHouse; who asks over the bus waits a little longer.
const LIMIT: Duration = Duration::from_secs(25);

/// The year 2100, in microseconds: what a time is cut down to. ClickHouse's `DateTime` ends soon after.
const LATEST: u64 = 4_102_444_800_000_000;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendError {
    /// The query is wrong: what and how to mend it.
    #[error("{0}")]
    BadQuery(String),
    /// ClickHouse cannot be asked now.
    #[error("{0}")]
    Unavailable(String),
}

/// The numbers that `query` asks for.
pub(crate) async fn report(warehouse: &Warehouse, query: &SpendQuery) -> Result<SpendReport, SpendError> {
    let dimensions = check(query)?;
    let cut = |time: UnixMicros| UnixMicros(time.0.min(LATEST));
    let query = &SpendQuery { since: cut(query.since), until: cut(query.until), ..query.clone() };
    let unavailable = |trouble: Trouble| SpendError::Unavailable(trouble.to_string());
    let rows = timeout(LIMIT, read(warehouse, query, &dimensions)).await;
    let rows = rows.map_err(|_| unavailable(Trouble::too_slow(warehouse.address())))?;
    let rows = rows.map_err(|error| unavailable(Trouble::judge(&error, warehouse.address())))?;
    if rows.len() > MOST_ROWS + 1 {
        return Err(SpendError::BadQuery(format!(
            "the report would have more than {MOST_ROWS} rows: break it down by less, or ask for a shorter time"
        )));
    }
    let nothing = SpendSums { cost_usd: "0".to_owned(), ..SpendSums::default() };
    let mut report = SpendReport {
        since: rfc3339(query.since),
        until: rfc3339(query.until),
        by: query.by.clone(),
        rows: Vec::new(),
        total: nothing,
    };
    for row in rows {
        let (is_total, values) = (row.is_total == 1, row.by.clone());
        let sums = row.sums();
        if is_total {
            report.total = sums;
        } else if !query.by.is_empty() {
            let values = values.into_iter().map(|value| value.map_or(Value::Null, Value::String));
            let by: Map<String, Value> = query.by.iter().cloned().zip(values).collect();
            report.rows.push(SpendRow { by, sums });
        }
    }
    Ok(report)
}

fn check(query: &SpendQuery) -> Result<Vec<Dimension<'_>>, SpendError> {
    if query.since >= query.until {
        return Err(SpendError::BadQuery("since must be earlier than until".to_owned()));
    }
    if let Some(wrong) = query.projects.iter().find_map(|name| ProjectId::parse(name.as_str()).err()) {
        return Err(SpendError::BadQuery(wrong.to_string()));
    }
    let mut dimensions = Vec::new();
    for (i, name) in query.by.iter().enumerate() {
        if query.by[..i].contains(name) {
            return Err(SpendError::BadQuery(format!("`{name}` is named twice in by")));
        }
        dimensions.push(Dimension::parse(name).ok_or_else(|| {
            let allowed = DIMENSIONS.join(", ");
            SpendError::BadQuery(format!("spend cannot be broken down by `{name}`: use {allowed} or tag:NAME"))
        })?);
    }
    Ok(dimensions)
}

fn rfc3339(time: UnixMicros) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_query_is_told_what_is_allowed() {
        let query = |by: &[&str], since, until| SpendQuery {
            by: by.iter().map(|name| (*name).to_owned()).collect(),
            since: UnixMicros(since),
            until: UnixMicros(until),
            projects: Vec::new(),
        };
        for (query, part) in [
            (query(&["modle"], 0, 1), "`modle`: use project, user, "),
            (query(&["tag:"], 0, 1), "or tag:NAME"),
            (query(&["model", "model"], 0, 1), "named twice"),
            (query(&[], 1, 1), "since must be earlier"),
        ] {
            let Err(SpendError::BadQuery(message)) = check(&query) else { panic!("{query:?} was taken") };
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn every_dimension_of_the_contract_is_known() {
        for name in DIMENSIONS {
            assert!(Dimension::parse(name).is_some(), "{name}");
        }
    }
}
