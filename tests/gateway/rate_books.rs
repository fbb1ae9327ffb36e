//! Rates through crashes: the places of an ingress that is gone, and what was counted of a day. The bus is the real one.

use penstock_tests::{Part, Reply, World, address_in, until, until_right, words};
use serde_json::json;

#[tokio::test]
async fn the_places_of_an_ingress_that_was_killed_are_free_again_for_the_requests_of_others() {
    let mut world = World::start().await;
    let held = [words::role().into(), words::content("held").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(held)).times(2);
    world.upstream("alpha").answers("free").always();
    let (ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    let limit = json!({ "limits": { "two": { "name": "two", "match": { "model": "alpha/m" }, "rates": { "concurrent_requests": 2 } } } });
    world.manage(limit, &[world.address(), &other]).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        // The first ingress gives back soon what it took to learn of the limit.
        let mut stream = until("a place", async || {
            let open = world.ask("alpha/m").field("max_tokens", json!(5)).at(&other).stream().open().await;
            (open.status == 200).then_some(open)
        })
        .await;
        stream.until("held").await;
        streams.push(stream);
    }
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    assert_eq!(ask().await.error(), "429 rate_limit_error rate_limit_exceeded");
    ingress.kill();
    until_right("the places to be free", async || {
        let answer = ask().await;
        if answer.status == 200 { Ok(()) } else { Err(answer.raw()) }
    })
    .await;
}

#[tokio::test]
async fn what_was_counted_of_a_day_is_known_to_an_ingress_that_begins_long_after_the_last_request() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let rates = json!({ "requests_per_day": 3, "requests_per_minute": 1000 });
    let limit = json!({ "limits": { "few": { "name": "few", "match": { "model": "alpha/m" }, "rates": rates } } });
    world.manage(limit, &[world.address()]).await;
    for _ in 0..3 {
        assert_eq!(world.ask("alpha/m").await.text(), "hi");
    }
    assert_eq!(world.ask("alpha/m").await.error(), "429 rate_limit_error rate_limit_exceeded");
    world.crash().await;
    world.again().await;
    // What lies in this bucket has gone after five minutes.
    world.empty_stream("KV_ps_RATES").await;
    let limited = async || {
        let answer = world.ask("alpha/m").await;
        (answer.status != 503).then_some(answer)
    };
    let answer = until("the ingress to know its limits", limited).await;
    assert_eq!(answer.error(), "429 rate_limit_error rate_limit_exceeded");
}
