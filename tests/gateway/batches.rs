//! Batches: a file of requests, answered while nobody waits. Each line has one result, whatever goes wrong, and each attempt
//! one row in the ledger.

use crate::made;
use http::Method;
use penstock_tests::{Ask, Gate, Reply, World, until, until_right};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CHAT: &str = "/v1/chat/completions";

/// A line that asks a model.
pub(crate) fn line(name: &str, model: &str) -> String {
    let body =
        json!({ "model": model, "messages": [{ "role": "user", "content": name }], "max_completion_tokens": 10 });
    json!({ "custom_id": name, "method": "POST", "url": CHAT, "body": body }).to_string()
}

fn lines(count: usize, model: &str) -> String {
    (0..count).map(|at| line(&format!("line-{at}"), model) + "\n").collect()
}

fn form(purpose: &str, content: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b\r\ncontent-disposition: \
         form-data; name=\"file\"; filename=\"in.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--b--\r\n");
    body
}

pub(crate) async fn upload(world: &World, content: impl AsRef<[u8]>) -> String {
    let ask = world.post("/v1/files", &json!({})).header("content-type", "multipart/form-data; boundary=b");
    let file = ask.body(form("batch", content.as_ref())).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    file.json()["id"].as_str().expect("a file has an id").to_owned()
}

pub(crate) fn create(world: &World, file: &str, more: &Value) -> Ask {
    let mut body = json!({ "input_file_id": file, "endpoint": CHAT, "completion_window": "24h" });
    for (name, value) in more.as_object().expect("it is an object") {
        body[name] = value.clone();
    }
    world.post("/v1/batches", &body)
}

async fn begin(world: &World, content: impl AsRef<[u8]>) -> String {
    let file = upload(world, content).await;
    let batch = create(world, &file, &json!({})).await;
    assert_eq!(batch.status, 200, "{}", batch.raw());
    assert_eq!(batch.json()["status"], "validating");
    batch.json()["id"].as_str().expect("a batch has an id").to_owned()
}

pub(crate) async fn show(world: &World, id: &str) -> Value {
    world.get(&format!("/v1/batches/{id}")).key(world.key()).await.json()
}

/// The batch, as soon as it is over.
pub(crate) async fn over(world: &World, id: &str) -> Value {
    let is_over = |batch: &Value| {
        ["completed", "failed", "expired", "cancelled"].iter().any(|status| batch["status"] == **status)
    };
    until_right("the batch to be over", async || {
        let batch = show(world, id).await;
        if is_over(&batch) { Ok(batch) } else { Err(batch.to_string()) }
    })
    .await
}

/// The lines of a file of a batch.
pub(crate) async fn results(world: &World, batch: &Value, file: &str) -> Vec<Value> {
    let Some(id) = batch[file].as_str() else { return Vec::new() };
    let content = world.get(&format!("/v1/files/{id}/content")).key(world.key()).await;
    assert_eq!(content.status, 200, "{}", content.raw());
    content.raw().lines().map(|line| serde_json::from_str(line).expect("a result is JSON")).collect()
}

pub(crate) fn names(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["custom_id"].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn a_file_for_several_models_is_answered_in_its_order_and_each_line_is_in_the_ledger() {
    let world = World::start().await;
    world.upstream("alpha").answers("from alpha").always();
    world.upstream("beta").answers("from beta").always();
    let content = [line("one", "alpha/m"), line("two", "beta/m"), line("three", "alpha/m")].join("\n");
    let id = begin(&world, content).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 3, "failed": 0 }));
    assert_eq!((&batch["errors"], &batch["error_file_id"]), (&Value::Null, &Value::Null));
    assert!(batch["usage"]["total_tokens"].as_u64() > Some(0), "{batch}");
    let results = results(&world, &batch, "output_file_id").await;
    assert_eq!(names(&results), ["one", "two", "three"]);
    for (result, text) in results.iter().zip(["from alpha", "from beta", "from alpha"]) {
        assert_eq!(result["response"]["status_code"], 200);
        assert_eq!(result["response"]["body"]["choices"][0]["message"]["content"], text, "{result}");
        assert_eq!(result["error"], Value::Null);
    }
    let statement = format!(
        "SELECT count() AS attempts, uniqExact(request_id) AS requests FROM attempts WHERE batch_id = '{id}' AND outcome = 'served'"
    );
    world.sql_until(&statement, |rows| rows == [json!({ "attempts": 3, "requests": 3 })]).await;
    let listed = world.get("/v1/batches?limit=1").key(world.key()).await.json();
    assert_eq!((&listed["data"][0]["id"], &listed["has_more"]), (&json!(id), &json!(false)));
}

