//! Notices sessions that ran away: an agent that asks again and again, or whose spending climbs, counted over the last ten
//! minutes. Every process of this role looks, and each alert is raised once all the same. Knows nothing of how a session is
//! stopped.

use crate::row_key::micros;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::money::Picodollars;
use penstock_schemas::rfc3339;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How often it is looked, and how long that may take.
const LOOK: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(20);

/// The time in which a session's requests and spending are counted.
const SPAN: Duration = Duration::from_secs(10 * 60);

/// Alerts of one look at the most: the largest sessions first.
const MOST: u32 = 100;

/// From when on a session has run away, within ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runaway {
    /// So many requests.
    pub requests: u64,
    /// Or so much spent.
    pub spent: Picodollars,
}

/// A session and what it did in the span.
#[derive(Row, Deserialize)]
struct Busy {
    project: String,
    session: String,
    requests: u64,
    picodollars: i64,
}

/// Notices for ever.
pub(crate) async fn run(bus: Bus, warehouse: Warehouse, from: Runaway) {
    loop {
        sleep(LOOK).await;
        let now = clock::now();
        match timeout(LIMIT, busy(&warehouse, from, now)).await {
            Ok(Ok(sessions)) => {
                for alert in sessions.iter().map(|session| alert(session, from, now)) {
                    if let Err(error) = bus.raise(&alert).await {
                        warn!(%error, "an alert could not be raised; it is tried again");
                    }
                }
            }
            // An outage is reported by the ledger.
            Ok(Err(error)) => debug!(%error, "it is not known which sessions ran away"),
            Err(_) => debug!("it is not known in time which sessions ran away"),
        }
    }
}

async fn busy(warehouse: &Warehouse, from: Runaway, now: UnixMicros) -> Result<Vec<Busy>, Error> {
    // A row that was delivered twice counts once.
    let sql = "SELECT project, session, count() AS requests, toInt64(sum(usd) * 1000000000000) AS picodollars
        FROM (SELECT toString(project) AS project, session, request_id,
                any(ifNull(cost_usd, toDecimal128(0, 12))) AS usd
            FROM request_log WHERE session != '' AND received_at >= fromUnixTimestamp64Micro(?)
            GROUP BY project, session, request_id)
        GROUP BY project, session HAVING requests >= ? OR picodollars >= ? ORDER BY requests DESC LIMIT ?";
    let since = UnixMicros(now.0.saturating_sub(u64::try_from(SPAN.as_micros()).unwrap_or(u64::MAX)));
    let query = warehouse.client().query(sql).bind(micros(since)).bind(from.requests).bind(from.spent.0);
    query.bind(MOST).fetch_all().await
}

fn alert(session: &Busy, from: Runaway, now: UnixMicros) -> Alert {
    let Busy { project, session, requests, picodollars } = session;
    let (subject, spent) = (format!("{project}/{session}"), Picodollars(*picodollars));
    let (mark, what) = if *requests >= from.requests {
        ("requests", format!("sent {requests} requests"))
    } else {
        ("spending", format!("spent {spent} USD"))
    };
    let day: String = rfc3339::write(now).chars().take(10).collect();
    let message =
        format!("session {session} of project {project} {what} within ten minutes: is its agent caught in a loop?");
    let alert = Alert::new(AlertKind::SessionRunaway, &subject, mark, &day, now).about(&subject).saying(message);
    let alert = alert.with("project", project).with("session", session);
    alert.with("requests", *requests).with("spent_usd", spent.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_alert_a_day_for_each_of_the_two_reasons() {
        const NOW: UnixMicros = UnixMicros(1_795_374_000_000_000);
        let from = Runaway { requests: 300, spent: Picodollars(10_000_000_000_000) };
        let of = |requests: u64, picodollars: i64| {
            let busy = Busy { project: "a".to_owned(), session: "run".to_owned(), requests, picodollars };
            alert(&busy, from, NOW)
        };
        let (looping, later, climbing) = (of(300, 0), of(900, 0), of(10, 11_000_000_000_000));
        assert_eq!(looping.id, later.id);
        assert_ne!(looping.id, climbing.id);
        assert!(climbing.message.contains("spent 11 USD"), "{}", climbing.message);
        assert_eq!(looping.details["session"], "run");
    }
}
