//! The commands for people: each finds the running instance, asks, and prints. `--format json` on everything printed.

pub(crate) mod alerts;
pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod bodies;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod drift;
pub(crate) mod experiments;
pub(crate) mod keys;
pub(crate) mod ledger;
mod manage;
pub(crate) mod models;
pub(crate) mod nats;
pub(crate) mod objects;
pub(crate) mod output;
pub(crate) mod providers;
mod route_heads;
pub(crate) mod sessions;
pub(crate) mod show;
pub(crate) mod spend;
pub(crate) mod sql;
pub(crate) mod tail;
pub(crate) mod targets;
pub(crate) mod what_if;
pub(crate) mod workers;

use crate::Place;
use crate::config::Config;
use crate::up::RunFile;
use anyhow::Context;
use penstock_analytics::{Address, Warehouse};
use penstock_runtime::bus::Bus;

const WHERE: &str = "nothing runs here: start `penstock up`, or say with --data, --config or PENSTOCK_NATS_URL and \
                     PENSTOCK_CLICKHOUSE_URL where it is";

/// The bus of the instance: as configured, else that of the running `up`.
async fn bus(place: &Place) -> anyhow::Result<Bus> {
    let config = Config::load(place)?;
    let url = match config.nats.url.clone() {
        Some(url) => url,
        None => RunFile::read(place)?.context(WHERE)?.nats,
    };
    Ok(Bus::connect(&config.nats, &url, "tool").await?)
}

/// The ClickHouse of the instance: as configured, else that of the running `up`.
fn warehouse(place: &Place) -> anyhow::Result<Warehouse> {
    let config = Config::load(place)?;
    let address = match config.analytics.clickhouse {
        Some(address) => address,
        None => Address::parse(&RunFile::read(place)?.context(WHERE)?.clickhouse)?,
    };
    Ok(Warehouse::connect(&address, &config.analytics.database))
}