/// The file with the answers to a batch of one line, made with this key.
pub(crate) async fn answers(world: &World, key: &str, model: &str) -> String {
    let ask = world.post("/v1/files", &json!({})).header("content-type", "multipart/form-data; boundary=b").key(key);
    let file = ask.body(form("batch", line("one", model).as_bytes())).await.json();
    let file = file["id"].as_str().unwrap_or_else(|| panic!("{file}")).to_owned();
    let begun = create(world, &file, &json!({})).key(key).await.json();
    let path = format!("/v1/batches/{}", begun["id"].as_str().unwrap_or_else(|| panic!("{begun}")));
    until("the answers", async || {
        let batch = world.get(&path).key(key).await.json();
        batch["output_file_id"].as_str().map(ToOwned::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_line_for_a_model_that_its_key_may_not_use_is_a_bad_one() {
    let world = World::start().await;
    world.upstream("beta").answers("hello").always();
    let few = made::key(&world, &json!({ "id": "few", "models": ["beta/*"] })).await;
    let file = upload(&world, [line("a", "alpha/m"), line("b", "beta/m")].join("\n")).await;
    let begun = create(&world, &file, &json!({})).key(&few).await.json();
    let batch = over(&world, begun["id"].as_str().unwrap_or_else(|| panic!("{begun}"))).await;
    assert_eq!(batch["request_counts"], json!({ "total": 2, "completed": 1, "failed": 1 }), "{batch}");
    assert_eq!(batch["errors"]["data"][0]["code"], "model_not_allowed", "{batch}");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn bad_lines_are_told_with_their_numbers_and_the_others_run() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let other = json!({ "custom_id": "c", "method": "POST", "url": "/v1/embeddings", "body": {} }).to_string();
    let content = [
        line("a", "alpha/m").into_bytes(),
        b"{\"custom_id\": ".to_vec(),
        other.into_bytes(),
        line("a", "alpha/m").into_bytes(),
        line("e", "nothing-of-the-kind").into_bytes(),
        vec![b'"', 0xff, b'"'],
        line("g", "alpha/m").into_bytes(),
        line("h", "alpha/m").into_bytes()[..40].to_vec(),
    ];
    let id = begin(&world, content.join(&b'\n')).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 8, "completed": 2, "failed": 6 }));
    let told = batch["errors"]["data"].as_array().unwrap();
    let told: Vec<_> =
        told.iter().map(|error| (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap())).collect();
    let codes = [
        (2, "invalid_json_line"),
        (3, "invalid_url"),
        (4, "duplicate_custom_id"),
        (5, "model_not_found"),
        (6, "invalid_utf8"),
        (8, "invalid_json_line"),
    ];
    assert_eq!(told, codes);
    assert_eq!(names(&results(&world, &batch, "output_file_id").await), ["a", "g"]);
    let errors = results(&world, &batch, "error_file_id").await;
    let of_file: Vec<_> = errors
        .iter()
        .map(|result| (result["error"]["line"].as_u64().unwrap(), result["error"]["code"].as_str().unwrap()))
        .collect();
    assert_eq!(of_file, codes);
    let reasons = ["EOF", "/v1/embeddings", "another line", "nothing-of-the-kind", "byte 2", "EOF"];
    for (error, reason) in errors.iter().zip(reasons) {
        assert!(error["error"]["message"].as_str().unwrap().contains(reason), "{reason}: {error}");
    }
    assert_eq!(world.upstream("alpha").calls().len(), 2, "of a name that stands twice, the second is not sent");
}

#[tokio::test]
async fn a_file_without_a_line_that_can_run_fails() {
    let world = World::start().await;
    let id = begin(&world, "\n\n").await;
    let batch = over(&world, &id).await;
    assert_eq!((&batch["status"], &batch["errors"]["data"][0]["code"]), (&json!("failed"), &json!("empty_file")));
    let id = begin(&world, "{}\n[]\n").await;
    let batch = over(&world, &id).await;
    assert_eq!((&batch["status"], &batch["request_counts"]["failed"]), (&json!("failed"), &json!(2)), "{batch}");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_told_when_it_is_asked_for() {
    let world = World::start().await;
    let file = upload(&world, lines(1, "alpha/m")).await;
    let wrong = [
        (json!({ "input_file_id": "file-none" }), "input_file_id"),
        (json!({ "endpoint": "/v1/nothing" }), "endpoint"),
        (json!({ "completion_window": "soon" }), "completion_window"),
        (json!({ "completion_window": "900h" }), "completion_window"),
        (json!({ "metadata": { "x": "y".repeat(513) } }), "metadata"),
        (json!({ "output_expires_after": { "anchor": "created_at", "seconds": 1 } }), "output_expires_after"),
    ];
    for (more, field) in wrong {
        let refused = create(&world, &file, &more).await;
        assert_eq!(refused.status, 400, "{more}: {}", refused.raw());
        assert_eq!(refused.json()["error"]["param"], field, "{more}: {}", refused.raw());
    }
    let stranger = made::key(&world, &json!({ "id": "other", "project": "elsewhere" })).await;
    let refused = create(&world, &file, &json!({})).key(&stranger).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("input_file_id")));
    world.upstream("alpha").answers("hello").always();
    let id = begin(&world, lines(1, "alpha/m")).await;
    over(&world, &id).await;
    for path in
        [format!("/v1/batches/{id}"), "/v1/batches/batch_none".to_owned(), "/v1/batches/x y".replace(' ', "%20")]
    {
        assert_eq!(world.get(&path).key(&stranger).await.status, 404, "{path}");
    }
    let cancelled = world.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelled.status, 400, "one that is over cannot be cancelled: {}", cancelled.raw());
    let listed = world.get("/v1/batches").key(&stranger).await.json();
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn a_cancelled_batch_begins_nothing_more_and_keeps_what_was_answered() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    alpha.answers("first").once();
    let gate = Gate::new();
    alpha.replies(Reply::answer("late").held(&gate)).always();
    let id = begin(&world, lines(3, "alpha/m")).await;
    until("one to be answered, and the others to be under way", async || {
        (show(&world, &id).await["request_counts"]["completed"] == 1 && alpha.calls().len() == 3).then_some(())
    })
    .await;
    let cancelling = world.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelling.json()["status"], "cancelling", "{}", cancelling.raw());
    let batch = over(&world, &id).await;
    assert_eq!(batch["status"], "cancelled", "{batch}");
    assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 1, "failed": 2 }));
    assert_eq!(results(&world, &batch, "output_file_id").await.len(), 1);
    let errors = results(&world, &batch, "error_file_id").await;
    assert!(errors.iter().all(|result| result["error"]["code"] == "batch_cancelled"), "{errors:?}");
    assert_eq!(alpha.calls().len(), 3);
}

