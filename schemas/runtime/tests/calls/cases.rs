//! A call there and back, pushed back, cancelled, passed on, and lost: the same over NATS and in memory.

mod silent;

use super::roles;
use super::server::Server;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use penstock_runtime::bus::{Calls, Desk, Inbox, Incoming, PassOn, PendingCall};
use penstock_runtime::memory::Memory;
use penstock_runtime::{Bus, clock};
use penstock_schemas::claim::Claim;
use penstock_schemas::envelope::{Body, Caller, Delivery, Dialect, Envelope, Operation, Traffic, Unsupported};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{
    DeclineReason, Declined, Ended, Failed, Frame, Head, Payload, STREAM_CREDIT, Summary, TURN,
};
use penstock_schemas::name::{BatchId, KeyId, ProjectId, ProviderId, Target};
use penstock_schemas::plan::{Link, Plan};
use penstock_schemas::usage::{Usage, UsageSource};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

fn memory() -> Memory {
    Memory::new(1 << 30)
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

pub(crate) fn envelope(ingress: &Bus, targets: &[&str]) -> Envelope {
    let mut links = targets.iter().map(|text| Link::to(Target::parse(text).unwrap()));
    Envelope {
        request_id: clock::request_id(),
        call: None,
        caller: Caller {
            project: ProjectId::parse("p").unwrap(),
            key_id: KeyId::parse("k").unwrap(),
            user: None,
            end_user: None,
            tags: [].into(),
        },
        batch: None,
        deadline: clock::now().after(LONG),
        traceparent: None,
        trace: None,
        virtual_model: None,
        plan: Plan::new(links.next().unwrap(), links),
        operation: Operation::Chat,
        dialect: Dialect::Openai,
        native: None,
        kept: false,
        keep_sent: 0,
        content_type: None,
        headers: [].into(),
        query: [].into(),
        unsupported: Unsupported::Refuse,
        delivery: Delivery::Stream,
        ingress: ingress.process().clone(),
        attempts: 0,
        next_seq: 0,
        last_failure: None,
        reservation: None,
        extent: None,
        body: Body::Inline,
    }
}

async fn publish(inbox: &Inbox, envelope: &Envelope) -> PendingCall {
    let mut call = inbox.expect(envelope.request_id, envelope.deadline);
    call.publish(envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    call
}

/// A pool with room for any number of calls.
pub(crate) async fn open(desk: &Desk, provider: &ProviderId, traffic: Traffic) -> Calls {
    desk.calls(provider, traffic, Arc::new(|| usize::MAX)).await.unwrap()
}

/// A subscription that the server knows of: it answers a question that came after it on the same connection.
async fn subscribe(bus: &Bus, desk: &Desk, provider: &str) -> Calls {
    let calls = open(desk, &ProviderId::parse(provider).unwrap(), Traffic::Sync).await;
    bus.keys().await.unwrap();
    calls
}

async fn take(worker: &Bus, desk: &Desk, call: impl Future<Output = PendingCall>) -> (Incoming, PendingCall) {
    let mut calls = subscribe(worker, desk, "a").await;
    let call = call.await;
    let arrived = timeout(LONG, calls.next()).await.unwrap().unwrap();
    (arrived.read(&memory()).await.unwrap(), call)
}

fn head(worker: &Bus) -> Head {
    let target = Target::parse("a/m").unwrap();
    Head {
        worker: worker.process().clone(),
        target,
        dialect: Dialect::Openai,
        attempts: 1,
        dropped: Vec::new(),
        content_type: None,
        input_tokens: None,
        sent: None,
    }
}

pub(crate) fn end(bytes: &'static [u8]) -> Payload {
    let summary = Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: None };
    Payload::End(Box::new(Ended { head: None, summary }), Bytes::from_static(bytes))
}

fn failed(kind: FailureKind) -> Payload {
    Payload::Failed(Failed { failure: Failure::gateway(kind, ""), target: None, attempts: 0, sent: None })
}

/// Waits for the next frame, however long the worker keeps silent.
async fn next(call: &mut PendingCall) -> Payload {
    timeout(LONG, call.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn frames_come_back_in_their_order() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let envelope = envelope(&ingress, &["a/m"]);
    let (mut incoming, mut call) = take(&worker, &desk, publish(&inbox, &envelope)).await;
    assert_eq!((&incoming.envelope, &incoming.body[..]), (&envelope, &b"request"[..]));
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"one"))).await.unwrap();
    incoming.replies.send(end(b"two")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Chunk(Some(_), bytes) if bytes == "one"));
    assert!(matches!(next(&mut call).await, Payload::End(_, bytes) if bytes == "two"));
}

