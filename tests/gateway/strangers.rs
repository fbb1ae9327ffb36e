//! Who has no key takes nothing from those who have one: no memory, no connections, no time. And connections: how long they
//! are kept, and what becomes of clients that do not read.

use super::raw::{head, raw};
use penstock_tests::{Ask, LONG, Part, Reply, World, words};
use serde_json::json;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    timeout(LONG, done).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A connection on which this was sent.
async fn sent(world: &World, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(world.address()).await.expect("the gateway takes connections");
    stream.write_all(bytes).await.expect("a new connection takes bytes");
    stream
}

/// Everything that still comes on a connection until it is closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it is kept.
    let _ = soon("the end of a connection", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn bodies_that_are_only_announced_hold_no_memory() {
    let world = World::setup().env("PENSTOCK_INGRESS_MEMORY", "64MB").start().await;
    world.upstream("alpha").answers("served").always();
    let known = head(&world, &["content-length: 30000000"]);
    let strange = known.replace(world.key(), "psk_somebodyelse0000000000");
    let keyless = known.replace("authorization", "x-other");
    for head in [&strange, &keyless] {
        for _ in 0..20 {
            let stream = sent(&world, format!("{head}{{").as_bytes()).await;
            let refused = rest(stream).await;
            assert!(refused.starts_with("HTTP/1.1 401 "), "without waiting for the body: {refused}");
        }
    }
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(sent(&world, format!("{known}{{").as_bytes()).await);
    }
    assert_eq!(world.ask("fast").await.text(), "served");
}

#[tokio::test]
async fn no_path_waits_for_the_body_of_somebody_without_a_key() {
    let world = World::start().await;
    let document = world.get("/openapi.json").key(world.admin_key()).await.json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace(['{', '}', '*'], "");
        for method in
            methods.as_object().expect("methods").keys().filter(|name| ["post", "put", "patch"].contains(&&***name))
        {
            for kind in ["application/json", "multipart/form-data; boundary=b"] {
                let method = method.to_uppercase();
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 30000000\r\n\r\n{{"
                );
                let refused = rest(sent(&world, head.as_bytes()).await).await;
                assert!(refused.starts_with("HTTP/1.1 4"), "{method} {path}: {refused}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
    // Who logs in is not known before the body is read.
    let login = json!({ "token": "x".repeat(100_000) });
    assert_eq!(world.post("/dashboard/session", &login).await.status, 413);
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_words_even_when_a_large_body_follows_it() {
    let world = World::start().await;
    let body = "x".repeat(8_000_000);
    let head = head(&world, &[&format!("content-length: {}", body.len())]);
    let request = head.replace(world.key(), "psk_somebodyelse0000000000") + &body;
    assert_eq!(raw(&world, request).await.error(), "401 invalid_request_error invalid_api_key");
}

#[tokio::test]
async fn a_crowd_of_connections_without_a_key_crowds_out_only_itself() {
    let world =
        World::setup().env("PENSTOCK_INGRESS_CONNECTIONS", "16").env("PENSTOCK_INGRESS_STRANGERS", "8").start().await;
    world.upstream("alpha").answers("served").always();
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(sent(&world, b"GET / HTTP").await);
    }
    // The oldest of them have been closed for the newest.
    for oldest in crowd.drain(..30) {
        assert_eq!(rest(oldest).await, "");
    }
    assert_eq!(soon("an honest request", world.ask("fast").send()).await.text(), "served");
}

#[tokio::test]
async fn an_address_whose_keys_fail_has_to_wait_but_a_good_key_from_it_has_not() {
    let world = World::start().await;
    world.upstream("alpha").answers("served").always();
    let tries = async |ask: &dyn Fn() -> Ask| {
        for failed in 0..1000 {
            let answer = ask().key("psk_somebodyelse0000000000").await;
            if answer.status == 429 {
                assert_eq!(answer.error(), "429 rate_limit_error too_many_invalid_keys");
                assert!(!answer.header("retry-after").is_empty());
                return failed;
            }
            assert_eq!(answer.error(), "401 invalid_request_error invalid_api_key");
        }
        panic!("1,000 wrong keys may be tried at once");
    };
    assert!(tries(&|| world.ask("fast")).await >= 100);
    assert_eq!(world.ask("fast").await.text(), "served");
    assert!(tries(&|| world.get("/admin/v1/keys")).await < 100, "all doors count together");
    assert_eq!(world.get("/admin/v1/keys").key(world.admin_key()).await.status, 200);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_closed_without_a_word_when_none_comes() {
    let world = World::setup()
        .env("PENSTOCK_INGRESS_IDLE_TIMEOUT", "6s")
        .env("PENSTOCK_INGRESS_HEAD_TIMEOUT", "100ms")
        .start()
        .await;
    let mut stream = sent(&world, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = vec![0; 12];
    stream.read_exact(&mut first).await.expect("the first answer");
    assert_eq!(first, b"HTTP/1.1 200");
    // Longer than a head may take, shorter than the connection is kept.
    let quiet = timeout(std::time::Duration::from_millis(500), async {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.map(|_| all)
    });
    assert!(quiet.await.is_err(), "the connection is kept");
    let end = rest(stream).await;
    assert!(!end.contains("HTTP/1.1 "), "nothing but the end: {end}");
    assert_eq!(rest(sent(&world, b"").await).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_and_the_provider_hears_of_it() {
    let world = World::setup().env("PENSTOCK_INGRESS_WRITE_TIMEOUT", "1s").start().await;
    let piece = words::content(&"x".repeat(60_000));
    let parts: Vec<Part> = (0..500).map(|_| piece.clone().into()).collect();
    world.upstream("alpha").replies(Reply::stream(parts)).always();
    let body = r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"?"}]}"#;
    let request = head(&world, &[&format!("content-length: {}", body.len())]) + body;
    let _unread = sent(&world, request.as_bytes()).await;
    let call = world.upstream("alpha").received(1).await;
    soon("the end of the provider's call", call.closed()).await;
    let requests = world.requests(1).await;
    assert_eq!(requests[0]["outcome"], "cancelled");
}
