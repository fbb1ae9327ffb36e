//! Who spent what: the one report behind the command line, the admin API and the bus. Whole days and hours that are settled
//! come from `spend_by_day` and `spend_by_hour`, all else from `attempts`, so that the numbers are those of SQL on
//! `attempts`, to the picodollar. Times of day are UTC.

mod course;
mod dimension;
mod forecast;
mod read;
mod reprice;
mod settled;

pub(crate) use self::course::{amount, course, early};
use self::dimension::Dimension;
use self::read::{MOST_ROWS, read};
pub(crate) use self::read::{projects, time};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use jiff::Timestamp;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::ProjectId;
use penstock_schemas::spend::{
    DIMENSIONS, RepriceQuery, RepriceReport, RepricedRow, RepricedSums, SpendQuery, SpendReport, SpendRow, SpendSums,
};
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

impl Warehouse {
    /// Who spent what.
    ///
    /// # Errors
    /// When the query is wrong, or ClickHouse cannot be asked now.
    pub async fn spend(&self, query: &SpendQuery) -> Result<SpendReport, SpendError> {
        report(self, query).await
    }

    /// What spending would have been at the prices of another day.
    ///
    /// # Errors
    /// When the query is wrong, or ClickHouse cannot be asked now.
    pub async fn reprice(&self, query: &RepriceQuery) -> Result<RepriceReport, SpendError> {
        repriced(self, query).await
    }
}

/// The numbers that `query` asks for.
pub(crate) async fn report(warehouse: &Warehouse, query: &SpendQuery) -> Result<SpendReport, SpendError> {
    let dimensions = check(query)?;
    let query = &cut(query);
    let mut rows = within_limit(warehouse, read(warehouse, query, &dimensions)).await?;
    if dimensions.iter().any(Dimension::is_plural) {
        // What is in several rows counts once in the total.
        rows.retain(|row| row.is_total == 0);
        rows.extend(
            within_limit(warehouse, read(warehouse, query, &[])).await?.into_iter().filter(|row| row.is_total == 1),
        );
    }
    check_length(rows.len())?;
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
            report.rows.push(SpendRow { by: named(&query.by, values), sums });
        }
    }
    Ok(report)
}

/// What `query` would have cost at the prices of another day.
pub(crate) async fn repriced(warehouse: &Warehouse, query: &RepriceQuery) -> Result<RepriceReport, SpendError> {
    let dimensions = check(&query.spend)?;
    let spend = cut(&query.spend);
    let query = &RepriceQuery { spend, at: UnixMicros(query.at.0.min(LATEST)) };
    let mut rows = within_limit(warehouse, reprice::read(warehouse, query, &dimensions)).await?;
    if dimensions.iter().any(Dimension::is_plural) {
        rows.retain(|row| row.is_total == 0);
        let total = within_limit(warehouse, reprice::read(warehouse, query, &[])).await?;
        rows.extend(total.into_iter().filter(|row| row.is_total == 1));
    }
    check_length(rows.len())?;
    let zero = || "0".to_owned();
    let nothing =
        RepricedSums { cost_usd: zero(), repriced_usd: zero(), difference_usd: zero(), ..RepricedSums::default() };
    let SpendQuery { by, since, until, .. } = &query.spend;
    let mut report = RepriceReport {
        since: rfc3339(*since),
        until: rfc3339(*until),
        prices_of: rfc3339(query.at),
        by: by.clone(),
        rows: Vec::new(),
        total: nothing,
        unpriced: within_limit(warehouse, reprice::unpriced(warehouse, query)).await?,
    };
    for row in rows {
        let (is_total, values) = (row.is_total == 1, row.by.clone());
        if is_total {
            report.total = row.sums();
        } else if !by.is_empty() {
            report.rows.push(RepricedRow { by: named(by, values), sums: row.sums() });
        }
    }
    Ok(report)
}

/// Within what ClickHouse's times can say.
fn cut(query: &SpendQuery) -> SpendQuery {
    let cut = |time: UnixMicros| UnixMicros(time.0.min(LATEST));
    SpendQuery { since: cut(query.since), until: cut(query.until), ..query.clone() }
}

fn named(names: &[String], values: Vec<Option<String>>) -> Map<String, Value> {
    names.iter().cloned().zip(values.into_iter().map(|value| value.map_or(Value::Null, Value::String))).collect()
}

fn check_length(rows: usize) -> Result<(), SpendError> {
    if rows <= MOST_ROWS + 1 {
        return Ok(());
    }
    Err(SpendError::BadQuery(format!(
        "the report would have more than {MOST_ROWS} rows: break it down by less, or ask for a shorter time"
    )))
}

/// The answer, unless ClickHouse is away or too slow.
pub(crate) async fn within_limit<T>(
    warehouse: &Warehouse,
    answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, SpendError> {
    let trouble = match timeout(LIMIT, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => Trouble::judge(&error, warehouse.address()),
        Err(_) => Trouble::too_slow(warehouse.address()),
    };
    Err(SpendError::Unavailable(trouble.to_string()))
}

fn check(query: &SpendQuery) -> Result<Vec<Dimension<'_>>, SpendError> {
    if query.since >= query.until {
        return Err(SpendError::BadQuery("since must be earlier than until".to_owned()));
    }
    check_projects(&query.projects)?;
    parse(&query.by)
}

/// Names of projects go into SQL as they are.
pub(crate) fn check_projects(names: &[String]) -> Result<(), SpendError> {
    let wrong = names.iter().find_map(|name| ProjectId::parse(name.as_str()).err());
    wrong.map_or(Ok(()), |wrong| Err(SpendError::BadQuery(wrong.to_string())))
}

fn parse(by: &[String]) -> Result<Vec<Dimension<'_>>, SpendError> {
    let mut dimensions = Vec::new();
    for (i, name) in by.iter().enumerate() {
        if by[..i].contains(name) {
            return Err(SpendError::BadQuery(format!("`{name}` is named twice in by")));
        }
        dimensions.push(Dimension::parse(name).ok_or_else(|| {
            let allowed = DIMENSIONS.join(", ");
            SpendError::BadQuery(format!("spend cannot be broken down by `{name}`: use {allowed} or tag:NAME"))
        })?);
    }
    Ok(dimensions)
}

pub(crate) fn rfc3339(time: UnixMicros) -> String {
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
