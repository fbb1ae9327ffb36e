//! From the ledger into ClickHouse: exactly one row per attempt and request, whatever is delivered how often and whatever
//! is down when.

mod support;

use penstock_schemas::event::{CacheResult, Outcome, StartReservation};
use penstock_schemas::name::{BatchId, ProcessId};
use penstock_schemas::reservation::LeaseId;
use penstock_schemas::usage::Usage;
use std::time::{Duration, Instant};
use support::events::{DAY, HOUR, ago, end, ended, now, request, requested, start, started, tokens};
use support::{Engine, World, be_engine};
use uuid::Uuid;

#[test]
fn engine_process() {
    be_engine();
}

#[tokio::test]
async fn an_attempt_is_one_row_whatever_is_delivered_how_often() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    let (one, two) = (start("search", "openai/gpt-4o-mini", now()), start("search", "openai/gpt-4o-mini", now()));
    let end_one = || ended(end(&one, Outcome::Served, tokens(10, 5), "0.25"));
    let end_two = || ended(end(&two, Outcome::Served, tokens(1, 1), "0.5"));
    let asked = || requested(request(&one, CacheResult::Off));
    world.write([started(&one), end_one(), asked()]).await;
    world.until("SELECT count() FROM attempts WHERE outcome = 'served'", "1").await;
    // Again, in other batches; and an end that comes before its start.
    world.write([started(&one), end_two(), started(&two), asked(), end_one(), end_two()]).await;
    world.until_left(0).await;
    assert_eq!(world.value("SELECT count() FROM attempts").await, "2");
    assert_eq!(world.value("SELECT count() FROM requests").await, "1");
    assert_eq!(world.value("SELECT toString(sum(cost_usd)) FROM attempts WHERE outcome = 'served'").await, "0.75");
    world.execute("OPTIMIZE TABLE attempt_log FINAL").await;
    assert_eq!(world.value("SELECT count() FROM attempt_log WHERE version = 2").await, "2");
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn every_field_of_an_event_is_a_column() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let mut one = start("search", "together/meta-llama/Llama-3.3-70B", now());
    one.caller.user = Some("it's \"u\"\n".to_owned());
    one.caller.tags = [("feature".to_owned(), "a,b".to_owned())].into();
    one.virtual_model = Some("chat".to_owned());
    (one.number, one.link, one.stream) = (2, 1, true);
    (one.worst_tokens, one.worker) = (900, Some(ProcessId::parse("w1").unwrap()));
    let (id, lease) = (Uuid::from_u128(7), LeaseId(Uuid::from_u128(8)));
    one.reserved = Some(StartReservation { id, lease, books: vec!["a.2026-11".to_owned(), "b.x.all".to_owned()] });
    (one.batch_id, one.native_batch) = (Some(BatchId::parse("batch_1").unwrap()), true);
    let usage = Usage { input: Some(0), cache_read: Some(7), reasoning: Some(3), ..Usage::default() };
    let mut over = end(&one, Outcome::Broken, usage, "0.000000000001");
    over.failure = Some(penstock_schemas::failure::FailureKind::Timeout);
    over.model_version = Some("v1".to_owned());
    over.charged_tokens = 10;
    let mut asked = request(&one, CacheResult::Miss);
    asked.batch_id.clone_from(&one.batch_id);
    world.write([started(&one), ended(over), requested(asked)]).await;
    world.until("SELECT count() FROM requests", "1").await;
    let rows = world
        .rows(
            "SELECT toString(attempt_id) AS id, toUnixTimestamp64Micro(started_at) AS at, user, tags, virtual_model, number,
                link, stream, outcome, running, failure, model, model_version, input_tokens, cache_read_tokens,
                output_tokens, reasoning_tokens, total_input_tokens, total_output_tokens, usage_source,
                toString(cost_usd) AS cost, price_id, first_token_us, provider_status, worker, worst_tokens,
                charged_tokens, toString(reservation) AS reservation, toString(lease) AS lease, books, batch_id,
                native_batch FROM attempts",
        )
        .await;
    assert_eq!(
        rows,
        [serde_json::json!({
            "id": one.attempt_id.to_string(), "at": one.started_at.0, "user": "it's \"u\"\n", "tags": {"feature": "a,b"},
            "virtual_model": "chat", "number": 2, "link": 1, "stream": true, "outcome": "broken", "running": false,
            "failure": "timeout", "model": "meta-llama/Llama-3.3-70B", "model_version": "v1", "input_tokens": 0,
            "cache_read_tokens": 7, "output_tokens": null, "reasoning_tokens": 3, "total_input_tokens": 7,
            "total_output_tokens": 3, "usage_source": "provider", "cost": "0.000000000001", "price_id": "day1",
            "first_token_us": 300_000, "provider_status": 200, "worker": "w1", "worst_tokens": 900, "charged_tokens": 10,
            "reservation": id.to_string(), "lease": lease.to_string(), "books": ["a.2026-11", "b.x.all"],
            "batch_id": "batch_1", "native_batch": true
        })]
    );
    let row = &world.rows("SELECT user, cache, total_us, target, status, batch_id, tags FROM requests").await[0];
    assert_eq!(row["target"], "together/meta-llama/Llama-3.3-70B");
    assert_eq!((&row["cache"], &row["total_us"]), (&"miss".into(), &2_000_000.into()));
    assert_eq!(row["batch_id"], "batch_1");
}

