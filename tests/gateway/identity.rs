//! Who asks: what a key says of its caller stands, whatever a request says; what a request says besides is kept beside it.

use crate::made::key;
use penstock_tests::{Ask, World};
use serde_json::{Value, json};

fn ask(world: &World, key: &str) -> Ask {
    world.ask("alpha/m").field("max_tokens", json!(5)).key(key)
}

async fn rows(world: &World, table: &str, count: usize) -> Vec<Value> {
    let order = if table == "attempts" { "started_at" } else { "received_at" };
    let sql = format!("SELECT user, end_user, tags FROM {table} ORDER BY {order}");
    world.sql_until(&sql, |rows| rows.len() == count).await
}

#[tokio::test]
async fn what_a_key_says_of_its_caller_stands_and_what_a_body_says_is_a_column_of_its_own() {
    let world = World::start().await;
    let fixed = json!({ "project": "one", "user": "ann", "tags": { "team": "red" } });
    let (fixed, free) = (key(&world, &fixed).await, key(&world, &json!({ "project": "one" })).await);
    let overriding =
        |ask: Ask| ask.header("x-penstock-user", "eve").header("x-penstock-tags", "team=blue,feature=search");
    overriding(ask(&world, &fixed)).field("user", json!("bob")).await;
    overriding(ask(&world, &fixed)).await;
    overriding(ask(&world, &free)).field("user", json!("bob")).await;
    overriding(ask(&world, &free)).await;
    ask(&world, &free).field("safety_identifier", json!("hash-7")).await;
    let anthropic = ask(&world, &fixed).path("/v1/messages").field("metadata", json!({ "user_id": "visitor-9" }));
    anthropic.await;
    let responses = json!({ "model": "alpha/m", "input": "Hi", "store": false, "user": "visitor-3" });
    world.post("/v1/responses", &responses).key(&fixed).await;
    let (red, blue) = (json!({ "team": "red", "feature": "search" }), json!({ "team": "blue", "feature": "search" }));
    for table in ["attempts", "requests"] {
        let found = rows(&world, table, 7).await;
        let expected = [
            json!({ "user": "ann", "end_user": "bob", "tags": red }),
            json!({ "user": "ann", "end_user": null, "tags": red }),
            json!({ "user": "bob", "end_user": "bob", "tags": blue }),
            json!({ "user": "eve", "end_user": null, "tags": blue }),
            json!({ "user": "hash-7", "end_user": "hash-7", "tags": {} }),
            json!({ "user": "ann", "end_user": "visitor-9", "tags": { "team": "red" } }),
            json!({ "user": "ann", "end_user": "visitor-3", "tags": { "team": "red" } }),
        ];
        assert_eq!(found, expected, "{table}");
    }
}

#[tokio::test]
async fn a_budget_on_a_keys_tag_holds_whatever_tags_a_request_has() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let red = key(&world, &json!({ "project": "one", "tags": { "team": "red" } })).await;
    let budget =
        json!({ "name": "red", "limit_usd": "0.00001", "cycle": "total", "match": { "tags": { "team": "red" } } });
    world.manage(json!({ "budgets": { "red": budget } }), &[world.address()]).await;
    let refused = ask(&world, &red).header("x-penstock-tags", "team=blue").await;
    assert_eq!(refused.error(), "429 insufficient_quota budget_exceeded");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn the_key_of_a_disabled_user_works_in_nobodys_name_and_no_key_in_a_disabled_users() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let of_ann = key(&world, &json!({ "project": "one", "user": "ann" })).await;
    let of_bob = key(&world, &json!({ "project": "one", "user": "bob" })).await;
    let ann = json!({ "name": "ann", "enabled": false });
    world.manage(json!({ "users": { "ann": ann } }), &[world.address()]).await;
    for ask in [
        ask(&world, &of_ann),
        ask(&world, &of_ann).field("user", json!("bob")),
        ask(&world, &of_ann).header("x-penstock-user", "bob"),
        ask(&world, &of_bob).field("user", json!("ann")),
    ] {
        assert_eq!(ask.await.error(), "403 permission_error caller_disabled");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
    assert_eq!(ask(&world, &of_bob).field("user", json!("carl")).await.text(), "hi");
}

#[tokio::test]
async fn a_budget_and_a_limit_can_be_for_each_session_or_for_some() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let key = key(&world, &json!({ "project": "one", "user": "ann" })).await;
    let each = json!({ "name": "each", "limit_usd": "0.00022", "cycle": "total", "per": ["session"], "match": { "session": "*" } });
    let rates = json!({ "requests_per_day": 1 });
    let trial = json!({ "name": "trial", "rates": rates, "match": { "session": "trial-*" } });
    world.manage(json!({ "budgets": { "each": each }, "limits": { "trial": trial } }), &[world.address()]).await;
    let ask = |session: &str| ask(&world, &key).header("x-penstock-session", session);
    for session in ["run-1", "run-2"] {
        for _ in 0..2 {
            assert_eq!(ask(session).await.text(), "hi", "{session}");
        }
        assert!(ask(session).await.message().contains(&format!("the budget `each[{session}]`")));
    }
    // Requests that are part of no session fall under neither.
    for _ in 0..3 {
        assert_eq!(self::ask(&world, &key).await.text(), "hi");
    }
    assert_eq!(ask("trial-1").await.text(), "hi");
    assert!(ask("trial-2").await.message().contains("trial"));
}

#[tokio::test]
async fn a_budget_can_be_for_each_end_user_or_for_some() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let key = key(&world, &json!({ "project": "one", "user": "ann" })).await;
    let each = json!({ "name": "each", "limit_usd": "0.00022", "cycle": "total", "per": ["end_user"] });
    let trial =
        json!({ "name": "trial", "limit_usd": "0.00001", "cycle": "total", "match": { "end_user": "trial-*" } });
    world.manage(json!({ "budgets": { "each": each, "trial": trial } }), &[world.address()]).await;
    let ask = |user: &str| ask(&world, &key).field("user", json!(user));
    for user in ["v1", "v2"] {
        for _ in 0..2 {
            assert_eq!(ask(user).await.text(), "hi", "{user}");
        }
        assert!(ask(user).await.message().contains(&format!("the budget `each[{user}]`")));
    }
    assert!(ask("trial-1").await.message().contains("the budget `trial`"));
}
