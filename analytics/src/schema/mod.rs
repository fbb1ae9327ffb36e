//! The tables, as numbered migrations: applied in order, recorded with their checksums, never edited. Knows nothing of
//! what is written into them. Two processes may apply them at once: every statement leaves alone what is there already.

use crate::address::Database;
use crate::config::Retention;
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tracing::info;

/// One step.
struct Migration {
    number: u32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 20] = [
    Migration { number: 1, name: "attempts", sql: include_str!("0001_attempts.sql") },
    Migration { number: 2, name: "requests", sql: include_str!("0002_requests.sql") },
    Migration { number: 3, name: "prices", sql: include_str!("0003_prices.sql") },
    Migration { number: 4, name: "spend_by_hour", sql: include_str!("0004_spend_by_hour.sql") },
    Migration { number: 5, name: "reservations", sql: include_str!("0005_reservations.sql") },
    Migration { number: 6, name: "alerts", sql: include_str!("0006_alerts.sql") },
    Migration { number: 7, name: "audit", sql: include_str!("0007_audit.sql") },
    Migration { number: 8, name: "unpriced", sql: include_str!("0008_unpriced.sql") },
    Migration { number: 9, name: "fees", sql: include_str!("0009_fees.sql") },
    Migration { number: 10, name: "end_user", sql: include_str!("0010_end_user.sql") },
    Migration { number: 11, name: "attempts", sql: include_str!("0011_attempts.sql") },
    Migration { number: 12, name: "batch", sql: include_str!("0012_batch.sql") },
    Migration { number: 13, name: "sessions", sql: include_str!("0013_sessions.sql") },
    Migration { number: 14, name: "scores", sql: include_str!("0014_scores.sql") },
    Migration { number: 15, name: "cache", sql: include_str!("0015_cache.sql") },
    Migration { number: 16, name: "routes", sql: include_str!("0016_routes.sql") },
    Migration { number: 17, name: "bodies", sql: include_str!("0017_bodies.sql") },
    Migration { number: 18, name: "tools", sql: include_str!("0018_tools.sql") },
    Migration { number: 19, name: "sent_bodies", sql: include_str!("0019_sent_bodies.sql") },
    Migration { number: 20, name: "spend_by_day", sql: include_str!("0020_spend_by_day.sql") },
];

/// Every table that the migrations make: what a backup holds. Views are made of them.
pub(crate) const TABLES: [&str; 11] = [
    "alert_log",
    "attempt_log",
    "audit_log",
    "body_log",
    "price_log",
    "request_log",
    "score_log",
    "spend_by_day",
    "spend_by_hour",
    "spend_days",
    "spend_hours",
];

const RECORD: &str = "CREATE TABLE IF NOT EXISTS migrations (
    number UInt32, name String, sha256 String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = ReplacingMergeTree(applied_at) ORDER BY (number, sha256) SETTINGS fsync_after_insert = 1";

/// The tables that grow with traffic, and the time of a row in each.
const GROWING: [(&str, &str); 7] = [
    ("attempt_log", "toDateTime(started_at)"),
    ("request_log", "toDateTime(received_at)"),
    ("score_log", "toDateTime(at)"),
    ("spend_by_day", "day"),
    ("spend_days", "day"),
    ("spend_by_hour", "hour"),
    ("spend_hours", "hour"),
];

/// Why the tables are not as this program needs them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// Somebody must decide.
    #[error(
        "migration {number} ({name}) of database {database} was applied with other content than this program has: \
         migrations are never edited. Use the program that applied it, or another [clickhouse] database"
    )]
    Edited {
        /// Which.
        number: u32,
        /// What it made.
        name: &'static str,
        /// Where.
        database: String,
    },
    /// ClickHouse cannot be asked, or refuses a statement.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// A record of a migration that was applied.
#[derive(Row, Deserialize)]
struct Applied {
    number: u32,
    sha256: String,
}

/// Applies what is not applied yet, and sets the retention.
pub(crate) async fn migrate(
    warehouse: &Warehouse,
    (retention, of_bodies): (Retention, Retention),
) -> Result<(), SchemaError> {
    let trouble = |error: Error| Trouble::judge(&error, warehouse.address());
    make_database(warehouse).await.map_err(trouble)?;
    execute(warehouse, RECORD).await.map_err(trouble)?;
    let query = warehouse.client().query("SELECT number, sha256 FROM migrations FINAL ORDER BY number");
    let applied: Vec<Applied> = query.fetch_all().await.map_err(trouble)?;
    let applied: BTreeMap<u32, Vec<String>> = applied.into_iter().fold(BTreeMap::new(), |mut map, row| {
        map.entry(row.number).or_default().push(row.sha256);
        map
    });
    for migration in &MIGRATIONS {
        let sha256 = checksum(migration.sql);
        match applied.get(&migration.number) {
            Some(applied) if applied.iter().all(|sum| *sum == sha256) => {}
            Some(_) => {
                let database = warehouse.database().as_str().to_owned();
                return Err(SchemaError::Edited { number: migration.number, name: migration.name, database });
            }
            None => apply(warehouse, migration, &sha256).await.map_err(trouble)?,
        }
    }
    for (table, time) in GROWING {
        retain(warehouse, table, time, retention).await.map_err(trouble)?;
    }
    retain(warehouse, "body_log", "toDateTime(received_at)", of_bodies).await.map_err(trouble)?;
    Ok(())
}

