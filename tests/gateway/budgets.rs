//! Budgets: what is set aside before a provider is called, what is settled after, and what is refused.

use futures_util::future::join_all;
use penstock_tests::{Gate, Part, Reply, World, address_in, wait, words};
use serde_json::{Value, json};

fn budget(name: &str, limit: &str, more: &Value) -> Value {
    let mut budget = json!({ "name": name, "limit_usd": limit, "cycle": "total" });
    for (field, value) in more.as_object().into_iter().flatten() {
        budget[field] = value.clone();
    }
    json!({ "budgets": { name: budget } })
}

async fn spent(world: &World) -> String {
    let sql = "SELECT toString(sum(charged_usd)) AS spent FROM attempts";
    wait::until("an empty ledger in NATS", async || (world.waiting().await == Some(0)).then_some(())).await;
    world.sql(sql).await[0]["spent"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_strict_budget_is_used_up_and_then_refuses_in_the_callers_dialect() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    // Room for ten calls, and for what the last of them may come to.
    world.manage(budget("small", "0.0007", &json!({})), &[world.address()]).await;
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    for _ in 0..10 {
        assert_eq!(ask().await.text(), "hi");
    }
    let answer = ask().await;
    assert_eq!(answer.error(), "429 insufficient_quota budget_exceeded");
    assert_eq!(answer.header("x-should-retry"), "false");
    let message = answer.message();
    assert!(message.contains("the budget `small` of 0.0007 USD"), "{message}");
    assert!(message.contains("0.0006 USD is spent and "), "{message}");
    let answer = ask().path("/v1/messages").await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["type"].as_str().unwrap()), (429, "rate_limit_error"));
    assert_eq!(world.upstream("alpha").calls().len(), 10);
    assert_eq!(spent(&world).await, "0.0006");
}

#[tokio::test]
async fn what_is_set_aside_comes_back_and_who_waits_gets_it() {
    let world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("slow").held(&gate)).once();
    world.upstream("alpha").answers("next").always();
    world.manage(budget("one", "0.0002", &json!({})), &[world.address()]).await;
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    let open_the_gate = async {
        world.upstream("alpha").received(1).await;
        gate.open();
    };
    // The second fits only when the first has cost less than it might.
    let (first, second, ()) = tokio::join!(ask().send(), ask().send(), open_the_gate);
    let mut texts = [first.text(), second.text()];
    texts.sort();
    assert_eq!(texts, ["next", "slow"]);
}

/// What is settled and what is set aside of the budget `one`, as the admin API tells it.
async fn stood(world: &World) -> (String, String) {
    let key = format!("Bearer {}", world.admin_key());
    let told = world.get("/admin/v1/budgets/one").header("authorization", &key).await.json();
    let usd = |field: &str| told["windows"][0][field].as_str().unwrap_or_default().to_owned();
    (usd("settled"), usd("reserved"))
}

#[tokio::test]
async fn what_a_call_may_come_to_stays_set_aside_until_the_ledger_has_what_it_came_to() {
    let world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("hello").held(&gate)).once();
    world.manage(budget("one", "0.01", &json!({})), &[world.address()]).await;
    let fill_the_ledger = async {
        world.upstream("alpha").received(1).await;
        world.limit_ledger(1).await;
        gate.open();
    };
    // The provider was paid, so its answer is given, though nothing can be recorded.
    let (answer, ()) = tokio::join!(world.ask("alpha/m").field("max_tokens", json!(5)).send(), fill_the_ledger);
    assert_eq!(answer.text(), "hello");
    wait::until("the ledger to fail", async || (world.get("/ready").await.status == 503).then_some(())).await;
    // For longer than an ingress waits before it tells the book what is spent.
    for _ in 0..10 {
        let (settled, reserved) = stood(&world).await;
        assert!(settled == "0" && !matches!(&*reserved, "0" | ""), "{settled} settled, {reserved} set aside");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    world.limit_ledger(1 << 30).await;
    wait::until("what it came to", async || (stood(&world).await == ("0.00006".into(), "0".into())).then_some(()))
        .await;
    assert_eq!(spent(&world).await, "0.00006");
}

#[tokio::test]
async fn a_request_that_can_never_fit_is_refused_at_once_and_says_how_it_may() {
    let world = World::start().await;
    world.manage(budget("tiny", "0.01", &json!({})), &[world.address()]).await;
    let answer = world.ask("alpha/m").await;
    assert_eq!(answer.error(), "429 insufficient_quota budget_exceeded");
    assert!(answer.message().contains("may come to 1.28"), "{}", answer.message());
    assert!(answer.message().contains("a smaller max_tokens may fit"), "{}", answer.message());
    assert!(world.upstream("alpha").calls().is_empty());
}

