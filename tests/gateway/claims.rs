//! What providers claim to have used: beyond what can be, it is kept and not believed; what has no price is named, and costs
//! nothing of the rest its price.

use penstock_tests::{Reply, World, wait};
use serde_json::{Value, json};

fn chat(usage: &Value) -> Reply {
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } });
    let answer = json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage });
    Reply::whole(200, answer.to_string())
}

async fn alert(world: &World, kind: &str) -> Value {
    wait::until("an alert", async || {
        let alerts = world.tool(&["alerts", "--kind", kind]).await["alerts"].clone();
        (!alerts[0].is_null()).then_some(alerts[0].clone())
    })
    .await
}

#[tokio::test]
async fn a_claim_of_nine_quadrillion_tokens_is_kept_and_alerted_and_what_was_counted_is_charged() {
    let world = World::start().await;
    let claim = json!({ "prompt_tokens": 8_999_999_999_999_999_u64, "completion_tokens": 2 });
    world.upstream("alpha").replies(chat(&claim)).once();
    let words = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let last = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8999999999999999}}\n\ndata: [DONE]\n\n";
    world.upstream("alpha").replies(Reply::stream([words, last])).always();
    let ask = || world.ask("alpha/m").field("max_tokens", json!(5));
    let whole = ask().await;
    assert_eq!(whole.status.as_u16(), 200, "{}", whole.message());
    assert!(ask().stream().await.raw().contains("hi"));
    let sql =
        "SELECT usage_source, cost_usd < 0.001 AS is_cheap, toString(cost_usd) = toString(charged_usd) AS is_charged,
            input_tokens < 100 AND output_tokens < 100 AS is_counted, claimed_usage
        FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    for (row, claimed) in rows.iter().zip([("input_tokens", "output_tokens"), ("output_tokens", "input_tokens")]) {
        assert_eq!(row["usage_source"], "counted", "{row}");
        assert_eq!(
            [&row["is_cheap"], &row["is_charged"], &row["is_counted"]].map(|is| is != &json!(0)),
            [true; 3],
            "{row}"
        );
        assert!(row["claimed_usage"][claimed.0].to_string().contains("8999999999999999"), "{row}");
    }
    let alert = alert(&world, "impossible_usage").await;
    assert_eq!(alert["subject"], "alpha/m");
    assert!(alert["message"].as_str().unwrap().contains("8999999999999999 input_tokens"), "{alert}");
}

#[tokio::test]
async fn an_answer_of_which_its_provider_claims_no_tokens_at_all_is_counted() {
    let world = World::start().await;
    let claim = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
    world.upstream("alpha").replies(chat(&claim)).always();
    let answer = world.ask("alpha/m").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-penstock-usage")), (200, "counted"), "{}", answer.raw());
    let sql = "SELECT usage_source, cost_usd > 0 AND toString(cost_usd) = toString(charged_usd) AS is_charged
        FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0]["usage_source"], "counted", "{}", rows[0]);
    assert_ne!(rows[0]["is_charged"], 0, "{}", rows[0]);
}

#[tokio::test]
async fn what_a_provider_leaves_out_of_its_claim_is_counted_and_a_later_claim_of_less_is_not_believed() {
    let world = World::start().await;
    let words = "one two three four five six seven eight nine ten";
    let whole = |usage: Value| {
        let choice =
            json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words } });
        let answer =
            json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage });
        Reply::whole(200, answer.to_string())
    };
    let event = |usage: Value| format!("data: {}\n\n", json!({ "id": "c", "choices": [], "usage": usage }));
    let said = format!(
        "data: {}\n\n",
        json!({ "id": "c", "choices": [{ "index": 0, "delta": { "content": words }, "finish_reason": "stop" }] })
    );
    let claim = |input: u64, output: u64| json!({ "prompt_tokens": input, "completion_tokens": output });
    let stream = |claims: &[Value]| {
        let events = [said.clone()].into_iter().chain(claims.iter().cloned().map(event));
        Reply::stream(events.chain(["data: [DONE]\n\n".to_owned()]))
    };
    let ask = || world.ask("alpha/m").field("max_tokens", json!(50));
    for claim in [claim(30, 0), claim(0, 10), json!({ "prompt_tokens": 30 })] {
        world.upstream("alpha").replies(whole(claim)).once();
        assert_eq!(ask().await.header("x-penstock-usage"), "counted");
    }
    for claims in [&[claim(30, 0)][..], &[claim(30, 12), claim(1, 2)], &[claim(30, 12), claim(30, 0)]] {
        world.upstream("alpha").replies(stream(claims)).once();
        assert!(ask().stream().await.raw().contains("seven"));
    }
    let sql =
        "SELECT usage_source, input_tokens, output_tokens FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 6).await;
    for (at, row) in rows.iter().enumerate() {
        let (source, input, output) =
            (&row["usage_source"], row["input_tokens"].as_u64(), row["output_tokens"].as_u64());
        if at < 4 {
            assert_eq!((source, output), (&json!("counted"), Some(10)), "{at} {row}");
            assert!(input.is_some_and(|input| (1..30).contains(&input)), "{at} {row}");
        } else {
            let right = json!(if at == 4 { "provider" } else { "counted" });
            assert_eq!((source, input, output), (&right, Some(30), Some(12)), "{at} {row}");
        }
    }
    let nothing = json!({ "object": "list", "model": "m", "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }],
        "usage": { "prompt_tokens": 0, "total_tokens": 0 } });
    world.upstream("alpha").replies(Reply::whole(200, nothing.to_string())).once();
    let answer = world.post("/v1/embeddings", &json!({ "model": "alpha/m", "input": words })).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-penstock-usage")), (200, "counted"), "{}", answer.raw());
}

