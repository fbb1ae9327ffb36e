//! The semantic cache: which questions are answered by the answer to another, whose these are, and how it is noticed that such
//! an answer is wrong.

use crate::made::key;
use penstock_tests::{Answer, Ask, Reply, World, address_in, tool, until, words};
use serde_json::{Value, json};

const RESET: &str = "How do I reset my password?";
const AGAIN: &str = "How can I reset my password?";

fn config(more: &str) -> String {
    format!("[cache]\nmode = \"semantic\"\n{more}\n")
}

/// One whose model has been read: the first text takes longer than a request waits.
async fn world(more: &str) -> World {
    let models = tool("PENSTOCK_LOCAL_MODELS");
    let world = World::setup().config(&config(more)).env("PENSTOCK_LOCAL_MODELS", &models).start().await;
    read_model(&world).await;
    world
}

async fn read_model(world: &World) {
    let first = world.post("/v1/embeddings", &json!({ "model": "local/all-MiniLM-L6-v2", "input": "first" }));
    assert_eq!(first.header("x-penstock-cache", "off").await.status, 200);
}

fn question(world: &World, text: &str) -> Ask {
    world.ask("alpha/m").field("messages", json!([{ "role": "user", "content": text }]))
}

fn cache(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.header("x-penstock-cache")
}

fn calls(world: &World) -> usize {
    world.upstream("alpha").calls().len()
}

/// What the admin API says of the only namespace.
async fn report(world: &World) -> Value {
    let report = world.get("/admin/v1/cache").key(world.admin_key()).await;
    report.json()["caches"][0].clone()
}

