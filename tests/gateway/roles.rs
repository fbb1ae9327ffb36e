//! Roles in processes of their own, as in production: one is drained or dies, and callers notice as little as can be.

use futures_util::stream::{self, StreamExt};
use penstock_tests::{Gate, Part, Reply, World, address_in, in_short, is_running, until, words};
use std::time::Instant;

#[tokio::test]
async fn a_worker_that_is_told_to_stop_fails_no_request() {
    let mut world = World::setup().apart().start().await;
    let (mut first, mut second) = (world.worker().await, world.worker().await);
    let asks: Vec<_> =
        (0..400).map(|n| if n % 2 == 0 { world.ask("fast") } else { world.ask("fast").stream() }).collect();
    let answers = stream::iter(asks).map(penstock_tests::Ask::send).buffer_unordered(16).map(|answer| answer.text());
    let stop = async {
        world.upstream("alpha").received(100).await;
        first.terminate();
        assert_eq!(first.ended().await.code(), Some(0));
    };
    let (texts, ()) = tokio::join!(answers.collect::<Vec<_>>(), stop);
    assert_eq!(texts.len(), 400);
    assert!(texts.iter().all(|text| text == "hello"));
    assert_eq!(world.upstream("alpha").calls().len(), 400, "and none was asked twice");

    second.terminate();
    assert_eq!(second.ended().await.code(), Some(0));
    assert_eq!(world.ask("fast").await.error(), "503 service_unavailable_error no_pool");
    world.sql_until("SELECT * FROM attempts WHERE outcome = 'served'", |rows| rows.len() >= 400).await;
    assert_eq!(world.count("SELECT count() FROM attempts").await, 400);
}

#[tokio::test]
async fn calls_of_a_worker_that_is_killed_go_to_another_unless_the_client_has_content() {
    let mut world = World::setup().apart().start().await;
    let mut worker = world.worker().await;
    let streamed = [words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::answer("never").held(&Gate::new())).once();
    world.upstream("alpha").replies(Reply::answer("by another")).always();
    world.upstream("beta").replies(Reply::stream(streamed)).always();
    // A worker is there before the ingress has heard of all its pools.
    let served = async || {
        let open = world.ask("beta/m").stream().open().await;
        (open.status == 200).then_some(open)
    };
    let mut open = until("beta to be served", served).await;
    open.until("one ").await;
    let whole = world.ask("alpha/m").send();
    let kill = async {
        world.upstream("alpha").received(1).await;
        let _other = world.worker().await;
        worker.kill();
        worker.ended().await;
        let since = Instant::now();
        world.upstream("alpha").received(2).await;
        println!("another worker has called after {:?}", since.elapsed());
        _other
    };
    let (whole, _other) = tokio::join!(whole, kill);
    assert_eq!(whole.text(), "by another");
    let rest = open.rest().await;
    assert_eq!(
        in_short(&rest.events().last().unwrap_or_else(|| panic!("no event: {rest:?}"))["error"]),
        "server_error lost"
    );
    assert!(!rest.raw().contains("[DONE]"));
    // The first attempt is in the ledger too: nobody knows what the provider made of it.
    let rows = "SELECT outcome, number FROM attempts WHERE provider = 'alpha' ORDER BY number";
    let rows = world.sql_until(rows, |rows| rows.len() == 2 && rows[1]["outcome"] == "served").await;
    assert_eq!(rows[0]["outcome"], "unknown");
}

#[tokio::test]
async fn calls_of_a_worker_that_is_frozen_go_to_another_and_it_gives_them_up_when_it_wakes() {
    let mut world = World::setup().apart().start().await;
    let frozen = world.worker().await;
    world.upstream("alpha").replies(Reply::answer("never").held(&Gate::new())).once();
    world.upstream("alpha").replies(Reply::answer("by another")).always();
    let whole = world.ask("alpha/m").send();
    let freeze = async {
        world.upstream("alpha").received(1).await;
        let other = world.worker().await;
        frozen.freeze();
        let since = Instant::now();
        world.upstream("alpha").received(2).await;
        println!("another worker has called after {:?}", since.elapsed());
        other
    };
    let (whole, _other) = tokio::join!(whole, freeze);
    assert_eq!(whole.text(), "by another");
    // NATS still takes the frozen one for alive, and gives it its share.
    for _ in 0..4 {
        assert_eq!(world.ask("alpha/m").await.text(), "by another");
    }
    frozen.thaw();
    let first = "SELECT outcome FROM attempts ORDER BY started_at LIMIT 1";
    world.sql_until(first, |rows| rows.first().is_some_and(|row| row["outcome"] == "cancelled")).await;
}

#[tokio::test]
async fn a_second_ingress_knows_the_same_keys_and_models_and_both_bill_to_one_ledger() {
    let mut world = World::start().await;
    let (_ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let ask = world.ask("fast").at(&address);
    assert_eq!(ask.clone().await.text(), "hello");
    let made = world.tool(&["keys", "create"]).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    for at in [ask.clone(), world.ask("fast")] {
        until("the new key to be known", async || (at.clone().key(secret).await.status == 200).then_some(())).await;
    }
    assert_eq!(world.run(&["keys", "revoke", id]).await.code, 0);
    for at in [ask, world.ask("fast")] {
        until("the key to be refused", async || (at.clone().key(secret).await.status == 401).then_some(())).await;
    }
    let calls = world.upstream("alpha").calls().len();
    assert_eq!(world.attempts(calls).await.len(), calls);
}

#[tokio::test]
async fn roles_that_have_joined_find_an_up_that_was_killed_and_started_again() {
    let mut world = World::setup().apart().start().await;
    let (_worker, _analytics) = (world.worker().await, world.role("analytics").await.0);
    let (ingress, line) = world.role("ingress").await;
    let address = address_in(&line);
    let before = world.run_file();
    world.crash().await;
    world.again().await;
    let after = world.run_file();
    assert_eq!([&after["nats"], &after["clickhouse"]], [&before["nats"], &before["clickhouse"]]);
    let asked = async || world.ask("alpha/m").at(&address).try_send().await;
    until("the worker and the ingress to be back", async || asked().await.filter(|answer| answer.status == 200)).await;
    assert!(is_running(ingress.pid()));
    world.sql_until("SELECT * FROM attempts WHERE outcome = 'served'", |rows| !rows.is_empty()).await;
}
