//! `penstock audit`: who changed what, the same as `GET /admin/v1/audit`.

use super::output::print;
use crate::{Format, Place};
use anyhow::{anyhow, bail};
use penstock_runtime::clock;
use penstock_schemas::audit::{AuditQuery, AuditReply};
use penstock_schemas::spend::parse_time;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock audit --since 7d --object budget/search-monthly")]
pub(crate) struct AuditOptions {
    /// From when on: 7d, 24h, a day such as 2026-11-01, or RFC 3339
    #[arg(long, default_value = "30d")]
    since: String,
    /// Only such objects: budget, or budget/search-monthly
    #[arg(long)]
    object: Option<String>,
    /// Only changes by this one
    #[arg(long)]
    actor: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &AuditOptions) -> anyhow::Result<ExitCode> {
    let since = parse_time("since", &options.since, clock::now()).map_err(|why| anyhow!(why))?;
    let query = AuditQuery { since, object: options.object.clone(), actor: options.actor.clone() };
    let report = match super::bus(place).await?.ask_audit(&query).await? {
        AuditReply::Report(report) => report,
        AuditReply::Unavailable(why) => bail!("the audit cannot be read now: {why}"),
    };
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let rows: Vec<[String; 8]> = report
        .data
        .iter()
        .map(|row| {
            let [at, actor, role, action, object, source] =
                [&row.at, &row.actor, &row.role, &row.action, &row.object, &row.source].map(Clone::clone);
            [at, actor, role, action, object, source, json(&row.before), json(&row.after)]
        })
        .collect();
    let columns = ["at", "actor", "role", "action", "object", "source", "before", "after"];
    print(options.format, &columns, &rows, &report.data)?;
    Ok(ExitCode::SUCCESS)
}
