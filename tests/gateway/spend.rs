//! Who spent what: the command line, the admin API and SQL give the same numbers, to the picodollar.

use penstock_tests::World;
use serde_json::{Value, json};

/// A report's row as it is compared: what it is about, and its sums.
fn short(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), ToOwned::to_owned);
    let name = ["provider", "model", "requests", "attempts", "input_tokens", "output_tokens", "cost_usd"];
    name.map(text).join(" ")
}

fn rows(report: &Value) -> Vec<String> {
    let mut rows: Vec<String> = report["rows"].as_array().expect("a report has rows").iter().map(short).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn spend_is_the_same_on_the_command_line_in_the_admin_api_and_in_sql() {
    let world = World::start().await;
    world.upstream("alpha").fails(500).once();
    world.upstream("alpha").answers("hello");
    for n in 0..7 {
        let ask = world.ask(if n % 3 == 0 { "beta/m" } else { "fast" });
        assert_eq!(if n % 2 == 0 { ask.await } else { ask.stream().await }.text(), "hello");
    }
    world.attempts(8).await;
    let by_tool = world.tool(&["spend", "--by", "provider,model"]).await;
    let by_api = world.get("/admin/v1/spend?by=provider,model").key(world.admin_key()).await.json();
    let sql = "SELECT provider, model, uniqExact(request_id) AS requests, count() AS attempts,
        sum(total_input_tokens) AS input_tokens, sum(total_output_tokens) AS output_tokens,
        toString(sum(cost_usd)) AS cost_usd FROM attempts GROUP BY provider, model";
    let by_sql = json!({ "rows": world.sql(sql).await });
    let expected = ["alpha m 4 5 40 20 0.00024", "beta m 3 3 30 15 0.000005000055"];
    assert_eq!(rows(&by_sql), expected);
    assert_eq!(rows(&by_tool), expected);
    assert_eq!(rows(&by_api), expected);
    assert_eq!(by_tool["total"]["cost_usd"], "0.000245000055");
    assert_eq!(by_api["total"], by_tool["total"]);
    assert_eq!(by_api["by"], json!(["provider", "model"]));
}

#[tokio::test]
async fn forecasts_other_prices_and_alerts_are_the_same_on_the_command_line_and_in_the_admin_api() {
    let world = World::start().await;
    world.upstream("beta").answers("hello");
    for _ in 0..3 {
        assert_eq!(world.ask("beta/m").await.text(), "hello");
    }
    world.attempts(3).await;
    let ask = async |path: &str| world.get(&format!("/admin/v1/{path}")).key(world.admin_key()).await.json();
    let forecast = ask("spend?forecast=true&by=model").await;
    let row = &forecast["rows"][0];
    assert_eq!((&row["for"]["model"], &row["spent"], &row["per_day"]), (&json!("m"), &row["per_day"], &row["spent"]));
    assert!(row["projected"].as_str().is_some() && row["limit"].is_null(), "{forecast}");
    let by_tool = world.tool(&["spend", "--forecast", "--by", "model"]).await;
    assert_eq!((&by_tool["rows"][0]["spent"], &by_tool["by"]), (&row["spent"], &forecast["by"]));
    // The prices have not changed: it would have cost what it did.
    let repriced = ask("spend?reprice=1m&by=model").await;
    let total = &repriced["total"];
    assert_eq!((&total["repriced_usd"], &total["difference_usd"]), (&total["cost_usd"], &json!("0")));
    assert_eq!((&repriced["rows"][0]["cost_usd"], &repriced["unpriced"]), (&row["spent"], &json!([])));
    let csv = world.run(&["spend", "--by", "model", "--reprice", "1m", "--format", "csv"]).await;
    let spent = row["spent"].as_str().unwrap();
    let wanted = format!("model,attempts,cost_usd,repriced_usd,difference_usd,unpriced\nm,3,{spent},{spent},0,0\n");
    assert_eq!(csv.out, wanted);
    // Of one kind: the disk of the machine that runs the test may have alerts of its own.
    let none = json!({ "alerts": [] });
    assert_eq!(ask("alerts?kind=budget_threshold").await, none);
    assert_eq!(world.tool(&["alerts", "--kind", "budget_threshold"]).await, none);
    // 422: each part is right by itself, and not beside the other.
    for (query, status) in [
        ("spend?forecast=maybe", 400),
        ("spend?forecast=true&since=7d", 422),
        ("spend?reprice=soon", 400),
        ("alerts?kind=loud", 400),
    ] {
        let answer = world.get(&format!("/admin/v1/{query}")).key(world.admin_key()).await;
        assert_eq!(answer.error(), format!("{status} invalid_request_error invalid_value"), "{query}");
    }
    assert_eq!(
        world.get("/admin/v1/alerts").key(world.key()).await.error(),
        "401 invalid_request_error invalid_api_key"
    );
}

#[tokio::test]
async fn the_admin_api_wants_the_admin_key() {
    let world = World::start().await;
    let ask = world.get("/admin/v1/spend");
    assert_eq!(ask.clone().await.error(), "401 invalid_request_error invalid_api_key");
    assert_eq!(ask.clone().key(world.key()).await.error(), "401 invalid_request_error invalid_api_key");
    let ask = ask.key(world.admin_key());
    assert_eq!(ask.clone().await.status, 200);
    for query in ["by=colour", "since=yesterday", "colour=red", "by=model,model"] {
        let answer = ask.clone().path(&format!("/admin/v1/spend?{query}")).await;
        assert_eq!(answer.error(), "400 invalid_request_error invalid_value", "{query}");
    }
}

#[tokio::test]
async fn the_admin_api_is_closed_where_no_admin_key_is_set() {
    let mut world = World::setup().env("PENSTOCK_ADMIN_KEY", "").start().await;
    let (_ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let answer = world.get("/admin/v1/spend").at(&address).key("").await;
    assert_eq!(answer.error(), "403 permission_error admin_closed");
    let own = std::fs::read_to_string(world.folder().path().join("data/admin-key")).unwrap();
    assert_eq!(world.get("/admin/v1/spend").key(own.trim()).await.status, 200, "`up` made one of its own");
}
