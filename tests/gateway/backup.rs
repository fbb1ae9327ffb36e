//! Backup and restore: what a deployment keeps is in the backup, and comes back into an empty folder.

use super::made::{key, post};
use http::Method;
use penstock_tests::{World, until};
use serde_json::{Value, json};

/// What is spent of the budget.
async fn settled(world: &World) -> Value {
    let budgets = world.get("/admin/v1/budgets").key(world.admin_key()).await.json();
    budgets["data"][0]["windows"][0]["settled"].clone()
}

/// What people see of it.
async fn seen(world: &World, file: &str, secret: &str) -> [Value; 6] {
    let admin = async |path: &str| world.get(path).key(world.admin_key()).await.json();
    let content = world.get(&format!("/v1/files/{file}/content")).key(world.key()).await;
    let repeated = world.ask("alpha/m").key(secret).header("idempotency-key", "once").await;
    [
        admin("/admin/v1/spend?by=project,model&since=7d").await["rows"].clone(),
        settled(world).await,
        admin("/admin/v1/keys").await["data"].clone(),
        json!(world.sql("SELECT toString(attempt_id) AS id, outcome, cost_usd FROM attempts ORDER BY id").await),
        json!([content.status.as_u16(), content.raw()]),
        json!([repeated.text(), repeated.header("idempotent-replayed")]),
    ]
}

#[tokio::test]
async fn a_backup_brings_everything_back_after_the_data_folder_is_destroyed() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let secret = key(&world, &json!({ "project": "search" })).await;
    let budget = json!({ "name": "all", "limit_usd": "5", "cycle": "total" });
    assert_eq!(post(&world, "budgets", &budget).await.status, 201);
    let form = "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--x\r\ncontent-disposition: \
                form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nwhat a caller keeps\r\n--x--\r\n";
    let upload = world.get("/v1/files").method(Method::POST).key(world.key());
    let made = upload.header("content-type", "multipart/form-data; boundary=x").body(form).await.json();
    let file = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    for number in 0..5 {
        let ask = world.ask("alpha/m").key(&secret);
        let ask = if number == 0 { ask.header("idempotency-key", "once") } else { ask };
        assert_eq!(ask.await.text(), "hello");
    }
    world.sql_until("SELECT * FROM attempts WHERE outcome = 'served'", |rows| rows.len() == 5).await;
    // Beside what ingresses hold of it for calls to come, which goes with them.
    let spent = world.sql("SELECT toFloat64(sum(cost_usd)) AS usd FROM attempts").await[0]["usd"].as_f64();
    let is_settled = async || {
        let settled = settled(&world).await;
        (settled.as_str().and_then(|usd| usd.parse().ok()) == spent && spent > Some(0.0)).then_some(())
    };
    until("the budget to be settled", is_settled).await;
    let before = seen(&world, &file, &secret).await;
    let saved = world.run(&["backup", "copy", "--with-keys"]).await;
    assert_eq!(saved.code, 0, "{}", saved.err);
    assert_eq!(world.run(&["backup", "copy"]).await.code, 1, "a backup is never written over");
    assert_eq!(world.run(&["restore", "copy"]).await.code, 1, "it runs");

    world.terminate();
    assert_eq!(world.up().ended().await.code(), Some(0));
    assert_eq!(world.run(&["restore", "copy"]).await.code, 1, "nothing is written over");
    std::fs::remove_dir_all(world.folder().path().join("data")).expect("the test's own folder");
    let restored = world.run(&["restore", "copy"]).await;
    assert_eq!(restored.code, 0, "{}", restored.err);

    world.again().await;
    let after = seen(&world, &file, &secret).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(world.ask("alpha/m").key(&secret).await.text(), "hello");
    world.sql_until("SELECT * FROM attempts WHERE outcome = 'served'", |rows| rows.len() == 6).await;
}
