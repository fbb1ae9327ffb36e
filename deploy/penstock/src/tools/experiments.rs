//! `penstock experiments`: what the experiments of the configuration have shown, arm by arm, and the arms that were stopped.

use super::output::{print, write};
use crate::config::Config;
use crate::{Format, Place};
use anyhow::{anyhow, bail};
use penstock_schemas::experiment::{ArmReport, ArmVerdict, Difference, Estimate, ExperimentPlan, ExperimentReport};
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock experiments mini\n  penstock experiments mini --resume small")]
pub(crate) struct ExperimentOptions {
    /// Only this one
    name: Option<String>,
    /// Gives an arm that was stopped its requests again
    #[arg(long, value_name = "ARM", requires = "name")]
    resume: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &ExperimentOptions) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    let plans = config.ingress.models.values().filter_map(|model| model.experiment.as_ref()).map(|one| &one.plan);
    let is_wanted = |plan: &&ExperimentPlan| options.name.as_ref().is_none_or(|name| *name == plan.name);
    let plans: Vec<&ExperimentPlan> = plans.filter(is_wanted).collect();
    if plans.is_empty() {
        return Err(options.name.as_ref().map_or_else(
            || anyhow!("the configuration has no [[experiments]]"),
            |name| anyhow!("the configuration has no experiment `{name}`"),
        ));
    }
    let bus = super::bus(place).await?;
    let bucket = bus.arm_stops().await?;
    if let (Some(name), Some(arm)) = (&options.name, &options.resume) {
        let found = bucket.list_where(|_| true).await?;
        let is_this = |stop: &penstock_schemas::experiment::ArmStop| stop.experiment == *name && stop.arm == *arm;
        let Some((key, _)) = found.iter().find(|(_, stop)| is_this(stop)) else {
            bail!("the arm `{arm}` is not stopped")
        };
        bucket.delete(key).await?;
        write(format!("the arm {arm} takes requests again; the guard may stop it again\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let stops = bucket.list().await?;
    let mut reports = Vec::new();
    for plan in plans {
        let what = RowQuestion::Experiment { name: plan.name.clone(), score: plan.score.clone() };
        match bus.ask_rows(&RowQuery { what, projects: None }).await? {
            ReportReply::Report(report) => reports.push(plan.report(&report.data, &stops)),
            ReportReply::BadQuery(why) | ReportReply::Unavailable(why) => bail!(why),
        }
    }
    if options.format == Format::Json {
        let none: [[String; 0]; 0] = [];
        print(options.format, &[], &none, &json!({ "data": reports }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for report in &reports {
        show(options.format, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(format: Format, report: &ExperimentReport) -> anyhow::Result<()> {
    if format == Format::Table {
        write(format!("{} on {}\n", report.name, report.model).as_bytes())?;
    }
    let rows: Vec<[String; 9]> = report.arms.iter().map(row).collect();
    let titles = ["arm", "share", "requests", "units", "errors", "USD", "ms", "score", "against the first"];
    print(format, &titles, &rows, &Value::Null)
}

fn row(arm: &ArmReport) -> [String; 9] {
    let share = format!("{:.1}%", arm.share * 100.0);
    let counts = [arm.requests.to_string(), arm.units.to_string()];
    let [requests, units] = counts;
    let figures = [told(arm.errors, 4), told(arm.cost_usd, 6), told(arm.latency_ms, 0), told(arm.score, 3)];
    let [errors, cost, latency, score] = figures;
    let verdicts: Vec<String> = arm.differences.iter().filter_map(verdict).collect();
    let stopped = arm.stopped.as_ref().map(|why| format!("stopped: {why}"));
    let against = verdicts.into_iter().chain(stopped).collect::<Vec<_>>().join("; ");
    [arm.arm.clone(), share, requests, units, errors, cost, latency, score, against]
}

fn told(estimate: Option<Estimate>, digits: usize) -> String {
    estimate.map_or(String::new(), |Estimate { mean, low, high }| {
        format!("{mean:.digits$} ({low:.digits$} to {high:.digits$})")
    })
}

fn verdict(one: &Difference) -> Option<String> {
    let word = match one.verdict {
        ArmVerdict::Open => return None,
        ArmVerdict::Better => "better",
        ArmVerdict::Worse => "worse",
    };
    Some(format!("{}: {word}", one.figure.as_str()))
}
