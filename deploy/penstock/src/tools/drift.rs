//! `penstock drift`: whether the answers of a day are other than those of the weeks before; the same as `GET /admin/v1/drift`.

use super::output::{print, write};
use super::show::{ask, cell};
use crate::{Format, Place};
use anyhow::anyhow;
use penstock_runtime::clock;
use penstock_schemas::rows::RowQuestion;
use penstock_schemas::spend::parse_time;
use serde_json::Value;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  penstock drift\n  penstock drift --day 2026-11-20 --all --format json")]
pub(crate) struct DriftOptions {
    /// The day: 1d (yesterday), or a day such as 2026-11-20; of UTC
    #[arg(long, default_value = "1d")]
    day: String,
    /// Only of this project
    #[arg(long)]
    project: Option<String>,
    /// All that was tested, and not only what drifts
    #[arg(long)]
    all: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const TEST: [&str; 8] = ["scope", "name", "signal", "before", "now", "answers", "p", "drift"];

const VERSION: [&str; 5] = ["kind", "target", "version", "before", "answers"];

pub(crate) async fn run(place: &Place, options: &DriftOptions) -> anyhow::Result<ExitCode> {
    let at = parse_time("day", &options.day, clock::now()).map_err(|why| anyhow!(why))?;
    let question = RowQuestion::Drift { day: at.day(), project: options.project.clone() };
    let found = ask(place, question).await?.data.into_iter().next().unwrap_or_default();
    if options.format == Format::Json {
        let none: [[String; 0]; 0] = [];
        return print(options.format, &[], &none, &found).map(|()| ExitCode::SUCCESS);
    }
    let is_shown = |test: &&Value| options.all || test["drift"] == true;
    let tests: Vec<Value> = found["tests"].as_array().into_iter().flatten().filter(is_shown).cloned().collect();
    print(options.format, &TEST, &table(&tests, &TEST), &Value::Null)?;
    let versions = found["versions"].as_array().cloned().unwrap_or_default();
    if !versions.is_empty() {
        write(b"\n")?;
        print(options.format, &VERSION, &table(&versions, &VERSION), &Value::Null)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Value], columns: &[&str]) -> Vec<Vec<String>> {
    let shown = |value: &Value| match value.as_f64().filter(|number| number.fract() != 0.0) {
        Some(number) if number.abs() < 0.001 => format!("{number:.1e}"),
        Some(number) => format!("{number:.4}"),
        None => cell(value),
    };
    rows.iter().map(|row| columns.iter().map(|column| shown(&row[*column])).collect()).collect()
}
