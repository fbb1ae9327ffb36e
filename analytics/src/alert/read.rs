//! The alerts that were raised, as they are shown. Knows the columns of `alerts`, and nothing of who raises them.

use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::alert::{AlertQuery, AlertReport, AlertRow, MOST_ALERTS};
use penstock_schemas::name::AlertId;
use penstock_schemas::{UnixMicros, rfc3339};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Longest wait for ClickHouse; who asks over the bus waits a little longer.
const LIMIT: Duration = Duration::from_secs(25);

const SELECT: &str = "
SELECT alert_id, toUnixTimestamp64Micro(at) AS micros, kind, subject, window, message, details
FROM alerts
WHERE at >= fromUnixTimestamp64Micro(toInt64(?)) AND at < fromUnixTimestamp64Micro(toInt64(?)) AND (? = '' OR kind = ?)
ORDER BY at DESC, alert_id LIMIT ?";

#[derive(Row, Deserialize)]
struct Shown {
    #[serde(with = "clickhouse::serde::uuid")]
    alert_id: Uuid,
    micros: i64,
    kind: String,
    subject: String,
    window: String,
    message: String,
    details: Vec<(String, String)>,
}

/// Why alerts cannot be shown: ClickHouse cannot be asked now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AlertsUnavailable(String);

impl Warehouse {
    /// The alerts that `query` asks for, the newest first.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked now.
    pub async fn alerts(&self, query: &AlertQuery) -> Result<AlertReport, AlertsUnavailable> {
        let unavailable = |trouble: Trouble| AlertsUnavailable(trouble.to_string());
        let rows = timeout(LIMIT, read(self, query)).await;
        let rows = rows.map_err(|_| unavailable(Trouble::too_slow(self.address())))?;
        let rows = rows.map_err(|error| unavailable(Trouble::judge(&error, self.address())))?;
        Ok(AlertReport { alerts: rows.into_iter().map(Shown::row).collect() })
    }
}

async fn read(warehouse: &Warehouse, query: &AlertQuery) -> Result<Vec<Shown>, Error> {
    let kind = query.kind.map_or("", penstock_schemas::alert::AlertKind::as_str);
    let rows = warehouse.client().query(SELECT).bind(cut(query.since.0)).bind(cut(query.until.0));
    rows.bind(kind).bind(kind).bind(MOST_ALERTS).fetch_all().await
}

/// ClickHouse's times end in the year 2299.
fn cut(micros: u64) -> u64 {
    const LATEST: u64 = 4_102_444_800_000_000;
    micros.min(LATEST)
}

impl Shown {
    fn row(self) -> AlertRow {
        AlertRow {
            id: AlertId(self.alert_id),
            at: rfc3339::write(UnixMicros(u64::try_from(self.micros).unwrap_or_default())),
            kind: self.kind,
            subject: self.subject,
            window: self.window,
            message: self.message,
            details: self.details.into_iter().collect(),
        }
    }
}
