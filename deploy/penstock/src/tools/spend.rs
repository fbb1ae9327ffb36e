//! `penstock spend`: the same numbers as `GET /admin/v1/spend`, from the same function.

use super::output::print;
use crate::{Format, Place};
use anyhow::anyhow;
use penstock_runtime::clock;
use penstock_schemas::spend::{SpendQuery, SpendSums};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock spend --by project,model --since 7d --format csv")]
pub(crate) struct Options {
    /// What to break down by: project, user, key_id, provider, model, virtual_model, operation, day, hour, tag:NAME
    #[arg(long)]
    by: Option<String>,
    /// From when on: 7d, 24h, a day such as 2026-11-01, or RFC 3339 [default: 30d]
    #[arg(long)]
    since: Option<String>,
    /// Until when [default: now]
    #[arg(long)]
    until: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &Options) -> anyhow::Result<ExitCode> {
    let (by, since, until) = (options.by.as_deref(), options.since.as_deref(), options.until.as_deref());
    let query = SpendQuery::parse(by, since, until, clock::now()).map_err(|why| anyhow!(why))?;
    let report = super::warehouse(place)?.spend(&query).await?;
    let sums = |sums: &SpendSums| {
        [sums.requests, sums.attempts, sums.input_tokens, sums.output_tokens]
            .map(|number| number.to_string())
            .into_iter()
            .chain([sums.cost_usd.clone()])
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let mut rows: Vec<Vec<String>> =
        report.rows.iter().map(|row| row.by.values().map(text).chain(sums(&row.sums)).collect()).collect();
    if options.format == Format::Table {
        let labels = (0..report.by.len()).map(|at| if at == 0 { "total".to_owned() } else { String::new() });
        rows.push(labels.chain(sums(&report.total)).collect());
    }
    let numbers = ["requests", "attempts", "input_tokens", "output_tokens", "cost_usd"];
    let columns: Vec<&str> = report.by.iter().map(String::as_str).chain(numbers).collect();
    print(options.format, &columns, &rows, &report)?;
    Ok(ExitCode::SUCCESS)
}
