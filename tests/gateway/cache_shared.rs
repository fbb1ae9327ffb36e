//! The cache of a whole deployment: several ingresses, restarts, crashes, limits; and one call for many.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::made::key;
use penstock_tests::{Answer, Gate, Part, Process, Reply, World, until, words};
use serde_json::json;

const ON: &str = "[cache]\nmode = \"exact\"\n";

fn cache(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.header("x-penstock-cache")
}

/// A second ingress of the same deployment.
async fn second_ingress(world: &mut World) -> (Process, String) {
    let (process, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    (process, address)
}

#[tokio::test]
async fn an_answer_reaches_other_ingresses_and_is_there_after_a_restart_and_a_crash() {
    let mut world = World::setup().config(ON).start().await;
    let long = "long ".repeat(40_000);
    world.upstream("alpha").answers("short").once();
    world.upstream("alpha").answers(&long).once();
    let large = |world: &World| world.ask("alpha/m").field("seed", json!(2));
    assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    assert_eq!(cache(&large(&world).await), "miss");
    let (mut process, other) = second_ingress(&mut world).await;
    let at_other = async |world: &World| {
        let only = || world.ask("alpha/m").at(&other).header("x-penstock-cache", "only");
        until("the other ingress to have it", async || (only().await.status == 200).then_some(())).await;
        let large = large(world).at(&other).await;
        assert_eq!((cache(&large), large.text()), ("exact", long.clone()), "a large one is fetched");
    };
    at_other(&world).await;
    process.kill();
    process.ended().await;
    world.replace_child("nats-server").await;
    world.is_ready_again().await;
    assert_eq!(cache(&world.ask("alpha/m").await), "exact");
    world.crash().await;
    world.again().await;
    for (answer, text) in [(world.ask("alpha/m").await, "short"), (large(&world).await, &long)] {
        assert_eq!((cache(&answer), answer.text().as_str()), ("exact", text));
    }
    assert_eq!(world.upstream("alpha").calls().len(), 2);
}

#[tokio::test]
async fn the_cache_keeps_to_its_limits_of_memory_and_disk() {
    let world = World::setup().config(&format!("{ON}memory = \"1MB\"\ndisk = \"1MB\"\n")).start().await;
    world.upstream("alpha").answers(&"long ".repeat(10_000)).always();
    for seed in 0..60 {
        assert_eq!(cache(&world.ask("alpha/m").field("seed", json!(seed)).await), "miss");
    }
    until("the oldest to be removed", async || (world.stream_bytes("ps_CACHE").await <= 1 << 20).then_some(())).await;
    let mut hits = 0;
    for seed in 0..60 {
        let answer = world.ask("alpha/m").field("seed", json!(seed)).header("x-penstock-cache", "only").await;
        hits += usize::from(answer.status == 200);
    }
    assert!((1..=21).contains(&hits), "1 MB holds 20 answers of 50 KB, and {hits} were found");
}

#[tokio::test]
async fn identical_requests_under_way_are_one_call() {
    let world = World::setup().config(ON).start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("once").held(&gate)).once();
    let ask = world.ask("alpha/m");
    let first = ask.clone().send();
    let others = async {
        world.upstream("alpha").received(1).await;
        let joined = async { tokio::join!(ask.clone().send(), ask.clone().field("user", json!("ann")).send()) };
        // Opened only when the others have surely come: their requests hold places among those in flight.
        let open = async {
            until("the others to wait", async || {
                let text = world.get("/metrics").key(world.admin_key()).await.raw();
                text.contains("penstock_cache_waiting 2").then_some(())
            })
            .await;
            gate.open();
        };
        tokio::join!(joined, open).0
    };
    let (first, (second, third)) = tokio::join!(first, others);
    assert_eq!([cache(&first), cache(&second), cache(&third)], ["miss", "joined", "joined"]);
    assert_eq!([first.text(), second.text(), third.text()], ["once", "once", "once"]);
    assert_eq!(world.upstream("alpha").calls().len(), 1);
    world.requests(3).await;
    let sums = world
        .sql("SELECT countIf(cache = 'joined' AND cost_usd = 0 AND saved_usd > 0) AS joined, uniqExact(cache_source) AS sources FROM requests")
        .await;
    assert_eq!((&sums[0]["joined"], &sums[0]["sources"]), (&json!(2), &json!(1)), "{sums:?}");
}

