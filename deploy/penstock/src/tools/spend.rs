//! `penstock spend`: the same numbers as `GET /admin/v1/spend`, from the same functions.

use super::output::print;
use crate::{Format, Place};
use anyhow::{anyhow, bail};
use penstock_runtime::clock;
use penstock_schemas::forecast::ForecastReport;
use penstock_schemas::question::{Question, Words};
use penstock_schemas::spend::{ReportReply, RepriceReport, RepricedSums, SpendReport, SpendSums, UNKNOWN};
use serde_json::{Map, Value};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  penstock spend --by project,model --since 7d --format csv
  penstock spend --by budget --forecast
  penstock spend --by model --reprice 2026-11-01")]
pub(crate) struct SpendOptions {
    /// What to break down by: project, user, key_id, provider, model, virtual_model, operation, budget, day, hour, tag:NAME
    #[arg(long)]
    by: Option<String>,
    /// From when on: 7d, 24h, a day such as 2026-11-01, or RFC 3339 [default: 30d]
    #[arg(long)]
    since: Option<String>,
    /// Until when [default: now]
    #[arg(long)]
    until: Option<String>,
    /// Where spending leads to: this month's, or with `--by budget` each budget's in its own cycle
    #[arg(long)]
    forecast: bool,
    /// What it would have cost at the prices of a date of the catalogue, such as 2026-11-01
    #[arg(long, value_name = "DATE")]
    reprice: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &SpendOptions) -> anyhow::Result<ExitCode> {
    let words = Words {
        by: options.by.as_deref(),
        since: options.since.as_deref(),
        until: options.until.as_deref(),
        forecast: options.forecast.then_some("true"),
        reprice: options.reprice.as_deref(),
    };
    match Question::parse(words, clock::now()).map_err(|why| anyhow!(why))? {
        Question::Spend(query) => spent(options.format, &super::warehouse(place)?.spend(&query).await?)?,
        Question::Reprice(query) => repriced(options.format, &super::warehouse(place)?.reprice(&query).await?)?,
        // Budgets and their names for people are in NATS: the analytics role knows them.
        Question::Forecast(query) => match super::bus(place).await?.ask_forecast(&query).await? {
            ReportReply::Report(report) => forecast(options.format, &report)?,
            ReportReply::BadQuery(why) | ReportReply::Unavailable(why) => bail!(why),
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn spent(format: Format, report: &SpendReport) -> anyhow::Result<()> {
    let sums = |sums: &SpendSums| {
        let numbers = [sums.requests, sums.attempts, sums.input_tokens, sums.output_tokens].map(|n| n.to_string());
        let is_partly_unknown = sums.unknown > 0 && sums.cost_usd != UNKNOWN;
        let cost = if is_partly_unknown { format!("{} + unknown", sums.cost_usd) } else { sums.cost_usd.clone() };
        numbers.into_iter().chain([cost])
    };
    let mut rows: Vec<Vec<String>> =
        report.rows.iter().map(|row| texts(&row.by).chain(sums(&row.sums)).collect()).collect();
    if format == Format::Table {
        rows.push(total(report.by.len()).chain(sums(&report.total)).collect());
    }
    let numbers = ["requests", "attempts", "input_tokens", "output_tokens", "cost_usd"];
    print(format, &columns(&report.by, &numbers), &rows, report)
}

fn repriced(format: Format, report: &RepriceReport) -> anyhow::Result<()> {
    let sums = |sums: &RepricedSums| {
        let RepricedSums { attempts, cost_usd, repriced_usd, difference_usd, unpriced } = sums.clone();
        [attempts.to_string(), cost_usd, repriced_usd, difference_usd, unpriced.to_string()]
    };
    let mut rows: Vec<Vec<String>> =
        report.rows.iter().map(|row| texts(&row.by).chain(sums(&row.sums)).collect()).collect();
    if format == Format::Table {
        rows.push(total(report.by.len()).chain(sums(&report.total)).collect());
    }
    let numbers = ["attempts", "cost_usd", "repriced_usd", "difference_usd", "unpriced"];
    print(format, &columns(&report.by, &numbers), &rows, report)?;
    if format == Format::Table && !report.unpriced.is_empty() {
        let rows: Vec<[String; 3]> = report
            .unpriced
            .iter()
            .map(|model| [model.target.clone(), model.attempts.to_string(), model.cost_usd.clone()])
            .collect();
        print(format, &["no price on that date", "attempts", "cost_usd"], &rows, report)?;
    }
    Ok(())
}

fn forecast(format: Format, report: &ForecastReport) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| {
            let known = [row.window.clone(), row.unit.as_str().to_owned(), row.spent.clone(), row.per_day.clone()];
            let open =
                [&row.projected, &row.limit, &row.spent_at, &row.until].map(|text| text.clone().unwrap_or_default());
            texts(&row.by).chain(known).chain(open).collect()
        })
        .collect();
    let numbers = ["window", "unit", "spent", "per_day", "projected", "limit", "spent_at", "until"];
    print(format, &columns(&report.by, &numbers), &rows, report)
}

fn texts(by: &Map<String, Value>) -> impl Iterator<Item = String> {
    by.values().map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
}

/// What stands before the sums of all rows together.
fn total(columns: usize) -> impl Iterator<Item = String> {
    (0..columns).map(|at| if at == 0 { "total".to_owned() } else { String::new() })
}

fn columns<'a>(by: &'a [String], numbers: &[&'a str]) -> Vec<&'a str> {
    by.iter().map(String::as_str).chain(numbers.iter().copied()).collect()
}
