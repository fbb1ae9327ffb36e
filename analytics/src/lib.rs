//! Usage events into ClickHouse, exactly one row per attempt, and the answers that come out of it: spend reports and SQL.
//! The only place that names ClickHouse. Knows no provider and no client.
//!
//! Read `ledger` first: gather, insert, acknowledge. `rows` has the rows, `schema` the tables, `spend` the report, `rollup`
//! what makes it fast over long times.

mod activity;
mod address;
mod alert;
mod answers;
mod audit;
mod bodies;
mod budget_use;
mod budgets;
mod config;
mod drift;
mod freshness;
mod heal;
mod ledger;
mod lookup;
mod metrics;
mod outage;
mod prepare;
mod prices;
mod proof;
mod revive;
mod role;
mod rollup;
mod row_key;
mod rows;
mod schema;
mod score;
mod sift;
mod spend;
mod standing;
mod store;
mod tables;
mod traces;
mod trouble;
mod turns;
mod warehouse;

pub use address::{Address, BadAddress, BadDatabase, Database};
pub use alert::AlertsUnavailable;
pub use alert::runaway::Runaway;
pub use config::{AnalyticsConfig, Retention};
pub use proof::{NoProof, SpentByBook, SpentByLease, SpentByReservation};
pub use role::{Analytics, AnalyticsError};
pub use schema::statements_of;
pub use spend::SpendError;
pub use tables::TableError;
pub use traces::TraceExport;
pub use warehouse::{SqlAnswer, SqlError, SqlFormat, Warehouse};
