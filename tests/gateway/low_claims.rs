//! What providers claim far below what they said, and what costs more than the prices say: counted, or told to be unknown,
//! and never for less.

use penstock_tests::{Ask, Gate, Part, Reply, Upstream, World, wait};
use serde_json::{Value, json};

/// Some 500 tokens in 2,250 bytes.
fn words() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(50)
}

fn whole(usage: &Value) -> Reply {
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words() } });
    let answer = json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage });
    Reply::whole(200, answer.to_string())
}

fn chunk(content: &str, reason: Option<&str>, usage: &Value) -> String {
    let choice = json!({ "index": 0, "delta": { "content": content }, "finish_reason": reason });
    let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "choices": [choice], "usage": usage });
    format!("data: {chunk}\n\n")
}

fn claim(input: u64, output: u64) -> Value {
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

async fn is_served(ask: Ask) {
    let answer = ask.await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.raw());
}

#[tokio::test]
async fn an_answer_of_five_hundred_tokens_of_which_one_is_claimed_is_counted_kept_and_alerted_in_every_form() {
    let claude = Upstream::start("claude").await;
    let url = claude.url();
    let config = format!(
        "[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nkeys = [\"env:CLAUDE_KEY\"]\n\
         [[prices]]\nmodel = \"claude/m\"\ninput_usd_per_million = \"2\"\noutput_usd_per_million = \"8\"\n",
        url.strip_suffix("/v1").unwrap()
    );
    let world = World::setup().config(&config).env("CLAUDE_KEY", "sk-ant-the-only").start().await;
    let ask = |model: &str| world.ask(model).field("max_tokens", json!(1000));
    let done = || "data: [DONE]\n\n".to_owned();
    world.upstream("alpha").replies(whole(&claim(30, 1))).once();
    is_served(ask("alpha/m")).await;
    // The beginning claims one token, and no claim follows; or one that is no better.
    for last in [Value::Null, claim(30, 1)] {
        let events = [chunk(&words(), None, &claim(30, 1)), chunk("", Some("stop"), &last), done()];
        world.upstream("alpha").replies(Reply::stream(events)).once();
        is_served(ask("alpha/m").stream()).await;
    }
    let start = json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant",
        "model": "m", "content": [], "usage": { "input_tokens": 30, "output_tokens": 1 } } });
    let begin = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    let said = json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": words() } });
    let end = json!({ "type": "content_block_stop", "index": 0 });
    let stop = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } });
    let events = [start, begin, said, end, stop, json!({ "type": "message_stop" })];
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let events =
            events.clone().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        claude.replies(Reply::stream(events)).once();
        is_served(ask("claude/m").path(path).stream()).await;
    }
    let sql = "SELECT usage_source, input_tokens, output_tokens, toString(claimed_usage['output_tokens']) AS claimed,
        cost_usd > 0.003 AND toString(cost_usd) = toString(charged_usd) AS is_charged
        FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 5).await;
    for row in rows {
        assert_eq!((&row["usage_source"], &row["input_tokens"]), (&json!("counted"), &json!(30)), "{row}");
        assert!((495..=505).contains(&row["output_tokens"].as_u64().unwrap()), "{row}");
        assert_eq!(row["claimed"], "1", "{row}");
        assert_ne!(row["is_charged"], 0, "{row}");
    }
    let alert = wait::until("an alert", async || {
        let alerts = world.tool(&["alerts", "--kind", "impossible_usage"]).await["alerts"].clone();
        (!alerts[0].is_null()).then_some(alerts[0].clone())
    });
    assert!(alert.await["message"].as_str().unwrap().contains("1 output_tokens"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_behind_a_claim_of_one_token_is_counted_though_it_said_why_it_stopped() {
    let world = World::start().await;
    let gate = Gate::new();
    let (said, stopped) = (chunk(&words(), None, &claim(30, 1)), chunk("", Some("stop"), &claim(30, 1)));
    let parts = [Part::Send(said.into()), Part::Send(stopped.into()), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    let mut answer = world.ask("alpha/m").field("max_tokens", json!(1000)).stream().open().await;
    assert!(answer.next().await.is_some());
    gate.open();
    answer.until_the_end().await;
    let sql = "SELECT usage_source, output_tokens FROM attempts WHERE outcome = 'broken'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0]["usage_source"], "counted", "{}", rows[0]);
    assert!((495..=505).contains(&rows[0]["output_tokens"].as_u64().unwrap()), "{}", rows[0]);
}

#[tokio::test]
async fn what_other_tokenizers_make_of_an_answer_and_what_models_cut_off_is_believed() {
    let world = World::start().await;
    for output in [170, 500, 1500] {
        world.upstream("alpha").replies(whole(&claim(30, output))).once();
        let answer = world.ask("alpha/m").field("max_tokens", json!(2000)).await;
        assert_eq!(answer.header("x-penstock-usage"), "", "{output}");
    }
    let embeddings = |tokens: u64| {
        let data = [json!({ "object": "embedding", "index": 0, "embedding": [0.5] })];
        let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        Reply::whole(200, json!({ "object": "list", "model": "m", "data": data, "usage": usage }).to_string())
    };
    let tokens: Vec<u64> = (0..1000).collect();
    for (input, tokens, source) in [
        (json!(words()), 1, "counted"),
        (json!(tokens), 1, "counted"),
        (json!(words()), 0, "counted"),
        (json!(words()), 500, "provider"),
        (json!(words()), 128, "provider"),
        (json!("a word"), 1, "provider"),
    ] {
        world.upstream("alpha").replies(embeddings(tokens)).once();
        let answer = world.post("/v1/embeddings", &json!({ "model": "alpha/m", "input": input })).await;
        let told = if source == "counted" { source } else { "" };
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-penstock-usage")),
            (200, told),
            "{tokens} {}",
            answer.raw()
        );
    }
}

#[tokio::test]
async fn an_answer_of_a_dearer_service_has_no_cost_and_is_charged_no_less_than_the_usual_and_no_more_than_was_set_aside()
 {
    let config = "[[budgets]]\nname = \"b\"\nmatch = { user = \"poor\" }\nlimit_usd = \"5\"\ncycle = \"total\"\n";
    let world = World::setup().config(config).start().await;
    let answer = |tier: Value| {
        let choice =
            json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } });
        let answer = json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice],
            "usage": claim(10, 5), "service_tier": tier });
        Reply::whole(200, answer.to_string())
    };
    for (asked, tier, user, cost) in [
        (json!("priority"), json!("priority"), "rich", ""),
        (json!("priority"), Value::Null, "rich", ""),
        (json!("priority"), json!("default"), "rich", "0.00006"),
        (json!("auto"), json!("priority"), "poor", ""),
        (json!("auto"), json!("default"), "poor", "0.00006"),
    ] {
        world.upstream("alpha").replies(answer(tier.clone())).once();
        let ask = world.ask("alpha/m").field("max_tokens", json!(5)).field("user", json!(user));
        let told = ask.field("service_tier", asked.clone()).await;
        assert_eq!(
            (told.status.as_u16(), told.header("x-penstock-cost-usd")),
            (200, cost),
            "{asked} {tier}: {}",
            told.raw()
        );
    }
    let sql = "SELECT isNull(cost_usd) AS is_unknown, length(unpriced_usage) AS classes, user,
        charged_usd >= 0.00006 AS is_enough, charged_usd <= worst_case_usd AS is_bounded
        FROM attempts WHERE outcome = 'served' ORDER BY started_at";
    let rows = world.sql_until(sql, |rows| rows.len() == 5).await;
    for (row, is_unknown) in rows.iter().zip([true, true, false, true, false]) {
        assert_eq!(row["is_unknown"] != json!(0), is_unknown, "{row}");
        assert_eq!(row["classes"].to_string().trim_matches('"'), if is_unknown { "2" } else { "0" }, "{row}");
        assert_ne!(row["is_enough"], 0, "{row}");
        assert!(row["user"] != "poor" || row["is_bounded"] != json!(0), "{row}");
    }
}

