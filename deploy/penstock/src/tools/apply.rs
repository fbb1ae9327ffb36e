//! `penstock apply`: what is managed becomes what the configuration declares. Shows what it does as a diff.

use super::manage::{Counter, told, warn};
use super::output::write;
use crate::config::Config;
use crate::{Format, Place, config};
use penstock_ingress::manage::{Applied, ApplyStep, Applying, Sign};
use penstock_schemas::audit::Way;
use serde_json::json;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  penstock apply --dry-run\n  penstock apply --config team.toml --prune")]
pub(crate) struct ApplyOptions {
    /// Change nothing, and show what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Remove what the file does not declare: projects, users, budgets, limits, webhooks, and keys if it declares any
    #[arg(long)]
    prune: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &ApplyOptions) -> anyhow::Result<ExitCode> {
    let declared = Config::load(place)?.ingress.declared;
    let counter = Box::pin(Counter::open(place, Way::Apply)).await?;
    let how = Applying { is_dry: options.dry_run, is_pruning: options.prune, is_making_secrets: true };
    let mut applied = Box::pin(counter.objects.apply(&counter.actor, &declared, how)).await.map_err(told)?;
    let unfinished = applied.unfinished.take();
    // Before anything else can fail: the secrets of new keys cannot be shown again.
    show(place, options, &applied)?;
    Box::pin(counter.close()).await?;
    unfinished.map_or(Ok(ExitCode::SUCCESS), |why| Err(told(why)))
}

fn show(place: &Place, options: &ApplyOptions, applied: &Applied) -> anyhow::Result<()> {
    if options.format == Format::Json {
        let secrets: serde_json::Map<_, _> =
            applied.secrets.iter().map(|(id, secret)| (id.to_string(), secret.reveal().into())).collect();
        let value = json!({
            "dry_run": options.dry_run,
            "steps": applied.steps,
            "warnings": applied.warnings,
            "keys": secrets,
        });
        write(format!("{}\n", serde_json::to_string_pretty(&value)?).as_bytes())?;
        return Ok(());
    }
    warn(&applied.warnings);
    write(story(place, options, applied).as_bytes())
}

fn story(place: &Place, options: &ApplyOptions, applied: &Applied) -> String {
    let mut text: String = applied.steps.iter().map(|step| step.line() + "\n").collect();
    for (id, secret) in &applied.secrets {
        text += &format!("key {id} (shown only now): {}\n", secret.reveal());
    }
    let count = |sign: Sign| applied.steps.iter().filter(|step: &&ApplyStep| step.action == sign).count();
    let file = config::file(place).map_or("the environment".to_owned(), |file| file.display().to_string());
    let (made, changed, removed) = (count(Sign::Create), count(Sign::Update), count(Sign::Delete));
    text += &match (applied.steps.is_empty(), options.dry_run) {
        (true, _) => format!("everything is as {file} says\n"),
        (false, true) => format!("{made} to make, {changed} to change, {removed} to remove; nothing was changed\n"),
        (false, false) => format!("{made} made, {changed} changed, {removed} removed\n"),
    };
    text
}
