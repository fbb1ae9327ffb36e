//! Lines of batches that go through their provider's own batch API: chosen with a reason, each with one result and one row,
//! at the batch's price; and paid once, whatever is killed on the way.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::batches::{create, line, names, over, results, upload};
use http::Method;
use penstock_runtime::Bus;
use penstock_runtime::bus::NatsConfig;
use penstock_runtime::config::Document;
use penstock_schemas::UnixMicros;
use penstock_schemas::native_batch::NativeStage;
use penstock_tests::{
    BATCH_KEY, BatchKind, BatchStep, BatchUpstream, EXPIRED, GARBLED, REFUSED, World, until, until_right,
};
use serde_json::{Value, json};
use std::time::Duration;

async fn world(more: &str) -> (World, BatchUpstream) {
    world_of((BatchKind::Openai, "openai"), more).await
}

/// A world whose provider `b` has a batch API of this kind.
async fn world_of((kind, dialect): (BatchKind, &str), more: &str) -> (World, BatchUpstream) {
    let upstream = BatchUpstream::start(kind).await;
    let config = format!(
        "[providers.b]\ndialect = \"{dialect}\"\nbase_url = \"{}\"\nkeys = [\"env:B_KEY\"]\nbatch_api = \"{dialect}\"\nprobe = false\n\
         [[prices]]\nmodel = \"b/m\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"10\"\n\
         cache_read_usd_per_million = \"0.2\"\nbatch_rate = \"0.5\"\n{more}",
        upstream.url()
    );
    (World::setup().config(&config).env("B_KEY", BATCH_KEY).start().await, upstream)
}

async fn begin(world: &World, content: &str, more: &Value) -> String {
    let file = upload(world, content).await;
    let batch = create(world, &file, more).await;
    assert_eq!(batch.status, 200, "{}", batch.raw());
    batch.json()["id"].as_str().expect("a batch has an id").to_owned()
}

fn always() -> Value {
    json!({ "penstock": { "native_batch": "always" } })
}

fn lines(count: usize) -> String {
    (0..count).map(|at| line(&format!("line-{at}"), "b/m") + "\n").collect()
}

fn text(result: &Value) -> &str {
    result["response"]["body"]["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn lines_go_through_their_providers_own_batch_api_and_what_it_does_not_run_is_queued() {
    let (world, upstream) = world("").await;
    world.upstream("alpha").answers("from alpha").always();
    let others =
        [line(REFUSED, "b/m"), line("one", "alpha/m"), line(EXPIRED, "b/m"), "{".to_owned(), line("line-0", "b/m")];
    let id = begin(&world, &format!("{}{}", lines(10), others.join("\n")), &always()).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 15, "completed": 12, "failed": 3 }), "{batch}");
    let native = &batch["penstock"]["native"];
    assert_eq!(native["wish"], "always");
    let lane = |model: &str| {
        let lanes = native["models"].as_array().unwrap();
        lanes.iter().find(|lane| lane["model"] == model).unwrap_or_else(|| panic!("{batch}"))
    };
    let of = |lane: &Value| ["lines", "is_native", "done", "queued", "under_way"].map(|name| lane[name].clone());
    assert_eq!(of(lane("b/m")), [json!(12), json!(true), json!(11), json!(1), json!(0)], "{batch}");
    assert_eq!(of(lane("alpha/m")), [json!(1), json!(false), json!(0), json!(0), json!(0)], "{batch}");
    assert_eq!(lane("b/m")["why"], "the request says `always`");
    let answers = results(&world, &batch, "output_file_id").await;
    assert_eq!(answers.iter().filter(|result| text(result) == "from a batch").count(), 10);
    let named = |name: &str| answers.iter().find(|result| result["custom_id"] == name).map(text);
    assert_eq!((named("one"), named(EXPIRED)), (Some("from alpha"), Some("from a call")));
    let errors = results(&world, &batch, "error_file_id").await;
    assert_eq!(names(&errors), [REFUSED, "-", "line-0"]);
    assert_eq!(errors[0]["response"]["status_code"], 400, "{errors:?}");
    let told = errors[0]["response"]["body"]["error"]["message"].as_str().unwrap();
    assert!(told.contains("***") && !told.contains(BATCH_KEY), "{told}");
    assert_eq!((upstream.batches(), upstream.singles(), upstream.runs().len()), (1, 1, 11));
    let rows = format!(
        "SELECT native_batch, outcome, count() AS rows, uniqExact(attempt_id) AS attempts, toString(sum(cost_usd)) AS cost
         FROM attempts WHERE batch_id = '{id}' AND provider = 'b' GROUP BY ALL ORDER BY rows"
    );
    let row = |native: bool, outcome: &str, rows: u32, cost: Value| json!({ "native_batch": native, "outcome": outcome, "rows": rows, "attempts": rows, "cost": cost });
    let expected = [
        row(false, "served", 1, json!("0.0000568")),
        row(true, "refused", 2, Value::Null),
        row(true, "served", 10, json!("0.0003")),
    ];
    world.sql_until(&rows, |rows| rows == expected).await;
    let requests =
        format!("SELECT outcome, count() AS rows FROM requests WHERE batch_id = '{id}' GROUP BY ALL ORDER BY rows");
    let expected = [json!({ "outcome": "refused", "rows": 1 }), json!({ "outcome": "served", "rows": 12 })];
    world.sql_until(&requests, |rows| rows == expected).await;
}

