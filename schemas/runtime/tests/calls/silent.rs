//! Workers that are silent, gone, or back: who is asked, and who is given up.

use super::*;
use penstock_schemas::frame::{Accepted, is_pulse};
use penstock_schemas::name::{ProcessId, RequestId};
use penstock_schemas::subject::last_token;
use uuid::Uuid;

/// A worker by hand: it names itself in answer to every call.
struct Named {
    client: async_nats::Client,
    calls: async_nats::Subscriber,
    questions: async_nats::Subscriber,
}

impl Named {
    async fn new(server: &Server) -> Self {
        let client = server.client().await;
        let calls = client.subscribe("ps.call.a.*").await.unwrap();
        let questions = client.subscribe("ps.worker.first.*").await.unwrap();
        assert!(
            client.request("ps.nobody", Bytes::new()).await.is_err(),
            "the server knows what was subscribed to before"
        );
        Self { client, calls, questions }
    }

    async fn say(&self, to: &str, seq: u32, payload: Payload) {
        let frame = Frame { seq, payload }.encode().unwrap();
        self.client.publish(to.to_owned(), frame).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Takes the next call; gives where its answer goes.
    async fn take(&mut self) -> String {
        let reply = timeout(LONG, self.calls.next()).await.unwrap().unwrap().reply.unwrap().to_string();
        let worker = ProcessId::parse("first").unwrap();
        self.say(&reply, 0, Payload::Accepted(Accepted { worker })).await;
        reply
    }
}

#[tokio::test]
async fn a_worker_that_forgets_a_call_is_found_out() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let (mut incoming, mut call) = take(&worker, &desk, publish(&inbox, &envelope(&ingress, &["a/m"]))).await;
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"one"))).await.unwrap();
    next(&mut call).await;
    drop(incoming);
    let failure = timeout(LONG, call.next()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Lost);
}

#[tokio::test]
async fn a_batch_waits_longer_for_a_silent_worker_than_a_caller() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let _sync = subscribe(&worker, &desk, "a").await;
    let _batch = open(&desk, &ProviderId::parse("a").unwrap(), Traffic::Batch).await;
    worker.keys().await.unwrap();
    let mut of_batch = publish(&inbox, &of_batch(envelope(&ingress, &["a/m"]))).await;
    let mut of_caller = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    let mut waiting = Box::pin(of_batch.next());
    tokio::select! {
        biased;
        early = &mut waiting => panic!("{early:?}"),
        lost = of_caller.next() => assert_eq!(lost.unwrap_err().kind, FailureKind::Lost),
    }
    assert_eq!(timeout(LONG, waiting).await.unwrap().unwrap_err().kind, FailureKind::Lost);
}

#[tokio::test]
async fn what_a_worker_that_was_given_up_says_late_says_nothing_of_the_one_that_has_the_call() {
    let server = Server::start();
    let (ingress, worker) = roles(&server).await;
    let (inbox, desk) = (Inbox::open(&ingress).await.unwrap(), Desk::open(&worker).await.unwrap());
    let mut envelope = envelope(&ingress, &["a/m"]);
    // The first worker: it names itself, and answers nothing.
    let client = server.client().await;
    let mut taken = client.subscribe("ps.call.a.*").await.unwrap();
    let mut probes = client.subscribe("ps.worker.first.*").await.unwrap();
    let is_known = client.request("ps.nobody", Bytes::new()).await;
    assert!(is_known.is_err(), "nobody is there, and the server knows what was subscribed to before");
    let mut call = publish(&inbox, &envelope).await;
    let reply = timeout(LONG, taken.next()).await.unwrap().unwrap().reply.unwrap();
    let first = ProcessId::parse("first").unwrap();
    let say = async |to: async_nats::Subject, payload: Payload| {
        let frame = Frame { seq: 0, payload }.encode().unwrap();
        client.publish(to, frame).await.unwrap();
        client.flush().await.unwrap();
    };
    say(reply.clone(), Payload::Accepted(Accepted { worker: first.clone() })).await;
    assert!(matches!(next(&mut call).await, Payload::Accepted(_)));
    assert_eq!(call.next().await.unwrap_err().kind, FailureKind::Lost);
    let probe = timeout(LONG, probes.next()).await.unwrap().unwrap().reply.unwrap();
    taken.unsubscribe().await.unwrap();
    assert!(client.request("ps.nobody", Bytes::new()).await.is_err());

    let mut calls = subscribe(&worker, &desk, "a").await;
    assert_eq!(call.give_up_worker(), Some(first.clone()));
    assert!(timeout(LONG, call.catch_up()).await.unwrap());
    envelope.next_seq = call.next_seq();
    call.publish(&envelope, &Bytes::from_static(b"request"), None).await.unwrap();
    let mut incoming = timeout(LONG, calls.next()).await.unwrap().unwrap().read(&memory()).await.unwrap();
    say(reply, Payload::Declined(Declined { worker: first, reason: DeclineReason::Full })).await;
    say(probe.clone(), Payload::Gone).await;
    incoming.replies.send(Payload::Chunk(Some(head(&worker)), Bytes::from_static(b"a"))).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::Chunk(..)));
    say(probe, Payload::Gone).await;
    incoming.replies.send(end(b"b")).await.unwrap();
    assert!(matches!(next(&mut call).await, Payload::End(..)));
}