#[tokio::test]
async fn cached_tokens_beside_the_prompt_are_charged_where_the_total_proves_them() {
    let price = "[[prices]]\nmodel = \"alpha/cached\"\ninput_usd_per_million = \"3\"\ncache_read_usd_per_million = \"0.75\"\noutput_usd_per_million = \"15\"\n";
    let world = World::setup().config(price).start().await;
    let usage = json!({ "prompt_tokens": 4142, "completion_tokens": 100, "total_tokens": 8570,
        "prompt_tokens_details": { "cached_tokens": 4328 } });
    world.upstream("alpha").replies(chat(&usage)).always();
    let answer = world.ask("alpha/cached").await;
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.017172");
    let sql = "SELECT input_tokens, cache_read_tokens, output_tokens FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0], json!({ "input_tokens": 4142, "cache_read_tokens": 4328, "output_tokens": 100 }));
}

#[tokio::test]
async fn three_searches_without_a_price_leave_the_tokens_their_cost_and_are_named_alerted_and_bounded() {
    let world = World::start().await;
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "num_search_queries": 3 });
    world.upstream("alpha").replies(chat(&usage)).always();
    let answer = world.ask("alpha/m").field("max_tokens", json!(5)).await;
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.00006");
    let sql = "SELECT toString(cost_usd) AS cost, unpriced_usage, charged_usd > cost_usd AND charged_usd <= worst_case_usd AS is_bounded
        FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0]["cost"], "0.00006", "{}", rows[0]);
    assert_ne!(rows[0]["is_bounded"], 0, "{}", rows[0]);
    assert_eq!(rows[0]["unpriced_usage"]["searches"].to_string().trim_matches('"'), "3");
    let alert = alert(&world, "unpriced_usage").await;
    assert_eq!((&alert["subject"], &alert["details"]["class"]), (&json!("alpha/m"), &json!("searches")));
    let table = world.run(&["spend", "--by", "model", "--format", "csv"]).await.out;
    assert!(table.contains("0.00006 + unknown"), "{table}");
}

#[tokio::test]
async fn spend_of_a_model_without_a_price_is_unknown_and_not_nothing() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    assert_eq!(world.ask("alpha/unknown").await.text(), "hi");
    world.sql_until("SELECT 1 FROM attempts WHERE outcome = 'served'", |rows| rows.len() == 1).await;
    let spend = world.tool(&["spend", "--by", "model"]).await;
    assert_eq!(
        (&spend["rows"][0]["cost_usd"], &spend["rows"][0]["unknown"]),
        (&json!("unknown"), &json!(1)),
        "{spend}"
    );
    assert_eq!(spend["total"]["cost_usd"], "unknown");
}

#[tokio::test]
async fn an_image_costs_its_tokens_and_a_row_of_the_operators_keeps_what_it_does_not_state() {
    let prices = "[[prices]]\nmodel = \"openai/gpt-image-1\"\ninput_usd_per_million = \"6\"\n\
        [[prices]]\nmodel = \"alpha/tiered\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"2\"\nusd_per_search = \"0.01\"\n\
        tiers = [{ above_input_tokens = 100, input_usd_per_million = \"3\" }]\n\
        [providers.openai]\nbase_url = \"{alpha}\"\nkeys = [\"env:ALPHA_KEY_1\"]\n";
    let world = World::setup().config(prices).start().await;
    let usage = json!({ "input_tokens": 100, "output_tokens": 4160, "total_tokens": 4260 });
    let image = json!({ "created": 1, "data": [{ "b64_json": "AA==" }], "usage": usage });
    world.upstream("alpha").replies(Reply::whole(200, image.to_string())).once();
    let request = json!({ "model": "openai/gpt-image-1", "prompt": "A penstock" });
    assert_eq!(world.post("/v1/images/generations", &request).await.header("x-penstock-cost-usd"), "0.167");
    let usage = json!({ "prompt_tokens": 101, "completion_tokens": 5, "num_search_queries": 3 });
    world.upstream("alpha").replies(chat(&usage)).always();
    assert_eq!(world.ask("alpha/tiered").await.header("x-penstock-cost-usd"), "0.030313");
}
