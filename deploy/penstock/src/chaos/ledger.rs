//! Whether the ledger is right: every call that reached a provider is in it, and none twice. Knows nothing of requests.

use anyhow::Context;
use penstock_analytics::{SqlFormat, Warehouse};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest wait until the last rows are there: a call whose worker was killed is open until its deadline.
const SETTLE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_secs(1);

const ROWS: &str = "SELECT toString(attempt_id) AS id, toString(request_id) AS request, outcome, running FROM attempts";

/// What is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ledger {
    /// Calls that reached a provider.
    pub(super) calls: usize,
    /// Attempts in the ledger; some ended before they reached one.
    pub(super) rows: usize,
    /// Calls that are not in it.
    pub(super) lost: usize,
    /// Attempts that are in it more than once.
    pub(super) doubled: usize,
    /// Requests that may have been paid for more than once: their worker was killed while a provider answered.
    pub(super) answered_twice: usize,
    /// Attempts whose end nobody knows: booked at the most that they can cost.
    pub(super) unknown: usize,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    request: String,
    outcome: String,
    running: serde_json::Value,
}

/// Waits until the ledger is quiet, and compares it with the calls that the providers saw.
pub(super) async fn check(warehouse: &Warehouse, called: &[String]) -> anyhow::Result<Ledger> {
    let until = Instant::now() + SETTLE;
    loop {
        let rows = read(warehouse).await;
        match rows {
            Ok(rows) => {
                let ledger = Ledger::of(&rows, called);
                let is_quiet = ledger.lost == 0 && !rows.iter().any(Row::is_running);
                if is_quiet || Instant::now() > until {
                    return Ok(ledger);
                }
            }
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => {}
        }
        sleep(LOOK).await;
    }
}

async fn read(warehouse: &Warehouse) -> anyhow::Result<Vec<Row>> {
    let bytes = warehouse.sql(ROWS, SqlFormat::Json)?.collect().await?;
    serde_json::from_slice(&bytes).context("the ledger's rows cannot be read")
}

impl Row {
    fn is_running(&self) -> bool {
        self.running == true || self.running == 1
    }
}

impl Ledger {
    fn of(rows: &[Row], called: &[String]) -> Self {
        let known: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let mut served: HashMap<&str, usize> = HashMap::new();
        for row in rows.iter().filter(|row| matches!(row.outcome.as_str(), "served" | "unknown")) {
            *served.entry(&row.request).or_default() += 1;
        }
        let called: HashSet<&str> = called.iter().map(String::as_str).collect();
        Self {
            calls: called.len(),
            rows: rows.len(),
            lost: called.difference(&known).count(),
            doubled: rows.len() - known.len(),
            answered_twice: served.values().filter(|times| **times > 1).count(),
            unknown: rows.iter().filter(|row| row.outcome == "unknown").count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_there_twice_is_counted() {
        let row = |id: &str, request: &str, outcome: &str| Row {
            id: id.to_owned(),
            request: request.to_owned(),
            outcome: outcome.to_owned(),
            running: false.into(),
        };
        let rows = [
            row("a", "1", "unknown"),
            row("b", "1", "served"),
            row("c", "2", "refused"),
            row("d", "2", "served"),
            row("d", "2", "served"),
        ];
        let ledger = Ledger::of(&rows, &["a", "b", "c", "d", "e"].map(str::to_owned));
        let wanted = Ledger { calls: 5, rows: 5, lost: 1, doubled: 1, answered_twice: 2, unknown: 1 };
        assert_eq!(ledger, wanted);
    }
}
