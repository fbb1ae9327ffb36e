//! What is kept on a real nats-server: the ledger of usage events, buckets that are followed, and settings that must be
//! ours.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod server;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use futures_util::future::join_all;
use penstock_runtime::bus::{Change, FileError, FileLimits, FileQuota, Journal, NewFile, NotChanged, UsageReader};
use penstock_runtime::clock;
use penstock_schemas::book::Book;
use penstock_schemas::envelope::{Caller, Dialect, Operation};
use penstock_schemas::event::{CacheResult, Outcome, RequestEvent, UsageEvent};
use penstock_schemas::file::{FileDescription, FileId, FilePurpose};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::Project;
use penstock_schemas::name::{KeyId, ProjectId};
use server::Server;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

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
async fn a_file_can_be_written_again_at_once_where_one_was_removed_or_given_up() {
    let server = Server::start();
    let bus = server.bus("both").await;
    let limits = FileLimits { file_bytes: 100, project_bytes: 100, project_files: 1 };
    let (files, project, id) =
        (bus.files(limits).await.unwrap(), ProjectId::parse("p").unwrap(), FileId(Uuid::new_v4()));
    let begin = async || {
        let key_id = KeyId::parse("k").unwrap();
        let new = NewFile { id: Some(id), project: project.clone(), key_id, announced: 0, quota: FileQuota::Exempt };
        files.create(new).await
    };
    let write = async || loop {
        match begin().await {
            Ok(mut file) => return file.write(b"hello").await.map(|()| file),
            // One that was given up is being removed just now.
            Err(FileError::Gone) => {}
            Err(error) => return Err(error),
        }
    };
    let description = FileDescription {
        filename: "f".to_owned(),
        purpose: FilePurpose::BatchOutput,
        content_type: None,
        expires_after: None,
    };
    for _ in 0..3 {
        let file = write().await.unwrap().finish(description.clone()).await.unwrap();
        assert_eq!(files.get(&project, id).await.unwrap(), Some(file));
        assert!(matches!(write().await.err(), Some(FileError::Taken)));
        assert!(files.delete(&project, id).await.unwrap());
        // Given up without an end.
        drop(write().await.unwrap());
    }
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
async fn a_value_is_changed_only_against_the_revision_that_was_read() {
    let server = Server::start();
    let bucket = server.bus("both").await.books().await.unwrap();
    let book = |past| Book { past, ..Book::default() };
    assert_eq!(bucket.get_with_revision("b.all").await.unwrap(), None);
    let first = bucket.create("b.all", &book(1)).await.unwrap().unwrap();
    assert_eq!(bucket.create("b.all", &book(2)).await.unwrap(), None);
    let second = bucket.update("b.all", &book(3), first).await.unwrap().unwrap();
    assert_eq!(bucket.update("b.all", &book(4), first).await.unwrap(), None);
    assert_eq!(bucket.get_with_revision("b.all").await.unwrap(), Some((book(3), second)));
    bucket.delete("b.all").await.unwrap();
    assert_eq!(bucket.get_with_revision("b.all").await.unwrap(), None);
    assert!(bucket.create("b.all", &book(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn no_change_of_the_directory_is_lost_and_all_see_the_last() {
    let server = Server::start();
    let (one, two) = (server.bus("one").await, server.bus("two").await);
    let (here, there) = (one.directories().await.unwrap(), two.directories().await.unwrap());
    let (tell, mut told) = mpsc::channel(256);
    there.follow(two.life(), move |directory| tell.try_send(directory.projects.len()).unwrap());
    let all = (0..16).map(|number| {
        let directories = if number % 2 == 0 { &here } else { &there };
        directories.change(move |directory, _| {
            let name = format!("p{number}");
            directory.projects.insert(name.clone(), Project { name, ..Project::default() });
            Ok::<(), Infallible>(())
        })
    });
    for changed in join_all(all).await {
        changed.unwrap();
    }
    while timeout(LONG, told.recv()).await.unwrap().unwrap() < 16 {}
    assert!(there.is_current());
    let (read, revision) = here.read().await.unwrap();
    assert_eq!((read.projects.len(), read), (16, (*there.snapshot()).clone()));
    let refused = here.change(|_, at| Err::<(), u64>(at)).await;
    assert!(matches!(refused, Err(NotChanged::Refused(at)) if at == revision));
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
    let jetstream = server.jetstream().await;
    // The connection has made the right one.
    jetstream.delete_stream("ps_USAGE").await.unwrap();
    jetstream.create_stream(other).await.unwrap();
    let error = Journal::open(&bus).await.err().unwrap().to_string();
    assert!(error.contains("ps_USAGE") && error.contains("retention is Limits, must be WorkQueue"), "{error}");
}

#[tokio::test]
async fn a_role_ends_when_nats_comes_back_without_what_was_kept_there() {
    let mut server = Server::start();
    let bus = server.bus("both").await;
    bus.books().await.unwrap();
    server.lose_disk();
    timeout(6 * LONG, bus.life().stopping()).await.unwrap();
}