#[tokio::test]
async fn a_question_in_other_words_is_answered_for_nothing_by_the_answer_to_the_first() {
    let world = world("threshold = 0.5\nsample = \"0%\"").await;
    world.upstream("alpha").answers("In the settings.").always();
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    let again = question(&world, AGAIN).await;
    assert_eq!((cache(&again), again.text().as_str()), ("semantic", "In the settings."));
    let similarity: f64 = again.header("x-penstock-cache-similarity").parse().unwrap();
    assert!((0.5..=1.0).contains(&similarity) && again.header("x-penstock-cache-age").parse::<u64>().is_ok());
    assert_eq!((again.header("x-penstock-attempts"), again.header("x-penstock-cost-usd")), ("0", "0"));
    let stream = question(&world, "how can i reset my password").stream().await;
    assert_eq!((cache(&stream), stream.text().as_str()), ("semantic", "In the settings."));
    assert_eq!(cache(&question(&world, RESET).await), "exact");
    assert_eq!(cache(&question(&world, AGAIN).header("x-penstock-cache", "exact").await), "miss");
    assert_eq!(calls(&world), 2);

    world.requests(6).await;
    let sql = "SELECT count() AS n, sum(cost_usd) AS cost, countIf(saved_usd > 0) AS saved, countIf(cache_source =
        (SELECT request_id FROM requests WHERE cache = 'miss' ORDER BY received_at LIMIT 1)) AS sources
        FROM requests WHERE cache = 'semantic'";
    let rows = world.sql(sql).await;
    assert_eq!((&rows[0]["n"], &rows[0]["saved"], &rows[0]["sources"]), (&json!(2), &json!(2), &json!(2)), "{rows:?}");
    assert_eq!(rows[0]["cost"].as_f64().unwrap().to_bits(), 0_f64.to_bits());
    let embedded =
        world.sql("SELECT count() AS n, sum(charged_usd) AS usd FROM attempts WHERE provider = 'local'").await;
    assert_eq!(
        (&embedded[0]["n"], embedded[0]["usd"].as_f64()),
        (&json!(4), Some(0.0)),
        "one for each question, and the first"
    );
    let report = report(&world).await;
    assert_eq!(
        (&report["lookups"], &report["semantic_hits"], &report["exact_hits"]),
        (&json!(5), &json!(2), &json!(1))
    );
    assert!(report["saved_usd"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{report}");
}

#[tokio::test]
async fn what_differs_in_the_one_thing_that_counts_is_asked_whatever_the_threshold() {
    let world = world("threshold = 0.0\nsample = \"0%\"").await;
    world.upstream("alpha").answers("Yes.").always();
    for (first, other) in [
        (RESET, "How do I not reset my password?"),
        ("How do I cook rice for 5 people?", "How do I cook rice for 6 people?"),
        ("How do I travel from Paris to Rome?", "How do I travel from Rome to Paris?"),
        ("What is the capital of Austria?", "What is the capital of Australia?"),
        ("How do I install Python on Linux?", "How do I uninstall Python on Linux?"),
        ("How do I convert Ruby to Go?", "How do I convert Go to Ruby?"),
        ("How many km is the way?", "How many miles is the way?"),
    ] {
        assert_eq!(cache(&question(&world, first).await), "miss", "{first}");
        assert_eq!(cache(&question(&world, other).await), "miss", "{other}");
    }
}

#[tokio::test]
async fn only_a_single_question_of_text_is_compared_and_only_a_complete_answer_is_for_others() {
    let world = world("threshold = 0.0\nsample = \"0%\"").await;
    let cut = words::whole("half").replace("\"stop\"", "\"length\"");
    world.upstream("alpha").replies(Reply::whole(200, cut)).once();
    world.upstream("alpha").answers("In the settings.").always();
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    assert_eq!(cache(&question(&world, AGAIN).await), "miss", "the first answer was cut");
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let turns = |last: &str| {
        let earlier = json!({ "role": "assistant", "content": "Hello!" });
        json!([{ "role": "user", "content": "Hi" }, earlier, { "role": "user", "content": last }])
    };
    let long = |text: &str| question(&world, &format!("{text} {}", "Please tell me. ".repeat(70)));
    for (first, second) in [
        (question(&world, RESET).field("tools", tools.clone()), question(&world, AGAIN).field("tools", tools)),
        (world.ask("alpha/m").field("messages", turns(RESET)), world.ask("alpha/m").field("messages", turns(AGAIN))),
        (long(RESET), long(AGAIN)),
    ] {
        assert_eq!((cache(&first.await), cache(&second.await)), ("miss", "miss"));
    }
    let embedded = "SELECT count() AS n FROM attempts WHERE provider = 'local'";
    world.requests(9).await;
    assert_eq!(world.sql(embedded).await[0]["n"], 3, "what is not compared is not embedded");
}

#[tokio::test]
async fn no_other_project_user_namespace_instruction_or_parameter_shares_an_answer() {
    let world = world("threshold = 0.0\nsample = \"0%\"").await;
    world.upstream("alpha").answers("A secret of one.").always();
    let one = key(&world, &json!({ "project": "one" })).await;
    let other = key(&world, &json!({ "project": "other" })).await;
    assert_eq!(cache(&question(&world, RESET).key(&one).await), "miss");
    let ask = || question(&world, AGAIN).header("x-penstock-cache", "only");
    for (name, value) in [
        ("x-penstock-cache-namespace", "one"),
        ("x-penstock-user", "one"),
        ("x-penstock-tags", "project=one"),
        ("openai-project", "one"),
        ("cache-control", "max-age=86400"),
    ] {
        let answer = ask().key(&other).header(name, value).await;
        assert_eq!(answer.error(), "504 invalid_request_error cache_miss", "{name}: {value}");
    }
    let system = json!([{ "role": "system", "content": "Be rude." }, { "role": "user", "content": AGAIN }]);
    for other in [
        ask().key(&one).header("x-penstock-cache-namespace", "a"),
        ask().key(&one).field("messages", system),
        ask().key(&one).field("seed", json!(1)),
        ask().key(&one).field("model", json!("alpha/other")),
    ] {
        assert_eq!(other.await.status, 504);
    }
    assert_eq!(cache(&ask().key(&one).await), "semantic", "its own project has it");

    let apart = key(&world, &json!({ "project": "one", "cache": { "scope": "user" } })).await;
    let of = |user: &str, text: &str| question(&world, text).key(&apart).field("user", json!(user));
    assert_eq!(cache(&of("ann", RESET).await), "miss");
    assert_eq!(of("bob", AGAIN).header("x-penstock-cache", "only").await.status, 504);
    assert_eq!(cache(&of("ann", AGAIN).await), "semantic");
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    assert_eq!(question(&world, AGAIN).key(&few).await.error(), "403 permission_error model_forbidden (model)");
    assert_eq!(calls(&world), 2);
}

#[tokio::test]
async fn questions_are_there_again_after_a_kill_without_being_embedded_anew_and_go_when_cleared() {
    let mut world = world("threshold = 0.5\nsample = \"0%\"").await;
    world.upstream("alpha").answers("In the settings.").always();
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    assert_eq!(cache(&question(&world, AGAIN).await), "semantic");
    let (other, line) = world.role("ingress").await;
    let address = address_in(&line);
    let there = question(&world, AGAIN).at(&address);
    until("the other ingress to have it", async || (cache(&there.clone().await) == "semantic").then_some(())).await;
    drop(other);
    world.crash().await;
    world.again().await;
    read_model(&world).await;
    assert_eq!(cache(&question(&world, AGAIN).await), "semantic");
    assert_eq!(calls(&world), 1);
    world.tool(&["cache", "stats"]).await;
    let cleared = world.run(&["cache", "clear", "--project", "default"]).await;
    assert_eq!(cleared.code, 0, "{}", cleared.err);
    let only = question(&world, AGAIN).header("x-penstock-cache", "only");
    until("the clearing", async || (only.clone().await.status == 504).then_some(())).await;
}

#[tokio::test]
async fn without_the_model_requests_are_misses_and_the_log_says_what_is_missing() {
    let world = World::setup().config(&config("")).env("PENSTOCK_LOCAL_MODELS", "/nowhere").start().await;
    world.upstream("alpha").answers("In the settings.").always();
    for text in [RESET, AGAIN] {
        assert_eq!(cache(&question(&world, text).await), "miss");
    }
    assert_eq!(cache(&question(&world, RESET).await), "exact");
    let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
    assert!(metrics.contains("penstock_embeddings_total{outcome=\"no_model\"} 2"), "{metrics}");
    assert!(metrics.contains("penstock_cache_not_compared_total 2"), "{metrics}");
    let logs = world.logs();
    assert_eq!(logs.matches("texts cannot be embedded").count(), 1, "{logs}");
    assert!(logs.contains("deploy/setup model"), "{logs}");
}

#[tokio::test]
async fn a_model_that_embeds_at_a_provider_is_paid_for_by_the_project_and_its_failure_is_no_error() {
    let world = world("embed = \"beta/m\"\nthreshold = 0.5\nsample = \"0%\"").await;
    world.upstream("alpha").answers("In the settings.").always();
    let vector = json!({ "object": "list", "model": "m", "data": [{ "object": "embedding", "index": 0, "embedding": [0.6, 0.8] }],
        "usage": { "prompt_tokens": 7, "total_tokens": 7 } });
    world.upstream("beta").replies(Reply::whole(200, vector.to_string())).times(2);
    world.upstream("beta").fails(400).always();
    let project = key(&world, &json!({ "project": "one" })).await;
    assert_eq!(cache(&question(&world, RESET).key(&project).await), "miss");
    assert_eq!(cache(&question(&world, AGAIN).key(&project).await), "semantic");
    let other = question(&world, "May I reset my password?").key(&project).await;
    assert_eq!((cache(&other), other.text().as_str()), ("miss", "In the settings."));
    world.requests(3).await;
    let sql = "SELECT project, input_tokens, cost_usd > 0 AS paid FROM attempts WHERE provider = 'beta' AND outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    for row in rows {
        assert_eq!(row, json!({ "project": "one", "input_tokens": 7, "paid": 1 }));
    }
}