/// The same call as a batch's.
fn of_batch(envelope: Envelope) -> Envelope {
    Envelope { batch: Some(BatchId::parse("batch_1").unwrap()), ..envelope }
}

#[tokio::test]
async fn calls_of_batches_reach_those_who_take_them_and_nobody_else_also_past_the_queue() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let provider = ProviderId::parse("a").unwrap();
    let mut sync = open(&desk, &provider, Traffic::Sync).await;
    let direct = desk.direct_calls(&provider, Traffic::Sync).await.unwrap();
    worker.keys().await.unwrap();
    let to = Some(worker.process());
    for to in [None, to] {
        let envelope = of_batch(envelope(&ingress, &["a/m"]));
        let mut call = inbox.expect(envelope.request_id, envelope.deadline);
        call.publish(&envelope, &Bytes::from_static(b"request"), to).await.unwrap();
        assert_eq!(call.next().await.unwrap_err().kind, FailureKind::NoPool, "{to:?}");
    }
    let mut batch = open(&desk, &provider, Traffic::Batch).await;
    let mut direct_batch = desk.direct_calls(&provider, Traffic::Batch).await.unwrap();
    worker.keys().await.unwrap();
    for (to, from) in [(None, &mut batch), (to, &mut direct_batch)] {
        let envelope = of_batch(envelope(&ingress, &["a/m"]));
        let mut call = inbox.expect(envelope.request_id, envelope.deadline);
        call.publish(&envelope, &Bytes::from_static(b"request"), to).await.unwrap();
        let incoming = timeout(LONG, from.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
        assert_eq!(incoming.envelope, envelope);
    }
    let _call = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    let incoming = timeout(LONG, sync.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    assert_eq!(incoming.envelope.batch, None, "the calls of batches before it went elsewhere");
    assert!(direct.close().await.is_empty());
}

#[tokio::test]
async fn a_call_of_a_batch_is_passed_on_as_one() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let of = async |provider: &str, traffic| {
        let calls = open(&desk, &ProviderId::parse(provider).unwrap(), traffic).await;
        worker.keys().await.unwrap();
        calls
    };
    let (mut first, _sync) = (of("a", Traffic::Batch).await, of("b", Traffic::Sync).await);
    let _call = publish(&inbox, &of_batch(envelope(&ingress, &["a/m", "b/m"]))).await;
    let mut incoming = timeout(LONG, first.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    incoming.envelope.plan = incoming.envelope.plan.next().unwrap();
    let body = incoming.body.clone();
    let passed = incoming.replies.pass_on(&mut incoming.envelope, &body).await.unwrap();
    assert_eq!(passed, PassOn::NoPool, "sync traffic alone is taken there");
    let mut second = of("b", Traffic::Batch).await;
    let (passed, arrived) = tokio::join!(incoming.replies.pass_on(&mut incoming.envelope, &body), async {
        timeout(LONG, second.next()).await.unwrap().unwrap().read(&memory()).await.unwrap()
    });
    assert_eq!((passed.unwrap(), arrived.envelope.batch.is_some()), (PassOn::Taken, true));
}

#[tokio::test]
async fn a_provider_without_a_pool_is_known_at_once() {
    let server = Server::start();
    let ingress = server.bus("ingress").await;
    let inbox = Inbox::open(&ingress).await.unwrap();
    let mut call = publish(&inbox, &envelope(&ingress, &["nobody/m"])).await;
    assert_eq!(call.next().await.unwrap_err().kind, FailureKind::NoPool);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_worker() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let (mut incoming, mut call) = take(&worker, &desk, publish(&inbox, &envelope(&ingress, &["a/m"]))).await;
    let total = 4 * STREAM_CREDIT as usize;
    let mut sending = Box::pin(async move {
        let first = Payload::Chunk(Some(head(&worker)), Bytes::from(vec![b'x'; total]));
        incoming.replies.send(first).await.unwrap();
        incoming.replies.send(end(b"")).await.unwrap();
    });
    assert!(timeout(Duration::from_millis(300), &mut sending).await.is_err(), "it was not held up");
    let reading = async {
        let mut read = 0;
        loop {
            match next(&mut call).await {
                Payload::Chunk(_, bytes) => {
                    read += bytes.len();
                    call.consumed(bytes.len());
                }
                Payload::End(..) => return read,
                other => panic!("{other:?}"),
            }
        }
    };
    let ((), read) = timeout(LONG, async { tokio::join!(sending, reading) }).await.unwrap();
    assert_eq!(read, total);
}

#[tokio::test]
async fn a_client_that_leaves_early_is_noticed_by_the_worker() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let (mut incoming, call) = take(&worker, &desk, publish(&inbox, &envelope(&ingress, &["a/m"]))).await;
    // Before the worker has said a word: nobody knows yet who holds the call.
    drop(call);
    let endless = timeout(LONG, incoming.replies.wait(std::future::pending::<()>())).await;
    assert_eq!(endless.unwrap(), None);
}

