//! Books of budgets that are not there: lost with their bucket, not taken by it, or one too many. The bus is the real one.

use penstock_tests::{World, until, until_right};
use serde_json::{Value, json};

fn budget(name: &str, limit: &str, more: &Value) -> Value {
    let mut budget = json!({ "name": name, "limit_usd": limit, "cycle": "total" });
    for (field, value) in more.as_object().into_iter().flatten() {
        budget[field] = value.clone();
    }
    json!({ "budgets": { name: budget } })
}

#[tokio::test]
async fn what_was_spent_is_known_before_a_budget_whose_books_were_removed_is_spent_from_again() {
    spends_no_more_than_is_left(async |world: &World| world.empty_stream("KV_ps_BOOKS").await).await;
}

#[tokio::test]
async fn what_was_spent_is_known_before_a_budget_is_spent_from_again_whose_bucket_was_removed() {
    let lose_books = async |world: &World| {
        // As long before the new bucket the ledger must have attempts, for it to be none of a new deployment.
        tokio::time::sleep(std::time::Duration::from_secs(12)).await;
        world.remove_stream("KV_ps_BOOKS").await;
    };
    spends_no_more_than_is_left(lose_books).await;
}

async fn spends_no_more_than_is_left(lose_books: impl AsyncFn(&World)) {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("small", "0.0007", &json!({})), &[world.address()]).await;
    for _ in 0..10 {
        assert_eq!(world.ask("alpha/m").field("max_tokens", json!(5)).await.text(), "hi");
    }
    let told = async || {
        let told = world.get("/admin/v1/budgets/small").key(world.admin_key()).await.json();
        (told["windows"][0]["settled"] == "0.0006").then_some(())
    };
    until("the book to say what is spent", told).await;
    lose_books(&world).await;
    // One that knows nothing of it.
    world.crash().await;
    world.again().await;
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    until_right("the budget to refuse", async || {
        let answer = ask().await;
        assert_ne!(answer.status, 200, "there is no room for it");
        if answer.status == 429 { Ok(()) } else { Err(answer.raw()) }
    })
    .await;
    assert_eq!(ask().await.error(), "429 insufficient_quota budget_exceeded");
    assert_eq!(world.stored_value("ps_BOOKS", "small.all").await["past"], json!(600_000_000));
    assert_eq!(world.upstream("alpha").calls().len(), 10);
}

#[tokio::test]
async fn an_ingress_whose_books_cannot_be_written_is_not_ready_until_they_can() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("one", "1", &json!({})), &[world.address()]).await;
    assert_eq!(world.get("/ready").await.status, 200);
    world.limit_stream("KV_ps_BOOKS", 1).await;
    assert_eq!(world.ask("alpha/m").field("max_tokens", json!(5)).await.status, 503);
    until("the ingress not to be ready", async || (world.get("/ready").await.status == 503).then_some(())).await;
    for _ in 0..3 {
        let ready = world.get("/ready").await;
        assert!(ready.status == 503 && ready.raw().contains("the books of budgets"), "{}", ready.raw());
        // Longer than the pause between two looks whether they can be written.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    }
    world.limit_stream("KV_ps_BOOKS", 1 << 30).await;
    until("the ingress to be ready", async || (world.get("/ready").await.status == 200).then_some(())).await;
    assert_eq!(world.ask("alpha/m").field("max_tokens", json!(5)).await.text(), "hi");
}

#[tokio::test]
async fn a_project_names_so_many_users_with_counters_of_their_own_and_no_more() {
    let world = World::setup().config("[ingress]\ncounters = 2\n").start().await;
    world.upstream("alpha").answers("hi").always();
    let each = budget("each", "1", &json!({ "per": ["end_user"], "match": { "model": "alpha/m" } }));
    let rate = json!({ "name": "often", "match": { "model": "alpha/m" }, "per": ["end_user"], "rates": { "requests_per_day": 50 } });
    for limited in [each, json!({ "limits": { "often": rate } })] {
        world.manage(limited, &[world.address()]).await;
        let ask = |user: &str| world.ask("alpha/m").field("max_tokens", json!(5)).field("user", json!(user));
        for user in ["ann", "bob"] {
            assert_eq!(ask(user).await.text(), "hi");
        }
        let refused = ask("eve").await;
        assert_eq!(refused.error(), "429 rate_limit_error rate_limit_exceeded");
        assert!(refused.message().contains("2 users, end users or sessions"), "{}", refused.message());
        assert_eq!(ask("ann").await.text(), "hi");
    }
}
