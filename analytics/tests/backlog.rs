//! ClickHouse down for as long as an hour of traffic takes: everything waits in the ledger, and is carried over while more comes.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use std::time::{Duration, Instant};
use support::events::{end, ended, now, start, started, tokens};
use support::{Engine, World, be_engine};

/// Attempts of the hour, some 14 a second; and those that come while it is carried over.
const HOUR: usize = 50_000;
const MEANWHILE: usize = 500;

#[test]
fn engine_process() {
    be_engine();
}

#[tokio::test]
async fn an_hour_of_traffic_without_clickhouse_is_carried_over_while_more_comes() {
    let mut world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    world.write([started(&start("before", "openai/gpt-4o", now()))]).await;
    world.until("SELECT count() FROM attempts", "1").await;
    let listen = world.engine.take().unwrap().kill();
    let attempts: Vec<_> = (0..HOUR).map(|_| start("hour", "openai/gpt-4o", now())).collect();
    let events = attempts.iter().flat_map(|one| {
        let over = end(one, penstock_schemas::event::Outcome::Served, tokens(1, 1), "0.01");
        [started(one), ended(over)]
    });
    world.write_together(events).await;
    world.until_metric("penstock_ledger_down 1").await;
    let begun = Instant::now();
    world.engine = Some(Engine::start(&world.folder.path().join("clickhouse"), listen));
    for _ in 0..MEANWHILE {
        world.write([started(&start("meanwhile", "openai/gpt-4o", now()))]).await;
    }
    world.until("SELECT count() FROM attempts WHERE project = 'hour' AND outcome = 'served'", &HOUR.to_string()).await;
    world.until("SELECT count() FROM attempts WHERE project = 'meanwhile'", &MEANWHILE.to_string()).await;
    println!("{HOUR} attempts were carried over in {:.1?}", begun.elapsed());
    assert_eq!(world.value("SELECT toString(sum(cost_usd)) FROM attempts WHERE project = 'hour'").await, "500");
    assert!(analytics.drain(Duration::from_secs(60)).await);
}
