//! Calls of batches beside callers who wait: batches never take the last slots of a pool, go back at once where there is none
//! for them, and stand in the ledger under their batch. The calls are published as an ingress does, on the same bus.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bytes::Bytes;
use penstock_runtime::bus::{Inbox, NatsConfig, PendingCall};
use penstock_runtime::config::Document;
use penstock_runtime::{Bus, clock};
use penstock_schemas::envelope::{Body, Caller, Delivery, Dialect, Envelope, Operation, Unsupported};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Payload;
use penstock_schemas::name::{BatchId, KeyId, ProjectId, Target};
use penstock_schemas::plan::{Link, Plan};
use penstock_tests::{Gate, LONG, Reply, World, until};
use tokio::time::timeout;

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hello!"}]}"#;

/// What stands in the place of an ingress.
struct Sender {
    bus: Bus,
    inbox: Inbox,
}

impl Sender {
    async fn new(world: &World) -> Self {
        let config = NatsConfig::read(&mut Document::read("test", "", []).unwrap());
        let url = world.run_file()["nats"].as_str().unwrap().to_owned();
        let bus = Bus::connect(&config, &url, "test").await.unwrap();
        let inbox = Inbox::open(&bus).await.unwrap();
        Self { bus, inbox }
    }

    /// Publishes a line of the batch for these targets.
    async fn publish(&self, targets: &[&str]) -> PendingCall {
        self.publish_request(targets, Bytes::from_static(REQUEST.as_bytes())).await
    }

    async fn publish_request(&self, targets: &[&str], request: Bytes) -> PendingCall {
        let mut links = targets.iter().map(|text| Link::to(Target::parse(text).unwrap()));
        let envelope = Envelope {
            request_id: clock::request_id(),
            call: None,
            caller: Caller {
                project: ProjectId::parse("default").unwrap(),
                key_id: KeyId::parse("k").unwrap(),
                user: None,
                end_user: None,
                tags: [].into(),
            },
            batch: Some(BatchId::parse("batch_1").unwrap()),
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
            delivery: Delivery::Whole,
            ingress: self.bus.process().clone(),
            attempts: 0,
            next_seq: 0,
            last_failure: None,
            reservation: None,
            extent: None,
            body: Body::Inline,
        };
        let mut call = self.inbox.expect(envelope.request_id, envelope.deadline);
        call.publish(&envelope, &request, None).await.unwrap();
        call
    }

    /// Publishes lines until the upstream holds so many of them; those that no pool took are given up.
    async fn fill(&self, world: &World, target: &str, count: usize) -> Vec<PendingCall> {
        let upstream = world.upstream(target.split('/').next().unwrap());
        let (mut held, before) = (Vec::new(), upstream.calls().len());
        while held.len() < count {
            let mut call = self.publish(&[target]).await;
            if call.found_pool().await {
                held.push(call);
                upstream.received(before + held.len()).await;
            }
        }
        held
    }
}