#[tokio::test]
async fn failed_attempts_cost_what_they_may_have_cost_and_fallbacks_are_paid_by_the_same_budget() {
    let world = World::start().await;
    world.upstream("alpha").fails(500).times(3);
    world.upstream("beta").answers("from beta").always();
    world.manage(budget("team", "1", &json!({})), &[world.address()]).await;
    assert_eq!(world.ask("fast").field("max_tokens", json!(5)).await.text(), "from beta");
    let rows = world
        .sql_until("SELECT provider, toString(cost_usd) AS cost, books FROM attempts ORDER BY number", |rows| {
            rows.len() == 4
        });
    for row in &rows.await[..3] {
        assert_eq!(*row, json!({ "provider": "alpha", "cost": null, "books": ["team.all"] }));
    }
}

#[tokio::test]
async fn a_budget_without_room_sends_requests_to_a_cheaper_model_where_it_names_one() {
    let config = "[models.cheap]\ntargets = [{ model = \"beta/m\" }]\n";
    let world = World::setup().config(config).start().await;
    world.upstream("beta").answers("cheaper").always();
    let down = json!({ "match": { "model": "alpha/*" }, "on_exceed": { "downgrade": "cheap" } });
    world.manage(budget("dear", "0.00001", &down), &[world.address()]).await;
    let answer = world.ask("alpha/m").field("max_tokens", json!(5)).await;
    assert_eq!(answer.text(), "cheaper");
    assert_eq!(answer.header("x-penstock-target"), "beta/m");
    assert_eq!(answer.header("x-penstock-downgraded"), "cheap; budget=dear");
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_under_a_budget_of_money_and_not_under_one_of_tokens() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("money", "1", &json!({})), &[world.address()]).await;
    let answer = world.ask("alpha/unknown").await;
    assert_eq!(answer.error(), "403 permission_error unpriced_model (model)");
    let tokens = json!({ "budgets": { "tokens": { "name": "tokens", "limit_tokens": 400, "cycle": "daily" } } });
    world.manage(tokens, &[world.address()]).await;
    assert_eq!(world.ask("alpha/unknown").field("max_tokens", json!(5)).await.text(), "hi");
    // The answer comes before its call is settled.
    wait::until("the call to be settled", async || {
        let refused = world.ask("alpha/unknown").field("max_tokens", json!(500)).await;
        assert_eq!(refused.error(), "429 insufficient_quota budget_exceeded");
        refused.message().contains("15 tokens is spent and ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_costs_more_than_the_prices_say_is_refused_under_a_budget_of_money() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("money", "1", &json!({})), &[world.address()]).await;
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    let refused = ask().field("service_tier", json!("priority")).await;
    assert_eq!(refused.error(), "403 permission_error unpriced_model (model)");
    assert!(refused.message().contains("at the service that is asked for"), "{}", refused.message());
    assert_eq!(ask().field("service_tier", json!("default")).await.text(), "hi");
    assert_eq!(world.upstream("alpha").calls().len(), 1);
}

#[tokio::test]
async fn a_model_without_a_price_is_charged_at_the_ceiling_where_there_is_one() {
    let ceiling = "[workers]\nunpriced_usd_per_million = \"100\"\n";
    let world = World::setup().config(ceiling).start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("money", "0.02", &json!({})), &[world.address()]).await;
    let ask = || world.ask("alpha/unknown").field("max_tokens", json!(5));
    let answer = ask().await;
    assert_eq!((answer.text().as_str(), answer.header("x-penstock-cost-usd")), ("hi", "0.0015"));
    assert_eq!(world.ask("alpha/unknown").field("max_tokens", json!(500)).await.status.as_u16(), 429);
    let rows = world.sql_until("SELECT price_id FROM attempts", |rows| rows.len() == 1).await;
    assert_eq!(rows[0]["price_id"], "ceiling");
}

#[tokio::test]
async fn each_user_has_the_whole_limit_where_a_budget_is_per_user_and_alerts_refuse_nobody() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("each", "0.00022", &json!({ "per": ["user"] })), &[world.address()]).await;
    let ask = |user: &str| world.ask("alpha/m").field("max_tokens", json!(5)).field("user", json!(user));
    for user in ["ann", "bob"] {
        assert_eq!(ask(user).await.text(), "hi", "{user}");
        assert_eq!(ask(user).await.text(), "hi", "{user}");
        assert!(ask(user).await.message().contains(&format!("the budget `each[{user}]`")));
    }
    world.manage(budget("told", "0.00001", &json!({ "on_exceed": "alert" })), &[world.address()]).await;
    assert_eq!(ask("ann").await.text(), "hi");
    assert_eq!(ask("ann").await.text(), "hi");
}

