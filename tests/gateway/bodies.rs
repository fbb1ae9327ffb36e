//! Large requests, large answers, and callers who do not read: nothing is cut, and memory stays bounded.

use futures_util::stream::{self, StreamExt};
use penstock_tests::{Ask, Part, Reply, World, memory_of, until, until_right, words};
use serde_json::json;
use tokio::net::TcpSocket;

const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn a_request_over_the_buss_limit_arrives_whole() {
    let world = World::start().await;
    // No period that a lost or doubled piece could hide behind.
    let text: String = (0_u64..).map(|n| format!("{n} ")).take(12 * MEGABYTE / 8).collect();
    assert!(text.len() > 10 * MEGABYTE);
    let ask = world.ask("fast").field("text", json!(text));
    let sent = ask.bytes();
    assert_eq!(ask.await.text(), "hello");
    let call = world.upstream("alpha").received(1).await;
    let expected = String::from_utf8_lossy(&sent).replace("\"fast\"", "\"m\"");
    assert!(call.body == expected.as_bytes(), "{} bytes sent, {} received", expected.len(), call.body.len());

    world.upstream("alpha").fails(500).always();
    assert_eq!(world.ask("fast").field("text", json!(text)).await.text(), "hello", "it is there for the next link too");
    assert!(world.upstream("beta").received(1).await.body == expected.as_bytes());
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let world = World::start().await;
    let text: String = (0_u64..).map(|n| format!("{n} ")).take(6 * MEGABYTE / 7).collect();
    world.upstream("alpha").answers(&text).always();
    let answer = world.ask("fast").await;
    let expected = words::whole(&text).replace("m-2026-11-22", "fast");
    assert!(answer.raw() == expected, "{} bytes instead of {}", answer.body.len(), expected.len());
    assert_eq!(world.attempts(1).await, ["alpha 200"]);
}

#[tokio::test]
async fn a_stream_to_a_caller_who_does_not_read_is_held_back_at_the_provider() {
    const CHUNKS: usize = 10_000;
    let mut world = World::start().await;
    let chunk = words::content(&"x".repeat(4 * 1024));
    let parts = std::iter::repeat_n(chunk.clone(), CHUNKS).chain([words::finish(), words::DONE.to_owned()]);
    world.upstream("alpha").replies(Reply::stream(parts.map(Part::from))).always();
    assert_eq!(world.ask("beta/m").stream().await.text(), "hello", "everything is warm");
    let pid = world.up().pid();
    let before = memory_of(pid);

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let address = world.url().strip_prefix("http://").unwrap().parse().unwrap();
    let stream = socket.connect(address).await.unwrap();
    let open = world.ask("fast").stream().open_on(stream).await.unwrap();
    let call = world.upstream("alpha").received(1).await;
    let mut seen = Vec::new();
    until("the provider to be held back", async || {
        seen.push(call.sent());
        // A hundred looks in a row, half a second or more.
        seen.last_chunk::<100>().filter(|last| last[0] > 0 && last[0] == last[99]).map(|_| ())
    })
    .await;
    let (held_at, grown) = (call.sent(), memory_of(pid).saturating_sub(before));
    println!(
        "held back after {} KB of {} KB; memory grew by {} KB",
        held_at / 1024,
        CHUNKS * chunk.len() / 1024,
        grown / 1024
    );
    assert!(held_at < CHUNKS * chunk.len(), "everything was taken although nobody reads");
    assert!(grown < 16 * MEGABYTE, "the gateway grew by {grown} bytes");

    let answer = open.rest().await;
    let named = |event: String| event.replace("m-2026-11-22", "fast").len();
    // The provider's first chunk names no role, which OpenAI's does: it is written anew, without two spaces, and 2.50 as 2.5.
    let role = r#""role":"assistant","#.len() - "  0".len();
    assert_eq!(answer.body.len(), CHUNKS * named(chunk) + named(words::finish()) + words::DONE.len() + role);
    assert!(answer.raw().ends_with(words::DONE));
    assert_eq!(world.attempts(2).await, ["beta 200", "alpha 200"]);
}

#[tokio::test]
async fn the_memory_of_a_burst_of_large_requests_is_given_back() {
    let mut world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    for _ in 0..50 {
        world.ask("alpha/m").await;
    }
    let pid = world.up().pid();
    let base = memory_of(pid);
    let large = world.ask("alpha/m").field("text", json!("x".repeat(MEGABYTE)));
    let burst = stream::iter((0..96).map(|_| large.clone())).map(Ask::send).buffer_unordered(16);
    let answers = burst.map(|answer| answer.text()).collect::<Vec<_>>().await;
    assert!(answers.len() == 96 && answers.iter().all(|text| text == "hello"));
    let after = memory_of(pid);
    let told = until_right("the memory to be given back", async || {
        let now = memory_of(pid);
        let told = format!("{} KB, {} KB after the burst, now {} KB", base / 1024, after / 1024, now / 1024);
        if now <= base / 3 * 4 { Ok(told) } else { Err(told) }
    })
    .await;
    println!("{told}");
}
