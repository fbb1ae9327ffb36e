//! The exact cache: what is answered from it, to whom, and what that costs.

use crate::made::{key, post};
use penstock_tests::{Answer, Ask, Reply, Upstream, World, until, words};
use serde_json::{Value, json};

const ON: &str = "[cache]\nmode = \"exact\"\n";

async fn world() -> World {
    let world = World::setup().config(ON).start().await;
    world.upstream("alpha").answers("hello there").always();
    world
}

/// What the cache did.
fn cache(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.header("x-penstock-cache")
}

fn calls(world: &World) -> usize {
    world.upstream("alpha").calls().len()
}

#[tokio::test]
async fn an_answer_that_no_stream_can_be_made_of_is_not_kept_and_spoils_nothing() {
    let world = World::setup().config(ON).start().await;
    let odd = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",
        "message":{"role":"assistant","content":"half \ud800"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
    world.upstream("alpha").replies(Reply::whole(200, odd)).once();
    world.upstream("alpha").answers("hello there").always();
    let ask = world.ask("alpha/m");
    assert_eq!(cache(&ask.clone().await), "miss");
    let streamed = ask.clone().stream().await;
    assert_eq!((cache(&streamed), streamed.text()), ("miss", "hello there".to_owned()));
    assert_eq!(cache(&ask.await), "exact");
}

#[tokio::test]
async fn the_same_request_is_answered_from_the_cache_whole_and_as_a_stream_and_costs_nothing() {
    let world = world().await;
    let ask = world.ask("alpha/m");
    let first = ask.clone().await;
    assert_eq!(cache(&first), "miss");
    let again = ask.clone().await;
    assert_eq!((cache(&again), again.header("x-penstock-attempts")), ("exact", "0"));
    assert_eq!(again.raw(), first.raw());
    assert_eq!((again.header("x-penstock-target"), again.header("x-penstock-cost-usd")), ("alpha/m", "0"));
    assert!(again.header("x-penstock-cache-age").parse::<u64>().is_ok());
    let stream = ask.clone().stream().await;
    assert_eq!(cache(&stream), "exact");
    assert_eq!(stream.text(), "hello there");
    assert!(stream.raw().ends_with(words::DONE) && !stream.raw().contains("\"usage\""), "{}", stream.raw());
    let usage = ask.clone().stream().field("stream_options", json!({ "include_usage": true })).await;
    assert_eq!(usage.events().last().unwrap()["usage"]["prompt_tokens"], 10, "{}", usage.raw());
    let changed = ask.field("seed", json!(1)).await;
    assert_eq!(cache(&changed), "miss");
    assert_eq!(calls(&world), 2);

    let rows = world.requests(5).await;
    let spent = world.sql("SELECT sum(cost_usd) AS usd FROM attempts").await;
    let sums = "SELECT cache, count() AS n, sum(cost_usd) AS cost, sum(saved_usd) AS saved,
        countIf(cache_source = (SELECT request_id FROM requests WHERE cache = 'miss' ORDER BY received_at LIMIT 1)) AS sources
        FROM requests GROUP BY cache ORDER BY cache";
    let sums = world.sql(sums).await;
    assert_eq!(rows.len(), 5);
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    assert_eq!((&sums[0]["cache"], &sums[0]["n"], &sums[0]["sources"]), (&json!("exact"), &json!(3), &json!(3)));
    let one = number(&spent[0]["usd"]) / 2.0;
    assert!(one > 0.0 && (number(&sums[0]["saved"]) - 3.0 * one).abs() < 1e-12, "{sums:?} {spent:?}");
    assert_eq!(number(&sums[0]["cost"]).to_bits(), 0_f64.to_bits());
    assert_eq!((&sums[1]["cache"], &sums[1]["saved"]), (&json!("miss"), &Value::Null));
}

#[tokio::test]
async fn a_stream_is_kept_and_answers_whole_requests() {
    let world = world().await;
    let stream = world.ask("alpha/m").stream().await;
    assert_eq!((cache(&stream), stream.text()), ("miss", "hello there".to_owned()));
    let whole = world.ask("alpha/m").await;
    assert_eq!((cache(&whole), whole.text()), ("exact", "hello there".to_owned()));
    let answer = whole.json();
    assert_eq!((&answer["object"], &answer["usage"]["total_tokens"]), (&json!("chat.completion"), &json!(15)));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(calls(&world), 1);
}

#[tokio::test]
async fn without_it_nothing_is_kept_and_its_headers_are_checked_all_the_same() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    for _ in 0..2 {
        assert_eq!(cache(&world.ask("alpha/m").await), "off");
    }
    let exact = world.ask("alpha/m").header("x-penstock-cache", "exact").await;
    assert_eq!(cache(&exact), "off", "a caller cannot switch it on");
    let only = world.ask("alpha/m").header("x-penstock-cache", "only").await;
    assert_eq!(only.error(), "504 invalid_request_error cache_miss");
    let wrong = world.ask("alpha/m").header("x-penstock-cache", "on").await;
    assert_eq!(wrong.status, 400, "{}", wrong.raw());
    assert_eq!((calls(&world), world.stream_messages("ps_CACHE").await), (3, 0));
}