#[tokio::test]
async fn a_share_of_hits_is_checked_by_asking_and_wrong_ones_raise_the_threshold_for_good() {
    let mut world = world("sample = \"100%\"").await;
    for text in ["In the settings.", "in the settings", "Ask an administrator, who can do it for you."] {
        world.upstream("alpha").answers(text).once();
    }
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    assert_eq!(cache(&question(&world, AGAIN).await), "miss", "it was asked to be checked");
    let metrics = until("the check", async || {
        let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
        metrics.contains("penstock_cache_checked_hits_total{result=\"same\"} 1").then_some(metrics)
    })
    .await;
    assert!(!metrics.contains("result=\"different\""), "{metrics}");
    assert_eq!(cache(&question(&world, "How can I reset my password").await), "miss");
    until("the check", async || {
        let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
        metrics.contains("penstock_cache_checked_hits_total{result=\"different\"} 1").then_some(())
    })
    .await;
    let learnt = report(&world).await["semantic"][0].clone();
    assert!(learnt["threshold"].as_f64() > Some(0.85), "{learnt}");
    assert_eq!(learnt["model"], "alpha/m");
    world.crash().await;
    world.again().await;
    assert_eq!(report(&world).await["semantic"][0]["threshold"], learnt["threshold"]);
}

#[tokio::test]
async fn a_hit_that_its_caller_reports_as_wrong_goes_and_counts() {
    let world = world("threshold = 0.5\nsample = \"0%\"").await;
    world.upstream("alpha").answers("In the settings.").always();
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    let hit = question(&world, AGAIN).await;
    assert_eq!(cache(&hit), "semantic");
    let said = json!({ "request_id": hit.header("x-penstock-request-id"), "wrong_hit": true });
    let taken = world.post("/v1/feedback", &said).await;
    assert_eq!(taken.json()["removed"], true, "{}", taken.raw());
    assert_eq!(cache(&question(&world, AGAIN).await), "miss");
    let false_hits = report(&world).await["false_hits"].clone();
    assert_eq!((&false_hits["checked"], &false_hits["wrong"]), (&json!(1), &json!(1)));
    let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
    assert!(metrics.contains("penstock_cache_false_hit_rate{bound=\"rate\"} 1.0"), "{metrics}");
}

