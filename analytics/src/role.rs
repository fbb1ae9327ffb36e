//! The analytics role: carries the ledger into ClickHouse, counts hours, answers questions, and watches budgets. Starts without
//! ClickHouse: events wait in the ledger until it is there.

use crate::alert::post::Poster;
use crate::alert::{drifting, runaway, tell, watch};
use crate::answers::{self, LedgerView};
use crate::bodies::BodyStore;
use crate::budget_use;
use crate::budgets::Budgets;
use crate::config::AnalyticsConfig;
use crate::heal::Healer;
use crate::ledger::Ledger;
use crate::metrics::AnalyticsMetrics;
use crate::prepare::Preparation;
use crate::revive;
use crate::rollup;
use crate::schema::SchemaError;
use crate::standing::Standing;
use crate::traces::Traces;
use crate::warehouse::Warehouse;
use penstock_runtime::Life;
use penstock_runtime::bus::{Bus, BusError, Journal, UsageReader};
use penstock_runtime::metrics::Metrics;
use penstock_schemas::model::PriceRow;
use penstock_schemas::name::Target;
use std::time::Duration;
use tokio::time::timeout;

/// How long the start waits for a ClickHouse that takes connections, so that tables that cannot be used stop it. A first
/// start makes all tables, which takes a second, and several on a busy machine.
const FIRST_LOOK: Duration = Duration::from_secs(20);

/// Why the role does not start.
#[derive(Debug, thiserror::Error)]
pub enum AnalyticsError {
    /// The configuration has no address.
    #[error("[clickhouse] url is not set: analytics needs a ClickHouse, such as \"http://127.0.0.1:8123\"")]
    NoAddress,
    /// The ledger cannot be set up.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The tables are not ours to use.
    #[error("{0}")]
    Schema(String),
}

/// The running role.
pub struct Analytics {
    life: Life,
    warehouse: Warehouse,
    journal: Journal,
}

impl Analytics {
    /// Starts it. `prices` are those in force now.
    ///
    /// # Errors
    /// When the ledger cannot be read, or ClickHouse has tables that this program must not touch. That ClickHouse is
    /// down is no error.
    pub async fn start(
        config: &AnalyticsConfig,
        bus: &Bus,
        metrics: &Metrics,
        prices: Vec<(Target, PriceRow)>,
    ) -> Result<Self, AnalyticsError> {
        let address = config.clickhouse.as_ref().ok_or(AnalyticsError::NoAddress)?;
        let warehouse = Warehouse::connect(address, &config.database);
        let preparation =
            Preparation { warehouse: warehouse.clone(), retention: (config.retention, config.body_retention), prices };
        if let Ok(Err(error @ SchemaError::Edited { .. })) = timeout(FIRST_LOOK, preparation.make()).await {
            return Err(AnalyticsError::Schema(error.to_string()));
        }
        let life = bus.life().clone();
        let reader = UsageReader::open(bus).await?;
        let counted = AnalyticsMetrics::register(metrics);
        let standing = Standing::default();
        life.service("standing", standing.clone().tell(bus.clone(), counted.clone()));
        let traces = config.traces.as_ref().and_then(|settings| Traces::start(settings, &life, &counted.spans));
        let ledger = Ledger::new(bus, standing, preparation, counted.clone()).tracing(traces);
        let (freshness, drift_alarms) = (ledger.freshness(), config.drift_alarms);
        Box::pin(Healer::start(bus, &warehouse, freshness.clone(), &counted)).await?;
        let asked = LedgerView { warehouse: warehouse.clone(), freshness, drift_alarms };
        life.work(ledger.run(reader));
        life.work(revive::readable(bus.clone(), life.clone()));
        life.service("hourly spend", rollup::run(warehouse.clone()));
        let budgets = Budgets::follow(bus).await?;
        life.service("use of budgets", budget_use::run(budgets.clone(), counted.clone()));
        answers::answer(bus, &asked, &budgets).await?;
        BodyStore::start(bus, &warehouse, &counted).await?;
        let journal = Journal::open(bus).await?;
        life.service("alerts", tell::run(bus.clone(), life.clone(), journal.clone(), budgets.clone(), counted.clone()));
        let poster = Poster { bus: bus.clone(), life: life.clone(), budgets: budgets.clone(), metrics: counted };
        life.service("webhooks", poster.run());
        life.service("thresholds", watch::thresholds(bus.clone(), budgets.clone()));
        life.service("sessions", runaway::run(bus.clone(), warehouse.clone(), config.runaway));
        life.service("drift", drifting::run(bus.clone(), warehouse.clone(), config.drift_alarms));
        life.service("slopes", watch::slopes(bus.clone(), warehouse.clone(), budgets));
        Ok(Self { life, warehouse, journal })
    }

    /// What it writes its usage events to.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// ClickHouse, to be asked.
    pub fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// Waits until the role stops by itself, which it does only when somebody must act; an ERROR says why.
    pub async fn stopped(&self) {
        self.life.stopping().await;
    }

    /// Carries over the events that are there, within `limit`, and stops. False when it was still busy; the ledger keeps
    /// what is left.
    pub async fn drain(self, limit: Duration) -> bool {
        let is_done = self.life.drain(limit).await == 0;
        self.journal.finish(limit).await && is_done
    }
}