#[tokio::test]
async fn a_worker_that_was_given_up_may_have_the_call_again_and_keeps_it() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let (mut envelope, other) = (envelope(&ingress, &["a/m"]), envelope(&ingress, &["a/m"]));
    let mut calls = subscribe(&worker, &desk, "a").await;
    let mut call = publish(&inbox, &envelope).await;
    let next_call = async |calls: &mut Calls| {
        let arrived = timeout(LONG, calls.next()).await.unwrap().unwrap();
        arrived.read(&memory()).await.unwrap()
    };
    let first = next_call(&mut calls).await;
    // The worker names itself, and is silent then.
    let mut replies = first.replies;
    let mut waiting = Box::pin(replies.wait(std::future::pending::<()>()));
    tokio::select! {
        frame = next(&mut call) => assert!(matches!(frame, Payload::Accepted(_)), "{frame:?}"),
        given_up = &mut waiting => panic!("{given_up:?}"),
    }
    // The order to stop and the call may come to the worker in either order: here the call comes first.
    envelope.next_seq = TURN;
    let _again = publish(&inbox, &envelope).await;
    let second = next_call(&mut calls).await;
    assert_eq!(timeout(LONG, waiting).await.unwrap(), None, "what was given up is cancelled");
    assert!(call.give_up_worker().is_some());
    // Orders come one after the other: once a later one has come, the one to give up has too.
    let left = publish(&inbox, &other).await;
    let mut other = next_call(&mut calls).await;
    drop(left);
    assert_eq!(timeout(LONG, other.replies.wait(std::future::pending::<()>())).await.unwrap(), None);
    assert!(!second.replies.is_cancelled());
}

#[tokio::test]
async fn a_call_is_passed_on_to_whoever_serves_the_next_link() {
    let server = Server::start();
    let (ingress, first, second) = (server.bus("ingress").await, server.bus("a").await, server.bus("b").await);
    let inbox = Inbox::open(&ingress).await.unwrap();
    let (desk, other) = (Desk::open(&first).await.unwrap(), Desk::open(&second).await.unwrap());
    let envelope = envelope(&ingress, &["a/m", "nobody/m", "b/m"]);
    let (mut incoming, mut call) = take(&first, &desk, publish(&inbox, &envelope)).await;
    let mut calls = subscribe(&second, &other, "b").await;
    let mut slip = incoming.envelope;

    slip.plan = slip.plan.next().unwrap();
    assert_eq!(incoming.replies.pass_on(&mut slip, &incoming.body).await.unwrap(), PassOn::NoPool);

    slip.plan = slip.plan.next().unwrap();
    let take = async { timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap() };
    let (passed, mut taken) = tokio::join!(incoming.replies.pass_on(&mut slip, &incoming.body), take);
    assert_eq!(passed.unwrap(), PassOn::Taken);
    drop(incoming.replies);

    taken.replies.send(end(b"from b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Accepted(accepted) if accepted.worker == *second.process()));
    assert!(matches!(next(&mut call).await, Payload::End(_, bytes) if bytes == "from b"));
}

#[tokio::test]
async fn a_call_may_be_passed_on_to_another_pool_of_the_same_process() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let envelope = envelope(&ingress, &["a/m", "b/m"]);
    let (mut incoming, mut call) = take(&worker, &desk, publish(&inbox, &envelope)).await;
    let mut calls = open(&desk, &ProviderId::parse("b").unwrap(), Traffic::Sync).await;
    let mut slip = incoming.envelope;
    slip.plan = slip.plan.next().unwrap();
    let take = async { timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap() };
    let (passed, mut taken) = tokio::join!(incoming.replies.pass_on(&mut slip, &incoming.body), take);
    assert_eq!(passed.unwrap(), PassOn::Taken);
    drop(incoming.replies);

    assert!(matches!(next(&mut call).await, Payload::Accepted(_)));
    drop(call);
    let cancelled = timeout(LONG, taken.replies.wait(std::future::pending::<()>())).await;
    assert_eq!(cancelled.unwrap(), None, "the one who holds it now hears of the cancel");
}

#[tokio::test]
async fn a_caller_who_leaves_while_the_workers_first_word_is_unread_is_cancelled_too() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let envelope = envelope(&ingress, &["a/m"]);
    let (mut incoming, call) = take(&worker, &desk, publish(&inbox, &envelope)).await;
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"one"))).await.unwrap();
    // Each answers after what came before: now it is here, and nobody has read it.
    worker.keys().await.unwrap();
    ingress.keys().await.unwrap();
    drop(call);
    let cancelled = timeout(LONG, incoming.replies.wait(std::future::pending::<()>())).await;
    assert_eq!(cancelled.unwrap(), None);
}

