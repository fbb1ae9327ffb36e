//! Lists of requests, the newest first, page by page. A page is found in two steps: which requests, from the few columns that
//! the filter names, in spans of time that grow until there are enough; then their whole rows, by the table's own key. Nothing
//! else is read, however many rows the ledger has.

use super::rows::{VISIBLE, VisibleProjects, fetch};
use crate::row_key::micros;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use clickhouse::query::Query;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::rows::{RequestFilter, RowCursor, RowReport};
use serde::Deserialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// How far back rows are looked for, in seconds: in the next span only when the one before had too few.
const SPANS: [u64; 3] = [15 * 60, 6 * 3_600, 4 * 86_400];

/// What names a row of `request_log`.
#[derive(Row, Deserialize)]
struct RequestKey {
    received: i64,
    #[serde(with = "clickhouse::serde::uuid")]
    request_id: Uuid,
    project: String,
}

/// A page of requests.
pub(super) async fn requests(
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
    let last = keys.last().filter(|_| has_more);
    let cursor = |key: &RequestKey| RowCursor { at: at(key), id: key.request_id.to_string() }.to_string();
    Ok(RowReport { next: last.map(cursor), has_more, data: whole(warehouse, &keys).await? })
}

fn at(key: &RequestKey) -> UnixMicros {
    UnixMicros(u64::try_from(key.received).unwrap_or(0))
}

/// From when on rows are looked for: earlier each time, and last from where the filter begins.
pub(super) fn starts(filter: &RequestFilter) -> Vec<UnixMicros> {
    let end = filter.after.as_ref().map(|after| after.at).or(filter.until).unwrap_or_else(clock::now);
    let spans = SPANS.iter().map(|span| UnixMicros(end.0.saturating_sub(span * 1_000_000)));
    let mut starts: Vec<UnixMicros> = spans.filter(|start| *start > filter.since).collect();
    starts.push(filter.since);
    starts
}

/// The conditions of a filter but for its cursor, and `?` where its values go: see [`bind`].
pub(super) fn conditions(filter: &RequestFilter) -> String {
    let mut text = format!("received_at >= fromUnixTimestamp64Micro(?) AND {VISIBLE}");
    let mut also = |is_asked: bool, condition: &str| {
        if is_asked {
            text.push_str(" AND ");
            text.push_str(condition);
        }
    };
    also(filter.until.is_some(), "received_at < fromUnixTimestamp64Micro(?)");
    also(filter.project.is_some(), "project = ?");
    also(filter.user.is_some(), "(user = ? OR end_user = ?)");
    also(filter.key_id.is_some(), "key_id = ?");
    also(filter.session.is_some(), "session = ?");
    also(filter.model.is_some(), "(model = ? OR target = ?)");
    also(filter.target.is_some(), "target = ?");
    also(filter.failure.is_some(), "outcome != 'served' AND (? = 'any' OR failure = ?)");
    also(filter.status.is_some(), "status BETWEEN ? AND ?");
    text
}

/// Binds the values of [`conditions`], in their order.
pub(super) fn bind(query: Query, filter: &RequestFilter, from: UnixMicros, seen: &VisibleProjects) -> Query {
    let mut query = seen.bind(query.bind(micros(from)));
    if let Some(until) = filter.until {
        query = query.bind(micros(until));
    }
    let texts = [
        (&filter.project, 1),
        (&filter.user, 2),
        (&filter.key_id, 1),
        (&filter.session, 1),
        (&filter.model, 2),
        (&filter.target, 1),
        (&filter.failure, 2),
    ];
    for (text, times) in texts {
        for _ in 0..times {
            query = if let Some(text) = text { query.bind(text) } else { query };
        }
    }
    match filter.status {
        Some(status) => query.bind(status.low).bind(status.high),
        None => query,
    }
}

