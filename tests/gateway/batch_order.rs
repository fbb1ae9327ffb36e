//! When batches and jobs begin, and whose lines go first: nothing is sent before its time, projects take turns, and a batch of
//! a higher priority is next in its project.

use crate::batches::{create, line, over, upload};
use crate::made;
use http::Method;
use penstock_tests::{Gate, Reply, World, until};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A provider with few slots, in front of `alpha`.
const FEW: &str =
    "[providers.few]\ndialect = \"openai\"\nbase_url = \"{alpha}\"\nconcurrency = 4\nkeys = [\"env:ALPHA_KEY_1\"]\n";

/// The slots of it that batches may have.
const SLOTS: u32 = 3;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

fn lines(name: &str, count: usize) -> String {
    (0..count).map(|at| line(&format!("{name}-{at}"), "few/m") + "\n").collect()
}

/// Begins a batch of this project's key.
async fn begin(world: &World, key: &str, content: &str, more: &Value) -> String {
    let ask = world.post("/v1/files", &json!({})).header("content-type", "multipart/form-data; boundary=b0").key(key);
    let parts = [("purpose", None, &b"batch"[..]), ("file", Some("in.jsonl"), content.as_bytes())];
    let file = ask.body(crate::files::form(&parts)).await.json();
    let file = file["id"].as_str().unwrap_or_else(|| panic!("{file}")).to_owned();
    let batch = create(world, &file, more).key(key).await;
    assert_eq!(batch.status, 200, "{}", batch.raw());
    batch.json()["id"].as_str().expect("a batch has an id").to_owned()
}

async fn status(world: &World, key: &str, id: &str) -> Value {
    world.get(&format!("/v1/batches/{id}")).key(key).await.json()["status"].clone()
}

/// The lines in the order in which they were called.
fn called(world: &World) -> Vec<String> {
    let calls = world.upstream("alpha").calls();
    let name = |call: Value| call["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    calls.iter().map(|call| name(call.json())).collect()
}

/// Begins ten batches of fifteen lines and then one of ten, while every slot is taken; then lets all of them go on. How many
/// lines of others were called between the first and the last of the ten: when they are first seen depends on the machine.
async fn others_between(world: &World, (many, few): (&str, &str), more: &Value) -> usize {
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.replies(Reply::answer("late").held(&gate)).times(SLOTS);
    // A line that found every slot taken comes again after half a second: in that time few others may be answered.
    alpha.replies(Reply::answer("hello").slow(Duration::from_millis(200))).always();
    let mut all = Vec::new();
    for batch in 0..10 {
        all.push((many, begin(world, many, &lines(&format!("many{batch}"), 15), &json!({})).await));
    }
    until("every slot to be taken", async || (alpha.called() == SLOTS as usize).then_some(())).await;
    all.push((few, begin(world, few, &lines("few", 10), more).await));
    for (key, id) in &all {
        until("all to be under way", async || (status(world, key, id).await == "in_progress").then_some(())).await;
    }
    gate.open();
    for (key, id) in &all {
        until("all to be over", async || (status(world, key, id).await == "completed").then_some(())).await;
    }
    let called = called(world);
    assert_eq!(called.len(), 160);
    let is_few = |name: &String| name.starts_with("few");
    let first = called.iter().position(is_few).expect("the few were called");
    let last = called.iter().rposition(is_few).unwrap_or(first);
    last + 1 - first - 10
}

#[tokio::test]
async fn many_batches_of_one_project_do_not_hold_up_the_few_lines_of_another() {
    let world = World::setup().config(FEW).start().await;
    let other = made::key(&world, &json!({ "project": "other" })).await;
    let between = others_between(&world, (world.key(), &other), &json!({})).await;
    assert!(between < 50, "in turns it would be some 15, and batch by batch a hundred: {between}");
}

#[tokio::test]
async fn a_batch_of_a_higher_priority_is_next_in_its_project() {
    let world = World::setup().config(FEW).start().await;
    let high = json!({ "penstock": { "priority": "high" } });
    let between = others_between(&world, (world.key(), world.key()), &high).await;
    assert!(between < 50, "at once it would be some 5, and batch by batch a hundred: {between}");
}

#[tokio::test]
async fn nothing_of_a_batch_is_sent_before_its_time_and_its_window_begins_then() {
    let world = World::setup().config(FEW).start().await;
    let file = upload(&world, lines("a", 3)).await;
    let at = now() + 3;
    let more = json!({ "penstock": { "run_at": at, "priority": "low" }, "completion_window": "1h" });
    let begun = create(&world, &file, &more).await.json();
    let (own, id) = (&begun["penstock"], begun["id"].as_str().unwrap());
    assert_eq!((&own["run_at"], &own["priority"], &begun["status"]), (&json!(at), &json!("low"), &json!("validating")));
    assert_eq!(begun["expires_at"], at + 3600, "{begun}");
    let batch = over(&world, id).await;
    assert!(batch["in_progress_at"].as_u64() >= Some(at), "{batch}");
    assert_eq!((&batch["status"], world.upstream("alpha").calls().len()), (&json!("completed"), 3), "{batch}");

    let far = json!({ "metadata": { "penstock.run_at": "2999-01-01T00:00:00Z" } });
    assert_eq!(create(&world, &file, &far).await.json()["error"]["param"], "penstock.run_at");
    let far = json!({ "metadata": { "penstock.run_at": (now() + 86_400).to_string() } });
    let begun = create(&world, &file, &far).await.json();
    let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}"));
    let cancel = world.get(&format!("/v1/batches/{id}/cancel")).method(Method::POST).key(world.key());
    assert_eq!(cancel.await.status, 200);
    assert_eq!(over(&world, id).await["status"], "cancelled");
    assert_eq!(world.upstream("alpha").calls().len(), 3);
}

