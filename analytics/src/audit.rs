//! Who changed what: the rows of `audit`, and the question for them. Knows nothing of when rows are inserted.

use crate::row_key::{RowKey, micros};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::audit::{self, AuditEvent, AuditQuery, AuditReply, AuditReport, MOST_ROWS};
use penstock_schemas::{UnixMicros, rfc3339};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Longest wait for ClickHouse; who asks over the bus waits a little longer.
const LIMIT: Duration = Duration::from_secs(25);

/// A row of `audit_log`.
#[derive(Clone, Debug, Row, Serialize)]
pub(crate) struct AuditLogRow {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    at: i64,
    actor: String,
    role: &'static str,
    action: &'static str,
    kind: &'static str,
    name: String,
    project: Option<String>,
    before: Option<String>,
    after: Option<String>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    request_id: Option<Uuid>,
    source: &'static str,
}

impl AuditLogRow {
    /// The row of an event.
    pub(crate) fn of(event: &AuditEvent) -> Self {
        Self {
            id: event.id,
            at: micros(event.at),
            actor: event.actor.clone(),
            role: event.role.as_str(),
            action: event.action.as_str(),
            kind: event.kind.as_str(),
            name: event.name.clone(),
            project: event.project.clone(),
            before: event.before.as_ref().map(ToString::to_string),
            after: event.after.as_ref().map(ToString::to_string),
            request_id: event.request_id.map(|id| id.0),
            source: event.way.as_str(),
        }
    }

    /// What names it.
    pub(crate) fn key(&self) -> RowKey {
        (self.id, 0)
    }
}

/// A row of the answer.
#[derive(Row, Deserialize)]
struct Told {
    at: i64,
    actor: String,
    role: String,
    action: String,
    object: String,
    project: Option<String>,
    before: Option<String>,
    after: Option<String>,
    request_id: Option<String>,
    source: String,
}

/// The changes that `query` asks for.
pub(crate) async fn answer(warehouse: &Warehouse, query: &AuditQuery) -> AuditReply {
    let unavailable = |trouble: Trouble| AuditReply::Unavailable(trouble.to_string());
    match timeout(LIMIT, read(warehouse, query)).await {
        Ok(Ok(report)) => AuditReply::Report(report),
        Ok(Err(error)) => unavailable(Trouble::judge(&error, warehouse.address())),
        Err(_) => unavailable(Trouble::too_slow(warehouse.address())),
    }
}

async fn read(warehouse: &Warehouse, query: &AuditQuery) -> Result<AuditReport, Error> {
    let object = query.object.as_deref().unwrap_or_default();
    let (kind, name) = object.split_once('/').unwrap_or((object, ""));
    let sql = "SELECT toUnixTimestamp64Micro(audit.at) AS at, actor, role, action, concat(kind, '/', name) AS object, project,
            before, after, toString(request_id) AS request_id, source
        FROM audit
        WHERE toUnixTimestamp64Micro(audit.at) >= ? AND (? = '' OR kind = ?) AND (? = '' OR name = ?) AND (? = '' OR actor = ?)
        ORDER BY audit.at DESC, id DESC LIMIT ?";
    let rows = warehouse.client().query(sql).bind(micros(query.since)).bind(kind).bind(kind).bind(name).bind(name);
    let actor = query.actor.as_deref().unwrap_or_default();
    let most = usize::try_from(MOST_ROWS).unwrap_or(usize::MAX);
    let mut rows: Vec<Told> = rows.bind(actor).bind(actor).bind(most + 1).fetch_all().await?;
    let has_more = rows.len() > most;
    rows.truncate(most);
    Ok(AuditReport { data: rows.into_iter().map(tell).collect(), has_more })
}

fn tell(row: Told) -> audit::AuditRow {
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    audit::AuditRow {
        at: rfc3339::write(UnixMicros(u64::try_from(row.at).unwrap_or_default())),
        actor: row.actor,
        role: row.role,
        action: row.action,
        object: row.object,
        project: row.project,
        before: json(row.before),
        after: json(row.after),
        request_id: row.request_id,
        source: row.source,
    }
}