#[tokio::test]
async fn streams_that_clients_leave_are_settled_by_what_was_sent_of_them() {
    let world = World::start().await;
    let parts = [words::role().into(), words::content("hello world").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    world.manage(budget("streams", "0.002", &json!({})), &[world.address()]).await;
    // Each may come to a tenth of the limit, and costs a fiftieth: settled, all fit one after the other.
    for _ in 0..20 {
        let mut open = world.ask("alpha/m").field("max_tokens", json!(10)).stream().open().await;
        open.until("hello world").await;
    }
    world.sql_until("SELECT outcome FROM attempts WHERE outcome = 'cancelled'", |rows| rows.len() == 20).await;
    assert_eq!(spent(&world).await, "0.00058");
}

#[tokio::test]
async fn rates_hold_and_every_reply_tells_them() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let gate = Gate::new();
    world.upstream("beta").replies(Reply::answer("held").held(&gate)).times(2);
    world.upstream("beta").answers("free").always();
    let limits = json!({ "limits": {
        "few": { "name": "few", "match": { "model": "alpha/m" }, "rates": { "requests_per_day": 3, "tokens_per_day": 1000 } },
        "one": { "name": "one", "match": { "model": "beta/m" }, "rates": { "concurrent_requests": 2 } },
    }});
    world.manage(limits, &[world.address()]).await;
    for left in [2, 1, 0] {
        let answer = world.ask("alpha/m").field("max_tokens", json!(5)).stream().await;
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "3");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), left.to_string());
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), "1000");
    }
    let answer = world.ask("alpha/m").await;
    assert_eq!(answer.error(), "429 rate_limit_error rate_limit_exceeded");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "0");
    let ask = || world.ask("beta/m").field("max_tokens", json!(5));
    let held = join_all([ask().send(), ask().send()]);
    let third = async {
        world.upstream("beta").received(2).await;
        let third = ask().await;
        gate.open();
        third
    };
    let (held, third) = tokio::join!(held, third);
    assert_eq!(third.error(), "429 rate_limit_error rate_limit_exceeded");
    assert!(held.iter().all(|answer| answer.text() == "held"));
    assert_eq!(ask().await.text(), "free");
}

#[tokio::test]
async fn a_stream_that_comes_to_more_than_its_budget_has_is_stopped_with_a_typed_error() {
    let world = World::start().await;
    // A provider that does not keep to max_tokens: a word is a token.
    let words = (0..2_000).map(|_| words::content("word "));
    world.upstream("alpha").replies(Reply::stream([words::role()].into_iter().chain(words))).once();
    world.manage(budget("short", "0.002", &json!({})), &[world.address()]).await;
    let answer = world.ask("alpha/m").field("max_tokens", json!(20)).stream().await;
    let last = answer.events().pop().unwrap_or_default();
    assert_eq!(last["error"]["type"], "insufficient_quota", "{last}");
    let message = last["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the stream is stopped: the budget `short` has nothing left"), "{message}");
    let said = answer.raw().matches("word ").count();
    assert!((50..=200).contains(&said), "more than was asked for, as long as there is money: {said}");
    let spent: f64 = spent(&world).await.parse().expect("a sum");
    assert!(spent <= 0.002, "{spent}");
}

#[tokio::test]
async fn a_budget_that_sends_requests_down_in_a_circle_refuses_them_as_spent() {
    let world = World::start().await;
    let down = json!({ "on_exceed": { "downgrade": "beta/m" } });
    world.manage(budget("round", "0.000001", &down), &[world.address()]).await;
    for model in ["alpha/m", "beta/m"] {
        let answer = world.ask(model).await;
        assert_eq!(answer.error(), "429 insufficient_quota budget_exceeded", "{model}");
        assert!(answer.message().contains("`round`"), "{}", answer.message());
    }
}

