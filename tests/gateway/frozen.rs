//! ClickHouse stands still, with its connections open, for the length of some traffic.

use futures_util::future::join_all;
use penstock_tests::{World, until, until_right};

/// Calls while it stands still.
const CALLS: usize = 60;

#[tokio::test]
async fn a_clickhouse_that_is_frozen_holds_up_no_call_and_no_question_and_lacks_nothing_when_it_goes_on() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
    let rows = async |world: &World| world.get("/health").await.json()["rows"].clone();
    until("rows to be taken", async || (rows(&world).await["state"] == "taken").then_some(())).await;
    world.up().freeze_child("clickhouse --files");
    for _ in 0..CALLS / 20 {
        let answers = join_all((0..20).map(|_| world.ask("alpha/m").send())).await;
        assert!(answers.iter().all(|answer| answer.text() == "hi"));
    }
    until_right("/health to say it", async || {
        let rows = rows(&world).await;
        let is_told = rows["state"] == "stalled" && rows["reason"].is_string() && rows["stalled_seconds"].is_u64();
        if is_told { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    assert_eq!(world.get("/ready").await.status, 200);
    let spend = world.get("/admin/v1/spend?since=1d").key(world.admin_key()).send();
    let (sql, spend) = tokio::join!(world.run(&["sql", "SELECT 1"]), spend);
    assert!(sql.code != 0 && sql.err.contains("took too long"), "{}", sql.err);
    assert!(spend.status == 503 && spend.message().contains("cannot be read now"), "{}", spend.raw());
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    world.up().thaw_child("clickhouse --files");
    assert_eq!(world.attempts(CALLS + 2).await.len(), CALLS + 2);
    assert_eq!(world.requests(CALLS + 2).await.len(), CALLS + 2);
    until("rows to be taken again", async || (rows(&world).await["state"] == "taken").then_some(())).await;
}