#[tokio::test]
async fn lines_that_a_provider_refuses_for_good_stand_in_the_error_file_and_those_it_puts_off_come_again() {
    let world = World::start().await;
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::error(429).header("retry-after", "1")).times(2);
    alpha.answers("hello").always();
    world.upstream("beta").replies(Reply::error(400)).always();
    let id = begin(&world, [line("a", "alpha/m"), line("b", "beta/m")].join("\n")).await;
    let batch = over(&world, &id).await;
    assert_eq!(batch["request_counts"], json!({ "total": 2, "completed": 1, "failed": 1 }), "{batch}");
    let errors = results(&world, &batch, "error_file_id").await;
    assert_eq!(names(&errors), ["b"]);
    assert_eq!(errors[0]["response"]["status_code"], 400, "{errors:?}");
    assert!(errors[0]["response"]["body"]["error"]["message"].is_string(), "{errors:?}");
}

/// A number from the environment, for the long runs of `tests/soak`.
pub(crate) fn soak(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("it is a number"))
}

#[tokio::test]
async fn whatever_is_killed_every_line_has_exactly_one_result() {
    let (count, kills) = (soak("PENSTOCK_SOAK_LINES", 300), soak("PENSTOCK_SOAK_KILLS", 3));
    let mut world = World::start().await;
    for name in ["alpha", "beta"] {
        world.upstream(name).answers("hello").always();
    }
    let content: String = (0..count)
        .map(|at| line(&format!("line-{at}"), if at % 3 == 0 { "beta/m" } else { "alpha/m" }) + "\n")
        .collect();
    let id = begin(&world, content).await;
    let calls = |world: &World| world.upstream("alpha").calls().len() + world.upstream("beta").calls().len();
    for kill in 0..kills {
        // All lines may be answered already.
        let wanted = (calls(&world) + count / (kills + 2)).min(count);
        until("some lines to be answered", async || (calls(&world) >= wanted).then_some(())).await;
        if kill % 2 == 0 {
            world.crash().await;
            world.again().await;
        } else {
            world.up().kill_child("nats-server");
        }
    }
    let batch = over(&world, &id).await;
    if batch["error_file_id"].is_string() {
        panic!("no line may fail: {:#?}", results(&world, &batch, "error_file_id").await);
    }
    assert_eq!(batch["request_counts"], json!({ "total": count, "completed": count, "failed": 0 }), "{batch}");
    let results = results(&world, &batch, "output_file_id").await;
    let expected: Vec<String> = (0..count).map(|at| format!("line-{at}")).collect();
    assert_eq!(names(&results), expected);
    let requests: BTreeSet<_> = results.iter().map(|result| result["response"]["request_id"].to_string()).collect();
    assert_eq!(requests.len(), count);
    // Every call that a provider saw has its row, those of lines that were made twice too.
    let statement =
        format!("SELECT count() AS rows, uniqExact(attempt_id) AS ids FROM attempts WHERE batch_id = '{id}'");
    let made = calls(&world);
    world
        .sql_until(&statement, |rows| {
            let number = |name: &str| rows[0][name].as_u64().unwrap_or(0);
            usize::try_from(number("rows")).is_ok_and(|rows| rows >= made) && number("rows") == number("ids")
        })
        .await;
}

