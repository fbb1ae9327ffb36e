//! The dated prices of every model that is served, for SQL to reprice with. Knows nothing of the catalogue: it is told.

use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::model::PriceRow;
use penstock_schemas::name::Target;
use penstock_schemas::price::{PerMillion, PerUnit, Rate};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tracing::info;

/// A row of `prices` and of the table below it. Prices in picodollars.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
struct Record {
    provider: String,
    model: String,
    valid_from: i64,
    price_id: String,
    input_usd_per_million: Option<i128>,
    cache_read_usd_per_million: Option<i128>,
    cache_write_usd_per_million: Option<i128>,
    cache_write_1h_usd_per_million: Option<i128>,
    input_audio_usd_per_million: Option<i128>,
    input_image_usd_per_million: Option<i128>,
    output_usd_per_million: Option<i128>,
    reasoning_usd_per_million: Option<i128>,
    output_audio_usd_per_million: Option<i128>,
    output_image_usd_per_million: Option<i128>,
    batch_input_usd_per_million: Option<i128>,
    batch_output_usd_per_million: Option<i128>,
    batch_rate: Option<i128>,
    batch_cache_read_rate: Option<i128>,
    characters_usd_per_million: Option<i128>,
    usd_per_image: Option<i128>,
    usd_per_second: Option<i128>,
    usd_per_search: Option<i128>,
    usd_per_code_execution: Option<i128>,
    usd_per_file_search: Option<i128>,
    tiers: String,
}

/// Adds the prices that the table does not have yet.
pub(crate) async fn record(warehouse: &Warehouse, prices: &[(Target, PriceRow)]) -> Result<(), Trouble> {
    add_missing(warehouse, prices).await.map_err(|error| Trouble::judge(&error, warehouse.address()))
}

async fn add_missing(warehouse: &Warehouse, prices: &[(Target, PriceRow)]) -> Result<(), Error> {
    let known = warehouse.client().query("SELECT ?fields FROM prices ORDER BY valid_from").fetch_all::<Record>();
    let newest: HashMap<(String, String), Record> =
        known.await?.into_iter().map(|record| ((record.provider.clone(), record.model.clone()), record)).collect();
    let now = clock::now();
    let wanted = prices.iter().map(|(target, row)| Record::of(target, row));
    let due: Vec<Record> = wanted
        .filter_map(|wanted| due(newest.get(&(wanted.provider.clone(), wanted.model.clone())), wanted, now))
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    let mut insert = warehouse.client().insert::<Record>("price_log").await?.with_setting("async_insert", "0");
    for record in &due {
        insert.write(record).await?;
    }
    insert.end().await?;
    info!(prices = due.len(), "new prices are in the database");
    Ok(())
}

/// The record to be added, if the newest that is known does not say the same already. A price that replaces another
/// without a later date of its own (the operator's, or a return to the catalogue's) holds from now on.
fn due(newest: Option<&Record>, wanted: Record, now: UnixMicros) -> Option<Record> {
    let Some(newest) = newest else { return Some(wanted) };
    if (Record { valid_from: newest.valid_from, ..wanted.clone() }) == *newest {
        return None;
    }
    let valid_from = if wanted.valid_from > newest.valid_from { wanted.valid_from } else { micros(now) };
    Some(Record { valid_from, ..wanted })
}

/// A rate as SQL has it.
fn rate(rate: Rate) -> i128 {
    i128::from(rate.thousandths()) * 1_000_000_000
}

impl Record {
    fn of(target: &Target, row: &PriceRow) -> Self {
        let (prices, base) = (&row.prices, &row.prices.base);
        let million = |price: Option<PerMillion>| price.map(|price| i128::from(price.picodollars()));
        let unit = |price: Option<PerUnit>| price.map(|price| i128::from(price.picodollars()));
        Self {
            provider: target.provider.to_string(),
            model: target.model.to_string(),
            valid_from: micros(row.valid_from),
            price_id: row.price_id.clone(),
            input_usd_per_million: million(base.input),
            cache_read_usd_per_million: million(base.cache_read),
            cache_write_usd_per_million: million(base.cache_write),
            cache_write_1h_usd_per_million: million(base.cache_write_1h),
            input_audio_usd_per_million: million(base.input_audio),
            input_image_usd_per_million: million(base.input_image),
            output_usd_per_million: million(base.output),
            reasoning_usd_per_million: million(base.reasoning),
            output_audio_usd_per_million: million(base.output_audio),
            output_image_usd_per_million: million(base.output_image),
            batch_input_usd_per_million: million(base.batch_input),
            batch_output_usd_per_million: million(base.batch_output),
            batch_rate: prices.batch.map(|rates| rate(rates.tokens)),
            batch_cache_read_rate: prices.batch.and_then(|rates| rates.cache_read).map(rate),
            characters_usd_per_million: million(prices.per_million_characters),
            usd_per_image: unit(prices.per_image),
            usd_per_second: unit(prices.per_second),
            usd_per_search: unit(prices.per_search),
            usd_per_code_execution: unit(prices.per_code_execution),
            usd_per_file_search: unit(prices.per_file_search),
            tiers: serde_json::to_string(&prices.tiers).expect("tiers have a JSON form"),
        }
    }
}

fn micros(time: UnixMicros) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(price_id: &str, valid_from: u64, input: &str) -> Record {
        let prices = serde_json::from_str(&format!(r#"{{"input":"{input}"}}"#)).unwrap();
        let row = PriceRow { price_id: price_id.to_owned(), valid_from: UnixMicros(valid_from), prices };
        Record::of(&Target::parse("p/m").unwrap(), &row)
    }

    #[test]
    fn a_price_holds_from_its_own_day_or_from_when_it_replaced_another() {
        let now = UnixMicros(1000);
        let catalogue = record("day1", 100, "1");
        for (newest, wanted, valid_from) in [
            (None, record("day1", 100, "1"), Some(100)),
            (None, record("own", 0, "2"), Some(0)),
            (Some(&catalogue), record("day1", 100, "1"), None),
            (Some(&catalogue), record("day2", 500, "1.5"), Some(500)),
            (Some(&catalogue), record("own", 0, "2"), Some(1000)),
            (Some(&record("own", 700, "2")), record("own", 0, "2"), None),
            (Some(&record("own", 700, "2")), record("own", 0, "3"), Some(1000)),
            (Some(&record("own", 700, "2")), record("day1", 100, "1"), Some(1000)),
        ] {
            let found = due(newest, wanted.clone(), now);
            assert_eq!(found.map(|record| record.valid_from), valid_from, "{newest:?} {wanted:?}");
        }
    }
}