#[tokio::test]
async fn a_pool_that_closes_leaves_no_call_unanswered() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    for _ in 0..300 {
        let calls = subscribe(&worker, &desk, "a").await;
        let envelopes: Vec<Envelope> = (0..8).map(|_| envelope(&ingress, &["a/m"])).collect();
        let publish = join_all(envelopes.iter().map(|envelope| publish(&inbox, envelope)));
        let (mut open, leftovers) = tokio::join!(publish, calls.close());
        for arrived in leftovers {
            arrived.read(&memory()).await.unwrap().replies.send(end(b"")).await.unwrap();
        }
        for call in &mut open {
            match timeout(Duration::from_secs(20), call.next()).await.expect("an answer, or that there is no pool") {
                Ok(payload) => assert!(matches!(payload, Payload::End(..)), "{payload:?}"),
                Err(failure) => assert_eq!(failure.kind, FailureKind::NoPool),
            }
        }
    }
}

#[tokio::test]
async fn a_pool_that_closes_gives_what_was_under_way() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let calls = subscribe(&worker, &desk, "a").await;
    let mut call = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    ingress.keys().await.unwrap();
    let mut leftovers = calls.close().await;
    let mut incoming = leftovers.pop().unwrap().read(&memory()).await.unwrap();
    incoming.replies.send(failed(FailureKind::Busy)).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Failed(failed) if failed.failure.kind == FailureKind::Busy));
    let mut late = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    assert_eq!(late.next().await.unwrap_err().kind, FailureKind::NoPool);
}

#[tokio::test]
async fn a_request_above_the_payload_limit_is_claimed_from_the_store() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let body = Bytes::from(vec![b'x'; 3 << 20]);
    let mut envelope = envelope(&ingress, &["a/m"]);
    envelope.body = ingress.place_body(envelope.request_id, &body).await.unwrap();
    assert!(matches!(envelope.body, Body::Stored(_)));
    let call = async {
        let mut call = inbox.expect(envelope.request_id, envelope.deadline);
        call.publish(&envelope, &body, None).await.unwrap();
        call
    };
    let (incoming, _call) = take(&worker, &desk, call).await;
    assert_eq!(incoming.body, body);
    ingress.drop_body(&envelope.body).await.unwrap();
    assert!(worker.fetch_body(&envelope.body, Bytes::new(), &memory()).await.is_err());
}

