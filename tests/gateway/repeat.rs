//! Asking again: one `Idempotency-Key` stands for one answer, and a client comes back to its stream at any ingress.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use penstock_tests::{Gate, Part, Process, Reply, World, in_short, until, words};

/// A second ingress of the same deployment.
async fn second_ingress(world: &mut World) -> (Process, String) {
    let (process, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    (process, address)
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_at_every_ingress_and_is_paid_once() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("first").once();
    world.upstream("alpha").answers("second").always();
    let (_process, other) = second_ingress(&mut world).await;
    for ask in [world.ask("alpha/m"), world.ask("alpha/m").stream()] {
        let kind = if ask.bytes().windows(6).any(|word| word == b"stream") { "stream" } else { "whole" };
        let ask = ask.header("idempotency-key", kind);
        let first = ask.clone().await;
        assert_eq!(first.status, 200, "{}", first.raw());
        for at in [ask.clone(), ask.clone().at(&other)] {
            let again = at.await;
            assert_eq!(again.raw(), first.raw());
            assert_eq!(again.header("idempotent-replayed"), "true");
        }
        let changed = ask.clone().field("seed", 7.into()).await;
        assert_eq!(changed.error(), "422 invalid_request_error idempotency_key_reused");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 2);
    assert_eq!(world.attempts(2).await.len(), 2);
}

#[tokio::test]
async fn a_repetition_joins_the_call_that_is_under_way() {
    let world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("late").held(&gate)).always();
    let ask = world.ask("alpha/m").header("idempotency-key", "one");
    let repeat = async {
        world.upstream("alpha").received(1).await;
        let (second, ()) = tokio::join!(ask.clone().send(), async { gate.open() });
        second
    };
    let (first, second) = tokio::join!(ask.clone().send(), repeat);
    assert_eq!([first.text(), second.text()], ["late", "late"]);
    assert_eq!(world.upstream("alpha").calls().len(), 1);
}

#[tokio::test]
async fn a_failure_gives_the_key_free() {
    let world = World::start().await;
    world.upstream("alpha").fails(400).once();
    world.upstream("alpha").answers("now").always();
    let ask = world.ask("alpha/m").header("idempotency-key", "one");
    assert_eq!(ask.clone().await.status, 400);
    assert_eq!(ask.await.text(), "now");
    for wrong in ["", "x".repeat(256).as_str(), "é"] {
        let refused = world.ask("alpha/m").header("idempotency-key", if wrong.is_empty() { " " } else { wrong }).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.raw());
    }
}

#[tokio::test]
async fn a_client_comes_back_to_its_stream_when_its_ingress_has_died() {
    let mut world = World::start().await;
    let gate = Gate::new();
    let parts = [words::role(), words::content("one "), words::content("two ")].map(Into::into);
    let rest = [Part::Wait(gate.clone()), words::content("three").into(), words::finish().into()];
    world.upstream("alpha").replies(Reply::stream(parts.into_iter().chain(rest))).always();
    let (mut process, other) = second_ingress(&mut world).await;
    let ask = world.ask("alpha/m").stream();
    let mut open = ask.clone().at(&other).header("x-penstock-resumable", "true").open().await;
    let seen = open.until("one ").await;
    let id = seen.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    process.kill();
    process.ended().await;
    drop(open);
    let back = ask.clone().header("last-event-id", &id).open();
    let (back, ()) = tokio::join!(back, async { gate.open() });
    let back = back.rest().await;
    let text: String = back
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    let missed = if seen.contains("two ") { "three" } else { "two three" };
    assert_eq!(text, missed, "{}", back.raw());
    assert!(back.raw().contains("[DONE]"));
    assert_eq!(world.upstream("alpha").calls().len(), 1, "the provider was asked once");
    let other_request = ask.field("seed", 1.into()).header("last-event-id", &id).await;
    assert_eq!(other_request.status, 422, "{}", in_short(&other_request.json()["error"]));
    let nobody = world.ask("alpha/m").stream().header("last-event-id", "01900000-0000-7000-8000-000000000007.1").await;
    assert_eq!(nobody.error(), "404 invalid_request_error stream_not_found");
}

#[tokio::test]
async fn a_project_that_keeps_more_than_its_quota_loses_its_own_oldest_answers_and_no_others() {
    let mut world = World::setup().config("[ingress]\nstored = \"1MB\"\n").start().await;
    let long = "long ".repeat(30_000);
    world.upstream("alpha").answers(&long).always();
    let (_process, other) = second_ingress(&mut world).await;
    let made = world.tool(&["keys", "create", "--project", "another"]).await;
    let another = made["key"].as_str().unwrap().to_owned();
    let is_replayed = async |name: &str, key: &str| -> bool {
        let answer = world.ask("alpha/m").at(&other).key(key).header("idempotency-key", name).await;
        assert_eq!(answer.text(), long);
        answer.header("idempotent-replayed") == "true"
    };
    until("the key to be known", async || {
        (world.get("/v1/models").at(&other).key(&another).await.status == 200).then_some(())
    })
    .await;
    assert!(!is_replayed("theirs", &another).await);
    // Six answers of 150 KB fit, of sixteen the last.
    for number in 0..16 {
        let ask = world.ask("alpha/m").header("idempotency-key", &format!("number {number}"));
        assert_eq!(ask.await.text(), long);
    }
    // Asked from the newest on: who asks anew makes room.
    assert!(is_replayed("number 15", world.key()).await && is_replayed("number 13", world.key()).await);
    until("the oldest to be gone", async || {
        let stored = world.stream_bytes("ps_KEPT").await;
        (stored < 2_000_000).then_some(())
    })
    .await;
    // Asked within three seconds, it could still be on its way.
    until("the oldest to be asked anew", async || {
        let answer = world.ask("alpha/m").at(&other).header("idempotency-key", "number 0").await;
        (answer.status == 200 && answer.header("idempotent-replayed") != "true").then_some(())
    })
    .await;
    assert!(is_replayed("theirs", &another).await, "another project's answer is still there");
}
