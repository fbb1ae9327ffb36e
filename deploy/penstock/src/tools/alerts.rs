//! `penstock alerts`: the same as `GET /admin/v1/alerts`, from the same function.

use super::output::print;
use crate::{Format, Place};
use anyhow::anyhow;
use penstock_runtime::clock;
use penstock_schemas::alert::AlertQuery;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock alerts --since 7d --kind budget_exceeded")]
pub(crate) struct AlertOptions {
    /// From when on: 7d, 24h, a day such as 2026-11-01, or RFC 3339 [default: 30d]
    #[arg(long)]
    since: Option<String>,
    /// Until when [default: now]
    #[arg(long)]
    until: Option<String>,
    /// Only of this kind: budget_threshold, budget_exceeded, unpriced_model, unpriced_usage, impossible_usage, provider_key_failing,
    /// reconciliation_difference, spending_slope, ledger_dead_letter, disk_space, session_runaway, drift, model_version,
    /// system_fingerprint, arm_stopped
    #[arg(long)]
    kind: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &AlertOptions) -> anyhow::Result<ExitCode> {
    let (kind, since, until) = (options.kind.as_deref(), options.since.as_deref(), options.until.as_deref());
    let query = AlertQuery::parse(kind, since, until, clock::now()).map_err(|why| anyhow!(why))?;
    let report = super::warehouse(place)?.alerts(&query).await?;
    let rows: Vec<[String; 5]> = report
        .alerts
        .iter()
        .map(|alert| [&alert.at, &alert.kind, &alert.subject, &alert.window, &alert.message].map(Clone::clone))
        .collect();
    print(options.format, &["at", "kind", "subject", "window", "message"], &rows, &report)?;
    Ok(ExitCode::SUCCESS)
}
