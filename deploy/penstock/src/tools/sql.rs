//! `penstock sql`: one statement that only reads, against the ledger in ClickHouse.

use super::output::write;
use crate::{Format, Place};
use penstock_analytics::SqlFormat;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock sql 'SELECT model, sum(cost_usd) FROM attempts GROUP BY model'")]
pub(crate) struct SqlOptions {
    /// The statement; tables: attempts, requests, prices
    statement: String,
    /// How to print the answer; json: an array of objects
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &SqlOptions) -> anyhow::Result<ExitCode> {
    let format = match options.format {
        Format::Table => SqlFormat::Table,
        Format::Json => SqlFormat::Json,
        Format::Csv => SqlFormat::Csv,
    };
    let warehouse = super::warehouse(place)?;
    warehouse.answers().await?;
    let mut answer = warehouse.sql(&options.statement, format)?;
    while let Some(piece) = answer.next().await? {
        write(&piece)?;
    }
    Ok(ExitCode::SUCCESS)
}
