//! What clients and providers can make the process hold: no more than `[ingress] memory` and `[workers] memory` allow, by the
//! process's own peak.

use super::raw::head;
use penstock_tests::{Gate, LONG, Part, Reply, World, until, words};
use serde_json::{Value, json};
use std::fs::read_to_string;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::timeout;

const MB: u64 = 1 << 20;

/// What is set aside for a stream, in the ingress and in the worker, in bytes.
const STREAM: u64 = (384 + 896) << 10;

/// The most that `up` has held so far, in bytes.
pub(crate) fn peak(world: &mut World) -> u64 {
    let pid = world.up().pid();
    let status = read_to_string(format!("/proc/{pid}/status")).expect("Linux tells of a running process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the peak");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("it is a number");
    kilobytes << 10
}

/// A connection whose client has asked for this and reads nothing.
async fn unread(world: &World, model: &str, stream: bool) -> TcpStream {
    let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"?"}}]}}"#);
    let request = head(world, &[&format!("content-length: {}", body.len())]) + &body;
    let mut connection = TcpStream::connect(world.address()).await.expect("the gateway takes connections");
    connection.write_all(request.as_bytes()).await.expect("the request is sent");
    connection
}

#[tokio::test]
async fn clients_who_do_not_read_their_streams_hold_no_more_than_is_accounted_for_them() {
    const CLIENTS: usize = 150;
    let mut world = World::start().await;
    let piece = words::content(&"x".repeat(60_000));
    let parts: Vec<Part> = (0..100).map(|_| piece.clone().into()).chain([Part::Silence]).collect();
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let before = peak(&mut world);
    let mut clients = Vec::new();
    for count in 1..=CLIENTS {
        clients.push(unread(&world, "fast", true).await);
        timeout(LONG, world.upstream("alpha").received(count)).await.expect("the provider is called");
    }
    // Everybody sends as long as anybody takes; then all stands still.
    let sent = |world: &World| world.upstream("alpha").calls().iter().map(penstock_tests::Call::sent).sum::<usize>();
    let mut last = 0;
    until("a standstill", async || {
        tokio::task::yield_now().await;
        let now = sent(&world);
        let is_still = now == last && now > 0;
        last = now;
        is_still.then_some(())
    })
    .await;
    let held = (peak(&mut world) - before) / CLIENTS as u64;
    // A peak: on a busy machine it has in it what is about to be given back.
    assert!(held < STREAM + STREAM / 4, "{} KB for each", held >> 10);
}

/// A list of so many values.
fn zeros(count: usize) -> String {
    format!("[{}0]", "0,".repeat(count - 1))
}

#[tokio::test]
async fn a_body_of_many_small_values_takes_the_memory_that_they_take_when_they_are_read() {
    let mut world = World::setup().env("PENSTOCK_INGRESS_MEMORY", "64MB").start().await;
    world.upstream("alpha").answers("hi").always();
    let before = peak(&mut world);
    let schema = |count| {
        let tool = format!(r#"{{"name":"f","parameters":{{"type":"object","enum":{}}}}}"#, zeros(count));
        format!(
            r#"{{"model":"alpha/m","messages":[{{"role":"user","content":"?"}}],
                "tools":[{{"type":"function","function":{tool}}}]}}"#
        )
    };
    let ask = |count| world.ask("alpha/m").header("content-type", "application/json").body(schema(count));
    assert_eq!(ask(100_000).await.text(), "hi");
    let refused = ask(4_000_000).await;
    assert!(refused.status == 413 && refused.message().contains("[ingress] memory"), "{}", refused.raw());
    assert_eq!(refused.header("retry-after"), "", "it would never fit");
    assert_eq!(ask(100_000).await.text(), "hi");
    assert_eq!(world.upstream("alpha").calls().len(), 2);
    let held = peak(&mut world) - before;
    assert!(held < 150 * MB, "{} MB", held / MB);
}

#[tokio::test]
async fn an_answer_of_many_small_values_takes_the_memory_that_they_take_when_they_are_read() {
    let mut world = World::setup().env("PENSTOCK_WORKERS_MEMORY", "64MB").start().await;
    let with_values =
        |answer: String, count| answer.replacen("\"usage\":{", &format!("\"usage\":{{\"x\":{},", zeros(count)), 1);
    let whole = |count| with_values(words::whole("hi"), count);
    let event = |count| with_values(words::usage(), count);
    let before = peak(&mut world);
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let ask = || world.ask("alpha/m").path(path).field("max_tokens", json!(9));
        let calls = world.upstream("alpha").calls().len();
        world.upstream("alpha").replies(Reply::whole(200, whole(100_000))).once();
        assert_eq!(ask().await.status, 200);
        world.upstream("alpha").replies(Reply::whole(200, whole(4_000_000))).once();
        let refused = ask().await;
        assert!(refused.status == 500 && refused.message().contains("[workers] memory"), "{}", refused.raw());
        let parts: Vec<Part> = vec![words::content("hi").into(), event(4_000_000).into()];
        world.upstream("alpha").replies(Reply::stream(parts)).once();
        let broken = ask().stream().await;
        assert!(broken.raw().contains("[workers] memory"), "{}", broken.raw());
        assert_eq!(world.upstream("alpha").calls().len(), calls + 3, "what was paid is not asked for again");
    }
    let held = peak(&mut world) - before;
    assert!(held < 150 * MB, "{} MB", held / MB);
}

