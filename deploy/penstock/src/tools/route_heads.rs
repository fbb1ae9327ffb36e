//! `penstock route heads`: what virtual models that are routed by `auto` have learnt of their targets; freezes it, lets it learn again,
//! throws it away.

use super::output::{print, write};
use crate::config::Config;
use crate::{Format, Place};
use anyhow::bail;
use penstock_ingress::Strategy;
use penstock_runtime::clock;
use penstock_schemas::head::{HeadsAction, HeadsChange, ModelHeads, TargetHead};
use serde_json::json;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock route heads chat\n  penstock route heads chat --freeze")]
pub(crate) struct HeadsOptions {
    /// Only this virtual model
    model: Option<String>,
    /// It learns no more
    #[arg(long, requires = "model", group = "action")]
    freeze: bool,
    /// It learns again
    #[arg(long, requires = "model", group = "action")]
    thaw: bool,
    /// What it has learnt is thrown away: scores of answers from before now do not count
    #[arg(long, requires = "model", group = "action")]
    reset: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl HeadsOptions {
    fn action(&self) -> Option<HeadsAction> {
        let all =
            [(self.freeze, HeadsAction::Freeze), (self.thaw, HeadsAction::Thaw), (self.reset, HeadsAction::Reset)];
        all.into_iter().find(|(is_asked, _)| *is_asked).map(|(_, action)| action)
    }
}

pub(crate) async fn run(place: &Place, options: &HeadsOptions) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    let own = config.ingress.models.iter().filter(|(_, model)| model.uses(Strategy::Auto));
    let own: Vec<&String> =
        own.map(|(name, _)| name).filter(|name| options.model.as_ref().is_none_or(|one| one == *name)).collect();
    if own.is_empty() {
        bail!("the configuration has no such virtual model with `strategy = \"auto\"`");
    }
    let bus = super::bus(place).await?;
    if let (Some(action), Some(model)) = (options.action(), &options.model) {
        bus.change_heads(&HeadsChange { model: model.clone(), action }, clock::now()).await?;
    }
    let bucket = bus.heads().await?;
    let mut all = Vec::new();
    for name in own {
        let known = bucket.get(&ModelHeads::key(name)).await?;
        all.push(known.unwrap_or_else(|| ModelHeads::new(name)));
    }
    let rows: Vec<[String; 6]> = all.iter().flat_map(rows).collect();
    let titles = ["model", "target", "labels", "level", "error", "was"];
    print(options.format, &titles, &rows, &json!({ "data": all }))?;
    if options.format == Format::Table {
        for one in &all {
            write(state(one).as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(known: &ModelHeads) -> Vec<[String; 6]> {
    let row = |head: &TargetHead| {
        let figures = [head.level, head.error, head.error_before].map(|figure| format!("{figure:.3}"));
        let [level, error, was] = figures;
        [known.model.clone(), head.target.to_string(), head.labels.to_string(), level, error, was]
    };
    known.heads.iter().map(row).collect()
}

fn state(known: &ModelHeads) -> String {
    let learns = if known.is_frozen { "is frozen" } else { "learns" };
    let judges = if known.heads.is_empty() { ", and judges by the shipped heads" } else { "" };
    format!("{} {learns}{judges}; version {}, {} labels\n", known.model, known.version, known.labels)
}