#[tokio::test]
async fn lines_are_grouped_where_that_saves_money_and_the_batch_says_why() {
    let (world, upstream) = world("").await;
    let id = begin(&world, &lines(3), &json!({})).await;
    let batch = over(&world, &id).await;
    let lane = &batch["penstock"]["native"]["models"][0];
    assert_eq!((&lane["is_native"], &lane["target"]), (&json!(false), &json!("b/m")), "{batch}");
    assert_eq!(lane["why"], "there are fewer than 100 lines: they are answered sooner one by one");
    let never = json!({ "metadata": { "penstock.native_batch": "never" } });
    let batch = over(&world, &begin(&world, &lines(100), &never).await).await;
    assert_eq!(batch["penstock"]["native"]["models"][0]["why"], "the request says `never`", "{batch}");
    assert_eq!((upstream.batches(), upstream.singles()), (0, 103));
    let batch = over(&world, &begin(&world, &lines(100), &json!({})).await).await;
    assert_eq!(batch["penstock"]["native"]["models"][0]["is_native"], true, "{batch}");
    assert_eq!((upstream.batches(), upstream.singles(), upstream.runs().len()), (1, 103, 100));
    let file = upload(&world, &lines(1)).await;
    let wrong = create(&world, &file, &json!({ "penstock": { "native_batch": "perhaps" } })).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["error"]["param"]), (400, &json!("penstock.native_batch")));
}

#[tokio::test]
async fn what_a_provider_has_not_done_in_time_is_queued_and_answered_in_the_window() {
    let (world, upstream) = world("").await;
    upstream.gets_stuck();
    let more = json!({ "penstock": { "native_batch": "always" }, "completion_window": "30s" });
    let batch = over(&world, &begin(&world, &lines(5), &more).await).await;
    assert_eq!((&batch["status"], &batch["request_counts"]["completed"]), (&json!("completed"), &json!(5)), "{batch}");
    assert_eq!((upstream.batches(), upstream.singles(), upstream.runs().len()), (1, 5, 0));
    let lane = &batch["penstock"]["native"]["models"][0];
    assert_eq!((&lane["done"], &lane["queued"]), (&json!(0), &json!(5)), "{batch}");
}

#[tokio::test]
async fn a_cancelled_batch_stops_its_groups_at_the_provider() {
    let (world, upstream) = world("").await;
    upstream.gets_stuck();
    let id = begin(&world, &lines(5), &always()).await;
    until("the group to be at its provider", async || (upstream.batches() == 1).then_some(())).await;
    let cancelling = world.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelling.json()["status"], "cancelling", "{}", cancelling.raw());
    // It ends there only because it is cancelled.
    let batch = over(&world, &id).await;
    let failed = json!({ "total": 5, "completed": 0, "failed": 5 });
    assert_eq!((&batch["status"], &batch["request_counts"]), (&json!("cancelled"), &failed), "{batch}");
    assert_eq!((upstream.batches(), upstream.singles()), (1, 0));
    let lane = &batch["penstock"]["native"]["models"][0];
    assert_eq!((&lane["under_way"], &lane["queued"]), (&json!(0), &json!(5)), "{batch}");
}

/// How long batches are shown: what the bucket was made with.
const SHOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// The bus, as the roles see it.
async fn bus(world: &World) -> Bus {
    let config = NatsConfig::read(&mut Document::read("test", "", []).unwrap());
    Bus::connect(&config, world.run_file()["nats"].as_str().unwrap(), "test").await.unwrap()
}

