//! What is kept on a real nats-server: the ledger of usage events, buckets that are followed, and settings that must be
//! ours.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod server;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use penstock_runtime::bus::{Change, Journal, UsageReader};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Caller, Dialect, Operation};
use penstock_schemas::event::{CacheResult, Outcome, RequestEvent, UsageEvent};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{KeyId, ProjectId};
use server::Server;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);

fn event() -> UsageEvent {
    UsageEvent::Request(Box::new(RequestEvent {
        request_id: clock::request_id(),
        received_at: clock::now(),
        ended_at: clock::now(),
        caller: Caller {
            project: ProjectId::parse("p").unwrap(),
            key_id: KeyId::parse("k").unwrap(),
            user: None,
            tags: [].into(),
        },
        dialect: Dialect::Openai,
        operation: Operation::Chat,
        model: "a/m".to_owned(),
        target: None,
        attempts: 0,
        stream: false,
        outcome: Outcome::Served,
        failure: None,
        status: 200,
        cache: CacheResult::Off,
        first_token_us: None,
        cost: None,
    }))
}

#[tokio::test]
async fn every_event_is_read_once_in_its_order() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    let mut reader = UsageReader::open(&bus).await.unwrap();
    let written: Vec<UsageEvent> = (0..1_000).map(|_| event()).collect();
    let mut last = None;
    for event in &written {
        last = Some(journal.append(event.clone()).await);
    }
    assert!(timeout(LONG, last.unwrap().acknowledged()).await.unwrap());
    let mut read = Vec::new();
    while read.len() < written.len() {
        let batch = timeout(LONG, reader.next(300, Duration::from_millis(20))).await.unwrap().unwrap();
        read.extend(batch.events.clone());
        batch.acknowledge().await.unwrap();
    }
    assert_eq!(read, written);
    assert!(journal.finish(LONG).await);
}

#[tokio::test]
async fn what_was_appended_before_the_end_is_in_the_ledger() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    for _ in 0..300 {
        journal.note(event()).await;
    }
    assert!(journal.finish(LONG).await);
    let mut reader = UsageReader::open(&bus).await.unwrap();
    let batch = timeout(LONG, reader.next(300, LONG)).await.unwrap().unwrap();
    assert_eq!(batch.events.len(), 300);
}

#[tokio::test]
async fn a_bucket_tells_what_is_there_and_then_every_change() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let bucket = bus.keys().await.unwrap();
    let key = |id: &str| -> VirtualKey {
        let text = format!(r#"{{"id":"{id}","sha256":"","prefix":"","project":"p","created_at":0}}"#);
        serde_json::from_str(&text).unwrap()
    };
    bucket.put("one", &key("one")).await.unwrap();
    let (tell, mut told) = mpsc::channel(16);
    bucket.follow(move |change| tell.try_send(change).unwrap());
    let mut next = async || match timeout(LONG, told.recv()).await.unwrap().unwrap() {
        Change::Put(id, key) => format!("put {id} {}", key.id),
        Change::Deleted(id) => format!("deleted {id}"),
        Change::Current => "current".to_owned(),
    };
    assert_eq!((next().await.as_str(), next().await.as_str()), ("put one one", "current"));
    bucket.put("two", &key("two")).await.unwrap();
    assert_eq!(next().await, "put two two");
    bucket.delete("one").await.unwrap();
    assert_eq!(next().await, "deleted one");
    assert_eq!(bucket.list().await.unwrap(), [key("two")]);
}

#[tokio::test]
async fn a_stream_with_other_settings_is_refused_and_the_difference_named() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let other = Config {
        name: "ps_USAGE".to_owned(),
        subjects: vec!["ps.usage".to_owned()],
        retention: RetentionPolicy::Limits,
        ..Config::default()
    };
    server.jetstream().await.create_stream(other).await.unwrap();
    let error = Journal::open(&bus).await.err().unwrap().to_string();
    assert!(error.contains("ps_USAGE") && error.contains("retention is Limits, must be WorkQueue"), "{error}");
}
