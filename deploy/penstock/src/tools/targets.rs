//! `penstock targets`: the same view as `GET /admin/v1/targets`, from an ingress.

use super::manage::{Counter, told};
use super::output::{print, write};
use crate::{Format, Place};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::audit::Way;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  penstock targets --format json\n  penstock targets --resume openai/gpt-4o-mini")]
pub(crate) struct TargetOptions {
    /// Call this target again, though its provider asked for a pause (Retry-After)
    #[arg(long, value_name = "TARGET")]
    resume: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &TargetOptions) -> anyhow::Result<ExitCode> {
    if let Some(target) = &options.resume {
        return Box::pin(resume(place, target)).await;
    }
    let targets = super::bus(place).await?.ask_targets().await?;
    let now = clock::now();
    let ago = |at: UnixMicros| format!("{} s", now.since(at).as_secs());
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let rows: Vec<[String; 9]> = targets
        .iter()
        .map(|report| {
            let pause = report.paused_until.map(|until| format!("it asked for no calls for {:.1?}", until.since(now)));
            let reasons: Vec<String> = report.reason.clone().into_iter().chain(pause).collect();
            [
                report.target.to_string(),
                report.circuit.as_str().to_owned(),
                ago(report.since),
                reasons.join("; "),
                report.succeeded.to_string(),
                report.failed.to_string(),
                number(report.first_token_p95_ms),
                report.workers.to_string(),
                format!("{}/{}", report.free, report.slots),
            ]
        })
        .collect();
    let columns = ["target", "circuit", "since", "reason", "ok", "failed", "first_token_p95_ms", "workers", "free"];
    print(options.format, &columns, &rows, &targets)?;
    Ok(ExitCode::SUCCESS)
}

async fn resume(place: &Place, target: &str) -> anyhow::Result<ExitCode> {
    let counter = Counter::open(place, Way::Cli).await?;
    let bus = super::bus(place).await?;
    let target = counter.objects.resume_target(&counter.actor, &bus, target).await.map_err(told)?;
    Box::pin(counter.close()).await?;
    write(format!("calls go to {target} again\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
