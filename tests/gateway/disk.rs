//! A disk that is full, and a ledger that takes nothing: no provider is called that could not be recorded, whoever watches is
//! told, and when there is room again the gateway serves by itself.

use penstock_tests::{SmallDisk, World, until, until_right};
use serde_json::{Value, json};

/// Every call that reached the upstream has one row, and there is no other row that says `served`.
async fn is_recorded(world: &World, calls: usize) {
    assert_eq!(world.upstream("alpha").calls().len(), calls, "calls of the provider");
    let statement = "SELECT count() AS rows, uniqExact(attempt_id) AS ids FROM attempts WHERE outcome = 'served'";
    let wanted = json!([{ "rows": calls, "ids": calls }]);
    world.sql_until(statement, |rows| Value::from(rows.to_vec()) == wanted).await;
}

async fn ready(world: &World, status: u16) -> String {
    until_right(&format!("/ready to say {status}"), async || {
        let ready = world.get("/ready").await;
        if ready.status == status { Ok(ready.raw()) } else { Err(format!("{} {}", ready.status, ready.raw())) }
    })
    .await
}

#[tokio::test]
async fn on_a_full_disk_no_provider_is_called_and_with_room_again_the_gateway_serves_by_itself() {
    let disk = SmallDisk::of_megabytes(48);
    let world = World::setup().nats_on(&disk).start().await;
    world.upstream("alpha").answers("hello").always();
    for _ in 0..3 {
        assert_eq!(world.ask("alpha/m").await.text(), "hello");
    }
    disk.fill();
    let told = ready(&world, 503).await;
    assert!(told.contains("disk") || told.contains("ledger"), "{told}");
    for _ in 0..3 {
        let refused = world.ask("alpha/m").header("x-penstock-timeout-ms", "1500").await;
        assert!(matches!(refused.status.as_u16(), 503 | 504), "{}", refused.error());
    }
    let health = world.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["ready"]), (200, &json!(false)));
    disk.empty();
    ready(&world, 200).await;
    let answer = until("an answer", async || {
        let answer = world.ask("alpha/m").await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.await.text(), "hello");
    is_recorded(&world, 4).await;
    let alerts = "SELECT count() FROM alerts WHERE kind = 'disk_space'";
    until("an alert", async || (world.count(alerts).await > 0).then_some(())).await;
}

#[tokio::test]
async fn a_ledger_whose_stream_is_full_holds_requests_back_and_takes_them_when_there_is_room() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    world.limit_ledger(1).await;
    // The first may have been paid before that was known: then it is answered, and its row waits in the worker.
    world.ask("alpha/m").header("x-penstock-timeout-ms", "1500").await;
    let before = world.upstream("alpha").calls().len();
    let refused = world.ask("alpha/m").header("x-penstock-timeout-ms", "1500").await;
    assert!(matches!(refused.status.as_u16(), 503 | 504), "{}", refused.error());
    let told = ready(&world, 503).await;
    assert!(told.contains("ledger"), "{told}");
    let health = world.get("/health").await.json();
    assert_eq!(health["ledger"]["state"], "failing");
    // One that waits is served as soon as there is room.
    let waiting = world.ask("alpha/m").header("x-penstock-timeout-ms", "25000");
    let (answer, ()) = tokio::join!(waiting.send(), async {
        until("the request to wait", async || {
            let health = world.get("/health").await.json();
            (health["ledger"]["failures"].as_u64() > Some(3)).then_some(())
        })
        .await;
        assert_eq!(world.upstream("alpha").calls().len(), before, "no provider is called meanwhile");
        world.limit_ledger(16 << 30).await;
    });
    assert_eq!(answer.text(), "hello");
    ready(&world, 200).await;
    is_recorded(&world, before + 1).await;
}
