//! `penstock sql`: one statement that only reads, against the ledger in ClickHouse.

use super::output::write;
use crate::{Format, Place};
use penstock_analytics::SqlFormat;
use penstock_schemas::rows::{RowQuery, RowQuestion};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for what is under way into ClickHouse; NATS or the analytics role may be away.
const CAUGHT_UP: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock sql 'SELECT model, sum(cost_usd) FROM attempts GROUP BY model'")]
pub(crate) struct SqlOptions {
    /// The statement; tables: attempts, requests, prices. It may begin with a comment: `penstock sql "$(cat report.sql)"`
    #[arg(allow_hyphen_values = true)]
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
    // What has not arrived by then is not waited for.
    let _ = timeout(CAUGHT_UP, catch_up(place)).await;
    let mut answer = warehouse.sql(&options.statement, format)?;
    while let Some(piece) = answer.next().await? {
        write(&piece)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the analytics role carry over what is under way.
async fn catch_up(place: &Place) -> anyhow::Result<()> {
    super::bus(place).await?.ask_rows(&RowQuery { what: RowQuestion::CatchUp, projects: None }).await?;
    Ok(())
}