#[tokio::test]
async fn what_is_not_answered_within_the_window_expires_and_what_was_is_there() {
    let world = World::start().await;
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.answers("first").once();
    alpha.replies(Reply::answer("late").held(&gate)).always();
    let file = upload(&world, lines(2, "alpha/m")).await;
    let begun = create(&world, &file, &json!({ "completion_window": "3s" })).await.json();
    let batch = over(&world, begun["id"].as_str().unwrap()).await;
    assert_eq!(batch["status"], "expired", "{batch}");
    let errors = results(&world, &batch, "error_file_id").await;
    assert!(!errors.is_empty());
    for error in &errors {
        let code = error["error"]["code"].as_str().or(error["response"]["body"]["error"]["code"].as_str());
        assert!(matches!(code, Some("batch_expired" | "deadline")), "{error}");
    }
    let results = results(&world, &batch, "output_file_id").await;
    assert_eq!(results.len() + errors.len(), 2);
}

/// A budget of so many dollars, where a line may come to one.
async fn allow(world: &World, dollars: &str) {
    let budget = json!({ "budgets": { "small": { "name": "small", "limit_usd": dollars, "cycle": "total" } } });
    world.manage(budget, &[world.address()]).await;
}

const DOLLARS: &str = "[batch]\nat_once = 1\n[[prices]]\nmodel = \"alpha/m\"\ninput_usd_per_million = \"0\"\noutput_usd_per_million = \"100000\"\n";

