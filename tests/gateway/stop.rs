//! Stops, asked for and not: what is in flight completes, what was paid for is in the ledger at the next start.

use futures_util::future::join_all;
use penstock_tests::{Gate, Part, Reply, World, is_running, until, words};
use serde_json::json;

/// Requests in flight when it is told to stop.
const CALLS: usize = 20;

#[tokio::test]
async fn a_stop_that_is_asked_for_finishes_what_is_in_flight_and_refuses_the_rest() {
    let mut world = World::start().await;
    let gate = Gate::new();
    let streamed =
        vec![words::content("hello").into(), Part::Wait(gate.clone()), words::finish().into(), words::DONE.into()];
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).always();
    world.upstream("beta").replies(Reply::stream(streamed)).always();
    let asks = (0..CALLS).map(|n| if n % 2 == 0 { world.ask("alpha/m") } else { world.ask("beta/m").stream() });
    let asks: Vec<_> = asks.collect();
    let answers = join_all(asks.into_iter().map(penstock_tests::Ask::send));
    let late = world.ask("alpha/m");
    let stop = async {
        world.upstream("alpha").received(CALLS / 2).await;
        world.upstream("beta").received(CALLS / 2).await;
        world.terminate();
        let refused = until("new requests to be refused", async || {
            let answer = late.clone().header("x-penstock-timeout-ms", "100").await;
            (answer.status == 503).then_some(answer)
        });
        let refused = refused.await;
        gate.open();
        refused
    };
    let (answers, refused) = tokio::join!(answers, stop);
    assert_eq!(refused.error(), "503 service_unavailable_error draining");
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("1", "close"));
    for answer in &answers {
        assert_eq!(answer.text(), "hello");
    }
    assert_eq!(world.up().ended().await.code(), Some(0));

    world.again().await;
    assert_eq!(world.count("SELECT count() FROM attempts WHERE outcome = 'served'").await, CALLS as u64);
    assert_eq!(world.count("SELECT count() FROM requests WHERE outcome = 'served'").await, CALLS as u64);
    assert_eq!(world.count("SELECT count() FROM attempts WHERE outcome = 'unknown'").await, 0);
}

#[tokio::test]
async fn after_a_kill_the_next_start_takes_the_nats_server_over_and_has_lost_nothing() {
    let mut world = World::start().await;
    let key = world.key().to_owned();
    world.upstream("beta").replies(Reply::stream([words::content("one ").into(), Part::Silence])).always();
    for _ in 0..10 {
        assert_eq!(world.ask("alpha/m").await.text(), "hello");
    }
    let mut open = world.ask("beta/m").stream().header("x-penstock-timeout-ms", "8000").open().await;
    open.until("one ").await;
    // Now, before most of it can be in ClickHouse.
    let nats = world.crash().await;
    drop(open);
    assert!(is_running(nats), "its nats-server goes on");

    world.again().await;
    assert_eq!(world.key(), key);
    assert!(!is_running(nats), "the old one is gone");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    world.sql_until("SELECT * FROM attempts WHERE outcome = 'served'", |rows| rows.len() >= 11).await;
    let settled =
        "SELECT cost_usd = worst_case_usd AS is_worst FROM attempts WHERE outcome = 'unknown' AND NOT running";
    let unknown = world.sql_until(settled, |rows| !rows.is_empty()).await;
    assert_eq!(unknown, [json!({ "is_worst": 1 })], "what nobody knows is charged at its worst");
    assert_eq!(world.count("SELECT count() FROM attempts").await, 12);
}

#[tokio::test]
async fn a_second_up_on_the_same_folder_is_refused() {
    let world = World::start().await;
    let second = world.run(&["up", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another `penstock up` runs on") && second.err.contains("--data"), "{}", second.err);
    assert_eq!(world.ask("fast").await.status, 200, "the first one goes on");
}

#[tokio::test]
async fn children_that_die_are_started_again_and_requests_go_on() {
    let mut world = World::start().await;
    assert_eq!(world.ask("fast").await.text(), "hello");
    world.up().kill_child("clickhouse --files");
    for _ in 0..5 {
        assert_eq!(world.ask("fast").await.text(), "hello", "no request waits for ClickHouse");
    }
    let ready = world.get("/ready");
    world.up().kill_child("nats-server");
    until("the gateway to know that NATS is gone", async || (ready.clone().await.status == 503).then_some(())).await;
    let answer = world.ask("fast").await;
    assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.raw());
    until("the gateway to be ready again", async || (ready.clone().await.status == 200).then_some(())).await;
    // The ingress may be back a moment before the pools are.
    until("an answer", async || (world.ask("fast").await.status == 200).then_some(())).await;
    let attempts = world.attempts(7).await;
    assert!(attempts.iter().all(|attempt| attempt.ends_with(" 200")), "{attempts:?}");
}
