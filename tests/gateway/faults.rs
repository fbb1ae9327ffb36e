//! The fault matrix: everything that a provider is known to do wrong, one row each; what the client saw of it, who answered,
//! how long it took, what is in the ledger and what it costs. Printed as a table, which the README shows.

#[path = "faults/rows.rs"]
mod rows;

use futures_util::stream::{self, StreamExt};
use penstock_tests::{Answer, Setup, Upstream, World, in_short};
use rows::{Expected, Row};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// No row may take longer, with clocks of [`CLOCKS`]: far more than they add up to, since the machine may be busy.
const NEVER: Duration = Duration::from_secs(60);

/// The clocks of the link that fails. Real ones are a minute long.
const CLOCKS: &str = r#"retries = 0, connect = "4s", first_token = "4s", idle = "4s", total = "12s""#;

/// What the link behind costs: its tokens at its prices; and what the first link costs when it serves.
const BETA_COST: &str = "0.000001666685";
const FIRST_COST: &str = "0.00006";

/// Rows that run at once.
const AT_ONCE: usize = 6;

/// A row with what stands for its first link.
struct Case {
    row: Row,
    link: String,
    url: String,
    /// `None`: nobody listens.
    upstream: Option<Upstream>,
}

/// What came of a row.
struct Outcome {
    fault: &'static str,
    delivery: &'static str,
    saw: String,
    by: String,
    took: Duration,
    recorded: String,
    charged: String,
}

impl Case {
    /// Every row has a provider of its own, so that none sees the circuit or the limits of another.
    async fn new(number: usize, row: Row) -> Self {
        let link = format!("fault{number}");
        let Some(reply) = row.reply.clone() else {
            return Self { row, link, url: Upstream::nowhere(), upstream: None };
        };
        let upstream = Upstream::start(&link).await;
        upstream.replies(reply).always();
        Self { row, link, url: upstream.url(), upstream: Some(upstream) }
    }

    fn configure(&self, setup: Setup) -> Setup {
        let Self { link, url, .. } = self;
        setup.config(&format!(
            r#"
[providers.{link}]
dialect = "openai"
base_url = "{url}"
[[prices]]
model = "{link}/m"
input_usd_per_million = "1"
output_usd_per_million = "10"
[models.{link}-first]
targets = [{{ model = "{link}/m", {CLOCKS} }}, {{ model = "beta/m" }}]
"#
        ))
    }

    async fn run(&self, world: &World) -> (Outcome, Option<String>) {
        let ask = world.ask(&format!("{}-first", self.link));
        let begun = Instant::now();
        let answer = if self.row.streamed { ask.stream().await } else { ask.await };
        let took = begun.elapsed();
        let rows = self.recorded(world, &answer).await;
        let outcome = self.outcome(&answer, &rows, took);
        let wrong = self.wrong(&answer, &rows, &outcome);
        (outcome, wrong)
    }

    /// The attempts of this request, once all of them have ended.
    async fn recorded(&self, world: &World, answer: &Answer) -> Vec<Value> {
        let request = answer.header("x-penstock-request-id");
        let statement = format!(
            "SELECT provider, provider_status, outcome, failure, toString(cost_usd) AS cost, running,
            toString(attempt_id) AS id, cost_usd <= worst_case_usd AS within
            FROM attempts WHERE request_id = '{request}' ORDER BY number"
        );
        let count = if matches!(self.row.expected, Expected::Elsewhere(_) | Expected::Paid(_)) { 2 } else { 1 };
        world
            .sql_until(&statement, |rows| {
                rows.len() >= count && rows.iter().all(|row| row["running"] != true && row["outcome"] != "unknown")
            })
            .await
    }

    fn outcome(&self, answer: &Answer, rows: &[Value], took: Duration) -> Outcome {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let attempt = |row: &Value| {
            let status = row["provider_status"].as_u64().map(|status| format!(" {status}")).unwrap_or_default();
            let failure = row["failure"].as_str().map(|failure| format!(" {failure}")).unwrap_or_default();
            let provider = if row["provider"] == *self.link { "first".to_owned() } else { text(&row["provider"]) };
            format!("{provider}{status}{failure}: {}", text(&row["outcome"]))
        };
        let charges: Vec<String> =
            rows.iter().map(|row| row["cost"].as_str().map_or("–".to_owned(), |cost| format!("${cost}"))).collect();
        let target = answer.header("x-penstock-target");
        Outcome {
            fault: self.row.fault,
            delivery: if self.row.streamed { "stream" } else { "whole" },
            saw: seen(answer),
            by: if target.starts_with(&self.link) { "first".to_owned() } else { "beta".to_owned() },
            took,
            recorded: rows.iter().map(attempt).collect::<Vec<_>>().join(", "),
            charged: charges.join(", "),
        }
    }

