//! Retry and fallback: who is asked, how often, and what the caller and the ledger learn of it.

use penstock_tests::World;

#[tokio::test]
async fn a_provider_that_is_overloaded_is_tried_three_times_and_then_the_next_one_serves() {
    let world = World::start().await;
    world.upstream("alpha").fails(529).always();
    world.upstream("beta").answers("hello");
    assert_eq!(world.ask("fast").await.text(), "hello");
    assert_eq!(world.attempts(4).await, ["alpha 529", "alpha 529", "alpha 529", "beta 200"]);
}