/// How a call ends: the answer, or why there is none.
async fn end(call: &mut PendingCall) -> Result<Bytes, Failure> {
    loop {
        match timeout(LONG, call.next()).await.expect("a call ends")? {
            Payload::End(_, bytes) => return Ok(bytes),
            Payload::Failed(failed) => return Err(failed.failure),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_worker_says_that_it_holds_a_large_call_before_it_works_on_it() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let sender = Sender::new(&world).await;
    let request = REQUEST.replace("Hello!", &"word ".repeat(30_000));
    let mut call = sender.publish_request(&["alpha/m"], request.into()).await;
    let first = timeout(LONG, call.next()).await.expect("a call is answered").unwrap();
    assert!(matches!(first, Payload::Accepted(_)), "{first:?}");
    assert!(String::from_utf8_lossy(&end(&mut call).await.unwrap()).contains("hi"));
}

#[tokio::test]
async fn a_pool_full_of_batches_answers_callers_and_refuses_further_lines_at_once() {
    let world = World::setup().env("PENSTOCK_PROVIDERS_ALPHA_CONCURRENCY", "10").start().await;
    let (sender, gate, alpha) = (Sender::new(&world).await, Gate::new(), world.upstream("alpha"));
    alpha.replies(Reply::answer("of a batch").held(&gate)).times(9);
    alpha.answers("of a caller").always();
    let held = sender.fill(&world, "alpha/m", 9).await;
    for _ in 0..5 {
        // One that comes while the pool takes its word back is turned away by the pool itself.
        let refused = end(&mut sender.publish(&["alpha/m"]).await).await.unwrap_err();
        assert!(matches!(refused.kind, FailureKind::NoPool | FailureKind::Busy), "{refused:?}");
        assert_eq!(world.ask("alpha/m").await.text(), "of a caller", "the tenth slot is for callers");
    }
    let metrics = world.get("/metrics").key(world.admin_key()).await.raw();
    let in_flight = "penstock_batch_calls_in_flight{provider=\"alpha\"} 9";
    assert!(metrics.lines().any(|line| line == in_flight), "no `{in_flight}` in {metrics}");
    gate.open();
    for mut call in held {
        assert!(String::from_utf8_lossy(&end(&mut call).await.unwrap()).contains("of a batch"));
    }
    until("a pool that takes batches again", async || end(&mut sender.publish(&["alpha/m"]).await).await.ok()).await;
    let by_batch = "SELECT batch_id, native_batch, count() AS calls FROM attempts GROUP BY ALL ORDER BY calls";
    let rows = world.sql_until(by_batch, |rows| rows.len() == 2 && rows[1]["calls"] == 10).await;
    assert_eq!((&rows[0]["batch_id"], &rows[1]["batch_id"]), (&"".into(), &"batch_1".into()));
    let spend = world.tool(&["spend", "--by", "batch"]).await;
    let row = spend["rows"].as_array().unwrap().iter().find(|row| row["batch"] == "batch_1").unwrap().clone();
    assert_eq!((&row["attempts"], &row["requests"]), (&10.into(), &10.into()));
}

#[tokio::test]
async fn a_pool_of_one_slot_takes_batches_too_and_callers_first() {
    let world = World::setup().env("PENSTOCK_PROVIDERS_ALPHA_CONCURRENCY", "1").start().await;
    let (sender, gate, alpha) = (Sender::new(&world).await, Gate::new(), world.upstream("alpha"));
    alpha.answers("before").once();
    alpha.replies(Reply::answer("first").held(&gate)).once();
    alpha.answers("then").always();
    world.ask("alpha/m").await;
    // The ingress knows of the pool: a caller may wait for it.
    until("the pool's word", async || {
        world.tool(&["targets"]).await.as_array()?.iter().any(|target| target["workers"] == 1).then_some(())
    })
    .await;
    let mut held = sender.fill(&world, "alpha/m", 1).await;
    // A caller is in the ingress's queue when the slot is free again, and lines of the batch come all the time.
    let caller = async { world.ask("alpha/m").await.text() };
    let lines = async {
        gate.open();
        end(&mut held[0]).await.unwrap();
        until("a line that is taken", async || end(&mut sender.publish(&["alpha/m"]).await).await.ok()).await;
    };
    assert_eq!(tokio::join!(caller, lines).0, "then");
    let order = world.sql_until("SELECT batch_id FROM attempts ORDER BY started_at", |rows| rows.len() == 4).await;
    let order: Vec<&str> = order.iter().map(|row| row["batch_id"].as_str().unwrap()).collect();
    assert_eq!(order, ["", "batch_1", "", "batch_1"], "the caller's call was made before the next line");
}

#[tokio::test]
async fn a_line_waits_for_a_limit_where_it_came_from_and_falls_back_on_other_failures() {
    let world = World::start().await;
    let sender = Sender::new(&world).await;
    world.upstream("beta").answers("beta").always();
    world.upstream("alpha").replies(Reply::error(500)).times(3);
    world.upstream("alpha").replies(Reply::error(429).header("retry-after", "600")).always();
    let answer = end(&mut sender.publish(&["alpha/m", "beta/m"]).await).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("beta"));
    // The world's alpha has two keys, each with limits of its own.
    let mut last = None;
    for _ in 0..4 {
        let failure = end(&mut sender.publish(&["alpha/m", "beta/m"]).await).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited, "{failure:?}");
        last = failure.retry_after_ms;
    }
    assert!(last.is_some_and(|wait| (500_000..=600_000).contains(&wait)), "{last:?}");
    assert_eq!(world.upstream("beta").calls().len(), 1);
}
