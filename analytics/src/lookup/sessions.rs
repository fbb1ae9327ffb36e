//! Sessions: which there were, and one of them with its requests in their order. A list is found as that of requests: first
//! which sessions, in spans of time that grow, then what they come to.

use super::listing::{bind, conditions, starts};
use super::rows::{VISIBLE, VisibleProjects, fetch};
use crate::row_key::micros;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use clickhouse::query::Query;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::rows::{MOST_LISTED, RequestFilter, RowCursor, RowReport};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What a session comes to. The cost is that of its attempts, failed ones too.
const SUMS: &str = "session, any(session_source) AS source, project, min(received_at) AS first_at,
    max(ended_at) AS last_at, count() AS requests, sum(attempts) AS attempts, countIf(outcome != 'served') AS failed,
    groupUniqArray(10)(model) AS models, groupUniqArrayIf(10)(ifNull(user, ''), user IS NOT NULL) AS users, sum(total_us) AS total_us";

/// What its attempts consumed, and the tools that they asked for: 100 at the most.
const USED: &str = "sum(total_input_tokens) AS input_tokens, sum(cache_read_tokens) AS cache_read_tokens,
    sum(total_output_tokens) AS output_tokens, toString(sum(cost_usd)) AS cost_usd,
    arraySort(groupUniqArrayArray(100)(tools)) AS tools";

/// What names a session, and when its last request came.
#[derive(Row, Deserialize)]
struct SessionKey {
    project: String,
    session: String,
    last: i64,
}

/// A page of sessions, those with the latest requests first.
pub(super) async fn list(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
) -> Result<RowReport, Error> {
    let most = usize::try_from(filter.most()).unwrap_or(usize::MAX);
    let mut keys = Vec::new();
    for from in starts(filter) {
        keys = page(warehouse, filter, seen, from).await?;
        if keys.len() > most {
            break;
        }
    }
    let has_more = keys.len() > most;
    keys.truncate(most);
    let cursor = |key: &SessionKey| {
        let at = UnixMicros(u64::try_from(key.last).unwrap_or(0));
        RowCursor { at, id: format!("{}/{}", key.project, key.session) }.to_string()
    };
    let next = keys.last().filter(|_| has_more).map(cursor);
    Ok(RowReport { next, has_more, data: sums(warehouse, filter, &keys).await? })
}

async fn page(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
    from: UnixMicros,
) -> Result<Vec<SessionKey>, Error> {
    let behind = if filter.after.is_some() { "HAVING (last, concat(project, '/', session)) < (?, ?)" } else { "" };
    let sql = format!(
        "SELECT toString(project) AS project, session, max(toUnixTimestamp64Micro(received_at)) AS last FROM request_log
            WHERE session != '' AND {} GROUP BY project, session {behind}
            ORDER BY last DESC, concat(project, '/', session) DESC LIMIT ?",
        conditions(filter)
    );
    let mut query = bind(warehouse.client().query(&sql), filter, from, seen);
    if let Some(after) = &filter.after {
        query = query.bind(micros(after.at)).bind(&after.id);
    }
    query.bind(filter.most() + 1).fetch_all().await
}

/// What each of these sessions comes to, in their order.
async fn sums(warehouse: &Warehouse, filter: &RequestFilter, keys: &[SessionKey]) -> Result<Vec<Value>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {SUMS}, toString(sum(cost_usd)) AS cost_usd FROM requests
            WHERE received_at >= fromUnixTimestamp64Micro(?) AND received_at < fromUnixTimestamp64Micro(?)
            AND has(?, toString(project)) AND session IN ? GROUP BY project, session"
    );
    let projects: Vec<&str> = keys.iter().map(|key| key.project.as_str()).collect();
    let sessions: Vec<&str> = keys.iter().map(|key| key.session.as_str()).collect();
    let until = filter.until.unwrap_or_else(|| clock::now().after(std::time::Duration::from_secs(3_600)));
    let query = warehouse.client().query(&sql).bind(micros(filter.since)).bind(micros(until));
    let mut rows = fetch(query.bind(projects).bind(sessions)).await?;
    let place = |row: &Value| {
        let is = |key: &SessionKey| row["project"] == *key.project && row["session"] == *key.session;
        keys.iter().position(is)
    };
    rows.retain(|row| place(row).is_some());
    rows.sort_by_key(place);
    Ok(rows)
}

