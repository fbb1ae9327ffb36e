//! Answers what is asked about single requests and sessions, from the ledger's tables. Knows who may see what only as the list
//! of projects that a question comes with.

mod drift;
mod labels;
mod listing;
mod quality;
mod rows;
mod sessions;
mod trials;

pub(crate) use drift::{DriftDay, NewVersion, date, read_day};

use crate::row_key::micros;
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::RequestId;
use penstock_schemas::rows::{MOST_LISTED, RequestFilter, RowQuery, RowQuestion, RowReport};
use penstock_schemas::spend::ReportReply;
use rows::{VISIBLE, VisibleProjects, fetch};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for ClickHouse; who asks over the bus waits a little longer.
const LIMIT: Duration = Duration::from_secs(25);

/// How long after the time in its id a request may be received or called, at the latest: a line of a batch waits for days.
const LATE: Duration = Duration::from_secs(32 * 24 * 3600);

/// How much earlier than that, when clocks differ.
const EARLY: u64 = 3_600_000_000;

/// The answer.
pub(crate) async fn answer(warehouse: &Warehouse, query: &RowQuery, drift_alarms: f64) -> ReportReply<RowReport> {
    let unavailable = |trouble: Trouble| ReportReply::Unavailable(trouble.to_string());
    match timeout(LIMIT, read(warehouse, query, drift_alarms)).await {
        Ok(Ok(report)) => ReportReply::Report(report),
        Ok(Err(error)) => unavailable(Trouble::judge(&error, warehouse.address())),
        Err(_) => unavailable(Trouble::too_slow(warehouse.address())),
    }
}

async fn read(warehouse: &Warehouse, query: &RowQuery, drift_alarms: f64) -> Result<RowReport, Error> {
    let seen = VisibleProjects { all: query.projects.is_none(), projects: query.projects.clone().unwrap_or_default() };
    match &query.what {
        RowQuestion::Request(id) => one(warehouse, *id, &seen).await,
        RowQuestion::Requests(filter) => listing::requests(warehouse, filter, &seen).await,
        RowQuestion::Session(id) => sessions::one(warehouse, None, id, &seen).await,
        RowQuestion::ProjectSession { project, id } => sessions::one(warehouse, Some(project), id, &seen).await,
        RowQuestion::Sessions(since) => {
            let filter = RequestFilter { limit: Some(MOST_LISTED), ..RequestFilter::since(*since) };
            sessions::list(warehouse, &filter, &seen).await
        }
        RowQuestion::SessionList(filter) => sessions::list(warehouse, filter, &seen).await,
        RowQuestion::Quality(filter) => quality::report(warehouse, filter, &seen).await,
        RowQuestion::Drift { day, project } => {
            drift::report(warehouse, (*day, project.as_deref()), &seen, drift_alarms).await
        }
        RowQuestion::CatchUp => Ok(RowReport::default()),
        RowQuestion::Ratings(score) => trials::ratings(warehouse, score, &seen).await,
        RowQuestion::Lengths => trials::lengths(warehouse, &seen).await,
        RowQuestion::LabelCount(page) => labels::count(warehouse, page, &seen).await,
        RowQuestion::Labels(page) => labels::list(warehouse, page, &seen).await,
        RowQuestion::Experiment { name, score } => trials::experiment(warehouse, (name, score), &seen).await,
    }
}

async fn one(warehouse: &Warehouse, id: RequestId, seen: &VisibleProjects) -> Result<RowReport, Error> {
    // The key of the tables begins with the time: an id that says it is found without reading all of them.
    let begun = id.0.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1000))
    });
    let from = micros(UnixMicros(begun.saturating_sub(EARLY)));
    let to = if begun == 0 { i64::MAX / 2 } else { micros(UnixMicros(begun).after(LATE)) };
    let rows = async |table: &str, time: &str, order: &str| {
        let sql = format!(
            "SELECT * FROM {table} WHERE request_id = toUUID(?) AND {time} >= fromUnixTimestamp64Micro(?)
                AND {time} <= fromUnixTimestamp64Micro(?) AND {VISIBLE} ORDER BY {order} LIMIT ?"
        );
        let query = warehouse.client().query(&sql).bind(id.to_string()).bind(from).bind(to);
        fetch(seen.bind(query).bind(MOST_LISTED)).await
    };
    let requests = rows("requests", "received_at", "received_at").await?;
    let attempts = rows("attempts", "started_at", "number, started_at").await?;
    let sql = format!("SELECT * FROM scores WHERE request_id = toUUID(?) AND {VISIBLE} ORDER BY at LIMIT ?");
    let scores = warehouse.client().query(&sql).bind(id.to_string());
    let scores = fetch(seen.bind(scores).bind(MOST_LISTED)).await?;
    if requests.is_empty() && attempts.is_empty() {
        return Ok(RowReport::default());
    }
    let bodies = rows("bodies", "received_at", "received_at").await?;
    let data = vec![json!({
        "request": requests.first(), "attempts": attempts, "scores": scores, "body": bodies.first(),
    })];
    Ok(RowReport { data, ..RowReport::default() })
}