#[tokio::test]
async fn what_is_kept_is_read_again_only_where_there_is_memory_for_it() {
    let world = World::setup().env("PENSTOCK_INGRESS_MEMORY", "20MB").start().await;
    world.upstream("alpha").answers("hi").once();
    let large = "x".repeat(5_000_000);
    let kept = world.post("/v1/responses", &json!({ "model": "alpha/m", "input": large })).await.json();
    let path = format!("/v1/responses/{}/input_items", kept["id"].as_str().unwrap_or_else(|| panic!("{kept}")));
    let read = || world.get(&path).key(world.key());
    assert_eq!(read().await.status, 200);
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("held").held(&gate)).once();
    let held = json!([{ "role": "user", "content": "x".repeat(2_000_000) }]);
    let (answer, ()) = tokio::join!(world.ask("alpha/m").field("messages", held).send(), async {
        world.upstream("alpha").received(2).await;
        assert_eq!(read().await.status, 503, "another request has the memory");
        gate.open();
    });
    assert_eq!(answer.text(), "held");
    until("the memory to be free", async || (read().await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn what_holds_no_request_to_a_model_is_short() {
    let world = World::start().await;
    let long = format!(r#"{{"name":"x","request":{{"model":"alpha/m","x":{}}}}}"#, zeros(600_000));
    for (path, key) in
        [("/admin/v1/route", world.admin_key()), ("/v1/uploads", world.key()), ("/v1/feedback", world.key())]
    {
        let post = world.get(path).method(http::Method::POST).key(key).header("content-type", "application/json");
        assert_eq!(post.body(long.clone()).await.status, 413, "{path}");
    }
}

#[tokio::test]
async fn whole_answers_that_wait_for_their_clients_are_held_within_the_memory_or_refused() {
    let mut world =
        World::setup().env("PENSTOCK_INGRESS_MEMORY", "200MB").env("PENSTOCK_WORKERS_MEMORY", "200MB").start().await;
    let large = words::whole(&"x".repeat(20_000_000));
    world.upstream("alpha").replies(Reply::whole(200, large)).always();
    world.upstream("beta").answers("small").always();
    let before = peak(&mut world);
    let (mut clients, mut refused) = (Vec::new(), 0);
    for count in 1..=40 {
        let client = unread(&world, "alpha/m", false).await;
        let sent = async {
            select! {
                _ = world.upstream("alpha").received(count - refused) => {}
                // There is no memory for the call: it is refused, and the provider is not called.
                _ = client.readable() => refused += usize::from(world.upstream("alpha").calls().len() < count - refused),
            }
        };
        timeout(LONG, sent).await.expect("the call is sent or refused");
        clients.push(client);
    }
    let rows = world.requests(0).await;
    drop(rows);
    let held = peak(&mut world) - before;
    assert!(held < 700 * MB, "{} MB for 40 answers of 20 MB", held / MB);
    drop(clients);
    until("memory for others", async || {
        let answer = world.ask("beta/m").await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_response_goes_on_from_counts_as_memory_of_its_request_and_within_the_limit_of_a_body() {
    let world =
        World::setup().env("PENSTOCK_INGRESS_BODY_LIMIT", "1200KB").env("PENSTOCK_INGRESS_MEMORY", "5MB").start().await;
    world.upstream("alpha").answers("hello").always();
    let next = async |previous: &Value, length: usize| {
        let body = json!({ "model": "alpha/m", "input": "x ".repeat(length / 2), "previous_response_id": previous })
            .to_string();
        world.ask("alpha/m").path("/v1/responses").body(body).await
    };
    let first = next(&Value::Null, 500_000).await.json();
    let second = next(&first["id"], 500_000).await.json();
    assert_eq!(second["status"], "completed", "{second}");
    // Three times 1 MB of before and three times 0.7 MB are more than there is.
    let full = next(&second["id"], 700_000).await;
    assert!(full.status == 503 && full.message().contains("memory"), "{}", full.raw());
    // 1.3 MB are more than a request may say.
    let third = next(&second["id"], 5_000).await.json();
    assert_eq!(third["status"], "completed", "{third}");
    let long = next(&third["id"], 300_000).await;
    assert_eq!(long.status, 413, "{}", long.raw());
    let again = next(&third["id"], 10).await;
    assert_eq!(again.status, 200, "what was held is given back: {}", again.raw());
}

#[tokio::test]
async fn items_that_a_request_refers_to_count_as_its_memory_each_time_that_they_are_named() {
    let world =
        World::setup().env("PENSTOCK_INGRESS_BODY_LIMIT", "12MB").env("PENSTOCK_INGRESS_MEMORY", "12MB").start().await;
    world.upstream("alpha").answers(&"x".repeat(100_000)).once();
    world.upstream("alpha").answers("hello").always();
    let ask = async |input: Value| {
        let body = json!({ "model": "alpha/m", "input": input }).to_string();
        world.ask("alpha/m").path("/v1/responses").body(body).await
    };
    let said = ask(json!("Hi")).await.json();
    let reference = json!({ "type": "item_reference", "id": said["output"][0]["id"] });
    let refer = async |times: usize| ask(json!(vec![&reference; times])).await;
    assert_eq!(refer(5).await.status, 200);
    // Three times 6 MB are more than there is, and 13 MB more than a request may say.
    let full = refer(60).await;
    assert!(full.status == 503 && full.message().contains("memory"), "{}", full.raw());
    let long = refer(130).await;
    assert!([413, 503].contains(&long.status.as_u16()), "{}", long.raw());
    assert_eq!(refer(5).await.status, 200, "what was held is given back");
}