#[tokio::test]
async fn a_stream_is_shared_from_its_start_and_goes_on_when_the_first_reader_leaves() {
    let world = World::setup().config(ON).start().await;
    let gate = Gate::new();
    let parts = [words::role(), words::content("one ")].map(Part::from);
    let rest = [
        Part::Wait(gate.clone()),
        words::content("two").into(),
        words::finish().into(),
        words::usage().into(),
        words::DONE.to_owned().into(),
    ];
    world.upstream("alpha").replies(Reply::stream(parts.into_iter().chain(rest))).once();
    let mut first = world.ask("alpha/m").stream().open().await;
    first.until("one ").await;
    let mut second = world.ask("alpha/m").stream().open().await;
    let seen = second.until("one ").await;
    assert!(seen.contains("one "));
    drop(first);
    let third = world.ask("alpha/m").stream().open().await;
    gate.open();
    let (second, third) = (second.rest().await, third.rest().await);
    assert_eq!([cache(&second), cache(&third)], ["joined", "joined"]);
    assert!(second.raw().contains("two") && second.raw().contains("[DONE]"), "{}", second.raw());
    assert_eq!(third.text(), "one two");
    let kept = world.ask("alpha/m").await;
    assert_eq!((cache(&kept), kept.text()), ("exact", "one two".to_owned()));
    assert_eq!(world.upstream("alpha").calls().len(), 1);
    let attempts = world.attempts(1).await;
    assert_eq!(attempts, ["alpha 200"]);
}

#[tokio::test]
async fn when_the_first_leaves_before_its_answer_or_fails_the_others_ask_themselves() {
    let world = World::setup().config(ON).start().await;
    for leaves in [true, false] {
        let gate = Gate::new();
        let reply = if leaves { Reply::answer("never seen") } else { Reply::error(400) };
        world.upstream("alpha").replies(reply.held(&gate)).once();
        world.upstream("alpha").answers("asked again").times(if leaves { 1 } else { 2 });
        let ask = world.ask("alpha/m").header("x-penstock-cache-namespace", if leaves { "a" } else { "b" });
        let before = world.upstream("alpha").calls().len();
        let others = async {
            world.upstream("alpha").received(before + 1).await;
            tokio::join!(ask.clone().send(), ask.clone().send())
        };
        let lead = async {
            let sent = ask.clone().send();
            let waiting = until("the others to wait", async || {
                let text = world.get("/metrics").key(world.admin_key()).await.raw();
                text.contains("penstock_cache_waiting 2").then_some(())
            });
            tokio::pin!(sent, waiting);
            tokio::select! {
                _ = &mut sent => panic!("it is held"),
                () = &mut waiting => {}
            }
            if leaves {
                return None;
            }
            gate.open();
            Some(sent.await)
        };
        let (first, (second, third)) = tokio::join!(lead, others);
        assert_eq!(first.map(|first| first.status.as_u16()), (!leaves).then_some(400));
        assert_eq!([second.text(), third.text()], ["asked again", "asked again"]);
        let mut caches = [cache(&second), cache(&third)];
        caches.sort_unstable();
        assert_eq!(caches, if leaves { ["joined", "miss"] } else { ["miss", "miss"] }, "leaves: {leaves}");
        gate.open();
    }
}

