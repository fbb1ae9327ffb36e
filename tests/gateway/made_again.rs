//! Budgets and keys that are deleted and made again, and limits that are changed, while calls are under way.

use http::Method;
use penstock_tests::{Answer, Ask, Gate, Reply, World, until};
use serde_json::{Value, json};

async fn admin(world: &World, method: Method, path: &str, body: Value) -> Answer {
    let ask = world.get(path).method(method).key(world.admin_key()).header("content-type", "application/json");
    let answer = ask.body(if body.is_null() { String::new() } else { body.to_string() }).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.raw());
    answer
}

/// Makes a change, and waits until the ingress goes by it: a limit that is made after it stands in its headers then.
async fn change(world: &World, method: Method, path: &str, body: Value) {
    let number = 1_000_000 + path.len() as u64 * 1_000 + body.to_string().len() as u64;
    admin(world, method, path, body).await;
    let sign = json!({ "name": "sign", "rates": { "requests_per_day": number } });
    admin(world, Method::PUT, "/admin/v1/limits/sign", sign).await;
    until("the ingress to know of the change", async || {
        (world.ask("nothing").await.header("x-ratelimit-limit-requests") == number.to_string()).then_some(())
    })
    .await;
}

fn budget(limit: &str) -> Value {
    json!({ "name": "team", "limit_usd": limit, "cycle": "total" })
}

fn small(ask: Ask) -> Ask {
    ask.field("max_tokens", json!(5))
}

/// Asks until a budget refuses: how often it was served.
async fn until_refused(ask: impl Fn() -> Ask) -> usize {
    for served in 0..100 {
        let answer = small(ask()).await;
        if answer.status == 429 {
            assert!(answer.raw().contains("budget_exceeded"), "{}", answer.raw());
            return served;
        }
        assert_eq!(answer.status, 200, "{}", answer.raw());
    }
    panic!("no budget refuses");
}

/// What was charged in each book, oldest first, once everything is in ClickHouse.
async fn by_book(world: &World) -> Vec<String> {
    until("an empty ledger in NATS", async || (world.waiting().await == Some(0)).then_some(())).await;
    let sql = "SELECT arrayJoin(books) AS book, toString(sum(charged_usd)) AS spent FROM attempts
        GROUP BY book ORDER BY min(started_at)";
    let rows = world.sql(sql).await;
    rows.iter().map(|row| row["spent"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_budget_that_is_made_again_starts_empty_and_a_call_of_the_one_before_is_charged_to_that_one() {
    let world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("hi").held(&gate)).once();
    world.upstream("alpha").answers("hi").always();
    // Room for ten calls, and for what the last of them may come to.
    change(&world, Method::POST, "/admin/v1/budgets", budget("0.0007")).await;
    let shown = async || admin(&world, Method::GET, "/admin/v1/budgets/team", Value::Null).await.json();
    let first_book = shown().await["windows"][0]["book"].clone();
    let again = async {
        world.upstream("alpha").received(1).await;
        admin(&world, Method::DELETE, "/admin/v1/budgets/team", Value::Null).await;
        change(&world, Method::POST, "/admin/v1/budgets", budget("0.00070")).await;
        let window = shown().await["windows"][0].clone();
        assert_ne!(window["book"], first_book);
        assert_eq!([&window["settled"], &window["reserved"]], ["0", "0"]);
        gate.open();
    };
    let (answer, ()) = tokio::join!(small(world.ask("alpha/m")).send(), again);
    assert_eq!(answer.text(), "hi");
    assert_eq!(until_refused(|| world.ask("alpha/m")).await, 10);
    assert_eq!(by_book(&world).await, ["0.00006", "0.0006"]);
    until("the new book to be what the ledger says", async || {
        let window = shown().await["windows"][0].clone();
        (window["settled"] == "0.0006" && window["reserved"] == "0").then_some(())
    })
    .await;
    let spend = world.tool(&["spend", "--by", "budget"]).await;
    assert_eq!([&spend["rows"][0]["budget"], &spend["rows"][0]["cost_usd"]], ["team", "0.00066"], "{spend}");
}

#[tokio::test]
async fn a_limit_that_is_lowered_holds_for_what_was_taken_under_the_higher_one() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    change(&world, Method::POST, "/admin/v1/budgets", budget("1")).await;
    // The ingress has taken an eighth of a dollar for what comes next.
    assert_eq!(small(world.ask("alpha/m")).await.text(), "hi");
    change(&world, Method::PATCH, "/admin/v1/budgets/team", json!({ "limit_usd": "0.0007" })).await;
    assert_eq!(until_refused(|| world.ask("alpha/m")).await, 9);
    assert_eq!(by_book(&world).await, ["0.0006"]);
    change(&world, Method::PATCH, "/admin/v1/budgets/team", json!({ "limit_usd": "0.00076" })).await;
    assert_eq!(until_refused(|| world.ask("alpha/m")).await, 1);
}

#[tokio::test]
async fn a_budget_that_counts_tokens_from_now_on_does_not_count_the_dollars_that_were_spent_of_it() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    change(&world, Method::POST, "/admin/v1/budgets", budget("0.0007")).await;
    assert_eq!(until_refused(|| world.ask("alpha/m")).await, 10);
    let tokens = json!({ "limit_usd": null, "limit_tokens": 400 });
    change(&world, Method::PATCH, "/admin/v1/budgets/team", tokens).await;
    assert_eq!(small(world.ask("alpha/m")).await.text(), "hi");
    assert!(until_refused(|| world.ask("alpha/m")).await > 0);
}

#[tokio::test]
async fn a_key_that_is_made_again_under_its_id_has_its_budget_anew_and_each_is_alerted() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let own = json!([{ "name": "own", "limit_usd": "0.0007", "cycle": "total" }]);
    let wish = json!({ "id": "k1", "project": "p", "budgets": own });
    for round in 1..=2 {
        let made = admin(&world, Method::POST, "/admin/v1/keys", wish.clone()).await.json();
        let key = made["key"].as_str().expect("a new key is shown").to_owned();
        until("the key to be known", async || (world.get("/v1/models").key(&key).await.status == 200).then_some(()))
            .await;
        assert_eq!(until_refused(|| world.ask("alpha/m").key(&key)).await, 10);
        until("an alert of the key's own budget", async || {
            let alerts = world.tool(&["alerts", "--kind", "budget_threshold"]).await;
            let of_key = alerts.to_string().matches("budget k1/own has reached 80 %").count();
            (of_key == round).then_some(())
        })
        .await;
        admin(&world, Method::DELETE, "/admin/v1/keys/k1", Value::Null).await;
    }
    assert_eq!(by_book(&world).await, ["0.0006", "0.0006"]);
}
