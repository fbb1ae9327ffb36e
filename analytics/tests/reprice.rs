//! Spending at the prices of another day: to the picodollar what the workers would have charged.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_schemas::UnixMicros;
use penstock_schemas::event::Outcome;
use penstock_schemas::model::PriceRow;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::Target;
use penstock_schemas::spend::{RepriceQuery, RepriceReport, SpendQuery};
use penstock_schemas::usage::{Usage, UsageSource};
use std::time::Duration;
use support::events::{DAY, HOUR, ago, end, ended, now, price, start, started, tokens, usd};
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

fn query(by: &[&str], at: UnixMicros) -> RepriceQuery {
    let by = by.iter().map(|name| (*name).to_owned()).collect();
    RepriceQuery { spend: SpendQuery { by, since: ago(2 * DAY), until: now(), projects: Vec::new() }, at }
}

async fn report(world: &World, query: &RepriceQuery) -> RepriceReport {
    world.warehouse().reprice(query).await.unwrap()
}

/// Prices of every sort: some classes without one of their own, tiers, units, fractions of a picodollar.
fn prices() -> Vec<(Target, PriceRow)> {
    [
        ("p/plain", r#"{"input":"0.15","output":"0.6"}"#),
        (
            "p/all",
            r#"{"input":"1.1","cache_read":"0.2","cache_write":"1.3","cache_write_1h":"2","input_audio":"5",
            "input_image":"6.000000000001","output":"7","reasoning":"8","output_audio":"9","per_search":"0.015"}"#,
        ),
        (
            "p/tiers",
            r#"{"input":"1","cache_read":"0.25","output":"2","tiers":[{"above_input_tokens":500,"input":"3"},
            {"above_input_tokens":2000,"input":"3.5","output":"4.5","cache_read":"0.000000000001"}]}"#,
        ),
        ("p/tiny", r#"{"input":"0.0000005","output":"0.000000000003"}"#),
        ("p/units", r#"{"per_image":"0.04","per_second":"0.0001","per_million_characters":"15","per_search":"0.002"}"#),
        ("p/images", r#"{"input":"5","output":"30","per_image":"0.04","per_second":"1","per_million_characters":"2"}"#),
        ("p/input", r#"{"input":"1"}"#),
        (
            "p/batch",
            r#"{"input":"1","cache_read":"0.25","cache_write":"1.000000000001","output":"2","reasoning":"3",
            "per_search":"0.015","batch":{"tokens":"0.5","cache_read":"0.999"},
            "tiers":[{"above_input_tokens":900,"input":"3","cache_read":"0.3"}]}"#,
        ),
        ("p/batch-alone", r#"{"input":"1","cache_read":"0.25","output":"2.000000000003","batch":{"tokens":"0.333"}}"#),
    ]
    .into_iter()
    .map(|(target, json)| price(target, "day1", ago(DAY), json))
    .collect()
}

/// Some usage of every sort.
fn usages() -> Vec<Usage> {
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut usages = vec![Usage::default(), tokens(0, 0), tokens(1, 0), tokens(3, 1), tokens(500, 1), tokens(501, 1)];
    usages.push(Usage { images: Some(2), ..tokens(10, 0) });
    usages.push(Usage { images: Some(2), seconds: Some(3), characters: Some(7), ..Usage::default() });
    for _ in 0..40 {
        let mut some = |below| (random(2) > 0).then(|| random(below));
        usages.push(Usage {
            input: some(2500),
            cache_read: some(900),
            cache_write: some(50),
            cache_write_1h: some(50),
            input_audio: some(5),
            input_image: some(5),
            output: some(1000),
            reasoning: some(70),
            output_audio: some(3),
            output_image: some(3),
            images: some(2),
            seconds: some(2),
            characters: some(2),
            searches: some(2),
            code_executions: some(2),
            file_searches: some(2),
        });
    }
    usages
}

#[tokio::test]
async fn each_attempt_costs_what_a_worker_would_have_charged_for_it() {
    let world = World::new().await;
    let _analytics = world.start(prices()).await.unwrap();
    let (mut wanted, mut events) = (Vec::new(), Vec::new());
    for (target, row) in prices() {
        for usage in usages() {
            for native_batch in [false, true] {
                let mut one = start("search", &target.to_string(), ago(HOUR));
                one.caller.tags = [("n".to_owned(), wanted.len().to_string())].into();
                one.native_batch = native_batch;
                events.push(ended(end(&one, Outcome::Served, usage, "0.5")));
                let in_batch = row.prices.in_batch().filter(|_| native_batch);
                wanted.push(in_batch.as_ref().unwrap_or(&row.prices).charge(&usage));
            }
        }
    }
    world.write_together(events).await;
    world.until("SELECT count() FROM attempts", &wanted.len().to_string()).await;
    let report = report(&world, &query(&["tag:n"], now())).await;
    assert_eq!(report.rows.len(), wanted.len());
    for row in &report.rows {
        let number: usize = row.by["tag:n"].as_str().unwrap().parse().unwrap();
        let cost = wanted[number].cost.unwrap_or_default().to_string();
        let unpriced = u64::from(wanted[number].unpriced != Usage::default());
        assert_eq!((row.sums.repriced_usd.as_str(), row.sums.unpriced), (cost.as_str(), unpriced), "{number}");
    }
    let sum: Picodollars = wanted.iter().filter_map(|charge| charge.cost).sum();
    let without = wanted.iter().filter(|charge| charge.unpriced != Usage::default()).count();
    assert!(without > 0);
    assert_eq!(report.total.repriced_usd, sum.to_string());
    assert_eq!(usize::try_from(report.total.unpriced).unwrap(), without);
    let named: u64 = report.unpriced.iter().map(|model| model.attempts).sum();
    assert_eq!(usize::try_from(named).unwrap(), without);
}

#[tokio::test]
async fn the_prices_are_those_of_the_date_and_what_is_not_known_stays() {
    let world = World::new().await;
    for (id, hours, input) in [("day1", 48, "1"), ("day2", 24, "4")] {
        let prices = vec![price("p/m", id, ago(hours * HOUR), &format!(r#"{{"input":"{input}"}}"#))];
        let analytics = world.start(prices).await.unwrap();
        assert!(analytics.drain(Duration::from_secs(60)).await);
    }
    let _analytics = world.start(vec![]).await.unwrap();
    let one = |project: &str| start(project, "p/m", ago(HOUR));
    let mut unknown = end(&one("a"), Outcome::Broken, Usage::default(), "3");
    unknown.usage_source = UsageSource::Unknown;
    let mut free = end(&start("b", "p/new", ago(HOUR)), Outcome::Served, tokens(5, 5), "0");
    free.cost = None;
    let refused = end(&one("b"), Outcome::Refused, tokens(1_000_000, 0), "0");
    let served = end(&one("a"), Outcome::Served, tokens(1_000_000, 0), "4");
    let lost = one("c");
    let mut lost_long_ago = lost.clone();
    lost_long_ago.deadline = ago(HOUR / 2);
    lost_long_ago.worst_case = Some(usd("9"));
    world.write([ended(unknown), ended(free), ended(refused), ended(served), started(&lost_long_ago)]).await;
    world.until("SELECT count() FROM attempts", "5").await;
    let sums = async |by: &[&str], hours: u64| {
        let report = report(&world, &query(by, ago(hours * HOUR))).await;
        let total = report.total;
        let rows: Vec<String> = report
            .rows
            .iter()
            .map(|row| {
                format!("{} {} {}", row.by["project"].as_str().unwrap(), row.sums.cost_usd, row.sums.repriced_usd)
            })
            .collect();
        let unpriced: Vec<String> =
            report.unpriced.iter().map(|model| format!("{} {}", model.target, model.attempts)).collect();
        (rows, [total.cost_usd, total.repriced_usd, total.difference_usd], unpriced)
    };
    let texts = |numbers: [&str; 3]| numbers.map(ToOwned::to_owned);
    let (rows, total, unpriced) = sums(&["project"], 12).await;
    assert_eq!(rows, ["c 9 9", "a 7 7", "b 0 0"]);
    assert_eq!((total, unpriced), (texts(["16", "16", "0"]), vec!["p/new 1".to_owned()]));
    assert_eq!(sums(&["project"], 36).await.1, texts(["16", "13", "-3"]));
    // Before the first price, nothing can be priced.
    let (_, total, unpriced) = sums(&["project"], 72).await;
    assert_eq!(total, texts(["16", "12", "-4"]));
    assert_eq!(unpriced, ["p/m 1", "p/new 1"]);
    // The bus says the same.
    let query = query(&["model"], ago(36 * HOUR));
    let penstock_schemas::spend::ReportReply::Report(told) = world.bus.ask_reprice(&query).await.unwrap() else {
        panic!()
    };
    assert_eq!(told.total, report(&world, &query).await.total);
}