#[tokio::test]
async fn a_worker_with_many_calls_is_asked_once_whether_it_lives() {
    const CALLS: usize = 40;
    const BEATS: usize = 20;
    let server = Server::start();
    let (ingress, _worker) = roles(&server).await;
    let inbox = Inbox::open(&ingress).await.unwrap();
    let mut worker = Named::new(&server).await;
    let mut calls = Vec::new();
    let mut replies = Vec::new();
    for _ in 0..CALLS {
        let mut call = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
        replies.push(worker.take().await);
        assert!(matches!(next(&mut call).await, Payload::Accepted(_)));
        calls.push(call);
    }
    let answers = async {
        let (mut beats, mut questions) = (0, 0);
        while beats < BEATS {
            let question = timeout(LONG, worker.questions.next()).await.unwrap().unwrap();
            let id = RequestId(Uuid::parse_str(last_token(&question.subject)).unwrap());
            beats += usize::from(is_pulse(id));
            questions += 1;
            worker.say(&question.reply.unwrap(), 0, Payload::Alive).await;
        }
        for reply in &replies {
            worker.say(reply, 1, end(b"answer")).await;
        }
        questions
    };
    let waiting = join_all(calls.iter_mut().map(next));
    let (questions, ended) = tokio::join!(answers, waiting);
    assert!(ended.iter().all(|payload| matches!(payload, Payload::End(..))));
    assert!(questions < CALLS * BEATS / 2, "{questions} questions");
}

#[tokio::test]
async fn a_worker_that_was_gone_and_is_back_keeps_what_it_takes_then() {
    let server = Server::start();
    let (ingress, _worker) = roles(&server).await;
    let inbox = Inbox::open(&ingress).await.unwrap();
    let mut worker = Named::new(&server).await;
    let mut first = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    worker.take().await;
    assert!(matches!(next(&mut first).await, Payload::Accepted(_)));
    worker.questions.unsubscribe().await.unwrap();
    assert!(worker.client.request("ps.nobody", Bytes::new()).await.is_err());
    let lost = timeout(LONG, first.next()).await.unwrap().unwrap_err();
    assert_eq!((lost.kind, lost.message.as_str()), (FailureKind::Lost, "the worker that held the call is gone"));
    let mut again = Named::new(&server).await;
    worker.calls.unsubscribe().await.unwrap();
    let mut second = publish(&inbox, &envelope(&ingress, &["a/m"])).await;
    let reply = again.take().await;
    assert!(matches!(next(&mut second).await, Payload::Accepted(_)));
    let answers = async {
        for _ in 0..6 {
            let question = timeout(LONG, again.questions.next()).await.unwrap().unwrap();
            again.say(&question.reply.unwrap(), 0, Payload::Alive).await;
        }
        again.say(&reply, 1, end(b"answer")).await;
    };
    let (ended, ()) = tokio::join!(next(&mut second), answers);
    assert!(matches!(ended, Payload::End(..)));
}