    /// What is not as it should be.
    fn wrong(&self, answer: &Answer, rows: &[Value], outcome: &Outcome) -> Option<String> {
        let costs: Vec<Option<&str>> = rows.iter().map(|row| row["cost"].as_str()).collect();
        let (saw, by, recorded, is_charged_right) = match self.row.expected {
            Expected::Elsewhere(failure) | Expected::Paid(failure) => (
                "200 \"hello\"".to_owned(),
                "beta",
                format!("first {failure}: refused, beta 200: served"),
                costs == [matches!(self.row.expected, Expected::Paid(_)).then_some(FIRST_COST), Some(BETA_COST)],
            ),
            Expected::Broken { text, failure } => (
                format!("200 \"{text}\", then {failure}"),
                "first",
                format!("first 200 {failure}: broken"),
                matches!(&costs[..], [Some(cost)] if *cost != "0") && rows[0]["within"] == 1,
            ),
            Expected::Served => {
                ("200 \"hello\"".to_owned(), "first", "first 200: served".to_owned(), costs == [Some(FIRST_COST)])
            }
        };
        let ids: HashSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        let asked = self.upstream.as_ref().map_or(0, |upstream| upstream.calls().len());
        let ends = answer.raw().matches("[DONE]").count();
        let is_complete = !matches!(self.row.expected, Expected::Broken { .. });
        let wrong: Vec<&str> = [
            (outcome.saw == saw, "what the client saw"),
            (outcome.by == by, "who answered"),
            (outcome.recorded == recorded, "the ledger"),
            (is_charged_right, "the cost"),
            (outcome.took < NEVER, "the time"),
            (ids.len() == rows.len(), "an attempt is in the ledger twice"),
            (asked == usize::from(self.row.reply.is_some()), "asked more than once"),
            (ends == usize::from(self.row.streamed && is_complete), "an answer that is cut looks complete"),
        ]
        .into_iter()
        .filter_map(|(is_right, what)| (!is_right).then_some(what))
        .collect();
        let (fault, delivery) = (outcome.fault, outcome.delivery);
        (!wrong.is_empty()).then(|| format!("{fault}, {delivery}: {wrong:?}; expected {saw}, {recorded}"))
    }
}

/// The status, the text, and the error that stands in its place or behind it.
fn seen(answer: &Answer) -> String {
    if answer.status != 200 {
        return answer.error();
    }
    if !answer.header("content-type").starts_with("text/event-stream") {
        return format!("200 \"{}\"", answer.text());
    }
    let events = answer.events();
    let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let error = events.iter().map(|event| &event["error"]).find(|error| !error.is_null());
    let error = error.map(|error| format!(", then {}", in_short(error).rsplit(' ').next().unwrap_or_default()));
    // An endless answer is as long as its time was.
    let text = if text.len() > 100 { "…".to_owned() } else { text };
    format!("200 \"{text}\"{}", error.unwrap_or_default())
}

/// The rows as Markdown, aligned.
fn table(outcomes: &[Outcome]) -> String {
    let head = ["fault", "asked", "the client saw", "answered by", "took", "recorded", "charged"].map(str::to_owned);
    let rows: Vec<[String; 7]> = outcomes
        .iter()
        .map(|outcome| {
            let Outcome { fault, delivery, saw, by, took, recorded, charged } = outcome;
            let took = format!("{:.2} s", took.as_secs_f64());
            [
                (*fault).to_owned(),
                (*delivery).to_owned(),
                saw.clone(),
                by.clone(),
                took,
                recorded.clone(),
                charged.clone(),
            ]
        })
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|at| rows.iter().chain([&head]).map(|row| row[at].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    let rule: [String; 7] = std::array::from_fn(|at| "-".repeat(widths[at]));
    for row in [&head, &rule].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a String cannot fail");
    }
    text
}

#[tokio::test]
async fn nothing_that_a_provider_does_wrong_reaches_the_client_as_if_it_were_right() {
    let cases: Vec<Case> =
        stream::iter(rows::all().into_iter().enumerate()).then(|(number, row)| Case::new(number, row)).collect().await;
    let world = cases.iter().fold(World::setup(), |setup, case| case.configure(setup)).start().await;
    let (outcomes, wrong): (Vec<Outcome>, Vec<Option<String>>) =
        stream::iter(&cases).map(|case| case.run(&world)).buffered(AT_ONCE).unzip().await;
    let (table, wrong) = (table(&outcomes), wrong.into_iter().flatten().collect::<Vec<_>>());
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
