//! What this role is asked over the bus: spend, other prices, forecasts, alerts, changes, single requests, sessions. Knows who answers, and nothing of how.

use crate::audit;
use crate::budgets::Budgets;
use crate::freshness::Freshness;
use crate::lookup;
use crate::spend::{SpendError, course};
use crate::warehouse::Warehouse;
use penstock_runtime::bus::{Bus, BusError};
use penstock_runtime::clock;
use penstock_schemas::spend::ReportReply;

/// The ledger as questions see it. Cloning shares it.
#[derive(Clone)]
pub(crate) struct LedgerView {
    pub(crate) warehouse: Warehouse,
    pub(crate) freshness: Freshness,
    /// The rate of days with a false alarm of drift.
    pub(crate) drift_alarms: f64,
}

impl LedgerView {
    /// ClickHouse, with what was under way.
    async fn caught_up(&self) -> &Warehouse {
        self.freshness.ask().await;
        &self.warehouse
    }
}

/// Answers as long as the role lives.
pub(crate) async fn answer(bus: &Bus, asked_of: &LedgerView, budgets: &Budgets) -> Result<(), BusError> {
    let asked = asked_of.clone();
    bus.answer_spend(move |query| {
        let asked = asked.clone();
        async move { told(asked.caught_up().await.spend(&query).await) }
    })
    .await?;
    let asked = asked_of.clone();
    bus.answer_reprice(move |query| {
        let asked = asked.clone();
        async move { told(asked.caught_up().await.reprice(&query).await) }
    })
    .await?;
    let (asked, known) = (asked_of.clone(), budgets.clone());
    bus.answer_forecast(move |query| {
        let (asked, known) = (asked.clone(), known.clone());
        async move {
            told(course(asked.caught_up().await, &query, &known.all(), |key| known.label(key), clock::now()).await)
        }
    })
    .await?;
    let asked = asked_of.clone();
    bus.answer_alerts(move |query| {
        let asked = asked.clone();
        async move {
            let report = asked.caught_up().await.alerts(&query).await;
            report.map_or_else(|error| ReportReply::Unavailable(error.to_string()), ReportReply::Report)
        }
    })
    .await?;
    let asked = asked_of.clone();
    bus.answer_rows(move |query| {
        let asked = asked.clone();
        async move { lookup::answer(asked.caught_up().await, &query, asked.drift_alarms).await }
    })
    .await?;
    let asked = asked_of.clone();
    bus.answer_activity(move |query| {
        let asked = asked.clone();
        async move { told(asked.caught_up().await.activity(&query).await) }
    })
    .await?;
    let asked = asked_of.clone();
    bus.answer_audit(move |query| {
        let asked = asked.clone();
        async move { audit::answer(asked.caught_up().await, &query).await }
    })
    .await
}

fn told<T>(report: Result<T, SpendError>) -> ReportReply<T> {
    match report {
        Ok(report) => ReportReply::Report(report),
        Err(SpendError::BadQuery(why)) => ReportReply::BadQuery(why),
        Err(SpendError::Unavailable(why)) => ReportReply::Unavailable(why),
    }
}
