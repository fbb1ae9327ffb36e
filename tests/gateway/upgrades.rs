//! Two versions beside each other, as in the middle of an upgrade: `PENSTOCK_TEST_OLDER_BINARY` names the earlier one. Without it
//! the version under test plays both parts, which shows that the order of an upgrade loses nothing.

use crate::made::post;
use penstock_tests::{Process, Reply, World, address_in, until, until_right, words};
use serde_json::json;

const SPEND: &[&str] = &["spend", "--by", "model"];

/// What a caller asks for, through the ingress at `address`; each of these is one attempt at `alpha`, but for the last, which is
/// one at `beta` besides.
async fn is_served(world: &World, address: &str) {
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::answer("whole")).once();
    assert_eq!(world.ask("alpha/m").at(address).await.text(), "whole");
    alpha.replies(Reply::stream(words::stream("in pieces"))).once();
    assert_eq!(world.ask("alpha/m").at(address).stream().await.text(), "in pieces");
    alpha.replies(Reply::answer("translated")).once();
    let message =
        json!({ "model": "alpha/m", "max_tokens": 100, "messages": [{ "role": "user", "content": "Hello!" }] });
    let answer = world.post("/v1/messages", &message).at(address).await;
    assert_eq!(answer.json()["content"][0]["text"], "translated", "{}", answer.raw());
    alpha.replies(Reply::error(400)).once();
    assert_eq!(world.ask("alpha/m").at(address).await.status, 400);
    alpha.replies(Reply::error(503)).once();
    world.upstream("beta").replies(Reply::answer("the other")).once();
    assert_eq!(world.ask("fast").at(address).await.text(), "the other");
}

/// Stops a role as a deployment does.
async fn drained(mut process: Process) {
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.tail());
}

/// Waits until no call of the upstreams lacks its row, and none has two.
async fn ledger_is_right(world: &World) {
    let calls = world.upstream("alpha").calls().len() + world.upstream("beta").calls().len();
    until_right("one row for every call", async || {
        let sql =
            "SELECT count() AS rows, uniqExact(attempt_id) AS attempts, countIf(running) AS running FROM attempts";
        let rows = world.try_sql(sql).await?;
        let is_right = rows[0]["rows"] == calls && rows[0]["attempts"] == calls && rows[0]["running"] == 0;
        if is_right { Ok(()) } else { Err(format!("{} for {calls} calls", rows[0])) }
    })
    .await;
}

#[tokio::test]
async fn roles_of_two_versions_serve_callers_together_and_the_ledger_has_every_call_once() {
    let mut world = World::setup().apart().start().await;
    let (old_worker, _) = world.older_role("worker").await;
    let (old_ingress, line) = world.older_role("ingress").await;
    let old_address = address_in(&line);
    let new_address = world.address().to_owned();
    // The ingress of `up` is new, the worker old.
    is_served(&world, &new_address).await;
    let (new_worker, _) = world.role("worker").await;
    drained(old_worker).await;
    is_served(&world, &old_address).await;
    drained(old_ingress).await;
    is_served(&world, &new_address).await;
    ledger_is_right(&world).await;
    drained(new_worker).await;
}

#[tokio::test]
async fn the_data_folder_of_an_earlier_version_keeps_its_keys_budgets_and_rows_in_a_newer_one() {
    let mut world = World::setup().older().start().await;
    is_served(&world, world.address()).await;
    let made = world.tool(&["keys", "create", "--user", "erin"]).await;
    let secret = made["key"].as_str().expect("a new key").to_owned();
    let budget = post(&world, "budgets", &json!({ "name": "all", "limit_usd": "5", "cycle": "total" })).await;
    assert!(budget.status.is_success(), "{}", budget.raw());
    ledger_is_right(&world).await;
    let before = world.tool(SPEND).await;
    world.terminate();
    assert_eq!(world.up().ended().await.code(), Some(0));

    world.again().await;
    assert_eq!(world.tool(SPEND).await["rows"], before["rows"], "what was spent is as it was");
    until("the key of the earlier version", async || {
        (world.get("/v1/models").key(&secret).await.status == 200).then_some(())
    })
    .await;
    let budgets = world.get("/admin/v1/budgets").key(world.admin_key()).await.json();
    assert!(budgets.to_string().contains("\"all\""), "{budgets}");
    is_served(&world, world.address()).await;
    ledger_is_right(&world).await;
}