#[tokio::test]
async fn a_hit_that_is_reported_as_wrong_is_removed_from_every_ingress() {
    let mut world = World::setup().config(ON).start().await;
    world.upstream("alpha").answers("wrong").once();
    world.upstream("alpha").answers("right").always();
    let (_process, other) = second_ingress(&mut world).await;
    assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    let at_other = || world.ask("alpha/m").at(&other).header("x-penstock-cache", "only");
    let hit = until("the other ingress to have it", async || {
        let answer = at_other().await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(cache(&hit), "exact");
    let body = json!({ "request_id": hit.header("x-penstock-request-id"), "wrong_hit": true });
    let stranger = key(&world, &json!({ "project": "another" })).await;
    let denied = world.post("/v1/feedback", &body).key(&stranger).await;
    assert_eq!(denied.error(), "404 invalid_request_error hit_not_found", "another project's is not known");
    // Reported at the ingress that did not give it.
    let reported = world.post("/v1/feedback", &body).await;
    assert_eq!((reported.status.as_u16(), &reported.json()["removed"]), (200, &json!(true)), "{}", reported.raw());
    until("it to be gone", async || (at_other().await.status == 504).then_some(())).await;
    let anew = world.ask("alpha/m").await;
    assert_eq!((cache(&anew), anew.text()), ("miss", "right".to_owned()));
    assert_eq!(world.post("/v1/feedback", &body).await.status, 404);
    assert_eq!(world.post("/v1/feedback", &json!({ "request_id": "x" })).await.status, 400);
    let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
    assert!(metrics.contains("penstock_cache_wrong_total 1"), "{metrics}");
}

#[tokio::test]
async fn a_project_or_a_namespace_is_cleared_in_every_ingress_and_in_the_audit() {
    let mut world = World::setup().config(ON).start().await;
    world.upstream("alpha").answers("hi").always();
    let one = key(&world, &json!({ "project": "one" })).await;
    let (_process, other) = second_ingress(&mut world).await;
    let ask = |namespace: &str| {
        let ask = world.ask("alpha/m").key(&one);
        if namespace.is_empty() { ask } else { ask.header("x-penstock-cache-namespace", namespace) }
    };
    for namespace in ["", "a", "b"] {
        assert_eq!(cache(&ask(namespace).await), "miss");
    }
    assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    let is_at_other =
        async |namespace: &str| ask(namespace).at(&other).header("x-penstock-cache", "only").await.status == 200;
    until("the other ingress to have all", async || is_at_other("b").await.then_some(())).await;
    let stats = world.tool(&["cache", "stats", "--project", "one"]).await;
    let names: Vec<&str> =
        stats["caches"].as_array().unwrap().iter().map(|cache| cache["namespace"].as_str().unwrap()).collect();
    assert_eq!((names, &stats["caches"][0]["entries"]), (vec!["", "a", "b"], &json!(1)));
    let admin = |method: http::Method, query: &str| {
        world.get(&format!("/admin/v1/cache{query}")).method(method).key(world.admin_key())
    };
    assert_eq!(admin(http::Method::DELETE, "").await.status, 422);
    let cleared = admin(http::Method::DELETE, "?project=one&namespace=a").await;
    assert_eq!(cleared.status, 200, "{}", cleared.raw());
    until("the other ingress to have cleared it", async || (!is_at_other("a").await).then_some(())).await;
    assert!(is_at_other("b").await && is_at_other("").await);
    let output = world.run(&["cache", "clear", "--project", "one"]).await;
    assert_eq!(output.code, 0, "{}", output.err);
    until("the other ingress to have cleared all", async || (!is_at_other("b").await).then_some(())).await;
    assert_eq!(cache(&ask("").at(&other).await), "miss", "and what comes later is kept again");
    assert_eq!(cache(&ask("").at(&other).await), "exact");
    assert_eq!(cache(&world.ask("alpha/m").await), "exact", "another project's stay");
    let report = admin(http::Method::GET, "?project=default").await.json();
    assert_eq!(report["caches"][0]["entries"], 1, "{report}");
    let in_audit =
        async || world.tool(&["audit", "--object", "cache"]).await.to_string().contains("one/a").then_some(());
    until("it to be in the audit", in_audit).await;
}