#[tokio::test]
async fn each_header_does_what_it_says() {
    let world = World::setup().config(ON).start().await;
    for text in ["one", "two", "three", "four", "five"] {
        world.upstream("alpha").answers(text).once();
    }
    let ask = |headers: &[(&'static str, &str)]| {
        headers.iter().fold(world.ask("alpha/m"), |ask, (name, value)| ask.header(name, value))
    };
    let only = ask(&[("x-penstock-cache", "only")]);
    let missed = only.clone().await;
    assert_eq!(missed.error(), "504 invalid_request_error cache_miss");
    assert_eq!((missed.header("x-should-retry"), calls(&world)), ("false", 0));
    for (headers, cached, text) in [
        (&[][..], "miss", "one"),
        (&[("x-penstock-cache", "only")], "exact", "one"),
        (&[("cache-control", "only-if-cached")], "exact", "one"),
        (&[("x-penstock-cache", "exact")], "exact", "one"),
        (&[("cache-control", "max-age=3600")], "exact", "one"),
        (&[("cache-control", "no-store")], "off", "two"),
        (&[], "exact", "one"),
        (&[("x-penstock-cache", "refresh")], "miss", "three"),
        (&[], "exact", "three"),
        (&[("cache-control", "no-cache")], "miss", "four"),
        (&[], "exact", "four"),
        (&[("x-penstock-cache-namespace", "a")], "miss", "five"),
        (&[("x-penstock-cache-namespace", "a")], "exact", "five"),
        (&[], "exact", "four"),
    ] {
        let answer = ask(headers).await;
        assert_eq!((cache(&answer), answer.text().as_str()), (cached, text), "{headers:?}");
    }
    for (name, value) in [("x-penstock-cache-namespace", " "), ("x-penstock-cache-namespace", &"x".repeat(257))] {
        assert_eq!(ask(&[(name, value)]).await.status, 400);
    }
    let over = world.requests(16).await;
    assert_eq!(over.iter().filter(|row| row["status"] == 504).count(), 1, "{over:?}");
}

#[tokio::test]
async fn no_project_and_no_user_gets_anothers_answer_whatever_it_sends() {
    let world = world().await;
    let one = key(&world, &json!({ "project": "one" })).await;
    let other = key(&world, &json!({ "project": "other" })).await;
    let same = key(&world, &json!({ "project": "one" })).await;
    let ask = world.ask("alpha/m");
    assert_eq!(cache(&ask.clone().key(&one).await), "miss");
    assert_eq!(cache(&ask.clone().key(&same).await), "exact", "a project shares");
    for (name, value) in [
        ("x-penstock-cache-namespace", "one"),
        ("x-penstock-user", "one"),
        ("x-penstock-tags", "project=one"),
        ("x-penstock-cache", "exact"),
        ("cache-control", "max-age=86400"),
        ("openai-project", "one"),
    ] {
        let answer = ask.clone().key(&other).header(name, value).header("x-penstock-cache", "only").await;
        assert_eq!(answer.error(), "504 invalid_request_error cache_miss", "{name}: {value}");
    }
    assert_eq!(cache(&ask.clone().key(&other).await), "miss");

    let apart = json!({ "project": "one", "cache": { "scope": "user" } });
    let (ann, bob) = (json!("ann"), json!("bob"));
    let by_user = key(&world, &apart).await;
    let ask = |user: &Value| world.ask("alpha/m").key(&by_user).field("user", user.clone());
    assert_eq!(cache(&ask(&ann).await), "miss", "what the project shares is not a user's");
    assert_eq!(cache(&ask(&ann).await), "exact");
    let only = ask(&bob).header("x-penstock-user", "ann").header("x-penstock-cache", "only").await;
    assert_eq!(only.status, 504, "{}", only.raw());
    let another = key(&world, &apart).await;
    assert_eq!(cache(&world.ask("alpha/m").key(&by_user).await), "miss");
    assert_eq!(cache(&world.ask("alpha/m").key(&another).await), "miss", "without a user, each key is one");
}

#[tokio::test]
async fn an_answer_is_not_for_a_key_that_may_not_use_its_model() {
    let world = world().await;
    let all = key(&world, &json!({ "project": "one" })).await;
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    assert_eq!(cache(&world.ask("alpha/m").key(&all).await), "miss");
    let refused = world.ask("alpha/m").key(&few).await;
    assert_eq!(refused.error(), "403 permission_error model_forbidden (model)");
}

#[tokio::test]
async fn what_is_not_complete_is_asked_anew() {
    let world = World::setup().config(ON).start().await;
    let with = |finish: &str| words::whole("half").replace("\"stop\"", &format!("\"{finish}\""));
    world.upstream("alpha").replies(Reply::whole(200, with("content_filter"))).times(2);
    world.upstream("alpha").fails(400).times(2);
    world.upstream("alpha").replies(Reply::whole(200, with("length"))).once();
    for _ in 0..2 {
        assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    }
    for _ in 0..2 {
        assert_eq!(world.ask("alpha/m").await.status, 400);
    }
    assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    assert_eq!(cache(&world.ask("alpha/m").await), "exact", "one that its limit ended is complete");
    assert_eq!(calls(&world), 5);
}

#[tokio::test]
async fn settings_of_a_model_and_of_a_key_override_those_of_all() {
    let config = "[models.cached]\ntargets = [{ model = \"alpha/m\" }]\ncache = { mode = \"exact\", ttl = \"1s\" }\n\
        [models.other]\ntargets = [{ model = \"alpha/m\" }]\n";
    let world = World::setup().config(config).start().await;
    world.upstream("alpha").answers("hi").always();
    assert_eq!(cache(&world.ask("other").await), "off");
    assert_eq!(cache(&world.ask("cached").await), "miss");
    assert_eq!(cache(&world.ask("cached").await), "exact");
    until("the answer to expire", async || (cache(&world.ask("cached").await) == "miss").then_some(())).await;
    let off = key(&world, &json!({ "project": "p", "cache": { "mode": "off" } })).await;
    assert_eq!(cache(&world.ask("cached").key(&off).await), "off");
    let on = key(&world, &json!({ "project": "p", "cache": { "mode": "exact" } })).await;
    assert_eq!(cache(&world.ask("other").key(&on).await), "miss");
    assert_eq!(cache(&world.ask("other").key(&on).await), "exact");
    assert_eq!(cache(&world.ask("cached").key(&on).await), "miss", "another model of the operator's is another way");
    let wrong = post(&world, "keys", &json!({ "project": "p", "cache": { "ttl": "1d" } })).await;
    assert!(wrong.raw().contains("is not a time from"), "{}", wrong.raw());
}

#[tokio::test]
async fn a_hit_counts_as_a_request_and_not_in_tokens_or_money() {
    let world = world().await;
    let limits = json!({ "project": "one", "rates": { "requests_per_day": 4, "tokens_per_day": 300 },
        "budgets": [{ "name": "own", "limit_usd": "1", "cycle": "total" }] });
    let key = key(&world, &limits).await;
    let ask = world.ask("alpha/m").field("max_tokens", json!(5)).key(&key);
    assert_eq!(cache(&ask.clone().await), "miss");
    for _ in 0..3 {
        assert_eq!(cache(&ask.clone().await), "exact");
    }
    let over = ask.await;
    assert_eq!(over.error(), "429 rate_limit_error rate_limit_exceeded");
    world.requests(5).await;
    let spent =
        world.sql("SELECT sum(charged_usd) AS usd, sum(charged_tokens) AS tokens, count() AS n FROM attempts").await;
    assert_eq!((&spent[0]["n"], &spent[0]["tokens"]), (&json!(1), &json!(15)));
    assert_eq!(calls(&world), 1);
}

#[tokio::test]
async fn embeddings_are_answered_from_it_too() {
    let world = World::setup().config(ON).start().await;
    let answer = json!({ "object": "list", "model": "m", "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }],
        "usage": { "prompt_tokens": 2, "total_tokens": 2 } });
    world.upstream("alpha").replies(Reply::whole(200, answer.to_string())).always();
    let ask = |input: Value| world.post("/v1/embeddings", &json!({ "model": "alpha/m", "input": input }));
    assert_eq!(cache(&ask(json!("a")).await), "miss");
    let again = ask(json!(["a"])).await;
    assert_eq!((cache(&again), &again.json()["data"]), ("exact", &answer["data"]));
    assert_eq!(cache(&ask(json!("b")).await), "miss");
}

#[tokio::test]
async fn an_idempotency_key_wins_over_the_cache() {
    let world = world().await;
    assert_eq!(cache(&world.ask("alpha/m").await), "miss");
    let ask = world.ask("alpha/m").header("idempotency-key", "one");
    assert_eq!(cache(&ask.clone().await), "off");
    assert_eq!(ask.await.header("idempotent-replayed"), "true");
    assert_eq!(calls(&world), 2);
}

/// A request of each client's dialect that asks the same, whole and as a stream, and how to read what it says.
fn dialects(world: &World, model: &str) -> Vec<(&'static str, Ask, Ask)> {
    let anthropic = |stream: bool| {
        let body = json!({ "model": model, "max_tokens": 100, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
        world.post("/v1/messages", &body).header("anthropic-version", "2023-06-01")
    };
    let google = |method: &str| {
        let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hi" }] }], "generationConfig": { "maxOutputTokens": 100 } });
        world.post(&format!("/v1beta/models/{model}:{method}"), &body)
    };
    let responses = |stream: bool| {
        world.post(
            "/v1/responses",
            &json!({ "model": model, "input": "Hi", "max_output_tokens": 100, "stream": stream }),
        )
    };
    let chat = |stream: bool| {
        let options = if stream { json!({ "include_usage": true }) } else { Value::Null };
        world.post("/v1/chat/completions", &json!({ "model": model, "max_tokens": 100, "stream": stream, "stream_options": options, "messages": [{ "role": "user", "content": "Hi" }] }))
    };
    vec![
        ("openai", chat(false), chat(true)),
        ("anthropic", anthropic(false), anthropic(true)),
        ("google", google("generateContent"), google("streamGenerateContent?alt=sse")),
        ("responses", responses(false), responses(true)),
    ]
}

/// What must be in a complete stream of a dialect, besides the text.
fn ending(dialect: &str) -> &'static str {
    match dialect {
        "openai" => "data: [DONE]",
        "anthropic" => "event: message_stop",
        "google" => "\"finishReason\":\"STOP\"",
        _ => "response.completed",
    }
}

#[tokio::test]
async fn an_answer_given_in_one_dialect_serves_every_other_whole_and_as_a_stream() {
    let claude = Upstream::start("claude").await;
    let url = claude.url();
    let config = format!(
        "{ON}[providers.claude]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nkeys = [\"env:CLAUDE_KEY\"]\n",
        url.strip_suffix("/v1").unwrap()
    );
    let world = World::setup().config(&config).env("CLAUDE_KEY", "sk-ant-the-only").start().await;
    world.upstream("alpha").answers("said once").always();
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{ "type": "text", "text": "said once" }], "usage": { "input_tokens": 10, "output_tokens": 5 } });
    claude.replies(Reply::whole(200, message.to_string())).always();
    for (model, is_claude) in [("alpha/m", false), ("claude/m", true)] {
        for from in 0..4 {
            let namespace = format!("{model} {from}");
            let ask = |ask: Ask| ask.header("x-penstock-cache-namespace", &namespace);
            let all = dialects(&world, model);
            // An upstream of another dialect is asked whole: its streams are tested elsewhere.
            let (name, whole, stream) = all[from].clone();
            let first = ask(if is_claude || from % 2 == 0 { whole } else { stream }).await;
            assert_eq!(cache(&first), "miss", "{name}");
            for (to, whole, stream) in all {
                let (whole, stream) = (ask(whole).await, ask(stream).await);
                assert_eq!((cache(&whole), cache(&stream)), ("exact", "exact"), "{model}: {name} to {to}");
                assert!(whole.raw().contains("said once"), "{name} to {to}: {}", whole.raw());
                let raw = stream.raw();
                assert!(raw.contains("said once") && raw.contains(ending(to)), "{name} to {to}: {raw}");
                assert!(!raw.contains("error\":{"), "{name} to {to}: {raw}");
            }
        }
    }
    assert_eq!((calls(&world), claude.calls().len()), (4, 4));
}
