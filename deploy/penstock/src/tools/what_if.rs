//! `penstock route what-if`: what the virtual models of another configuration would have come to, estimated from the decisions
//! in the ledger. Of a policy it knows the strategy, the targets with their weights and qualities, `providers`, `regions`,
//! `min_quality` and `max_usd_per_request`; of a model with conditions or an experiment it says that it cannot tell.

use super::output::{print, write};
use super::route_heads::{self, HeadsOptions};
use crate::config::Config;
use crate::{Format, Place};
use anyhow::{Context, anyhow, bail};
use penstock_analytics::SqlFormat;
use penstock_ingress::{VirtualModel, chances, untold};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::experiment::{Estimate, Figure};
use penstock_schemas::off_policy::{Logged, PolicyEstimate, compare};
use penstock_schemas::route::RouteDecision;
use penstock_schemas::spend::parse_time;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(crate) enum RouteCommand {
    /// What another policy would have cost, how long it would have taken, how good it would have been
    WhatIf(WhatIfOptions),
    /// What virtual models with `strategy = "auto"` have learnt of their targets
    Heads(HeadsOptions),
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock route what-if --policy new.toml --since 7d --model chat")]
pub(crate) struct WhatIfOptions {
    /// A configuration with the other policy in its [models.NAME]
    #[arg(long)]
    policy: PathBuf,
    /// From when on: 7d, or a day
    #[arg(long, default_value = "7d")]
    since: String,
    /// Only this virtual model
    #[arg(long)]
    model: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The most decisions that are read, the latest.
const MOST: u32 = 200_000;

/// A decision in the ledger, and what came of it.
#[derive(Deserialize)]
struct Row {
    model: String,
    route: String,
    failed: f64,
    usd: Option<f64>,
    ms: Option<f64>,
    score: Option<f64>,
}

pub(crate) async fn run(place: &Place, command: &RouteCommand) -> anyhow::Result<ExitCode> {
    let options = match command {
        RouteCommand::WhatIf(options) => options,
        RouteCommand::Heads(options) => return route_heads::run(place, options).await,
    };
    let other = Config::load(&Place { config: Some(options.policy.clone()), ..place.clone() })?;
    let since = parse_time("since", &options.since, clock::now()).map_err(|why| anyhow!(why))?;
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for (name, model) in &other.ingress.models {
        if options.model.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        if let Some(why) = untold(model) {
            refused.push((name.clone(), why));
            continue;
        }
        let rows = read(place, name, since, &model.routing.score).await?;
        let decisions: Vec<Logged> = rows.iter().filter_map(|row| logged(row, model)).collect();
        found.push((name.clone(), compare(&decisions)));
    }
    let told = refused.iter().map(|(name, why)| format!("nothing can be estimated of `{name}`: {why}"));
    let told: Vec<String> = told.collect();
    if found.is_empty() {
        bail!(if told.is_empty() {
            "the policy has no virtual model of that name".to_owned()
        } else {
            told.join("; ")
        });
    }
    if options.format == Format::Json {
        let estimated = found.iter().map(|(model, figures)| json!({ "model": model, "figures": figures }));
        let refused = refused.iter().map(|(model, why)| json!({ "model": model, "figures": [], "refused": why }));
        let all: Vec<Value> = estimated.chain(refused).collect();
        let none: [[String; 0]; 0] = [];
        print(options.format, &[], &none, &json!({ "data": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 6]> =
        found.iter().flat_map(|(model, figures)| figures.iter().map(|figure| row(model, figure))).collect();
    print(options.format, &["model", "figure", "decisions", "worth", "was", "would have been"], &rows, &Value::Null)?;
    if rows.is_empty() {
        write(b"the ledger has no decisions of these virtual models since then\n")?;
    }
    for line in told {
        write(format!("{line}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The decisions of a virtual model, without copies and without the conversations that only stayed where they were.
async fn read(place: &Place, model: &str, since: UnixMicros, score: &str) -> anyhow::Result<Vec<Row>> {
    let text = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let sql = format!(
        "SELECT model, route, toFloat64(outcome IN ('refused', 'broken') AND failure IS NOT NULL) AS failed,
            toFloat64(cost_usd) AS usd, if(outcome = 'served', total_us / 1000, NULL) AS ms, mark AS score
        FROM (SELECT * FROM requests WHERE model = {model} AND route != '' AND strategy != 'shadow'
            AND received_at >= fromUnixTimestamp64Micro({since}) ORDER BY received_at DESC LIMIT {MOST}) AS asked
        LEFT JOIN (SELECT request_id, toNullable(avg(number)) AS mark FROM scores
            WHERE name = {score} AND number IS NOT NULL GROUP BY request_id) AS marked USING (request_id)",
        model = text(model),
        since = since.0,
        score = text(score),
    );
    let warehouse = super::warehouse(place)?;
    warehouse.answers().await?;
    let bytes = warehouse.sql(&sql, SqlFormat::Json)?.collect().await?;
    serde_json::from_slice(&bytes).context("the ledger's answer")
}

fn logged(row: &Row, model: &VirtualModel) -> Option<Logged> {
    let decision: RouteDecision = serde_json::from_str(&row.route).ok()?;
    let first = decision.candidates.first()?;
    Some(Logged {
        chosen: first.target.clone(),
        propensity: decision.propensity,
        before: decision.candidates.iter().map(|one| (one.target.clone(), one.propensity)).collect(),
        after: chances(&row.model, model, &decision),
        figures: [Some(row.failed), row.usd, row.ms, row.score],
    })
}

fn row(model: &str, one: &PolicyEstimate) -> [String; 6] {
    let digits = match one.figure {
        Figure::Cost => 6,
        Figure::Latency => 0,
        Figure::Errors | Figure::Score => 4,
    };
    let told = |Estimate { mean, low, high }: Estimate| format!("{mean:.digits$} ({low:.digits$} to {high:.digits$})");
    let small = || {
        let unseen = one.unseen * 100.0;
        format!("the overlap is too small to tell: {unseen:.0}% of its choices were never made")
    };
    [
        model.to_owned(),
        one.figure.as_str().to_owned(),
        one.decisions.to_string(),
        format!("{:.0}", one.effective),
        told(one.before),
        one.after.map_or_else(small, told),
    ]
}
