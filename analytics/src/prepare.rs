//! What must be done before ClickHouse can take events: tables, retention, prices. Knows nothing of events.

use crate::config::Retention;
use crate::prices;
use crate::schema::{SchemaError, migrate};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use penstock_schemas::model::PriceRow;
use penstock_schemas::name::Target;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for all of it: a change of the retention makes ClickHouse rewrite what is there.
const LIMIT: Duration = Duration::from_secs(60);

/// Everything that is to be there. Making it again changes nothing.
pub(crate) struct Preparation {
    pub(crate) warehouse: Warehouse,
    /// Of the ledger, and of bodies.
    pub(crate) retention: (Retention, Retention),
    pub(crate) prices: Vec<(Target, PriceRow)>,
}

impl Preparation {
    /// Makes what is missing.
    pub(crate) async fn make(&self) -> Result<(), SchemaError> {
        let make = async {
            migrate(&self.warehouse, self.retention).await?;
            prices::record(&self.warehouse, &self.prices).await?;
            Ok(())
        };
        timeout(LIMIT, make).await.unwrap_or_else(|_| Err(Trouble::too_slow(self.warehouse.address()).into()))
    }
}
