//! The ledger on a real nats-server with events of every size: none holds up another, a backlog is read in pieces, and what
//! no message can hold is kept aside.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod server;

use penstock_runtime::bus::{Bus, Journal, UsageReader};
use penstock_runtime::clock;
use penstock_schemas::envelope::{Caller, Dialect, Operation};
use penstock_schemas::event::{CacheResult, Outcome, RequestEvent, UsageEvent};
use penstock_schemas::name::{KeyId, ProjectId, RequestId};
use server::Server;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// An event with a user of this length.
fn event(length: usize) -> UsageEvent {
    UsageEvent::Request(Box::new(RequestEvent {
        request_id: clock::request_id(),
        received_at: clock::now(),
        ended_at: clock::now(),
        caller: Caller {
            project: ProjectId::parse("p").unwrap(),
            key_id: KeyId::parse("k").unwrap(),
            user: Some("u".repeat(length)),
            end_user: None,
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
        saved: None,
        cache_source: None,
        batch_id: None,
        session: None,
        stages: Vec::new(),
        trace: None,
        route: None,
    }))
}

fn id(event: &UsageEvent) -> RequestId {
    match event {
        UsageEvent::Request(request) => request.request_id,
        other => panic!("{other:?}"),
    }
}

/// The ids of the next events, as many as these.
async fn read(bus: &Bus, count: usize) -> BTreeSet<RequestId> {
    let mut reader = UsageReader::open(bus).await.unwrap();
    let mut read = BTreeSet::new();
    while read.len() < count {
        let batch = timeout(LONG, reader.next(100, Duration::from_millis(20))).await.unwrap().unwrap();
        read.extend(batch.events.iter().map(id));
        batch.acknowledge().await.unwrap();
    }
    read
}

#[tokio::test]
async fn events_of_every_size_arrive_and_none_holds_up_another() {
    // NATS's default: 1 MB in one message.
    let server = Server::start();
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    let sizes = [0, 10, 70_000, 9_000_000, 200_000, 1_048_000, 1, 261_000, 262_500, 500, 20_000_000, 131_072];
    let events: Vec<UsageEvent> = sizes.iter().cycle().take(12 * sizes.len()).map(|size| event(*size)).collect();
    let wanted: BTreeSet<RequestId> = events.iter().map(id).collect();
    let mut pending = Vec::new();
    for event in events {
        pending.push(journal.append(event).await);
    }
    for event in pending {
        assert!(timeout(LONG, event.acknowledged()).await.unwrap());
    }
    assert_eq!(read(&bus, wanted.len()).await, wanted);
    assert!(bus.dead_letters().await.unwrap().next(1).await.unwrap().is_none());
    assert!(journal.finish(LONG).await);
}

#[tokio::test]
async fn an_event_that_no_message_can_hold_is_a_dead_letter_and_no_provider_is_called_for_it() {
    let server = Server::start_with("max_payload: 64KB");
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    let good: Vec<UsageEvent> = (0..200).map(|number| event(number * 100)).collect();
    for event in &good {
        journal.note(event.clone()).await;
    }
    let mut pending = journal.append(event(100_000)).await;
    assert!(!timeout(LONG, pending.cleared()).await.unwrap());
    assert!(!timeout(LONG, pending.acknowledged()).await.unwrap());
    let wanted: BTreeSet<RequestId> = good.iter().map(id).collect();
    assert_eq!(read(&bus, wanted.len()).await, wanted);
    let letters = bus.dead_letters().await.unwrap();
    let letter = letters.next(1).await.unwrap().unwrap();
    assert_eq!(letter.reason, "too_large");
    assert!(letter.length > 100_000 && letter.line.len() > 60_000 && !letter.is_whole(), "{letter:?}");
    assert!(!letters.revive(&letter).await.unwrap());
    let mut alerts = bus.alerts().await.unwrap();
    let alert = timeout(LONG, alerts.next()).await.unwrap().unwrap();
    assert_eq!(alert.value.kind.as_str(), "ledger_dead_letter");
    assert!(journal.finish(LONG).await);
}

#[tokio::test]
async fn a_backlog_is_fetched_in_pieces_that_the_connection_can_hold() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    // Each travels alone: 300 messages, 75 MB, more than a server lets wait for a client.
    let mut wanted = BTreeSet::new();
    for _ in 0..300 {
        let event = event(260_000);
        wanted.insert(id(&event));
        assert!(timeout(LONG, journal.append(event).await.acknowledged()).await.unwrap());
    }
    let mut reader = UsageReader::open(&bus).await.unwrap();
    let first = timeout(LONG, reader.next(1, Duration::ZERO)).await.unwrap().unwrap();
    let stream = server.jetstream().await.get_stream("ps_USAGE").await.unwrap();
    let pending = stream.consumer_info("analytics").await.unwrap().num_ack_pending;
    assert!((1..=66).contains(&pending), "{pending} messages of 260 KB are on their way at once");
    drop((first, reader));
    assert_eq!(read(&bus, wanted.len()).await, wanted);
}

#[tokio::test]
async fn a_backlog_of_more_messages_than_a_fetch_is_read_without_a_break() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let journal = Journal::open(&bus).await.unwrap();
    let mut wanted = BTreeSet::new();
    for _ in 0..2_500 {
        let event = event(0);
        wanted.insert(id(&event));
        assert!(timeout(LONG, journal.append(event).await.acknowledged()).await.unwrap());
    }
    assert_eq!(read(&bus, wanted.len()).await, wanted);
}