async fn make_database(warehouse: &Warehouse) -> Result<(), Error> {
    // A user who may not create databases can still use one that is there.
    let client = warehouse.client().clone().with_database("system");
    let name = warehouse.database().as_str();
    let there: u64 = client.query("SELECT count() FROM system.databases WHERE name = ?").bind(name).fetch_one().await?;
    if there == 0 {
        let on = warehouse.database().cluster().map_or_else(String::new, |cluster| format!(" ON CLUSTER {cluster}"));
        client.query(&format!("CREATE DATABASE IF NOT EXISTS {name}{on}")).execute().await?;
    }
    Ok(())
}

async fn apply(warehouse: &Warehouse, migration: &Migration, sha256: &str) -> Result<(), Error> {
    for statement in statements(migration.sql) {
        execute(warehouse, &statement).await?;
    }
    let record = warehouse.client().query("INSERT INTO migrations (number, name, sha256) VALUES (?, ?, ?)");
    record.bind(migration.number).bind(migration.name).bind(sha256).execute().await?;
    info!(number = migration.number, name = migration.name, "applied a migration of the database");
    Ok(())
}

/// Sets how long rows are kept, where it is not set so already: changing it makes ClickHouse rewrite what is there.
async fn retain(warehouse: &Warehouse, table: &str, time: &str, retention: Retention) -> Result<(), Error> {
    let query = "SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?";
    let query = warehouse.client().query(query).bind(warehouse.database().as_str()).bind(table);
    let created: String = query.fetch_one().await?;
    match retention {
        Retention::Off if created.contains(" TTL ") => {
            execute(warehouse, &format!("ALTER TABLE {table} REMOVE TTL")).await?;
        }
        Retention::Days(days) if !created.contains(&format!(" TTL {time} + toIntervalDay({days})")) => {
            execute(warehouse, &format!("ALTER TABLE {table} MODIFY TTL {time} + toIntervalDay({days})")).await?;
        }
        Retention::Off | Retention::Days(_) => {}
    }
    Ok(())
}

async fn execute(warehouse: &Warehouse, statement: &str) -> Result<(), Error> {
    warehouse.client().query_raw(&shaped(statement, warehouse.database())).execute().await
}

/// How each statement of ours begins, up to the name of what it makes or changes.
const BEGINNINGS: [&str; 4] =
    ["CREATE TABLE IF NOT EXISTS ", "CREATE VIEW IF NOT EXISTS ", "CREATE OR REPLACE VIEW ", "ALTER TABLE "];

/// The statement as the database needs it: on a cluster it is carried out by every server, and each table has a copy on each.
/// Source: <https://clickhouse.com/docs/engines/table-engines/mergetree-family/replication>.
fn shaped(statement: &str, database: &Database) -> String {
    let Some(cluster) = database.cluster() else { return statement.to_owned() };
    let begin = BEGINNINGS.iter().find_map(|begin| Some((*begin, statement.strip_prefix(*begin)?)));
    let Some((begin, rest)) = begin else { return statement.to_owned() };
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let rest = rest.replace("ENGINE = ReplacingMergeTree", "ENGINE = ReplicatedReplacingMergeTree");
    format!("{begin}{name} ON CLUSTER {cluster}{rest}")
}

/// Every statement that makes the tables of a database, in order: for who makes them by hand.
pub fn statements_of(database: &Database) -> Vec<String> {
    let own = MIGRATIONS.iter().flat_map(|migration| statements(migration.sql));
    std::iter::once(RECORD.to_owned()).chain(own).map(|statement| shaped(&statement, database)).collect()
}

/// The statements of a file, without their comments.
fn statements(sql: &str) -> impl Iterator<Item = String> {
    let without_comments = |statement: &str| {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    };
    sql.split(";\n").map(without_comments).filter(|statement| !statement.is_empty())
}

fn checksum(sql: &str) -> String {
    hex::write(&Sha256::digest(sql))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_holds_every_table_that_the_migrations_make() {
        const MAKES: &str = "CREATE TABLE IF NOT EXISTS ";
        let name = |line: &'static str| line.trim_start().strip_prefix(MAKES)?.split([' ', '(']).next();
        let made = MIGRATIONS.iter().flat_map(|migration| migration.sql.lines().filter_map(name));
        assert_eq!(made.collect::<std::collections::BTreeSet<_>>(), TABLES.into_iter().collect());
    }

    #[test]
    fn every_statement_can_be_carried_out_twice() {
        for migration in &MIGRATIONS {
            for statement in statements(migration.sql) {
                let made = ["CREATE TABLE IF NOT EXISTS ", "CREATE VIEW IF NOT EXISTS ", "CREATE OR REPLACE VIEW "];
                let is_made = made.iter().any(|start| statement.starts_with(start));
                assert!(is_made || adds_what_is_missing(&statement), "{statement}");
            }
        }
    }

    /// Whether all that an `ALTER TABLE` does is to add what is not there.
    fn adds_what_is_missing(statement: &str) -> bool {
        let adds = statement.matches("ADD ").count();
        let cautious = ["ADD COLUMN IF NOT EXISTS ", "ADD INDEX IF NOT EXISTS "];
        let cautious: usize = cautious.iter().map(|add| statement.matches(add).count()).sum();
        let others = ["DROP ", "MODIFY ", "RENAME ", "UPDATE ", "DELETE "];
        statement.starts_with("ALTER TABLE ")
            && adds > 0
            && adds == cautious
            && !others.iter().any(|word| statement.contains(word))
    }

    #[test]
    fn migrations_are_applied_in_the_order_of_their_numbers() {
        for (before, migration) in MIGRATIONS.iter().zip(&MIGRATIONS[1..]) {
            assert!(before.number < migration.number, "{}", migration.name);
        }
    }
}
