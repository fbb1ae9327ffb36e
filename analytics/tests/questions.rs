//! The questions of `analytics/sql`, as `deploy/docs/ledger.md` shows them: each against numbers that were computed by hand.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_schemas::event::{CacheResult, Outcome};
use penstock_schemas::money::Picodollars;
use penstock_schemas::usage::Usage;
use serde_json::{Value, json};
use std::time::Duration;
use support::events::{HOUR, ago, end, ended, now, price, request, requested, start, tokens};
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

fn question(name: &str) -> String {
    let path = format!("{}/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(text.starts_with("-- ") && text.lines().nth(1).is_some_and(|line| !line.starts_with("--")), "{path}");
    text
}

/// One world for all questions: prices, and seven attempts of today.
async fn world() -> World {
    let world = World::new().await;
    let prices = vec![
        price("openai/gpt-4o", "day1", ago(48 * HOUR), r#"{"input":"2.5","cache_read":"1.25","output":"10"}"#),
        price("openai/gpt-4o-mini", "day1", ago(48 * HOUR), r#"{"input":"0.15","cache_read":"0.075","output":"0.6"}"#),
        price("house/llama", "own/house/llama", ago(48 * HOUR), r#"{"input":"0.2","output":"0.6"}"#),
    ];
    drop(world.start(prices).await.unwrap());
    let tagged = |project: &str, target: &str, feature: &str| {
        let mut start = start(project, target, now());
        start.caller.tags = [("feature".to_owned(), feature.to_owned())].into();
        start
    };
    let calls = [
        // 1000 × 2.5 + 400 × 1.25 + 200 × 10 dollars, over a million.
        (tagged("search", "openai/gpt-4o", "rank"), Some(400), tokens(1000, 200), "0.005", 100_000),
        // 3000 × 2.5 + 100 × 10.
        (tagged("search", "openai/gpt-4o", "answer"), None, tokens(3000, 100), "0.0085", 200_000),
        // 2000 × 0.15 + 1000 × 0.075 + 500 × 0.6.
        (tagged("chat", "openai/gpt-4o-mini", "answer"), Some(1000), tokens(2000, 500), "0.000675", 300_000),
        // 10000 × 0.2 + 100 × 0.2 + 1000 × 0.6: the house has no price of its own for cached input.
        (tagged("chat", "house/llama", "answer"), Some(100), tokens(10_000, 1000), "0.00262", 4_000_000),
    ];
    let mut events = Vec::new();
    for (start, cache_read, usage, cost, first_token) in calls {
        let mut over = end(&start, Outcome::Served, Usage { cache_read, ..usage }, cost);
        over.first_token_us = Some(first_token);
        events.push(ended(over));
        events.push(requested(request(&start, CacheResult::Miss)));
    }
    // Answered from our own cache: no attempt.
    for cache in [CacheResult::Exact, CacheResult::Exact, CacheResult::Semantic] {
        let mut answered = request(&start("search", "openai/gpt-4o", now()), cache);
        answered.saved = Some(Picodollars(2_000_000_000));
        answered.cache_source = Some(answered.request_id);
        events.push(requested(answered));
    }
    world.write(events).await;
    world.until("SELECT count() FROM requests", "7").await;
    world
}

#[tokio::test]
async fn each_question_of_the_readme_has_the_right_answer() {
    let world = world().await;
    let answers = [
        (
            "spend_by_project_and_model",
            json!([
                {"project": "search", "provider": "openai", "model": "gpt-4o", "requests": 2, "attempts": 2, "cost_usd": 0.0135},
                {"project": "chat", "provider": "house", "model": "llama", "requests": 1, "attempts": 1, "cost_usd": 0.00262},
                {"project": "chat", "provider": "openai", "model": "gpt-4o-mini", "requests": 1, "attempts": 1, "cost_usd": 0.000675}
            ]),
        ),
        (
            "cost_per_feature",
            json!([
                {"feature": "answer", "requests": 3, "cost_usd": 0.011795},
                {"feature": "rank", "requests": 1, "cost_usd": 0.005}
            ]),
        ),
        (
            // 400 × (2.5 − 1.25), 1000 × (0.15 − 0.075), 100 × 0 dollars, over a million.
            "cache_savings",
            json!([
                {"cache": "exact", "model": "gpt-4o", "requests": 2, "cached_tokens": null, "saved_usd": 0.004},
                {"cache": "semantic", "model": "gpt-4o", "requests": 1, "cached_tokens": null, "saved_usd": 0.002},
                {"cache": "prompt cache", "model": "gpt-4o", "requests": 1, "cached_tokens": 400, "saved_usd": 0.0005},
                {"cache": "prompt cache", "model": "gpt-4o-mini", "requests": 1, "cached_tokens": 1000, "saved_usd": 0.000_075},
                {"cache": "prompt cache", "model": "llama", "requests": 1, "cached_tokens": 100, "saved_usd": 0}
            ]),
        ),
        (
            "first_token_by_provider",
            json!([
                {"provider": "house", "attempts": 1, "p50_ms": 4000, "p95_ms": 4000},
                {"provider": "openai", "attempts": 3, "p50_ms": 200, "p95_ms": 300}
            ]),
        ),
        (
            // Input 4000 × 0.15, cached 400 × 0.075, output 300 × 0.6 dollars, over a million.
            "what_if_mini",
            json!([{"attempts": 2, "cost_usd": 0.0135, "mini_usd": 0.00081}]),
        ),
    ];
    for (name, wanted) in answers {
        let found = world.rows(&question(name)).await;
        assert_eq!(same_numbers(&Value::Array(found)), same_numbers(&wanted), "{name}");
    }
}

/// 4000 and 4000.0 are the same number.
fn same_numbers(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(same_numbers).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), same_numbers(value))).collect(),
        Value::Number(number) => number.as_f64().into(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn an_attempt_is_repriced_by_the_price_of_its_day() {
    let world = World::new().await;
    let dated = |id: &str, hours: u64, input: &str| {
        vec![price("openai/gpt-4o", id, ago(hours * HOUR), &format!(r#"{{"input":"{input}","output":"10"}}"#))]
    };
    for prices in [dated("day1", 48, "5"), dated("day2", 24, "2.5"), dated("day2", 24, "2.5")] {
        let analytics = world.start(prices).await.unwrap();
        assert!(analytics.drain(Duration::from_secs(60)).await);
    }
    let analytics = world.start(dated("day2", 24, "2.5")).await.unwrap();
    assert_eq!(world.value("SELECT count() FROM prices").await, "2");
    for hours in [30, 2] {
        let start = start("search", "openai/gpt-4o", ago(hours * HOUR));
        world.write([ended(end(&start, Outcome::Served, tokens(1_000_000, 0), "1"))]).await;
    }
    world.until("SELECT count() FROM attempts", "2").await;
    let repriced = "SELECT p.price_id AS id, toString(a.input_tokens * p.input_usd_per_million / 1000000) AS usd
        FROM attempts AS a ASOF JOIN prices AS p ON p.provider = a.provider AND p.model = a.model AND p.valid_from <= a.started_at
        ORDER BY a.started_at";
    assert_eq!(world.rows(repriced).await, [json!({"id": "day1", "usd": "5"}), json!({"id": "day2", "usd": "2.5"})]);
    assert!(analytics.drain(Duration::from_secs(60)).await);

    // The operator's own price has no date: it holds from when it was first seen.
    let own = vec![price("openai/gpt-4o", "own/openai/gpt-4o", penstock_schemas::UnixMicros(0), r#"{"input":"2"}"#)];
    drop(world.start(own).await.unwrap());
    let last = "SELECT price_id FROM prices WHERE valid_from > now() - INTERVAL 1 MINUTE AND valid_from <= now64(6)";
    assert_eq!(world.value(last).await, "own/openai/gpt-4o");
}

#[tokio::test]
async fn every_price_of_a_model_is_a_column() {
    let world = World::new().await;
    let all = r#"{"input":"1","cache_read":"2","cache_write":"3","cache_write_1h":"4","input_audio":"5","input_image":"6",
        "output":"7","reasoning":"8","output_audio":"9","batch_input":"10","batch_output":"11","batch":{"tokens":"0.5","cache_read":"0.25"},"per_million_characters":"12",
        "per_image":"13","per_second":"14","per_search":"15","output_image":"16","per_code_execution":"17","per_file_search":"18","tiers":[{"above_input_tokens":200000,"input":"0.000000000001"}]}"#;
    drop(world.start(vec![price("p/m", "id", ago(HOUR), all)]).await.unwrap());
    let rows = world.rows("SELECT * EXCEPT valid_from FROM prices").await;
    let tiers = r#"[{"above_input_tokens":200000,"input":"0.000000000001"}]"#;
    let wanted = json!({
        "provider": "p", "model": "m", "price_id": "id", "input_usd_per_million": 1, "cache_read_usd_per_million": 2,
        "cache_write_usd_per_million": 3, "cache_write_1h_usd_per_million": 4, "input_audio_usd_per_million": 5,
        "input_image_usd_per_million": 6, "output_usd_per_million": 7, "reasoning_usd_per_million": 8,
        "output_audio_usd_per_million": 9, "output_image_usd_per_million": 16, "batch_input_usd_per_million": 10, "batch_output_usd_per_million": 11,
        "batch_rate": 0.5, "batch_cache_read_rate": 0.25,
        "characters_usd_per_million": 12, "usd_per_image": 13, "usd_per_second": 14, "usd_per_search": 15, "usd_per_code_execution": 17,
        "usd_per_file_search": 18, "tiers": tiers
    });
    assert_eq!(rows, [wanted]);
}
