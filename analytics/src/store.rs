//! Inserts rows of the ledger into ClickHouse, each batch as one, and recognizable when it comes again. Knows nothing of
//! where events come from, nor of what to do when it fails.

use crate::audit::AuditLogRow;
use crate::row_key::{RowKey, token};
use crate::rows::{AlertLogRow, AttemptRow, RequestRow};
use crate::score::ScoreRow;
use crate::trouble::Trouble;
use crate::turns::EventTurns;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use clickhouse::{RowOwned, RowWrite};
use std::time::Duration;

/// Longest wait for ClickHouse to take a piece of a batch, and then to finish it. Much shorter than
/// `rollup::COMMIT`, within which a row that was inserted must have become visible.
const SEND: Duration = Duration::from_secs(10);
const FINISH: Duration = Duration::from_secs(20);

/// On every insert. Synchronous, so that the answer means that the rows are on disk; one part per month, and never a
/// refusal because of many months; and what takes longer than we wait is ended by the server too.
const SETTINGS: [(&str, &str); 3] =
    [("async_insert", "0"), ("max_partitions_per_insert_block", "0"), ("max_execution_time", "30")];

/// A row of one of the ledger's tables.
pub(crate) trait Stored: RowOwned + RowWrite {
    /// The table.
    const TABLE: &'static str;
    /// What names the row.
    fn key(&self) -> RowKey;
}

impl Stored for AttemptRow {
    const TABLE: &'static str = "attempt_log";
    fn key(&self) -> RowKey {
        Self::key(self)
    }
}

impl Stored for RequestRow {
    const TABLE: &'static str = "request_log";
    fn key(&self) -> RowKey {
        Self::key(self)
    }
}

impl Stored for AuditLogRow {
    const TABLE: &'static str = "audit_log";
    fn key(&self) -> RowKey {
        Self::key(self)
    }
}

impl Stored for ScoreRow {
    const TABLE: &'static str = "score_log";
    fn key(&self) -> RowKey {
        Self::key(self)
    }
}

impl Stored for AlertLogRow {
    const TABLE: &'static str = "alert_log";
    fn key(&self) -> RowKey {
        Self::key(self)
    }
}

/// Inserts all of `rows`, or none of them.
pub(crate) async fn insert<R: Stored>(warehouse: &Warehouse, rows: &[R]) -> Result<(), Trouble> {
    if rows.is_empty() {
        return Ok(());
    }
    let trouble = |error: Error| Trouble::judge(&error, warehouse.address());
    let mut insert = warehouse.client().insert::<R>(R::TABLE).await.map_err(trouble)?;
    for (name, value) in SETTINGS {
        insert = insert.with_setting(name, value);
    }
    insert = insert.with_setting("insert_deduplication_token", token(rows.iter().map(R::key)));
    insert = insert.with_timeouts(Some(SEND), Some(FINISH));
    let mut turns = EventTurns::default();
    for row in rows {
        insert.write(row).await.map_err(trouble)?;
        turns.next().await;
    }
    insert.end().await.map_err(trouble)
}

/// Inserts one of the table's own rows again, if it has any.
pub(crate) async fn insert_own(warehouse: &Warehouse, table: &str) -> Result<(), Trouble> {
    let statement = format!("INSERT INTO {table} SELECT * FROM {table} LIMIT 1");
    let done = warehouse.client().query_raw(&statement).execute().await;
    done.map_err(|error| Trouble::judge(&error, warehouse.address()))
}
