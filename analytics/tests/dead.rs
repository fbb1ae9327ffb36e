//! Events that cannot be stored: they go to the dead letters, with an alert; nothing else waits for them; and they can be put
//! back.

#![allow(clippy::unwrap_used, reason = "this is a test, though clippy cannot see it")]

mod support;

use penstock_runtime::bus::DeadLetter;
use penstock_schemas::event::Outcome;
use penstock_schemas::event::encode_batch;
use std::time::Duration;
use support::events::{end, ended, now, start, started, tokens};
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

async fn dead(world: &World) -> Vec<DeadLetter> {
    let letters = world.bus.dead_letters().await.unwrap();
    let (mut all, mut number) = (Vec::new(), 1);
    while let Some(letter) = letters.next(number).await.unwrap() {
        number = letter.number + 1;
        all.push(letter);
    }
    all
}

#[tokio::test]
async fn more_refused_events_than_any_doubt_stop_no_other_and_can_be_put_back() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    let before = start("before", "openai/gpt-4o", now());
    world.write([started(&before)]).await;
    world.until("SELECT count() FROM attempts", "1").await;
    world.execute("ALTER TABLE attempt_log ADD CONSTRAINT test CHECK project != 'bad'").await;
    // All refused ones come first: they could be taken for a table that refuses everything.
    let project = |i: usize| if i < 40 { "bad" } else { "good" };
    world.write_together((0..500).map(|i| started(&start(project(i), "openai/gpt-4o", now())))).await;
    world.until("SELECT count() FROM attempts WHERE project = 'good'", "460").await;
    world.until_metric("penstock_ledger_dead_events_total 40").await;
    let letters = dead(&world).await;
    assert_eq!(letters.len(), 40);
    assert!(letters.iter().all(|letter| letter.reason == "refused" && letter.why.contains("test")), "{:?}", letters[0]);
    world.until("SELECT count() FROM alerts WHERE kind = 'ledger_dead_letter'", "1").await;
    world.execute("ALTER TABLE attempt_log DROP CONSTRAINT test").await;
    let again = world.bus.dead_letters().await.unwrap();
    for letter in &letters {
        assert!(again.revive(letter).await.unwrap());
    }
    world.until("SELECT count() FROM attempts WHERE project = 'bad'", "40").await;
    assert!(dead(&world).await.is_empty());
    assert!(analytics.drain(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_table_that_refuses_everything_makes_no_dead_letters_and_events_wait() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    world.write([started(&start("before", "openai/gpt-4o", now()))]).await;
    world.until("SELECT count() FROM attempts", "1").await;
    world.execute("ALTER TABLE attempt_log ADD CONSTRAINT test CHECK project = 'none'").await;
    world.write_together((0..50).map(|_| started(&start("good", "openai/gpt-4o", now())))).await;
    world.until_metric("penstock_ledger_down 1").await;
    world.execute("ALTER TABLE attempt_log DROP CONSTRAINT test").await;
    world.until("SELECT count() FROM attempts WHERE project = 'good'", "50").await;
    assert!(dead(&world).await.is_empty());
}

#[tokio::test]
async fn an_end_that_is_refused_leaves_its_start() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    world.execute("ALTER TABLE attempt_log ADD CONSTRAINT test CHECK output_tokens IS NULL").await;
    let one = start("search", "openai/gpt-4o", now());
    world.write_together([started(&one), ended(end(&one, Outcome::Served, tokens(1, 1), "0.5"))]).await;
    world.until("SELECT count() FROM attempts WHERE running", "1").await;
    world.until_metric("penstock_ledger_dead_events_total 1").await;
    assert_eq!(dead(&world).await.len(), 1);
}

#[tokio::test]
async fn a_line_that_is_no_event_is_a_dead_letter_and_its_neighbours_are_rows() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let good = [started(&start("a", "openai/gpt-4o", now())), started(&start("b", "openai/gpt-4o", now()))];
    let [first, second] = [&good[..1], &good[1..]].map(|event| encode_batch(event).unwrap());
    let message = [&first, &b"{\"type\":\"of a newer version\"}\n"[..], &second].concat();
    world.write_raw(message).await;
    world.write_raw(vec![0xff; 300_000]).await;
    world.until("SELECT count() FROM attempts", "2").await;
    world.until_metric("penstock_ledger_dead_events_total 2").await;
    let letters = dead(&world).await;
    let found: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), letter.length)).collect();
    assert_eq!(found, [("unreadable", 29), ("unreadable", 300_000)]);
    world.until("SELECT count() FROM alerts WHERE kind = 'ledger_dead_letter'", "1").await;
}