#[tokio::test]
async fn a_batch_that_is_to_begin_later_survives_everything() {
    let mut world = World::setup().config(FEW).start().await;
    let file = upload(&world, lines("a", 2)).await;
    let at = now() + 4;
    let begun = create(&world, &file, &json!({ "penstock": { "run_at": at } })).await.json();
    let later = world.ask("few/m").header("prefer", "respond-async").header("x-penstock-run-at", &at.to_string());
    let job = later.await.json();
    assert_eq!((&job["run_at"], &job["status"]), (&json!(at), &json!("queued")), "{job}");
    world.crash().await;
    world.again().await;
    let batch = over(&world, begun["id"].as_str().unwrap()).await;
    assert!(batch["status"] == "completed" && batch["in_progress_at"].as_u64() >= Some(at), "{batch}");
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let job = until("the job to be over", async || {
        let job = world.get(&path).key(world.key()).await.json();
        (job["status"] == "completed").then_some(job)
    })
    .await;
    assert!(job["completed_at"].as_u64() >= Some(at), "{job}");
    assert_eq!(world.upstream("alpha").calls().len(), 3);
}

#[tokio::test]
async fn a_job_for_later_is_checked_at_once_and_can_be_cancelled() {
    let world = World::start().await;
    let later = |at: &str| world.ask("alpha/m").header("prefer", "respond-async").header("x-penstock-run-at", at);
    for (ask, word) in [
        (later("soon"), "x-penstock-run-at"),
        (later("2999-01-01T00:00:00Z"), "28 days"),
        (later("1").header("prefer", ""), "respond-async"),
        (later("1").body("{"), "JSON"),
    ] {
        let refused = ask.await;
        assert!(refused.status == 400 && refused.raw().contains(word), "{word}: {}", refused.raw());
    }
    let past = later("1").await.json();
    let path = |job: &Value| format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let done = until("it to be over", async || {
        let job = world.get(&path(&past)).key(world.key()).await.json();
        (job["status"] == "completed").then_some(job)
    });
    done.await;
    let job = later(&(now() + 86_400).to_string()).await.json();
    let cancelled = world.get(&format!("{}/cancel", path(&job))).method(Method::POST).key(world.key()).await.json();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert_eq!(world.upstream("alpha").calls().len(), 1);
}
