//! The ledger as an operator asks it: `penstock sql … --format json`.

use crate::wait::until_right;
use crate::world::World;
use serde_json::Value;

const ATTEMPTS: &str = "SELECT *, toString(attempt_id) AS id FROM attempts ORDER BY started_at";

impl World {
    /// Asks ClickHouse.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn sql(&self, statement: &str) -> Vec<Value> {
        self.try_sql(statement).await.unwrap_or_else(|why| panic!("{statement}: {why}"))
    }

    /// Asks ClickHouse, which may be away just now.
    ///
    /// # Errors
    /// What `penstock sql` says.
    pub async fn try_sql(&self, statement: &str) -> Result<Vec<Value>, String> {
        let output = self.run(&["sql", statement, "--format", "json"]).await;
        if output.code != 0 {
            return Err(output.err);
        }
        serde_json::from_str(&output.out).map_err(|error| format!("not a list of rows: {error}: {}", output.out))
    }

    /// Every attempt so far, in order, such as `alpha 529`, `beta 200`, `alpha timeout`, `alpha 200 broken`. Waits until
    /// there are `count` that have ended, and one for each call that reached an upstream.
    pub async fn attempts(&self, count: usize) -> Vec<String> {
        let what = format!("{count} attempts in the ledger");
        let rows = until_right(&what, async || {
            let rows = self.try_sql(ATTEMPTS).await?;
            let ended: Vec<&str> =
                rows.iter().filter(|row| row["outcome"] != "unknown").filter_map(|row| row["id"].as_str()).collect();
            let received = self.upstreams().iter().flat_map(|upstream| upstream.calls());
            let has_all = received.into_iter().all(|call| ended.contains(&call.attempt_id().as_str()));
            let is_right = ended.len() >= count && has_all;
            if is_right { Ok(rows) } else { Err(format!("there are {rows:#?}")) }
        });
        rows.await.iter().map(line).collect()
    }

    /// The one number that a statement gives.
    ///
    /// # Panics
    /// When it gives something else.
    pub async fn count(&self, statement: &str) -> u64 {
        let rows = self.sql(statement).await;
        let value = rows.first().and_then(|row| row.as_object()?.values().next());
        let text = value.map(|value| value.to_string().trim_matches('"').to_owned()).unwrap_or_default();
        text.parse().unwrap_or_else(|_| panic!("{statement} gives {rows:?}"))
    }

    /// What a statement gives, once it is as it should be.
    pub async fn sql_until(&self, statement: &str, is_right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        until_right(&format!("the ledger to be right in: {statement}"), async || {
            let rows = self.try_sql(statement).await?;
            if is_right(&rows) { Ok(rows) } else { Err(format!("it says {rows:#?}")) }
        })
        .await
    }

    /// The rows of `requests`, once there are `count`, oldest first.
    pub async fn requests(&self, count: usize) -> Vec<Value> {
        self.sql_until("SELECT * FROM requests ORDER BY received_at", |rows| rows.len() >= count).await
    }
}

/// The provider, the status it answered with, and what is wrong where the status does not say so.
fn line(row: &Value) -> String {
    let mut words = vec![row["provider"].as_str().unwrap_or_default().to_owned()];
    let status = row["provider_status"].as_u64();
    words.extend(status.map(|status| status.to_string()));
    if status.is_none_or(|status| status == 200) {
        words.extend(row["failure"].as_str().map(ToOwned::to_owned));
    }
    words.join(" ")
}
