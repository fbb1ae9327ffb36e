//! A caller who goes away: the provider hears of it at once, before the first token and after, and the ledger says so.

use penstock_tests::{Call, Gate, Open, Part, Reply, World, words};
use serde_json::json;
use std::time::Instant;

/// Hangs up, and measures how long the provider does not know.
#[expect(clippy::print_stdout, reason = "the figure is worth reading")]
async fn hang_up(what: &str, open: impl FnOnce(), call: &Call) {
    let left = Instant::now();
    open();
    let took = call.closed().await - left;
    println!("{what}: the provider's connection was closed after {took:?}");
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_first_token_is_cancelled_at_the_provider() {
    let world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("late").held(&gate)).always();
    for (count, ask) in [(1, world.ask("fast")), (2, world.ask("fast").stream())] {
        let waiting = Box::pin(ask.open());
        let call = tokio::select! {
            _ = &mut { waiting } => panic!("it cannot be answered yet"),
            call = world.upstream("alpha").received(count) => call,
        };
        // `waiting` was dropped with the select.
        hang_up("before the first token", || (), &call).await;
    }
    assert_eq!(world.attempts(2).await, ["alpha cancelled", "alpha cancelled"]);
    let outcome = world.sql("SELECT DISTINCT outcome FROM attempts").await;
    assert_eq!(outcome, [json!({ "outcome": "cancelled" })]);
    let requests = world.requests(2).await;
    assert!(requests.iter().all(|row| row["outcome"] == "cancelled" && row["status"] == 499), "{requests:?}");
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_a_stream_is_cancelled_at_the_provider() {
    let world = World::start().await;
    let parts = [words::role().into(), words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let mut open: Open = world.ask("fast").stream().open().await;
    open.until("one ").await;
    let call = world.upstream("alpha").received(1).await;
    hang_up("in the middle of a stream", move || drop(open), &call).await;
    assert_eq!(world.attempts(1).await, ["alpha 200 cancelled"]);
    let requests = world.requests(1).await;
    assert_eq!(requests[0]["outcome"], "cancelled");
}

#[tokio::test]
async fn a_caller_who_leaves_during_a_wait_between_attempts_causes_no_more_of_them() {
    let world = World::start().await;
    let limited = Reply::error(429).header("retry-after-ms", "900");
    world.upstream("alpha").replies(limited).always();
    let waiting = Box::pin(world.ask("fast").open());
    tokio::select! {
        _ = &mut { waiting } => panic!("it cannot be answered yet"),
        _ = world.upstream("alpha").received(1) => {}
    }
    let requests = world.requests(1).await;
    assert_eq!(requests[0]["outcome"], "cancelled");
    // Another caller's retry is due later than the first caller's would have been.
    assert_eq!(world.ask("alpha/m").header("x-penstock-timeout-ms", "20000").await.status, 429);
    let calls = world.upstream("alpha").calls();
    let requests: Vec<_> = calls.iter().map(|call| call.attempt_id()).collect();
    let first = world.sql("SELECT toString(attempt_id) AS id FROM attempts WHERE virtual_model = 'fast'").await;
    assert_eq!(first.len(), 1, "{requests:?}");
}
