//! Pools with few slots: what does not fit goes to the next link at once or is refused, and no call is lost between the two.

use futures_util::stream::{self, StreamExt};
use penstock_tests::{Gate, Reply, Setup, World, address_in, until};
use std::collections::BTreeMap;
use std::time::Duration;

fn two_slots() -> Setup {
    World::setup().env("PENSTOCK_PROVIDERS_ALPHA_CONCURRENCY", "2")
}

#[tokio::test]
async fn a_full_pool_is_stepped_over_and_takes_calls_again_when_a_slot_is_free() {
    let world = two_slots().start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("alpha").held(&gate)).always();
    world.upstream("beta").answers("beta");
    let held = stream::iter([world.ask("alpha/m"), world.ask("alpha/m")]).map(penstock_tests::Ask::send);
    let held = held.buffer_unordered(2).map(|answer| answer.text()).collect::<Vec<_>>();
    let meanwhile = async {
        world.upstream("alpha").received(2).await;
        assert_eq!(world.ask("fast").await.text(), "beta");
        let refused = world.ask("alpha/m").await;
        assert!(refused.error().starts_with("503 service_unavailable_error "), "{}", refused.error());
        gate.open();
    };
    assert_eq!(tokio::join!(held, meanwhile).0, ["alpha", "alpha"]);
    until("a free slot", async || (world.ask("alpha/m").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn under_more_load_than_there_are_slots_every_call_is_answered_or_refused_at_once() {
    let world = two_slots().start().await;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    let asks: Vec<_> = (0..600).map(|n| world.ask(if n % 2 == 0 { "alpha/m" } else { "fast" })).collect();
    let mut answers = stream::iter(asks).map(penstock_tests::Ask::send).buffer_unordered(8);
    while let Some(answer) = answers.next().await {
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.raw());
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert!(statuses[&200] >= 300, "`fast` has a second link, which has room: {statuses:?}");
}

#[tokio::test]
async fn callers_of_two_ingresses_wait_in_line_for_one_worker_and_each_call_is_made_once() {
    let mut world = two_slots().apart().config("[ingress]\nqueue_timeout = \"4m\"\n").start().await;
    world.upstream("alpha").replies(Reply::answer("alpha").slow(Duration::from_millis(30))).always();
    let _worker = world.worker_of("alpha", &[]).await;
    let (_ingress, line) = world.role("ingress").await;
    let addresses = [world.address().to_owned(), address_in(&line)];
    let asks = (0..60).map(|n| world.ask("alpha/m").at(&addresses[n % 2])).collect::<Vec<_>>();
    let mut answers = stream::iter(asks).map(penstock_tests::Ask::send).buffer_unordered(30);
    while let Some(answer) = answers.next().await {
        assert!(answer.status == 200 && answer.text() == "alpha", "{}", answer.raw());
    }
    assert_eq!(world.attempts(60).await.len(), 60, "each call was made once");
}
