//! Drift in the real database: a planted change raises an alert, the stable month before it raises none, and a new model version
//! is an event.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::rows::{RowQuery, RowQuestion};
use penstock_schemas::spend::ReportReply;
use serde_json::Value;
use std::ops::Range;
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

/// The last day that is over for an hour: the one that the role judges.
fn judged_day() -> u32 {
    UnixMicros(clock::now().0 - 3_600_000_000).day() - 1
}

/// How a target answers: so many of 1,000 refused, the logarithm of the length, and its version.
type Manner<'a> = (u32, &'a str, &'a str);

/// Answers of a target on these days, 600 on each. The hash of a number is the chance: the same on every machine.
async fn answers(world: &World, target: &str, days: Range<u32>, (refused, length, version): Manner<'_>) {
    let (provider, model) = target.split_once('/').unwrap();
    let Range { start: first, end } = days;
    let sql = format!(
        "INSERT INTO attempt_log (attempt_id, request_id, version, started_at, deadline, ended_at, project, key_id, provider, model,
            model_version, operation, number, link, stream, outcome, finish_reason, system_fingerprint, output_tokens,
            usage_source, total_us, tags)
        SELECT toUUID(concat('0193e6a0-0000-7000-', substring(hex(sipHash64(id, 1)), 1, 4), '-',
                substring(hex(sipHash64(id, 2)), 1, 12))) AS attempt_id, attempt_id AS request_id, 1 AS version, at AS started_at,
            at AS deadline, at + INTERVAL 1 SECOND AS ended_at, 'search', 'key_1', '{provider}', '{model}', '{version}', 'chat', 1, 0,
            false, 'served', if(sipHash64(id, 3) % 1000 < {refused}, 'content_filter', 'stop'), 'fp_{version}',
            toUInt64(exp({length} + 0.8 * sqrt(-2 * log((sipHash64(id, 4) % 1000000 + 1) / 1000001))
                * cos(2 * pi() * (sipHash64(id, 5) % 1000000) / 1000000))),
            'provider', 1000000 + sipHash64(id, 6) % 500000, map()
        FROM (
            SELECT concat('{target}', toString(number)) AS id,
                fromUnixTimestamp64Micro(toInt64({first} * 86400 + intDiv(number, 600) * 86400 + number % 600 * 140) * 1000000, 'UTC') AS at
            FROM numbers(600 * ({end} - {first}))
        )"
    );
    world.execute(&sql).await;
}

async fn drift(world: &World, day: u32, projects: Option<&[&str]>) -> Value {
    let projects = projects.map(|projects| projects.iter().map(|project| (*project).to_owned()).collect());
    let query = RowQuery { what: RowQuestion::Drift { day, project: None }, projects };
    match world.bus.ask_rows(&query).await.unwrap() {
        ReportReply::Report(report) => report.data[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn told(found: &Value) -> Vec<String> {
    let tests = found["tests"].as_array().unwrap().iter().filter(|test| test["drift"] == true);
    tests.map(|test| format!("{} {} {}", test["scope"], test["name"], test["signal"]).replace('"', "")).collect()
}

#[tokio::test]
async fn a_planted_change_is_told_and_the_month_before_is_quiet() {
    let world = World::new().await;
    // The tables first; the role then begins anew, and looks at once.
    drop(world.start(Vec::new()).await.unwrap());
    let (day, first) = (judged_day(), judged_day() - 65);
    answers(&world, "a/steady", first..day + 1, (20, "5", "steady-1")).await;
    answers(&world, "a/refuses", first..day, (20, "5", "refuses-1")).await;
    answers(&world, "a/refuses", day..day + 1, (70, "5", "refuses-2")).await;
    answers(&world, "a/longer", first..day, (20, "5", "longer-1")).await;
    answers(&world, "a/longer", day..day + 1, (20, "5.18233", "longer-1")).await;
    let _role = world.start(Vec::new()).await.unwrap();
    let found = drift(&world, day, None).await;
    let drifts = told(&found);
    assert!(drifts.contains(&"target a/refuses refusals".to_owned()), "{found:#}");
    assert!(drifts.contains(&"target a/longer length".to_owned()), "{found:#}");
    assert!(!drifts.iter().any(|one| one.contains("a/steady")), "{drifts:?}");
    let versions: Vec<&Value> = found["versions"].as_array().unwrap().iter().collect();
    let new = |version: &Value| format!("{} {}", version["kind"], version["version"]).replace('"', "");
    let new: Vec<String> = versions.into_iter().map(new).collect();
    assert_eq!(new, ["model_version refuses-2", "system_fingerprint fp_refuses-2"], "{found:#}");
    let mut noisy = 0;
    for earlier in day - 30..day {
        noisy += usize::from(!told(&drift(&world, earlier, None).await).is_empty());
    }
    assert!(noisy <= 1, "{noisy} of 30 stable days have a false alarm: at most 1 is stated");
    assert_eq!(drift(&world, day, Some(&["other"])).await["tests"], serde_json::json!([]));
    world
        .until("SELECT count() FROM alerts WHERE kind = 'drift' AND subject = 'target a/refuses: refusals'", "1")
        .await;
    world.until("SELECT count() FROM alerts WHERE kind = 'model_version' AND subject = 'a/refuses'", "1").await;
    world
        .until(
            "SELECT count() FROM alerts WHERE kind = 'system_fingerprint' AND message LIKE '%as fp_refuses-2 since%'",
            "1",
        )
        .await;
}
