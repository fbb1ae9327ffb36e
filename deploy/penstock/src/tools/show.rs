//! `penstock show`: one request whole, from the ledger: its stages, its attempts, times, tokens, money.

use super::output::{print, write};
use crate::{Format, Place};
use anyhow::{anyhow, bail};
use penstock_schemas::name::RequestId;
use penstock_schemas::route::{RouteCandidate, RouteDecision, RouteFilter};
use penstock_schemas::rows::{RowQuery, RowQuestion, RowReport};
use penstock_schemas::spend::ReportReply;
use serde_json::Value;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  penstock show 0193e6a0-7c2d-7cc0-8000-000000000001 --format json")]
pub(crate) struct ShowOptions {
    /// The request: `x-penstock-request-id` of its answer
    id: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, options: &ShowOptions) -> anyhow::Result<ExitCode> {
    let id = RequestId::parse(&options.id).ok_or_else(|| anyhow!("`{}` is not the id of a request", options.id))?;
    let found = ask(place, RowQuestion::Request(id)).await?.data.into_iter().next();
    let found =
        found.ok_or_else(|| anyhow!("the ledger knows no request {id}; a row stands there a second after its end"))?;
    if options.format == Format::Json {
        let none: [[String; 0]; 0] = [];
        return print(options.format, &[], &none, &found).map(|()| ExitCode::SUCCESS);
    }
    let request = &found["request"];
    let facts = FACTS.iter().map(|(column, name)| [(*name).to_owned(), cell(&request[*column])]);
    let facts: Vec<[String; 2]> = facts.filter(|[_, value]| !value.is_empty()).collect();
    print(options.format, &["request", &options.id], &facts, &Value::Null)?;
    if let Some(stages) = request["stages"].as_object().filter(|stages| !stages.is_empty()) {
        let stages: Vec<[String; 2]> = stages.iter().map(|(stage, us)| [stage.clone(), cell(us)]).collect();
        write(b"\n")?;
        print(options.format, &["stage", "microseconds"], &stages, &Value::Null)?;
    }
    show_route(options.format, request["route"].as_str().unwrap_or_default())?;
    let attempts = found["attempts"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> =
        attempts.iter().map(|attempt| ATTEMPT.iter().map(|column| cell(&attempt[*column])).collect()).collect();
    write(b"\n")?;
    print(options.format, &ATTEMPT, &rows, &Value::Null)?;
    let scores = found["scores"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> =
        scores.iter().map(|score| SCORE.iter().map(|column| cell(&score[*column])).collect()).collect();
    if !rows.is_empty() {
        write(b"\n")?;
        print(options.format, &SCORE, &rows, &Value::Null)?;
    }
    body(&found["body"])?;
    Ok(ExitCode::SUCCESS)
}

/// Why the request went where it went, as far as that was decided here.
fn show_route(format: Format, text: &str) -> anyhow::Result<()> {
    let Ok(route) = serde_json::from_str::<RouteDecision>(text) else { return Ok(()) };
    let number =
        |number: Option<f64>, digits: usize| number.map_or(String::new(), |number| format!("{number:.digits$}"));
    let of_candidate = |one: &RouteCandidate| {
        let expected = [number(one.usd, 6), number(one.ms, 0), number(one.quality, 2)];
        let [usd, ms, quality] = expected;
        [one.target.clone(), format!("{:.3}", one.propensity), usd, ms, quality, String::new()]
    };
    let of_filter = |one: &RouteFilter| {
        let none = String::new();
        [one.target.clone(), none.clone(), none.clone(), none.clone(), none, format!("{}: {}", one.by, one.why)]
    };
    let mut rows: Vec<[String; 6]> = route.candidates.iter().map(of_candidate).collect();
    rows.extend(route.filters.iter().map(of_filter));
    if let Some(first) = rows.first_mut() {
        first[5] = route.reason;
    }
    write(b"\n")?;
    print(format, &["target", "propensity", "USD", "ms", "quality", "why"], &rows, &Value::Null)
}

/// What is kept of the request and its answer. A terminal obeys control characters: they are left out.
fn body(kept: &Value) -> anyhow::Result<()> {
    for (name, length) in [("request", "request_bytes"), ("sent", "sent_bytes"), ("answer", "answer_bytes")] {
        let Some(text) = kept[name].as_str().filter(|text| !text.is_empty() || name != "sent") else { continue };
        let text: String = text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
        write(format!("\n{name}, {} bytes:\n{text}\n", kept[length]).as_bytes())?;
    }
    Ok(())
}

/// The columns of a request that are printed, and their titles.
const FACTS: [(&str, &str); 24] = [
    ("received_at", "received"),
    ("ended_at", "ended"),
    ("total_us", "microseconds"),
    ("first_token_us", "to the first content"),
    ("project", "project"),
    ("user", "user"),
    ("end_user", "end user"),
    ("key_id", "key"),
    ("session", "session"),
    ("trace_id", "trace"),
    ("batch_id", "batch"),
    ("dialect", "dialect"),
    ("operation", "operation"),
    ("model", "model"),
    ("target", "target"),
    ("strategy", "strategy"),
    ("propensity", "propensity"),
    ("experiment", "experiment"),
    ("arm", "arm"),
    ("outcome", "outcome"),
    ("failure", "failure"),
    ("status", "status"),
    ("cache", "cache"),
    ("cost_usd", "cost, USD"),
];

/// The columns of a score that are printed.
const SCORE: [&str; 6] = ["name", "number", "text", "by", "source", "comment"];

/// The columns of an attempt that are printed.
const ATTEMPT: [&str; 13] = [
    "number",
    "provider",
    "model",
    "outcome",
    "failure",
    "provider_status",
    "first_token_us",
    "total_us",
    "total_input_tokens",
    "total_output_tokens",
    "cost_usd",
    "finish_reason",
    "tools",
];

/// Asks the analytics role for rows, as an operator who may see all.
pub(super) async fn ask(place: &Place, what: RowQuestion) -> anyhow::Result<RowReport> {
    match super::bus(place).await?.ask_rows(&RowQuery { what, projects: None }).await? {
        ReportReply::Report(report) => Ok(report),
        ReportReply::BadQuery(why) | ReportReply::Unavailable(why) => bail!(why),
    }
}

/// A value as people read it; a list of names without its brackets.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
