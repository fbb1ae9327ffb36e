//! Tells every alert that was raised: into the log, into the ledger, and to the webhooks that want it. An alert is
//! acknowledged only then, so that it is told at least once, whoever stops when. Knows nothing of HTTP.

use crate::budgets::Budgets;
use crate::metrics::AnalyticsMetrics;
use penstock_runtime::Life;
use penstock_runtime::bus::{Bus, BusError, Journal, Post, Work};
use penstock_schemas::alert::Alert;
use penstock_schemas::event::UsageEvent;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{error, warn};

/// Wait before the alerts are opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is asked whether the webhooks are known.
const LOOK: Duration = Duration::from_millis(50);

/// Tells for ever.
pub(crate) async fn run(bus: Bus, life: Life, journal: Journal, budgets: Budgets, metrics: AnalyticsMetrics) {
    // Before the directory was read, nobody would be told.
    while !budgets.is_current() {
        sleep(LOOK).await;
    }
    loop {
        if let Err(error) = tell_all(&bus, &life, &journal, &budgets, &metrics).await {
            warn!(%error, "alerts cannot be told; they wait");
        }
        sleep(AGAIN).await;
    }
}

async fn tell_all(
    bus: &Bus,
    life: &Life,
    journal: &Journal,
    budgets: &Budgets,
    metrics: &AnalyticsMetrics,
) -> Result<(), BusError> {
    let mut raised = bus.alerts().await?;
    loop {
        let work = tokio::select! {
            biased;
            () = life.stopping() => break,
            work = raised.next() => work?,
        };
        // What has begun is finished before the role stops.
        let _busy = life.hold();
        tell(bus, journal, budgets, metrics, work).await?;
    }
    // What comes from now on is for others.
    drop(raised);
    std::future::pending().await
}

async fn tell(
    bus: &Bus,
    journal: &Journal,
    budgets: &Budgets,
    metrics: &AnalyticsMetrics,
    work: Work<Alert>,
) -> Result<(), BusError> {
    let alert = &work.value;
    warn!(id = %alert.id, kind = alert.kind.as_str(), subject = alert.subject, window = alert.window, "{}", alert.message);
    if !journal.append(UsageEvent::Alert(Box::new(alert.clone()))).await.acknowledged().await {
        return Ok(());
    }
    let directory = budgets.directory();
    for webhook in directory.webhooks.values().filter(|webhook| webhook.wants(alert.kind)) {
        if !bus.post(&Post::alert(webhook.name.clone(), alert.clone())).await? {
            metrics.posts_lost.inc();
            error!(webhook = webhook.name, id = %alert.id, "too many alerts wait for a webhook: this one is not posted to it");
        }
    }
    work.done().await
}