#[tokio::test]
async fn a_hit_that_cannot_be_checked_because_the_provider_fails_is_given_all_the_same() {
    let world = world("threshold = 0.5\nsample = \"100%\"").await;
    world.upstream("alpha").answers("In the settings.").once();
    world.upstream("alpha").fails(400).always();
    assert_eq!(cache(&question(&world, RESET).await), "miss");
    let hit = question(&world, AGAIN).await;
    assert_eq!((cache(&hit), hit.text().as_str()), ("semantic", "In the settings."));
    assert_eq!(question(&world, "Bake bread without yeast.").await.status, 400);
}

#[tokio::test]
async fn a_judge_decides_whether_a_checked_hit_was_right_where_there_is_one() {
    let models = tool("PENSTOCK_LOCAL_MODELS");
    let judge = "[[keys]]\nid = \"key_judge\"\nsecret = \"env:JUDGE_KEY\"\nproject = \"judging\"\n";
    let more = format!("sample = \"100%\"\njudge = \"beta/judge\"\njudge_key = \"key_judge\"\n{judge}");
    let setup = World::setup().config(&config(&more)).env("PENSTOCK_LOCAL_MODELS", &models);
    let world = setup.env("JUDGE_KEY", "psk_0123456789abcdef0123456789judge").start().await;
    read_model(&world).await;
    // By their vectors and words these two are different.
    for text in ["In the settings.", "Ask an administrator, who can do it for you.", "No way."] {
        world.upstream("alpha").answers(text).once();
    }
    for said in ["{\"same\": true, \"reason\": \"both help\"}", "{\"same\": false}"] {
        world.upstream("beta").replies(Reply::whole(200, words::whole(said))).once();
    }
    for (text, result) in [(AGAIN, "same"), ("How can I reset my password", "different")] {
        if text == AGAIN {
            assert_eq!(cache(&question(&world, RESET).await), "miss");
        }
        assert_eq!(cache(&question(&world, text).await), "miss", "it was asked to be checked");
        until("the check", async || {
            let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
            metrics.contains(&format!("penstock_cache_checked_hits_total{{result=\"{result}\"}} 1")).then_some(())
        })
        .await;
    }
    let asked = world.upstream("beta").calls();
    assert_eq!(asked.len(), 2);
    let material = asked[0].json()["messages"][1]["content"].as_str().expect("a text").to_owned();
    for part in [AGAIN, "In the settings.", "Ask an administrator", "answer A", "answer B"] {
        assert!(material.contains(part), "{material}");
    }
    let paid = "SELECT project, tags['judge'] AS judge FROM attempts WHERE provider = 'beta' AND operation = 'chat'";
    let row = json!({ "project": "judging", "judge": "cache" });
    world.sql_until(paid, |rows| rows == [row.clone(), row.clone()]).await;
}