#[tokio::test]
async fn a_budget_of_what_is_expected_takes_what_a_strict_one_would_refuse() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    world.manage(budget("usual", "0.05", &json!({ "mode": "expected" })), &[world.address()]).await;
    // At worst it comes to 1.28 USD, usually to 0.01.
    assert_eq!(world.ask("alpha/m").await.text(), "hi");
    assert_eq!(spent(&world).await, "0.00006");
    world.manage(budget("usual", "0.005", &json!({ "mode": "expected" })), &[world.address()]).await;
    assert_eq!(world.ask("alpha/m").await.error(), "429 insufficient_quota budget_exceeded");
}

#[tokio::test]
async fn a_rate_holds_for_all_ingresses_together() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let (_ingress, line) = world.role("ingress").await;
    let other = address_in(&line);
    let limit = json!({ "limits": { "ten": {
        "name": "ten", "match": { "model": "alpha/m" }, "per": ["project"], "rates": { "requests_per_day": 10 },
    }}});
    world.manage(limit, &[world.address(), &other]).await;
    let mut served = 0;
    for n in 0..30 {
        let address = if n % 2 == 0 { world.address() } else { &other };
        let answer = world.ask("alpha/m").at(address).await;
        served += u32::from(answer.status == 200);
    }
    assert_eq!((served, world.upstream("alpha").calls().len()), (10, 10));
}

/// What the provider says to a request that it reads in the dearest way: so many tokens for each of so many choices.
fn dear(choices: u64, each: u64) -> Reply {
    let usage =
        json!({ "prompt_tokens": 20, "completion_tokens": choices * each, "total_tokens": 20 + choices * each });
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } });
    Reply::whole(
        200,
        json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage })
            .to_string(),
    )
}

#[tokio::test]
async fn one_request_never_spends_more_than_its_budget_however_its_fields_are_written() {
    let world = World::start().await;
    world.upstream("alpha").replies(dear(128, 1600)).always();
    world.manage(budget("sixty-cents", "0.60", &json!({})), &[world.address()]).await;
    let fields = r#""model":"alpha/m","max_tokens":1600,"messages":[{"role":"user","content":"Hi"}]"#;
    for (more, status, param) in [
        (r#""n":1,"n":128"#, 400, "n"),
        (r#""n":1,"\u006e":128"#, 400, "n"),
        (r#""n":128,"documents":0"#, 429, ""),
        (r#""n":128,"generation_config":0"#, 400, "generation_config"),
        (r#""n":128,"best_of":"1""#, 400, "best_of"),
        (r#""n":128,"max_output_tokens":1.5"#, 400, "max_output_tokens"),
        (r#""N":128"#, 429, ""),
        (r#""best_of":128"#, 429, ""),
        (r#""extra_body":{"n":128}"#, 429, ""),
        (r#""n":128"#, 429, ""),
    ] {
        let answer = world.ask("").body(format!("{{{fields},{more}}}")).await;
        assert_eq!(answer.status.as_u16(), status, "{more}: {}", answer.message());
        if status == 400 {
            assert_eq!(answer.json()["error"]["param"], param, "{more}");
        }
    }
    let anthropic =
        world.ask("").path("/v1/messages").body(format!("{{{fields},\"thinking\":{{}},\"thinking\":{{}}}}")).await;
    assert_eq!(anthropic.json()["error"]["type"], "invalid_request_error");
    assert!(anthropic.json()["error"]["message"].as_str().is_some_and(|told| told.contains("thinking")));
    assert!(world.upstream("alpha").calls().is_empty());
    assert_eq!(spent(&world).await, "0");
}

#[tokio::test]
async fn a_word_in_a_text_or_in_a_tool_of_the_callers_changes_nothing_of_what_is_set_aside() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    // Room for the words of the request and its tools, and for no file, image or search.
    world.manage(budget("words", "0.005", &json!({})), &[world.address()]).await;
    let words = r#"{"type": "web_search"} "google_search "file" "document" "video "image_url" "application/pdf""#;
    let schema = json!({ "type": "object", "properties": { "file": { "type": "string" }, "document": { "enum": ["file_id", "input_audio"] } } });
    let tool = json!([{ "type": "function", "function": { "name": "web_search", "description": words, "parameters": schema } }]);
    let messages = json!([{ "role": "user", "content": words }]);
    let answer =
        world.ask("alpha/m").field("max_tokens", json!(5)).field("messages", messages).field("tools", tool).await;
    assert_eq!(answer.text(), "hi", "{}", answer.message());
    let own =
        world.ask("alpha/m").field("max_tokens", json!(5)).field("tools", json!([{ "type": "web_search" }])).await;
    assert_eq!(own.error(), "403 permission_error unpriced_model (model)");
}