/// As if the last signs of life of the processes that were killed were a minute old.
async fn let_time_pass(world: &World) {
    let bus = bus(world).await;
    let jobs = bus.jobs(SHOWN).await.unwrap();
    for (id, _) in jobs.batches().list_where(|_| true).await.unwrap() {
        let Some((mut batch, revision)) = jobs.batches().get_with_revision(&id).await.unwrap() else { continue };
        batch.leader.iter_mut().for_each(|leader| leader.until = UnixMicros(0));
        // Another process leads it already where this is refused.
        let _ = jobs.batches().update(&id, &batch, revision).await.unwrap();
    }
    let groups = bus.native_groups().await.unwrap();
    for (key, _) in groups.list_where(|_| true).await.unwrap() {
        let Some((stage, revision)) = groups.get_with_revision(&key).await.unwrap() else { continue };
        let pulse = UnixMicros(0);
        let old = match stage {
            NativeStage::Submitting { worker, .. } => NativeStage::Submitting { worker, pulse },
            NativeStage::Collecting { job, worker, .. } => NativeStage::Collecting { job, worker, pulse },
            _ => continue,
        };
        groups.update(&key, &old, revision).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn whatever_is_killed_at_whatever_step_a_group_is_paid_once_and_each_line_has_one_result() {
    let (mut world, upstream) = world("").await;
    let steps = [BatchStep::Upload, BatchStep::Create, BatchStep::Poll, BatchStep::Answers];
    for (at, step) in steps.into_iter().enumerate() {
        let gate = upstream.holds(step);
        let id = begin(&world, &lines(10), &always()).await;
        until("an answer to be held", async || (upstream.holding() > 0).then_some(())).await;
        world.crash().await;
        gate.open();
        world.again().await;
        Box::pin(let_time_pass(&world)).await;
        let batch = over(&world, &id).await;
        assert_eq!(batch["request_counts"], json!({ "total": 10, "completed": 10, "failed": 0 }), "{step:?}: {batch}");
        let answers = results(&world, &batch, "output_file_id").await;
        assert!(answers.iter().all(|result| text(result) == "from a batch"), "{step:?}: {answers:?}");
        assert_eq!((upstream.batches(), upstream.singles()), (at + 1, 0), "{step:?}");
        assert!(upstream.runs().values().all(|runs| *runs == 1), "{step:?}");
        let rows = format!(
            "SELECT native_batch, count() AS rows, uniqExact(attempt_id) AS attempts, toString(sum(cost_usd)) AS cost
             FROM attempts WHERE batch_id = '{id}' GROUP BY ALL"
        );
        let expected = json!({ "native_batch": true, "rows": 10, "attempts": 10, "cost": "0.0003" });
        world.sql_until(&rows, |rows| rows == [expected.clone()]).await;
    }
}

const BUDGET: &str =
    "[[budgets]]\nname = \"all\"\nmatch = { project = \"default\" }\nlimit_usd = \"1.00\"\ncycle = \"monthly\"\n";

/// Waits until this is spent of the budget and nothing is set aside; in picodollars.
async fn is_spent(world: &World, amount: u64) {
    let books = bus(world).await.books().await.unwrap();
    until_right("the budget to be settled", async || {
        let all = books.list().await.unwrap();
        let stands: Vec<(u64, u64)> = all.iter().map(|book| (book.settled(), book.total())).collect();
        if stands == [(amount, amount)] { Ok(()) } else { Err(format!("{stands:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_lines_may_cost_is_set_aside_before_they_are_sent_and_settled_at_the_batch_price() {
    let (mut world, upstream) = world(BUDGET).await;
    let gate = upstream.holds(BatchStep::Poll);
    let id = begin(&world, &lines(10), &always()).await;
    until("the group to be at its provider", async || (upstream.holding() > 0).then_some(())).await;
    let books = bus(&world).await.books().await.unwrap();
    until("money to be set aside", async || {
        books.list().await.unwrap().first().is_some_and(|book| book.total() > 0 && book.settled() == 0).then_some(())
    })
    .await;
    gate.open();
    let batch = over(&world, &id).await;
    assert_eq!(batch["penstock"]["cost_usd"], "0.0003", "{batch}");
    is_spent(&world, 300_000_000).await;
    // The same where everything is killed, and what was set aside with it.
    let gate = upstream.holds(BatchStep::Poll);
    let id = begin(&world, &lines(10), &always()).await;
    until("the group to be at its provider", async || (upstream.holding() > 0).then_some(())).await;
    world.crash().await;
    gate.open();
    world.again().await;
    Box::pin(let_time_pass(&world)).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["penstock"]["cost_usd"], "0.0003", "{batch}");
    assert_eq!((upstream.batches(), upstream.singles()), (2, 0));
    is_spent(&world, 600_000_000).await;
}

#[tokio::test]
async fn a_line_whose_answer_cannot_be_read_is_asked_again_and_charged_and_the_others_have_their_answers() {
    let (world, upstream) = world(BUDGET).await;
    let id = begin(&world, &format!("{}{}", lines(3), line(GARBLED, "b/m")), &always()).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["request_counts"], json!({ "total": 4, "completed": 4, "failed": 0 }), "{batch}");
    assert_eq!((upstream.batches(), upstream.singles(), upstream.runs().len()), (1, 1, 4));
    let answers = results(&world, &batch, "output_file_id").await;
    assert_eq!(answers.iter().filter(|result| text(result) == "from a batch").count(), 3);
    // It may have been run, so it counts as all that it can have come to.
    let rows = format!(
        "SELECT native_batch, outcome, charged_usd > 0 AS is_charged, count() AS rows FROM attempts
         WHERE batch_id = '{id}' GROUP BY ALL ORDER BY native_batch, outcome"
    );
    let row = |native: bool, outcome: &str, rows: u32| json!({ "native_batch": native, "outcome": outcome, "is_charged": 1, "rows": rows });
    let expected = [row(false, "served", 1), row(true, "refused", 1), row(true, "served", 3)];
    world.sql_until(&rows, |rows| rows == expected).await;
}

#[tokio::test]
async fn a_batch_whose_file_is_removed_while_its_provider_has_it_ends_and_is_paid() {
    let (world, upstream) = world(BUDGET).await;
    let gate = upstream.holds(BatchStep::Poll);
    let id = begin(&world, &lines(5), &always()).await;
    until("the group to be at its provider", async || (upstream.holding() > 0).then_some(())).await;
    let file = world.get(&format!("/v1/batches/{id}")).key(world.key()).await.json()["input_file_id"].clone();
    let path = format!("/v1/files/{}", file.as_str().unwrap());
    assert_eq!(world.get(&path).method(Method::DELETE).key(world.key()).await.status, 200);
    gate.open();
    let batch = over(&world, &id).await;
    assert_eq!(
        (&batch["status"], &batch["errors"]["data"][0]["code"]),
        (&json!("failed"), &json!("file_not_found")),
        "{batch}"
    );
    assert_eq!((upstream.batches(), upstream.singles()), (1, 0));
    is_spent(&world, 150_000_000).await;
}

#[tokio::test]
async fn batches_of_anthropics_and_googles_apis_go_the_same_way() {
    let (world, upstream) = world_of((BatchKind::Anthropic, "anthropic"), "").await;
    let message = json!({ "model": "b/m", "max_tokens": 10, "messages": [{ "role": "user", "content": "Hi" }] });
    let requests = ["one", "two"].map(|name| json!({ "custom_id": name, "params": message }));
    let wish = json!({ "requests": requests, "penstock": { "native_batch": "always" } });
    let begun = world.post("/v1/messages/batches", &wish).await.json();
    let path = format!("/v1/messages/batches/{}", begun["id"].as_str().unwrap());
    let batch = until_right("the batch to be over", async || {
        let batch = world.get(&path).key(world.key()).await.json();
        if batch["processing_status"] == "ended" { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await;
    assert_eq!(batch["request_counts"]["succeeded"], 2, "{batch}");
    let results = world.get(&format!("{path}/results")).key(world.key()).await;
    assert_eq!(results.raw().matches("from a batch").count(), 2, "{}", results.raw());
    assert_eq!((upstream.batches(), upstream.runs().len()), (1, 2));

    // As many as are worth it by themselves; the model stands in the path.
    let (world, upstream) = world_of((BatchKind::Google, "google"), "").await;
    let request = json!({ "request": { "contents": [{ "parts": [{ "text": "Hi" }], "role": "user" }] } });
    let wish = json!({ "batch": { "inputConfig": { "requests": { "requests": vec![request; 100] } } } });
    let begun = world.post("/v1beta/models/b/m:batchGenerateContent", &wish).await.json();
    let path = format!("/v1beta/{}", begun["name"].as_str().unwrap_or_else(|| panic!("{begun}")));
    let batch = until_right("the batch to be over", async || {
        let batch = world.get(&path).key(world.key()).await.json();
        if batch["done"] == true { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await;
    assert_eq!(batch["metadata"]["batchStats"]["successfulRequestCount"], "100", "{}", batch["penstock"]);
    assert_eq!(batch["response"].to_string().matches("from a batch").count(), 100);
    assert_eq!((upstream.batches(), upstream.runs().len()), (1, 100));
}
