//! `penstock workers`: the same view as `GET /admin/v1/workers`, from an ingress.

use super::output::print;
use crate::{Format, Place};
use penstock_runtime::clock;
use penstock_schemas::rfc3339;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  penstock workers\n  penstock workers --format json")]
pub(crate) struct WorkerOptions {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &WorkerOptions) -> anyhow::Result<ExitCode> {
    let fleet = super::bus(place).await?.ask_fleet().await?;
    let now = clock::now();
    let rows: Vec<[String; 8]> = fleet
        .workers
        .iter()
        .map(|worker| {
            [
                worker.provider.to_string(),
                worker.worker.to_string(),
                worker.host.clone().unwrap_or_default(),
                worker.version.clone().unwrap_or_default(),
                worker.started_at.map(rfc3339::write).unwrap_or_default(),
                format!("{}/{}", worker.busy, worker.slots),
                worker.ended_per_second.to_string(),
                format!("{:.1?}", now.since(worker.heard_at)),
            ]
        })
        .collect();
    let columns = ["provider", "worker", "host", "version", "since", "busy", "ended_per_second", "heard"];
    print(options.format, &columns, &rows, &fleet)?;
    Ok(ExitCode::SUCCESS)
}
