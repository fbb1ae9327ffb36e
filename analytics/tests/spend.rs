//! Spend reports: the same numbers as SQL on `attempts`, to the picodollar, however they are broken down and wherever they
//! are read from.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_analytics::SpendError;
use penstock_schemas::UnixMicros;
use penstock_schemas::event::{Outcome, StartReservation, UsageEvent};
use penstock_schemas::name::BatchId;
use penstock_schemas::reservation::LeaseId;
use penstock_schemas::spend::{DIMENSIONS, SpendQuery, SpendReply, SpendReport, SpendSums};
use penstock_schemas::usage::Usage;
use serde_json::Value;
use std::time::Duration;
use support::events::{DAY, HOUR, ago, end, ended, now, start, started, tokens, usd};
use support::{World, be_engine};
use uuid::Uuid;

#[test]
fn engine_process() {
    be_engine();
}

/// Some 2,000 attempts over five days, in every combination of what a report can tell apart: requests that take several
/// attempts, models, hours and days; failures, ends that never came, costs that are not known.
fn traffic() -> Vec<UsageEvent> {
    let mut events = Vec::new();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) % below
    };
    let begin = ago(5 * DAY);
    for _ in 0..1500 {
        let target = ["openai/gpt-4o", "openai/gpt-4o-mini", "house/llama"][usize::try_from(random(3)).unwrap()];
        let mut one = start(["search", "chat", "ops"][usize::try_from(random(3)).unwrap()], target, begin);
        one.started_at = UnixMicros(begin.0 + random(5 * DAY - 2 * HOUR));
        one.deadline = one.started_at.after(Duration::from_secs(600));
        one.caller.user = (random(4) > 0).then(|| format!("user-{}", random(5)));
        one.virtual_model = (random(2) > 0).then(|| "chat".to_owned());
        if random(3) > 0 {
            one.caller.tags = [("feature".to_owned(), format!("f{}", random(3)))].into();
        }
        let books = ["team.2026-11", "all.all", "users.0123.2026-11-22"].map(ToOwned::to_owned);
        let (from, to) = (random(3), random(4));
        let books: Vec<String> = (from..to.max(from)).map(|at| books[usize::try_from(at).unwrap()].clone()).collect();
        one.reserved =
            (random(2) > 0).then(|| StartReservation { id: Uuid::nil(), lease: LeaseId(Uuid::nil()), books });
        one.worst_case = (random(10) > 0).then(|| usd("0.013"));
        one.batch_id = (random(3) == 0).then(|| BatchId::parse(format!("batch_{}", random(2))).unwrap());
        while random(4) == 0 {
            let lost = random(4) == 0;
            events.push(started(&one));
            if !lost {
                events.push(ended(end(&one, Outcome::Refused, Usage::default(), "0")));
            }
            let wait = random(2) * HOUR / 4 + random(1_000_000);
            one.attempt_id = start("x", target, begin).attempt_id;
            one.started_at = UnixMicros(one.started_at.0 + wait);
            // A call that a dead worker held is numbered anew.
            one.number += u32::from(!lost);
            if random(2) == 0 {
                one.target = start("x", "house/llama", begin).target;
            }
        }
        events.push(started(&one));
        if random(20) > 0 {
            let outcome = if random(20) == 0 { Outcome::Broken } else { Outcome::Served };
            let cost = usd(&format!("0.00{:010}", random(9_999_999_999))).to_string();
            let mut over = end(&one, outcome, tokens(random(1000), random(100)), &cost);
            over.cost = over.cost.filter(|_| random(10) > 0);
            over.usage.cache_read = (random(3) == 0).then(|| random(100));
            events.push(ended(over));
        }
    }
    events
}

/// SQL for a dimension, independent of the report's own.
fn sql_of(name: &str) -> String {
    match name {
        "day" => "formatDateTime(started_at, '%Y-%m-%d', 'UTC')".to_owned(),
        "budget" => "arrayJoin(if(books = [], [NULL], arrayMap(b -> splitByChar('.', b)[1], books)))".to_owned(),
        "hour" => "formatDateTime(started_at, '%Y-%m-%dT%H:00:00Z', 'UTC')".to_owned(),
        "batch" => "if(batch_id = '', NULL, batch_id)".to_owned(),
        name => match name.strip_prefix("tag:") {
            Some(tag) => format!("if(has(mapKeys(tags), '{tag}'), tags['{tag}'], NULL)"),
            None => name.to_owned(),
        },
    }
}