#[tokio::test]
async fn a_worker_that_cannot_read_a_call_says_so_at_once_and_by_name() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut calls = subscribe(&worker, &desk, "a").await;
    let mut envelope = envelope(&ingress, &["a/m"]);
    let mut call = publish(&inbox, &envelope).await;
    drop(timeout(LONG, calls.next()).await.unwrap().unwrap()); // nothing is heard of this one
    // As an ingress of the next version may write it.
    let reply = format!("ps.reply.{}.{}", ingress.process(), envelope.request_id);
    let newer = Bytes::from_static(&[2, 0, 0, 0, 2, b'{', b'}']);
    let client = server.client().await;
    client.publish_with_reply("ps.call.a.chat", reply.clone(), newer).await.unwrap();
    assert!(timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.is_none());
    let failure = call.next().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Lost);
    assert!(failure.message.contains("older than this ingress"), "{}", failure.message);
    assert_eq!(call.give_up_worker().as_ref(), Some(worker.process()), "so another one can be asked");

    // Once another one has it, the word of the first is stale.
    envelope.next_seq = call.next_seq();
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    let mut incoming = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"a"))).await.unwrap();
    next(&mut call).await;
    let stale = Frame {
        seq: 0,
        payload: Payload::Declined(Declined { worker: ingress.process().clone(), reason: DeclineReason::Full }),
    };
    client.publish(reply, stale.encode().unwrap()).await.unwrap();
    client.flush().await.unwrap();
    incoming.replies.send(end(b"b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::End(..)));
}

#[tokio::test]
async fn that_nobody_took_a_call_when_it_was_published_says_nothing_of_the_next_time() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut envelope = envelope(&ingress, &["nobody/m", "a/m"]);
    let mut calls = subscribe(&worker, &desk, "a").await;
    let mut call = publish(&inbox, &envelope).await;
    // The server's word is on its way, and not read, when the call is given up.
    call.give_up_worker();
    assert!(timeout(LONG, call.catch_up()).await.unwrap());
    envelope.next_seq = call.next_seq();
    envelope.plan = envelope.plan.next().unwrap();
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    let mut incoming = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    incoming.replies.send(end(b"b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::End(..)));
}

#[tokio::test]
async fn a_call_that_a_worker_has_no_slot_for_is_given_back_and_may_be_sent_again() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut envelope = envelope(&ingress, &["a/m"]);
    let (mut incoming, mut call) = take(&worker, &desk, publish(&inbox, &envelope)).await;
    incoming.replies.decline().await.unwrap();
    drop(incoming);
    assert_eq!(call.next().await.unwrap_err().kind, FailureKind::NoPool);
    envelope.next_seq = call.next_seq();
    let again = async {
        call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
        call
    };
    let (mut incoming, mut call) = take(&worker, &desk, again).await;
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"a"))).await.unwrap();
    incoming.replies.send(end(b"b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Chunk(Some(_), _)));
    assert!(matches!(next(&mut call).await, Payload::End(..)));
}

#[tokio::test]
async fn a_worker_that_is_given_a_call_says_whether_it_has_a_slot_for_it() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let envelope = envelope(&ingress, &["a/m"]);
    let mut calls = desk.direct_calls(&ProviderId::parse("a").unwrap(), Traffic::Sync).await.unwrap();
    let mut call = inbox.expect(envelope.request_id, envelope.deadline);
    let body = Bytes::from_static(b"request");
    call.publish(&envelope, &body, Some(ingress.process())).await.unwrap();
    assert!(!call.found_slot(LONG).await, "nobody takes calls there");

    call.publish(&envelope, &body, Some(worker.process())).await.unwrap();
    let mut incoming = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    incoming.replies.decline().await.unwrap();
    drop(incoming);
    assert!(!call.found_slot(LONG).await);

    call.publish(&envelope, &body, Some(worker.process())).await.unwrap();
    let mut incoming = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    assert!(call.found_slot(Duration::ZERO).await, "what is not known after the wait is to be waited for");
    incoming.replies.accept().await;
    assert!(call.found_slot(LONG).await);
    incoming.replies.send(end(b"b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Accepted(_)));
    assert!(matches!(next(&mut call).await, Payload::End(..)));
}

#[tokio::test]
async fn what_a_worker_that_was_given_up_says_is_no_part_of_an_answer_that_is_kept() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let replays = ingress.replays().await.unwrap();
    let mut envelope = Envelope { kept: true, ..envelope(&ingress, &["a/m"]) };
    let mut calls = subscribe(&worker, &desk, "a").await;
    let mut call = inbox.expect_kept(&envelope.caller.project, envelope.request_id, envelope.deadline);
    let body = Bytes::from_static(b"request");
    call.publish(&envelope, &body, None).await.unwrap();
    let mut first = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    first.replies.accept().await;
    assert!(matches!(next(&mut call).await, Payload::Accepted(_)));
    assert!(call.give_up_worker().is_some());
    envelope.next_seq = call.next_seq();
    call.publish(&envelope, &body, None).await.unwrap();
    let mut second = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    first.replies.send(failed(FailureKind::Cancelled)).await.unwrap();
    second.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"b"))).await.unwrap();
    // One in another process, which has not heard yet that it was given up.
    let late = Frame { seq: 1, payload: end(b"late") }.encode().unwrap();
    let kept = format!("ps.kept.{}.{}", ingress.process(), envelope.request_id);
    let client = server.client().await;
    client.publish(kept, late).await.unwrap();
    client.flush().await.unwrap();
    second.replies.send(end(b"c")).await.unwrap();
    while !matches!(next(&mut call).await, Payload::End(..)) {}

    let (request_id, process) = (envelope.request_id, ingress.process().clone());
    let claim = Claim { request_id, ingress: process, digest: String::new(), at: clock::now() };
    let mut replay = replays.read(claim, clock::now().after(LONG)).await.unwrap();
    let mut content = Vec::new();
    loop {
        match replay.next().await.unwrap() {
            Payload::Accepted(_) => {}
            Payload::Chunk(_, bytes) => content.extend_from_slice(&bytes),
            Payload::End(_, bytes) => break assert_eq!([&content[..], &bytes[..]].concat(), b"bc"),
            other => panic!("{other:?}"),
        }
    }
}
