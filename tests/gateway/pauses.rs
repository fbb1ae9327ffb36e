//! A pause that a provider asks for: who is told of it, and how an operator lifts it; and keys as secret stores give them.

use penstock_tests::{Ask, Reply, World, until};
use serde_json::json;

/// A world whose `beta` has asked for a pause of ten minutes.
async fn paused() -> (World, Ask) {
    let world = World::start().await;
    world.upstream("beta").replies(Reply::error(429).header("retry-after", "600")).once();
    world.upstream("beta").answers("hello").always();
    let ask = world.ask("beta/m");
    until("the pause", async || (ask.clone().await.status == 429).then_some(())).await;
    (world, ask)
}

#[tokio::test]
async fn a_pause_is_told_with_its_end_and_lifted_by_a_command() {
    let (world, ask) = paused().await;
    let answer = ask.clone().await;
    let message = answer.message();
    assert!(answer.status == 429 && message.starts_with("beta asked for no calls of m until "), "{message}");
    assert!(message.contains(" UTC (for 9 min), by its Retry-After;"), "{message}");
    assert!(message.contains("`penstock targets --resume beta/m`"), "{message}");
    let wait: u32 = answer.header("retry-after").parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");

    let lifted = world.run(&["targets", "--resume", "beta/m"]).await;
    assert_eq!((lifted.code, lifted.out.as_str()), (0, "calls go to beta/m again\n"), "{}", lifted.err);
    until("a call to be made again", async || (ask.clone().await.status == 200).then_some(())).await;
    let wrong = world.run(&["targets", "--resume", "nobody/m"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("nobody/m"), "{}", wrong.err);
    until("the record of it", async || {
        let events = world.tool(&["audit", "--object", "target"]).await;
        events.to_string().contains("beta/m").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pause_is_lifted_over_the_admin_api_by_admins_alone() {
    let (world, ask) = paused().await;
    let resume =
        |target: &str| world.post("/admin/v1/targets/resume", &json!({ "target": target })).key(world.admin_key());
    assert_eq!(resume("beta/m").key(world.key()).await.status, 401);
    assert_eq!((resume("nobody/m").await.status.as_u16(), resume("beta").await.status.as_u16()), (404, 422));
    assert_eq!(ask.clone().await.status, 429);
    assert_eq!(resume("beta/m").await.json(), json!({ "target": "beta/m" }));
    until("a call to be made again", async || (ask.clone().await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_key_with_a_line_end_is_used_without_it_and_one_that_is_torn_is_refused_at_the_start() {
    let config =
        "[providers.odd]\ndialect = \"openai\"\nbase_url = \"{alpha}\"\nkeys = [\"env:ODD_KEY\"]\nprobe = false";
    let world = World::setup().config(config).env("ODD_KEY", " sk-odd-key\r\n").start().await;
    assert_eq!(world.ask("odd/m").await.status, 200);
    assert_eq!(world.upstream("alpha").received(1).await.header("authorization"), "Bearer sk-odd-key");
    let torn = world.run_with(("ODD_KEY", "sk-odd\nkey"), &["check"]).await;
    assert!(torn.code == 64 && torn.err.contains("providers.odd") && torn.err.contains("env:ODD_KEY"), "{}", torn.err);
    assert!(torn.err.contains("its character 7 is a line break") && !torn.err.contains("sk-odd"), "{}", torn.err);
}