/// What SQL on `attempts` says.
async fn by_sql(world: &World, query: &SpendQuery) -> Vec<(Vec<Value>, SpendSums)> {
    let keys: String = query.by.iter().enumerate().map(|(i, name)| format!("{} AS k{i}, ", sql_of(name))).collect();
    let names: Vec<String> = (0..query.by.len()).map(|i| format!("k{i}")).collect();
    let group = if names.is_empty() { String::new() } else { format!("GROUP BY {}", names.join(", ")) };
    let rows = world
        .rows(&format!(
            "SELECT {keys} count(DISTINCT request_id) AS requests, count() AS attempts,
                ifNull(sum(total_input_tokens), 0) AS input_tokens, ifNull(sum(total_output_tokens), 0) AS output_tokens,
                countIf(notEmpty(unpriced_usage) OR (a.cost_usd IS NULL AND (charged_usd > 0 OR outcome = 'served'))) AS unknown,
                if(unknown > 0 AND ifNull(sum(a.cost_usd), 0) = 0, 'unknown', toString(ifNull(sum(a.cost_usd), 0))) AS cost_usd
            FROM attempts AS a WHERE toUnixTimestamp64Micro(started_at) >= {} AND toUnixTimestamp64Micro(started_at) < {} {group}",
            query.since.0, query.until.0
        ))
        .await;
    rows.into_iter()
        .map(|row| {
            let values = names.iter().map(|name| row[name].clone()).collect();
            (values, serde_json::from_value(row).unwrap())
        })
        .collect()
}

async fn report(world: &World, query: &SpendQuery) -> SpendReport {
    world.warehouse().spend(query).await.unwrap()
}

/// Asks in every way, and compares.
async fn compare_all(world: &World) {
    let mut breakdowns: Vec<Vec<&str>> = DIMENSIONS.iter().map(|name| vec![*name]).collect();
    breakdowns.extend([
        vec![],
        vec!["tag:feature"],
        vec!["budget", "tag:feature", "model"],
        vec!["provider", "model", "day"],
        vec!["tag:feature", "user", "virtual_model"],
    ]);
    let whole = (UnixMicros(0), UnixMicros(u64::MAX));
    let part = (ago(3 * DAY + HOUR / 3), ago(DAY + 2 * HOUR / 3));
    let within_an_hour = (ago(2 * DAY + HOUR / 50), ago(2 * DAY));
    for by in breakdowns {
        for (since, until) in [whole, part, within_an_hour] {
            let query =
                SpendQuery { by: by.iter().map(|name| (*name).to_owned()).collect(), since, until, projects: vec![] };
            let report = report(world, &query).await;
            let wanted = by_sql(world, &query).await;
            let total = by_sql(world, &SpendQuery { by: vec![], ..query.clone() }).await;
            assert_eq!(report.total, total[0].1, "{query:?}");
            if by.is_empty() {
                assert_eq!(report.rows, []);
                continue;
            }
            assert_eq!(report.rows.len(), wanted.len(), "{query:?}");
            for (values, sums) in wanted {
                let row = report.rows.iter().find(|row| query.by.iter().map(|name| &row.by[name]).eq(&values));
                assert_eq!(row.map(|row| &row.sums), Some(&sums), "{query:?} {values:?}");
            }
        }
    }
}

/// Makes all rows as old as rows become, so that their hours can be counted now.
async fn age(world: &World) {
    world.execute("CREATE TABLE aged AS attempt_log").await;
    world
        .execute("INSERT INTO aged SELECT * REPLACE (inserted_at - INTERVAL 1 HOUR AS inserted_at) FROM attempt_log")
        .await;
    world.execute("EXCHANGE TABLES aged AND attempt_log").await;
    world.execute("DROP TABLE aged").await;
}

/// Adds rows to a table of counted spending: a report that reads it gives other numbers then.
async fn meddle(world: &World, table: &str, by: &str) {
    let query = SpendQuery { by: vec![by.to_owned()], since: ago(6 * DAY), until: now(), projects: vec![] };
    let before = report(world, &query).await.total.attempts;
    world.execute(&format!("CREATE TABLE meddled AS {table}")).await;
    world.execute(&format!("INSERT INTO meddled SELECT * FROM {table}")).await;
    world.execute(&format!("INSERT INTO meddled SELECT * REPLACE ('meddled' AS project) FROM {table}")).await;
    world.execute(&format!("EXCHANGE TABLES meddled AND {table}")).await;
    assert!(report(world, &query).await.total.attempts > before, "{table}");
    world.execute(&format!("EXCHANGE TABLES meddled AND {table}")).await;
    world.execute("DROP TABLE meddled").await;
    assert_eq!(report(world, &query).await.total.attempts, before, "{table}");
}