/// One session, and its requests in their order: `{"session", "requests"}`.
pub(super) async fn one(
    warehouse: &Warehouse,
    project: Option<&String>,
    id: &str,
    seen: &VisibleProjects,
) -> Result<RowReport, Error> {
    let Some(session) = SessionSpan::find(warehouse, project, id, seen).await? else { return Ok(RowReport::default()) };
    let sums = session.requests(warehouse, &format!("SELECT {SUMS}"), "GROUP BY project, session");
    let Some(mut found) = fetch(sums).await?.into_iter().next() else { return Ok(RowReport::default()) };
    let used = fetch(session.attempts(warehouse, &format!("SELECT {USED}"), "")).await?;
    if let (Some(found), Some(Value::Object(used))) = (found.as_object_mut(), used.into_iter().next()) {
        found.extend(used);
    }
    let listed = session.requests(warehouse, "SELECT *", "ORDER BY received_at LIMIT ?").bind(MOST_LISTED + 1);
    let mut requests = fetch(listed).await?;
    let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
    let has_more = requests.len() > most;
    requests.truncate(most);
    let each = format!("SELECT request_id, {USED}");
    with_tokens(&mut requests, fetch(session.attempts(warehouse, &each, "GROUP BY request_id LIMIT 100000")).await?);
    let data = vec![json!({ "session": found, "requests": requests })];
    Ok(RowReport { data, has_more, next: None })
}

/// Which session, and when it was: a ledger is read by project and time.
#[derive(Row, Deserialize)]
struct SessionSpan {
    project: String,
    session: String,
    /// When its first request came, and its last one ended, in microseconds.
    from: i64,
    until: i64,
}

impl SessionSpan {
    /// The requests of a session: bound to its project, name and times.
    const REQUESTS: &str = "project = ? AND session = ? AND received_at BETWEEN fromUnixTimestamp64Micro(?) AND fromUnixTimestamp64Micro(?)";

    /// What may lie between the clocks of an ingress and of a worker, in microseconds: an hour.
    const CLOCKS: i64 = 3_600_000_000;

    /// The session of this name; where several projects have one, that with the latest request.
    async fn find(
        warehouse: &Warehouse,
        project: Option<&String>,
        id: &str,
        seen: &VisibleProjects,
    ) -> Result<Option<Self>, Error> {
        let own = if project.is_some() { "AND project = ?" } else { "" };
        let sql = format!(
            "SELECT toString(project) AS project, session, min(toUnixTimestamp64Micro(received_at)) AS from,
                max(toUnixTimestamp64Micro(ended_at)) AS until
            FROM request_log WHERE session = ? AND {VISIBLE} {own} GROUP BY project, session ORDER BY until DESC LIMIT 1"
        );
        let mut query = seen.bind(warehouse.client().query(&sql).bind(id));
        if let Some(project) = project {
            query = query.bind(project);
        }
        query.fetch_optional().await
    }

    /// What is selected from its requests.
    fn requests(&self, warehouse: &Warehouse, select: &str, rest: &str) -> Query {
        let sql = format!("{select} FROM requests WHERE {} {rest}", Self::REQUESTS);
        self.bind(warehouse.client().query(&sql))
    }

    /// What is selected from the attempts of its requests.
    fn attempts(&self, warehouse: &Warehouse, select: &str, rest: &str) -> Query {
        let sql = format!(
            "{select} FROM attempts WHERE project = ?
                AND started_at BETWEEN fromUnixTimestamp64Micro(?) AND fromUnixTimestamp64Micro(?)
                AND request_id IN (SELECT request_id FROM request_log WHERE {}) {rest}",
            Self::REQUESTS
        );
        let query = warehouse.client().query(&sql).bind(&self.project);
        self.bind(query.bind(self.from - Self::CLOCKS).bind(self.until + Self::CLOCKS))
    }

    /// Binds the values of [`Self::REQUESTS`].
    fn bind(&self, query: Query) -> Query {
        query.bind(&self.project).bind(&self.session).bind(self.from).bind(self.until)
    }
}

/// Adds to each request what its attempts consumed and asked for; the cost stays that of the answer.
fn with_tokens(requests: &mut [Value], used: Vec<Value>) {
    let by_id: HashMap<String, Value> =
        used.into_iter().filter_map(|row| Some((row["request_id"].as_str()?.to_owned(), row))).collect();
    for request in requests {
        let used = request["request_id"].as_str().and_then(|id| by_id.get(id));
        for name in ["input_tokens", "cache_read_tokens", "output_tokens"] {
            request[name] = used.map_or(Value::Null, |used| used[name].clone());
        }
        request["tools"] = used.map_or_else(|| json!([]), |used| used["tools"].clone());
    }
}