/// The newest of these requests that are behind the cursor, and one more than wanted. A row that was delivered twice stands
/// there twice, with the same values, until ClickHouse has merged it.
async fn page(
    warehouse: &Warehouse,
    filter: &RequestFilter,
    seen: &VisibleProjects,
    from: UnixMicros,
) -> Result<Vec<RequestKey>, Error> {
    let behind = match filter.after {
        Some(_) => {
            "AND received_at <= fromUnixTimestamp64Micro(?)
            AND (received_at, toUInt128(request_id)) < (fromUnixTimestamp64Micro(?), toUInt128(toUUID(?)))"
        }
        None => "",
    };
    let sql = format!(
        "SELECT toUnixTimestamp64Micro(received_at) AS received, request_id, toString(project) AS project
            FROM request_log WHERE {} {behind}
            ORDER BY received_at DESC, toUInt128(request_id) DESC LIMIT 1 BY request_id LIMIT ?",
        conditions(filter)
    );
    let mut query = bind(warehouse.client().query(&sql), filter, from, seen);
    if let Some(after) = &filter.after {
        query = query.bind(micros(after.at)).bind(micros(after.at)).bind(&after.id);
    }
    query.bind(filter.most() + 1).fetch_all().await
}

/// The whole rows of these requests.
async fn whole(warehouse: &Warehouse, keys: &[RequestKey]) -> Result<Vec<serde_json::Value>, Error> {
    let (Some(newest), Some(oldest)) = (keys.first(), keys.last()) else { return Ok(Vec::new()) };
    let projects: BTreeSet<&str> = keys.iter().map(|key| key.project.as_str()).collect();
    let projects: Vec<&str> = projects.into_iter().collect();
    let hour = 3_600_000_000;
    let hours: BTreeSet<i64> = keys.iter().map(|key| key.received.div_euclid(hour) * hour).collect();
    let hours: Vec<String> =
        hours.iter().map(|hour| format!("toStartOfHour(fromUnixTimestamp64Micro({hour}, 'UTC'))")).collect();
    let ids: Vec<String> = keys.iter().map(|key| format!("toUInt128(toUUID('{}'))", key.request_id)).collect();
    let sql = format!(
        "SELECT * FROM requests WHERE has(?, toString(project)) AND toStartOfHour(received_at) IN ({})
            AND toUInt128(request_id) IN ({})
            AND received_at BETWEEN fromUnixTimestamp64Micro(?) AND fromUnixTimestamp64Micro(?)
            ORDER BY received_at DESC, toUInt128(request_id) DESC",
        hours.join(", "),
        ids.join(", "),
    );
    let query = warehouse.client().query(&sql).bind(projects).bind(oldest.received).bind(newest.received);
    fetch(query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_looked_for_further_back_each_time_and_never_before_the_filter_begins() {
        let now = UnixMicros(1_795_374_000_000_000);
        let ago = |seconds: u64| UnixMicros(now.0 - seconds * 1_000_000);
        let filter = |since| RequestFilter { until: Some(now), ..RequestFilter::since(since) };
        assert_eq!(starts(&filter(ago(3_600))), [ago(900), ago(3_600)]);
        assert_eq!(starts(&filter(ago(60))), [ago(60)]);
        assert_eq!(starts(&filter(UnixMicros(0))), [ago(900), ago(21_600), ago(345_600), UnixMicros(0)]);
        // A page further back looks behind the row that it follows.
        let after = RowCursor { at: ago(7_200), id: String::new() };
        let later = RequestFilter { after: Some(after), ..filter(ago(36_000)) };
        assert_eq!(starts(&later), [ago(7_200 + 900), ago(7_200 + 21_600), ago(36_000)]);
    }

    #[test]
    fn each_condition_has_as_many_values_as_it_takes() {
        let text = || Some("a".to_owned());
        let status = penstock_schemas::rows::StatusRange::parse("5xx");
        let all = RequestFilter {
            until: Some(UnixMicros(9)),
            project: text(),
            user: text(),
            key_id: text(),
            session: text(),
            model: text(),
            target: text(),
            failure: text(),
            status,
            ..RequestFilter::since(UnixMicros(1))
        };
        assert_eq!(conditions(&all).matches('?').count(), 3 + 1 + 10 + 2);
        assert_eq!(conditions(&RequestFilter::since(UnixMicros(1))).matches('?').count(), 3);
    }
}