#[tokio::test]
async fn a_report_is_what_sql_says_from_attempts_hours_and_days() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    world.write_together(traffic()).await;
    world.until_left(0).await;
    compare_all(&world).await;
    assert!(analytics.drain(Duration::from_secs(60)).await);

    age(&world).await;
    let analytics = world.start(vec![]).await.unwrap();
    let hours = world.value("SELECT uniqExact(toStartOfHour(started_at)) FROM attempts").await;
    world.until("SELECT uniqExact(hour) FROM spend_hours", &hours).await;
    assert!(hours.parse::<u32>().unwrap() > 100);
    let days = world.value("SELECT uniqExact(toDate(started_at)) FROM attempts").await;
    world.until("SELECT uniqExact(day) FROM spend_days", &days).await;
    compare_all(&world).await;

    meddle(&world, "spend_by_day", "model").await;

    // Late events, in hours that are counted already.
    let late = start("search", "openai/gpt-4o", ago(2 * DAY));
    world.write([started(&late), ended(end(&late, Outcome::Served, tokens(1, 1), "7.000000000001"))]).await;
    world.write_together(traffic().into_iter().take(100)).await;
    world.until_left(0).await;
    compare_all(&world).await;

    meddle(&world, "spend_by_hour", "hour").await;
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn the_bus_answers_as_the_warehouse_does() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let one = start("search", "openai/gpt-4o", ago(HOUR));
    let two = start("search", "openai/gpt-4o-mini", ago(HOUR));
    let events = [
        ended(end(&one, Outcome::Served, tokens(1000, 10), "0.0026")),
        ended(end(&two, Outcome::Served, tokens(1000, 10), "0.000156")),
    ];
    world.write(events).await;
    world.until("SELECT count() FROM attempts", "2").await;
    let query = SpendQuery {
        by: vec!["model".into(), "tag:x'; DROP".into()],
        since: ago(2 * HOUR),
        until: now(),
        projects: vec![],
    };
    let SpendReply::Report(report) = world.bus.ask_spend(&query).await.unwrap() else { panic!("no report") };
    let direct = world.warehouse().spend(&query).await.unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), serde_json::to_value(&direct).unwrap());
    assert_eq!(
        serde_json::to_value(&report.rows).unwrap(),
        serde_json::json!([
            {"model": "gpt-4o", "tag:x'; DROP": null, "requests": 1, "attempts": 1, "input_tokens": 1000,
             "output_tokens": 10, "cost_usd": "0.0026"},
            {"model": "gpt-4o-mini", "tag:x'; DROP": null, "requests": 1, "attempts": 1, "input_tokens": 1000,
             "output_tokens": 10, "cost_usd": "0.000156"}
        ])
    );
    assert_eq!(report.total.cost_usd, "0.002756");
    let wrong = SpendQuery { by: vec!["colour".into()], ..query };
    let SpendReply::BadQuery(why) = world.bus.ask_spend(&wrong).await.unwrap() else { panic!("it was taken") };
    assert!(why.contains("`colour`: use project, user, end_user, key_id, "), "{why}");
}

#[tokio::test]
async fn without_clickhouse_a_report_says_so() {
    let mut world = World::new().await;
    world.engine.take().unwrap().kill();
    let query = SpendQuery { by: vec![], since: ago(HOUR), until: now(), projects: vec![] };
    let error = world.warehouse().spend(&query).await.unwrap_err();
    let SpendError::Unavailable(why) = error else { panic!("{error:?}") };
    assert!(why.starts_with("ClickHouse at http://127.0.0.1:") && !why.contains("token"), "{why}");
}

#[tokio::test]
async fn nothing_spent_is_a_report_too() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let query =
        SpendQuery { by: vec!["project".into()], since: UnixMicros(0), until: UnixMicros(u64::MAX), projects: vec![] };
    let report = report(&world, &query).await;
    assert_eq!((report.rows.len(), report.total.cost_usd.as_str()), (0, "0"));
    assert_eq!((report.since.as_str(), report.until.as_str()), ("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"));
}