#[tokio::test]
async fn a_batch_that_cannot_be_paid_for_is_refused_with_the_sum() {
    let world = World::setup().config(DOLLARS).start().await;
    allow(&world, "4.5").await;
    let id = begin(&world, lines(5, "alpha/m")).await;
    let batch = over(&world, &id).await;
    assert_eq!(
        (&batch["status"], &batch["errors"]["data"][0]["code"]),
        (&json!("failed"), &json!("insufficient_budget")),
        "{batch}"
    );
    let message = batch["errors"]["data"][0]["message"].as_str().unwrap();
    assert!(message.contains("may come to 5 USD") && message.contains("`small` of 4.5 USD"), "{message}");
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

#[tokio::test]
async fn what_a_call_in_flight_has_set_aside_fails_no_batch() {
    let world = World::setup().config(DOLLARS).start().await;
    allow(&world, "10").await;
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.replies(Reply::answer("hello").held(&gate)).once();
    alpha.answers("hello").always();
    let ask = world.ask("alpha/m").field("max_tokens", json!(80));
    let (answer, batch) = tokio::join!(ask.send(), async {
        until("the call to hold most of the budget", async || (alpha.calls().len() == 1).then_some(())).await;
        let id = begin(&world, lines(3, "alpha/m")).await;
        until("the lines to be read", async || (show(&world, &id).await["status"] != "validating").then_some(())).await;
        gate.open();
        over(&world, &id).await
    });
    assert_eq!(answer.text(), "hello");
    assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 3, "failed": 0 }), "{batch}");
}

#[tokio::test]
async fn a_batch_whose_budget_runs_out_goes_on_when_there_is_more() {
    let world = World::setup().config(DOLLARS).start().await;
    allow(&world, "4.5").await;
    let (alpha, [first, sync]) = (world.upstream("alpha"), [Gate::new(), Gate::new()]);
    alpha.replies(Reply::answer("hello").held(&first)).once();
    alpha.replies(Reply::answer("hello").held(&sync)).once();
    alpha.answers("hello").always();
    let id = begin(&world, lines(3, "alpha/m")).await;
    until("the first line to be under way", async || (alpha.calls().len() == 1).then_some(())).await;
    let ask = world.ask("alpha/m").field("max_tokens", json!(35));
    let (answer, ()) = tokio::join!(ask.send(), async {
        until("a client's call to hold the rest", async || (alpha.calls().len() == 2).then_some(())).await;
        first.open();
        until("the first line", async || (show(&world, &id).await["request_counts"]["completed"] == 1).then_some(()))
            .await;
        allow(&world, "100.00").await;
        let batch = over(&world, &id).await;
        assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 3, "failed": 0 }), "{batch}");
        sync.open();
    });
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn when_its_key_is_revoked_a_batch_ends_with_the_reason() {
    let world = World::start().await;
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.replies(Reply::answer("late").held(&gate)).always();
    let secret = made::key(&world, &json!({ "id": "leaver" })).await;
    let file = upload(&world, lines(2, "alpha/m")).await;
    let begun = create(&world, &file, &json!({})).key(&secret).await.json();
    let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    until("its lines to be under way", async || (alpha.calls().len() == 2).then_some(())).await;
    let gone = world.get("/admin/v1/keys/leaver").method(Method::DELETE).key(world.admin_key()).await;
    assert!(gone.status.is_success(), "{}", gone.raw());
    let batch = over(&world, &id).await;
    assert_eq!(batch["request_counts"], json!({ "total": 2, "completed": 0, "failed": 2 }), "{batch}");
    let errors = results(&world, &batch, "error_file_id").await;
    assert!(errors.iter().all(|error| error["response"]["status_code"] == 401), "{errors:?}");
}
