//! Calls between roles of one process: the same, and none of it goes over NATS.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "calls/cases.rs"]
mod cases;
mod server;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use penstock_runtime::Bus;
use penstock_runtime::bus::{Desk, Inbox, NatsConfig};
use penstock_runtime::config::Document;
use penstock_runtime::memory::Memory;
use penstock_schemas::envelope::Traffic;
use penstock_schemas::frame::Payload;
use penstock_schemas::name::ProviderId;
use server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// An ingress and a worker.
async fn roles(server: &Server) -> (Bus, Bus) {
    beside(server, "").await
}

/// With this configuration.
async fn beside(server: &Server, toml: &str) -> (Bus, Bus) {
    let config = NatsConfig::read(&mut Document::read("test", toml, []).unwrap());
    let (ingress, worker) = (server.bus("ingress").await, server.bus("worker").await);
    (ingress.beside(&worker, &config), worker)
}

/// How many messages of one call nats-server sees.
async fn messages_over_nats(server: &Server, toml: &str) -> usize {
    let (ingress, worker) = beside(server, toml).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut calls = cases::open(&desk, &ProviderId::parse("a").unwrap(), Traffic::Sync).await;
    worker.keys().await.unwrap();
    let client = server.client().await;
    let mut seen = client.subscribe("ps.*.>").await.unwrap();
    // A flush only writes the subscription out: the server has taken it once something came for it.
    client.publish("ps.test.first", Bytes::new()).await.unwrap();
    seen.next().await.unwrap();
    let envelope = cases::envelope(&ingress, &["a/m"]);
    let mut call = inbox.expect(envelope.request_id, envelope.deadline);
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    let mut incoming = calls.next().await.unwrap().read(&Memory::new(1 << 30)).await.unwrap();
    incoming.replies.send(cases::end(b"answer")).await.unwrap();
    call.next().await.unwrap();
    // The server has what these connections published, once they were answered; what it passes on comes in its order.
    ingress.keys().await.unwrap();
    worker.keys().await.unwrap();
    client.publish("ps.test.last", Bytes::new()).await.unwrap();
    let mut count = 0;
    loop {
        let message = seen.next().await.unwrap();
        match message.subject.split('.').nth(1) {
            Some("call" | "reply") => count += 1,
            Some("test") => return count,
            _ => {}
        }
    }
}

#[tokio::test]
async fn roles_of_one_process_need_no_nats_for_a_call_unless_told_to() {
    let server = Server::start();
    assert_eq!(messages_over_nats(&server, "").await, 0);
    assert_eq!(messages_over_nats(&server, "[nats]\nin_memory = false\n").await, 2);
}

#[tokio::test]
async fn a_call_within_a_process_outlives_nats_server() {
    let mut server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut calls = cases::open(&desk, &ProviderId::parse("a").unwrap(), Traffic::Sync).await;
    let envelope = cases::envelope(&ingress, &["a/m"]);
    let mut call = inbox.expect(envelope.request_id, envelope.deadline);
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    let mut incoming = calls.next().await.unwrap().read(&Memory::new(1 << 30)).await.unwrap();
    incoming.replies.accept().await;
    call.next().await.unwrap();
    server.kill();
    // A worker that does not answer is given up within 600 ms.
    let answer = async {
        sleep(Duration::from_secs(2)).await;
        incoming.replies.send(cases::end(b"answer")).await.unwrap();
    };
    let (answered, ()) = tokio::join!(call.next(), answer);
    assert!(matches!(answered.unwrap(), Payload::End(_, bytes) if bytes == "answer"));
}

#[tokio::test]
async fn a_pool_of_this_process_is_given_no_more_calls_than_it_has_room_for() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let (provider, room) = (ProviderId::parse("a").unwrap(), Arc::new(AtomicUsize::new(1)));
    let pool = async || {
        let room = room.clone();
        desk.calls(&provider, Traffic::Sync, Arc::new(move || room.load(Ordering::Relaxed))).await.unwrap()
    };
    let mut calls = pool().await;
    let envelope = cases::envelope(&ingress, &["a/m"]);
    let mut call = inbox.expect(envelope.request_id, envelope.deadline);
    assert!(!call.is_pool_full(&provider));
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    assert!(call.found_pool().await && call.is_pool_full(&provider), "one waits");
    assert!(call.pool_nearby(&provider).now_or_never().is_none());
    calls.next().await.unwrap();
    assert!(!call.is_pool_full(&provider), "there is room for the next");
    room.store(0, Ordering::Relaxed);
    assert!(call.is_pool_full(&provider));
    calls.close().await;
    assert!(!call.is_pool_full(&provider), "NATS knows whether another process has room");
    room.store(1, Ordering::Relaxed);
    let (_calls, ()) = tokio::join!(pool(), call.pool_nearby(&provider));
}

#[tokio::test]
async fn callers_of_this_process_do_not_crowd_out_those_of_others() {
    let server = Server::start();
    let ((near, worker), far) = (roles(&server).await, server.bus("ingress").await);
    let desk = Desk::open(&worker).await.unwrap();
    let mut calls = cases::open(&desk, &ProviderId::parse("a").unwrap(), Traffic::Sync).await;
    let mut open = Vec::new();
    for ingress in [&near, &near, &far] {
        let (inbox, envelope) = (Inbox::open(ingress).await.unwrap(), cases::envelope(ingress, &["a/m"]));
        let mut call = inbox.expect(envelope.request_id, envelope.deadline);
        call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
        open.push((call, envelope.request_id));
    }
    // The server has the call of the other process, and this connection what the server sent before it answered.
    far.keys().await.unwrap();
    worker.keys().await.unwrap();
    let first = calls.next().await.unwrap().read(&Memory::new(1 << 30)).await.unwrap();
    assert_eq!(first.envelope.request_id, open[2].1);
}
