//! Budgets and rates of a virtual key's own: they are that key's and nobody else's, whatever names the operator has given.

use crate::made::key;
use penstock_tests::{World, until};
use serde_json::{Value, json};

fn small(name: &str) -> Value {
    json!({ "name": name, "limit_usd": "0.00022", "cycle": "total" })
}

#[tokio::test]
async fn a_keys_own_limits_never_count_against_the_operators() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let rates = json!({ "requests_per_day": 30 });
    let own = json!({ "id": "b", "project": "one", "budgets": [small("monthly")], "rates": rates });
    let (own, other) = (key(&world, &own).await, key(&world, &json!({ "project": "two" })).await);
    // What earlier versions wrote alike: b_monthly, b_own-requests-per-day; and a budget like a limit's counter.
    let two = json!({ "project": "two" });
    let directory = json!({
        "budgets": {
            "b_monthly": { "name": "b_monthly", "limit_usd": "0.00022", "cycle": "total", "match": two },
            "day-requests-per-day": {
                "name": "day-requests-per-day", "limit_usd": "0.00022", "cycle": "daily", "match": two,
            },
        },
        "limits": {
            "b_own": { "name": "b_own", "match": two, "rates": rates },
            "day": { "name": "day", "match": two, "rates": rates },
        },
    });
    world.manage(directory, &[world.address()]).await;
    let ask = |key: &str| world.ask("alpha/m").field("max_tokens", json!(5)).key(key);
    for _ in 0..2 {
        assert_eq!(ask(&own).await.text(), "hi");
    }
    let refused = ask(&own).await;
    assert_eq!(refused.error(), "429 insufficient_quota budget_exceeded");
    assert!(refused.message().contains("the budget `b/monthly`"), "{}", refused.message());
    for _ in 0..2 {
        assert_eq!(ask(&other).await.text(), "hi");
    }
    assert_eq!(ask(&other).await.error(), "429 insufficient_quota budget_exceeded");
    let books = "SELECT arraySort(books) AS books, count() AS calls FROM attempts GROUP BY books ORDER BY books";
    let rows = world.sql_until(books, |rows| rows.len() == 2).await;
    let of_key = rows[0]["books"][0].as_str().unwrap_or_default();
    assert!(of_key.starts_with("K=b=monthly=") && of_key.ends_with(".all"), "{rows:?}");
    assert!(rows[1]["books"].to_string().contains("\"b_monthly.all\""), "{rows:?}");
}

#[tokio::test]
async fn what_an_earlier_version_counted_in_a_keys_own_budget_is_found_again() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    // 0.0002 USD, as an earlier version wrote it.
    world.store("ps_BOOKS", "b_monthly.all", &json!({ "past": 200_000_000, "pending": 0, "shares": {} })).await;
    // And the key, by the SHA-256 of its secret.
    let own = "psk_0123456789abcdef0123";
    let sha256 = "03c75ab6841a0a8f89929214819a159da6afd97afcb2d513c9d51587453f8cb0";
    let kept = json!({ "id": "b", "sha256": sha256, "prefix": "psk_0123", "project": "one", "created_at": 0,
        "budgets": [small("monthly"), small("fresh")] });
    world.store("ps_KEYS", "b", &kept).await;
    until("the key to be known", async || (world.get("/v1/models").key(own).await.status == 200).then_some(())).await;
    let refused = world.ask("alpha/m").field("max_tokens", json!(5)).key(own).await;
    assert_eq!(refused.error(), "429 insufficient_quota budget_exceeded");
    let message = refused.message();
    assert!(
        message.contains("the budget `b/monthly` of 0.00022 USD") && message.contains("0.0002 USD is spent"),
        "{message}"
    );
}