#[tokio::test]
async fn an_end_that_was_written_before_attempts_could_be_given_up_is_still_an_end() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let one = start("search", "openai/gpt-4o", now());
    world.write([started(&one)]).await;
    world.until("SELECT count() FROM attempts WHERE running", "1").await;
    world
        .execute(
            "INSERT INTO attempt_log (* EXCEPT inserted_at)
                SELECT * EXCEPT (inserted_at) REPLACE (1 AS version, 'served' AS outcome, 0.25 AS cost_usd) FROM attempt_log",
        )
        .await;
    let row = serde_json::json!({"outcome": "served", "running": false, "cost": "0.25"});
    assert_eq!(world.rows("SELECT outcome, running, toString(cost_usd) AS cost FROM attempts").await, [row]);
    assert_eq!(world.warehouse().give_up(&[], now()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_start_without_an_end_costs_nothing_while_it_runs_and_then_its_worst_case() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let (running, lost) = (start("search", "openai/gpt-4o", now()), start("search", "openai/gpt-4o", ago(HOUR)));
    let mut unpriced = start("search", "openai/new", ago(HOUR));
    unpriced.worst_case = None;
    world.write([started(&running), started(&lost), started(&unpriced)]).await;
    world.until("SELECT count() FROM attempts", "3").await;
    let rows = world.rows("SELECT outcome, running, toString(cost_usd) AS cost, input_tokens FROM attempts").await;
    for (running, cost) in [(true, Some("0")), (false, Some("1")), (false, None)] {
        let row = serde_json::json!({"outcome": "unknown", "running": running, "cost": cost, "input_tokens": null});
        assert!(rows.contains(&row), "{row} is not in {rows:?}");
    }
    // The end comes after all.
    world.write([ended(end(&lost, Outcome::Served, tokens(1, 1), "0.5"))]).await;
    world.until("SELECT toString(sum(cost_usd)) FROM attempts", "0.5").await;
}

#[tokio::test]
async fn while_clickhouse_is_down_events_wait_and_then_they_arrive() {
    let mut world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    let attempts = |count: usize| (0..count).map(|_| start("search", "openai/gpt-4o", now())).collect::<Vec<_>>();
    let before = attempts(300);
    world.write_together(before.iter().map(started)).await;
    world.until("SELECT count() FROM attempts", "300").await;
    let listen = world.engine.take().unwrap().kill();
    let during = attempts(300);
    world.write_together(during.iter().map(started)).await;
    world.write_together(before.iter().map(|s| ended(end(s, Outcome::Served, tokens(1, 1), "0.01")))).await;
    world.until_metric("penstock_ledger_down 1").await;
    assert!(world.nats.messages() > 0);
    world.engine = Some(Engine::start(&world.folder.path().join("clickhouse"), listen));
    world.until("SELECT count() FROM attempts WHERE outcome = 'served'", "300").await;
    world.until_left(0).await;
    assert_eq!(world.value("SELECT count() FROM attempts").await, "600");
    world.until_metric("penstock_ledger_down 0").await;
    world.until_metric("penstock_ledger_events_total 900").await;
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn the_role_starts_before_clickhouse_does() {
    let mut world = World::new().await;
    let listen = world.engine.take().unwrap().kill();
    let analytics = world.start(vec![]).await.unwrap();
    world.write([started(&start("search", "openai/gpt-4o", now()))]).await;
    world.until_metric("penstock_ledger_down 1").await;
    world.engine = Some(Engine::start(&world.folder.path().join("clickhouse"), listen));
    world.until("SELECT count() FROM attempts", "1").await;
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_role_that_stops_carries_over_what_is_there() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    world.write_together((0..1000).map(|_| started(&start("search", "openai/gpt-4o", now())))).await;
    assert!(analytics.drain(Duration::from_secs(60)).await);
    assert_eq!(world.value("SELECT count() FROM attempts").await, "1000");
}

#[tokio::test]
async fn an_event_that_clickhouse_refuses_leaves_the_ledger_and_stops_no_other() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    world.execute("ALTER TABLE attempt_log ADD CONSTRAINT test CHECK project != 'bad'").await;
    let project = |i: usize| if i == 250 { "bad" } else { "good" };
    let events: Vec<_> = (0..500).map(|i| started(&start(project(i), "openai/gpt-4o", now()))).collect();
    world.write(events).await;
    world.until("SELECT count() FROM attempts", "499").await;
    world.until_metric("penstock_ledger_dead_events_total 1").await;
    // Later events go their way.
    world.write([started(&start("later", "openai/gpt-4o", now()))]).await;
    world.until("SELECT count() FROM attempts WHERE project = 'later'", "1").await;
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn events_of_many_months_are_one_batch() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    world.write_together((0..102).map(|month| started(&start("old", "openai/gpt-4o", ago(month * 31 * DAY))))).await;
    world.until("SELECT count() FROM attempts", "102").await;
}

#[tokio::test]
async fn a_call_is_a_row_without_waiting_for_others() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let one = start("search", "openai/gpt-4o", now());
    world.write([started(&one)]).await;
    world.until("SELECT count() FROM attempts", "1").await;
    let begun = Instant::now();
    world.write([ended(end(&one, Outcome::Served, tokens(1, 1), "0.01"))]).await;
    world.until("SELECT count() FROM attempts WHERE outcome = 'served'", "1").await;
    println!("from publish to visible row: {:?}", begun.elapsed());
}
