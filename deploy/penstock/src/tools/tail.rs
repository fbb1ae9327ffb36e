//! `penstock tail`: requests as they end, live from the ledger over NATS. Whoever reaches NATS sees all projects; owners of
//! projects ask the admin API for theirs: `GET /admin/v1/requests`.

use super::output::write;
use crate::{Format, Place};
use penstock_schemas::UnixMicros;
use penstock_schemas::event::{RequestEvent, UsageEvent};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::rfc3339;
use penstock_schemas::rows::RequestFilter;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  penstock tail --project search\n  penstock tail --failure any --format json")]
pub(crate) struct TailOptions {
    /// Only requests of this project
    #[arg(long)]
    project: Option<String>,
    /// Only requests for this model, as the caller named it, or answered by this target
    #[arg(long)]
    model: Option<String>,
    /// Only requests that failed so: rate_limited, overloaded, timeout, …; any: in any way
    #[arg(long)]
    failure: Option<String>,
    /// End after so many
    #[arg(long)]
    count: Option<u64>,
    /// How to print them: json is an object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &TailOptions) -> anyhow::Result<ExitCode> {
    let mut feed = super::bus(place).await?.events().await?;
    let TailOptions { project, model, failure, .. } = options;
    let filter = RequestFilter {
        project: project.clone(),
        model: model.clone(),
        failure: failure.clone(),
        ..RequestFilter::since(UnixMicros(0))
    };
    let mut left = options.count.unwrap_or(u64::MAX);
    while let Some(events) = feed.next().await {
        for event in events {
            let UsageEvent::Request(request) = event else { continue };
            if left == 0 || !filter.admits(&request) {
                continue;
            }
            write(line(&request, options.format)?.as_bytes())?;
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(request: &RequestEvent, format: Format) -> anyhow::Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string(request)? + "\n");
    }
    let took = request.ended_at.since(request.received_at);
    let cells = [
        rfc3339::write(request.ended_at),
        request.request_id.to_string(),
        request.caller.project.to_string(),
        request.model.clone(),
        request.target.as_ref().map(ToString::to_string).unwrap_or_default(),
        request.status.to_string(),
        request.failure.map_or("", FailureKind::as_str).to_owned(),
        format!("{took:.1?}"),
        request.cost.map(|cost| format!("{cost} USD")).unwrap_or_default(),
    ];
    let separator = if format == Format::Csv { "," } else { "  " };
    // What callers wrote stays on its line.
    let cells = cells.map(|cell| cell.replace(|c: char| c.is_control() || (format == Format::Csv && c == ','), " "));
    Ok(cells.join(separator) + "\n")
}
