//! `penstock sessions`: the runs of agents and the conversations that requests are parts of; with an id, one of them call by
//! call. The same as `GET /admin/v1/sessions` and `/admin/v1/sessions/{id}`.

use super::output::{print, write};
use super::show::{ask, cell};
use crate::{Format, Place};
use anyhow::anyhow;
use penstock_runtime::clock;
use penstock_schemas::rows::{MOST_LISTED, RequestFilter, RowQuestion};
use penstock_schemas::spend::parse_time;
use serde_json::Value;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  penstock sessions --since 1d\n  penstock sessions 01a2214e-769d-7682-8071-754b74a61887"
)]
pub(crate) struct SessionOptions {
    /// One session
    id: Option<String>,
    /// From when on: 7d, 24h, a day such as 2026-11-01, or RFC 3339
    #[arg(long, default_value = "7d")]
    since: String,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const SESSION: [&str; 8] = ["last_at", "project", "session", "source", "requests", "failed", "total_us", "cost_usd"];

const CALL: [&str; 9] =
    ["received_at", "request_id", "model", "target", "outcome", "first_token_us", "total_us", "cost_usd", "tools"];

pub(crate) async fn run(place: &Place, options: &SessionOptions) -> anyhow::Result<ExitCode> {
    let Some(id) = &options.id else {
        let since = parse_time("since", &options.since, clock::now()).map_err(|why| anyhow!(why))?;
        let filter = RequestFilter { limit: Some(MOST_LISTED), ..RequestFilter::since(since) };
        let report = ask(place, RowQuestion::SessionList(filter)).await?;
        print(options.format, &SESSION, &table(&report.data, &SESSION), &report.data)?;
        return Ok(ExitCode::SUCCESS);
    };
    let found = ask(place, RowQuestion::Session(id.clone())).await?.data.into_iter().next();
    let found = found.ok_or_else(|| anyhow!("the ledger knows no session `{id}`"))?;
    let calls = found["requests"].as_array().cloned().unwrap_or_default();
    if options.format == Format::Table {
        let facts = found["session"].as_object().into_iter().flatten();
        let facts: Vec<[String; 2]> = facts.map(|(name, value)| [name.clone(), cell(value)]).collect();
        print(options.format, &["session", id], &facts, &Value::Null)?;
        write(b"\n")?;
    }
    print(options.format, &CALL, &table(&calls, &CALL), &found)?;
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Value], columns: &[&str]) -> Vec<Vec<String>> {
    rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()).collect()
}
