//! Jobs as streams of events: their answer in the caller's dialect while it comes, from its beginning or from where a reader was.

use crate::made;
use penstock_tests::{Answer, Ask, Gate, Open, Part, Reply, World, until, words};
use serde_json::{Value, json};

async fn later(ask: Ask) -> Value {
    let taken = ask.header("prefer", "respond-async").await;
    assert_eq!(taken.status, 202, "{}", taken.raw());
    taken.json()
}

fn path(job: &Value) -> String {
    format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_else(|| panic!("{job}")))
}

fn events(world: &World, job: &Value) -> Ask {
    world.get(&path(job)).key(world.key()).header("accept", "text/event-stream")
}

/// The job, as soon as it is over.
async fn over(world: &World, job: &Value) -> Value {
    until("the job to be over", async || {
        let shown = world.get(&format!("{}?wait=5s", path(job))).key(world.key()).await.json();
        (!matches!(shown["status"].as_str(), Some("queued" | "in_progress"))).then_some(shown)
    })
    .await
}

fn text(answer: &Answer) -> String {
    let events = answer.events();
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

/// A stream that goes on once the gate is open.
fn in_two(gate: &Gate) -> Reply {
    let parts = [words::role(), words::content("one "), words::content("two ")].map(Into::into);
    let rest =
        [Part::Wait(gate.clone()), words::content("three").into(), words::finish().into(), words::usage().into()];
    Reply::stream(parts.into_iter().chain(rest).chain(["data: [DONE]\n\n".into()]))
}

#[tokio::test]
async fn a_job_that_streams_is_read_while_it_comes_and_again_and_from_where_its_reader_was() {
    let (world, gate) = (World::start().await, Gate::new());
    world.upstream("alpha").replies(in_two(&gate)).always();
    let job = later(world.ask("alpha/m").stream()).await;
    let mut open: Open = events(&world, &job).open().await;
    let seen = open.until("one ").await;
    let id = seen.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    assert!(!seen.contains("three"), "{seen}");
    drop(open);
    let back = events(&world, &job).header("last-event-id", &id).open();
    let (back, ()) = tokio::join!(back, async { gate.open() });
    let back = back.rest().await;
    let missed = if seen.contains("two ") { "three" } else { "two three" };
    assert_eq!(text(&back), missed, "{}", back.raw());
    let done = over(&world, &job).await;
    assert_eq!(done["response"]["body"]["choices"][0]["message"]["content"], "one two three", "{done}");
    assert_eq!(
        (&done["response"]["body"]["object"], &done["status"]),
        (&json!("chat.completion"), &json!("completed"))
    );
    let again = events(&world, &job).await;
    assert_eq!(text(&again), "one two three", "{}", again.raw());
    assert!(again.raw().trim_end().ends_with("data: [DONE]"), "{}", again.raw());
    assert_eq!(world.upstream("alpha").calls().len(), 1);
    let id = done["request_id"].as_str().unwrap();
    let rows = format!("SELECT outcome, stream FROM requests WHERE request_id = '{id}'");
    world.sql_until(&rows, |rows| rows == [json!({ "outcome": "served", "stream": true })]).await;
    let other = "0190a0a0-0000-7000-8000-000000000000.1";
    assert_eq!(events(&world, &job).header("last-event-id", other).await.status, 404);
    assert_eq!(events(&world, &job).header("last-event-id", "x").await.status, 400);
}

#[tokio::test]
async fn the_stream_of_a_job_is_that_of_its_dialect_and_so_is_its_answer() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::stream(words::stream("hello"))).always();
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let anthropic = json!({ "model": "alpha/m", "max_tokens": 9, "messages": messages, "stream": true });
    let google = json!({ "contents": [{ "parts": [{ "text": "Hi" }] }] });
    let responses = json!({ "model": "alpha/m", "input": "Hi", "stream": true });
    for (path, body, in_stream, pointer) in [
        ("/v1/messages", anthropic, "event: message_stop", "/content/0/text"),
        (
            "/v1beta/models/alpha/m:streamGenerateContent?alt=sse",
            google,
            "\"finishReason\"",
            "/candidates/0/content/parts/0/text",
        ),
        ("/v1/responses", responses, "event: response.completed", "/output/0/content/0/text"),
    ] {
        let job = later(world.post(path, &body)).await;
        let stream = events(&world, &job).await.raw();
        assert!(stream.contains(in_stream) && stream.contains("hello"), "{path}: {stream}");
        assert!(stream.contains("\nid: ") || stream.starts_with("id: "), "{path}: {stream}");
        let done = over(&world, &job).await;
        let body = &done["response"]["body"];
        assert_eq!(body.pointer(pointer), Some(&json!("hello")), "{path}: {done}");
    }
}

#[tokio::test]
async fn a_job_without_a_stream_is_one_event_and_one_that_fails_says_why_in_its_dialect() {
    let (world, gate) = (World::start().await, Gate::new());
    let alpha = world.upstream("alpha");
    alpha.replies(Reply::answer("late").held(&gate)).once();
    alpha.replies(Reply::error(400)).always();
    let whole = later(world.ask("alpha/m")).await;
    let mut open = events(&world, &whole).open().await;
    until("it to be under way", async || (alpha.calls().len() == 1).then_some(())).await;
    gate.open();
    let event = open.until("\n\n").await;
    assert!(event.contains("event: job\ndata: {") && event.contains("late"), "{event}");
    let chat = later(world.ask("alpha/m").stream()).await;
    let failed = events(&world, &chat).await.raw();
    assert!(failed.contains("data: {\"error\":") && !failed.contains("event:"), "{failed}");
    let body = json!({ "model": "alpha/m", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }], "stream": true });
    let message = later(world.post("/v1/messages", &body)).await;
    let failed = events(&world, &message).await.raw();
    assert!(failed.contains("event: error\ndata: {\"type\":\"error\""), "{failed}");
    let stranger = made::key(&world, &json!({ "project": "elsewhere" })).await;
    assert_eq!(events(&world, &chat).key(&stranger).await.status, 404);
}

#[tokio::test]
async fn the_stream_of_a_job_that_breaks_ends_with_an_error_and_the_job_has_failed() {
    let (world, gate) = (World::start().await, Gate::new());
    let parts = [words::role().into(), words::content("one ").into(), Part::Wait(gate.clone()), Part::Cut];
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let job = later(world.ask("alpha/m").stream()).await;
    let mut open = events(&world, &job).open().await;
    open.until("one ").await;
    gate.open();
    let rest = open.rest().await.raw();
    assert!(rest.contains("\"error\""), "{rest}");
    let done = over(&world, &job).await;
    assert_eq!((&done["status"], &done["response"]["status_code"]), (&json!("failed"), &json!(502)), "{done}");
}
