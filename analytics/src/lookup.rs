//! Answers what is asked about single requests and sessions, from the ledger's tables. Knows who may see what only as the list
//! of projects that a question comes with.

use crate::row_key::micros;
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use clickhouse::query::Query;
use penstock_schemas::UnixMicros;
use penstock_schemas::name::RequestId;
use penstock_schemas::rows::{MOST_LISTED, RequestFilter, RowQuery, RowQuestion, RowReport};
use penstock_schemas::spend::ReportReply;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for ClickHouse; who asks over the bus waits a little longer.
const LIMIT: Duration = Duration::from_secs(25);

/// How long after the time in its id a request may be received or called, at the latest: a line of a batch waits for days.
const LATE: Duration = Duration::from_secs(32 * 24 * 3600);

/// How much earlier than that, when clocks differ.
const EARLY: u64 = 3_600_000_000;

/// Whether a row may be seen: bound to whether all may, and to the projects.
const VISIBLE: &str = "(? OR has(?, toString(project)))";

/// What a session comes to. The cost is that of its attempts, failed ones too.
const SUMS: &str = "session, any(session_source) AS source, project, min(received_at) AS first_at,
    max(ended_at) AS last_at, count() AS requests, sum(attempts) AS attempts, countIf(outcome != 'served') AS failed,
    groupUniqArray(10)(model) AS models, sum(total_us) AS total_us";

/// What its attempts consumed.
const USED: &str = "sum(total_input_tokens) AS input_tokens, sum(cache_read_tokens) AS cache_read_tokens,
    sum(total_output_tokens) AS output_tokens, toString(sum(cost_usd)) AS cost_usd";

/// The answer.
pub(crate) async fn answer(warehouse: &Warehouse, query: &RowQuery) -> ReportReply<RowReport> {
    let unavailable = |trouble: Trouble| ReportReply::Unavailable(trouble.to_string());
    match timeout(LIMIT, read(warehouse, query)).await {
        Ok(Ok(report)) => ReportReply::Report(report),
        Ok(Err(error)) => unavailable(Trouble::judge(&error, warehouse.address())),
        Err(_) => unavailable(Trouble::too_slow(warehouse.address())),
    }
}

async fn read(warehouse: &Warehouse, query: &RowQuery) -> Result<RowReport, Error> {
    let seen = Seen { all: query.projects.is_none(), projects: query.projects.clone().unwrap_or_default() };
    match &query.what {
        RowQuestion::Request(id) => one(warehouse, *id, &seen).await,
        RowQuestion::Requests(filter) => list(warehouse, filter, &seen).await,
        RowQuestion::Session(id) => session(warehouse, id, &seen).await,
        RowQuestion::Sessions(since) => sessions(warehouse, *since, &seen).await,
        RowQuestion::CatchUp => Ok(RowReport { data: Vec::new(), has_more: false }),
    }
}

/// What the asker may see.
struct Seen {
    all: bool,
    projects: Vec<String>,
}

impl Seen {
    fn bind(&self, query: Query) -> Query {
        query.bind(self.all).bind(&self.projects)
    }
}

async fn one(warehouse: &Warehouse, id: RequestId, seen: &Seen) -> Result<RowReport, Error> {
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
        return Ok(RowReport { data: Vec::new(), has_more: false });
    }
    let data = vec![json!({ "request": requests.first(), "attempts": attempts, "scores": scores })];
    Ok(RowReport { data, has_more: false })
}

async fn list(warehouse: &Warehouse, filter: &RequestFilter, seen: &Seen) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT * FROM requests WHERE received_at >= fromUnixTimestamp64Micro(?) AND {VISIBLE}
            AND (? = '' OR project = ?) AND (? = '' OR model = ? OR target = ?)
            AND (? = '' OR (outcome != 'served' AND (? = 'any' OR failure = ?)))
        ORDER BY received_at DESC LIMIT ?"
    );
    let query = seen.bind(warehouse.client().query(&sql).bind(micros(filter.since)));
    let text = |wanted: &Option<String>| wanted.clone().unwrap_or_default();
    let (project, model, failure) = (text(&filter.project), text(&filter.model), text(&filter.failure));
    let query = query.bind(&project).bind(&project).bind(&model).bind(&model).bind(&model);
    let query = query.bind(&failure).bind(&failure).bind(&failure);
    bounded(fetch(query.bind(MOST_LISTED + 1)).await?)
}

async fn session(warehouse: &Warehouse, id: &str, seen: &Seen) -> Result<RowReport, Error> {
    let sums = format!("SELECT {SUMS} FROM requests WHERE session = ? AND {VISIBLE} GROUP BY project, session");
    let sql = format!("SELECT * FROM ({sums}) ORDER BY last_at DESC LIMIT 1");
    let found = fetch(seen.bind(warehouse.client().query(&sql).bind(id))).await?;
    let Some(mut found) = found.into_iter().next() else {
        return Ok(RowReport { data: Vec::new(), has_more: false });
    };
    let project = found["project"].as_str().unwrap_or_default().to_owned();
    let used = format!(
        "SELECT {USED} FROM attempts WHERE project = ? AND request_id IN
            (SELECT request_id FROM requests WHERE session = ? AND project = ?)"
    );
    let used = fetch(warehouse.client().query(&used).bind(&project).bind(id).bind(&project)).await?;
    if let (Some(found), Some(Value::Object(used))) = (found.as_object_mut(), used.into_iter().next()) {
        found.extend(used);
    }
    let sql = "SELECT * FROM requests WHERE session = ? AND project = ? ORDER BY received_at LIMIT ?";
    let query = warehouse.client().query(sql).bind(id).bind(&project).bind(MOST_LISTED + 1);
    let RowReport { data, has_more } = bounded(fetch(query).await?)?;
    Ok(RowReport { data: vec![json!({ "session": found, "requests": data })], has_more })
}

async fn sessions(warehouse: &Warehouse, since: UnixMicros, seen: &Seen) -> Result<RowReport, Error> {
    let sql = format!(
        "SELECT * FROM (
            SELECT {SUMS}, toString(sum(cost_usd)) AS cost_usd FROM requests
            WHERE session != '' AND received_at >= fromUnixTimestamp64Micro(?) AND {VISIBLE} GROUP BY project, session
        ) ORDER BY last_at DESC LIMIT ?"
    );
    let query = seen.bind(warehouse.client().query(&sql).bind(micros(since)));
    bounded(fetch(query.bind(MOST_LISTED + 1)).await?)
}

fn bounded(mut data: Vec<Value>) -> Result<RowReport, Error> {
    let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
    let has_more = data.len() > most;
    data.truncate(most);
    Ok(RowReport { data, has_more })
}

/// The rows of a query, as objects.
async fn fetch(query: Query) -> Result<Vec<Value>, Error> {
    let query = query.with_setting("output_format_json_quote_64bit_integers", "0");
    let query = query.with_setting("output_format_json_quote_decimals", "1");
    let bytes = query.fetch_bytes("JSONEachRow")?.collect().await?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| Error::Custom(error.to_string()))).collect()
}