#[tokio::test]
async fn a_search_that_a_models_name_or_an_answers_citations_tell_of_is_set_aside_and_charged() {
    let prices = "[[prices]]\nmodel = \"alpha/m:online\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"2\"\nusd_per_search = \"0.02\"\n\
        [[prices]]\nmodel = \"alpha/n\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"2\"\nusd_per_search = \"0.02\"\n\
        [[budgets]]\nname = \"b\"\nmatch = { user = \"poor\" }\nlimit_usd = \"0.01\"\ncycle = \"total\"\n";
    let world = World::setup().config(prices).start().await;
    let page = json!({ "type": "url_citation", "url_citation": { "url": "https://a.test", "title": "A" } });
    let message = json!({ "role": "assistant", "content": "hi", "annotations": [page] });
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": message });
    let cited =
        json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": claim(10, 5) });
    let delta = json!({ "index": 0, "delta": message, "finish_reason": "stop" });
    let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "choices": [delta] });
    let usage = json!({ "id": "c", "object": "chat.completion.chunk", "choices": [], "usage": claim(10, 5) });
    world.upstream("alpha").replies(Reply::whole(200, cited.to_string())).once();
    assert_eq!(world.ask("alpha/n").await.header("x-penstock-cost-usd"), "0.02002");
    world.upstream("alpha").replies(Reply::stream([chunk, usage].map(|event| format!("data: {event}\n\n")))).once();
    is_served(world.ask("alpha/n").stream()).await;
    let plain = json!({ "id": "c", "object": "chat.completion", "model": "m", "usage": claim(10, 5), "choices":
        [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } }] });
    world.upstream("alpha").replies(Reply::whole(200, plain.to_string())).always();
    assert_eq!(world.ask("alpha/m:online").await.header("x-penstock-cost-usd"), "0.02002");
    assert_eq!(world.ask("alpha/n").await.header("x-penstock-cost-usd"), "0.00002");
    let refused = world.ask("alpha/m:online").field("user", json!("poor")).field("max_tokens", json!(5)).await;
    assert_eq!(refused.error(), "429 insufficient_quota budget_exceeded", "a search alone is dearer than that");
    let rows = world
        .sql_until("SELECT toString(cost_usd) AS cost FROM attempts WHERE outcome = 'served'", |rows| rows.len() == 4)
        .await;
    assert_eq!(rows.iter().filter(|row| row["cost"] == "0.02002").count(), 3);
}
