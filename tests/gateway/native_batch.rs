//! Lines through a provider's own batch API: each is run once, at the batch's price, whatever dies on the way; what came of each
//! is what a single call would have got. The groups are written and asked for as an ingress does, on the same bus.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bytes::Bytes;
use penstock_runtime::bus::{NativeObjects, NatsConfig};
use penstock_runtime::config::Document;
use penstock_runtime::{Bus, clock};
use penstock_schemas::envelope::{Body, Caller, Delivery, Dialect, Envelope, Operation, Unsupported};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::frame::Payload;
use penstock_schemas::name::{BatchId, KeyId, ProjectId, RequestId, Target};
use penstock_schemas::native_batch::{
    NativeAnswer, NativeCounts, NativeGroup, NativeLine, NativeOutcome, NativeQuestion,
};
use penstock_schemas::plan::{Link, Plan};
use penstock_tests::{BATCH_KEY, BatchKind, BatchUpstream, EXPIRED, LONG, REFUSED, World, until};
use serde_json::{Value, json};

const KINDS: [(BatchKind, &str); 4] = [
    (BatchKind::Openai, "openai"),
    (BatchKind::Anthropic, "anthropic"),
    (BatchKind::Google, "google"),
    (BatchKind::Mistral, "mistral"),
];

/// A world whose provider `b` is this simulator.
async fn world(kind: BatchKind, dialect: &str) -> (World, BatchUpstream, Sender) {
    let upstream = BatchUpstream::start(kind).await;
    let config = format!(
        "[providers.b]\ndialect = \"{dialect}\"\nbase_url = \"{}\"\nkeys = [\"env:B_KEY\"]\nbatch_api = \"{dialect}\"\nprobe = false\n\
         [[prices]]\nmodel = \"b/m\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"10\"\n\
         cache_read_usd_per_million = \"0.2\"\nbatch_rate = \"0.5\"\n",
        upstream.url()
    );
    let world = World::setup().config(&config).env("B_KEY", BATCH_KEY).start().await;
    let sender = Sender::new(&world).await;
    (world, upstream, sender)
}

/// What stands in the place of an ingress.
struct Sender {
    bus: Bus,
    objects: NativeObjects,
}

impl Sender {
    async fn new(world: &World) -> Self {
        let config = NatsConfig::read(&mut Document::read("test", "", []).unwrap());
        let url = world.run_file()["nats"].as_str().unwrap().to_owned();
        let bus = Bus::connect(&config, &url, "test").await.unwrap();
        let objects = bus.native_objects().await.unwrap();
        Self { bus, objects }
    }

    fn envelope(&self, target: &Target) -> Envelope {
        Envelope {
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
            plan: Plan::new(Link::to(target.clone()), []),
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
        }
    }

    /// Writes a group of such texts, one of which no batch API takes: its answer is to be streamed.
    async fn write(&self, texts: &[String]) -> (NativeGroup, Vec<RequestId>) {
        let target = Target::parse("b/m").unwrap();
        let at = clock::now();
        let batch = BatchId::parse("batch_1").unwrap();
        let lines = u32::try_from(texts.len() + 1).unwrap();
        let group = NativeGroup { batch, number: 0, target, lines, at, deadline: at.after(LONG * 10) };
        let (mut writer, mut calls) = (self.objects.write(&group.lines_object()), Vec::new());
        for (number, text) in texts.iter().map(String::as_str).chain(["streamed"]).enumerate() {
            let mut envelope = self.envelope(&group.target);
            if number == texts.len() {
                envelope.delivery = Delivery::Stream;
            }
            let body = json!({ "model": "b/m", "max_tokens": 100, "messages": [{ "role": "user", "content": text }] });
            writer.push(&envelope.encode(body.to_string().as_bytes()).unwrap()).await.unwrap();
            calls.push(envelope.call_id());
        }
        writer.finish().await.unwrap();
        (group, calls)
    }

    async fn ask(&self, question: NativeQuestion) -> NativeAnswer {
        self.bus.ask_native(&Target::parse("b/m").unwrap().provider, &question).await.unwrap()
    }

    /// Asks until everything is there.
    async fn collected(&self, group: &NativeGroup) -> NativeCounts {
        until("the answers of a native batch", async || match self.ask(NativeQuestion::Advance(group.clone())).await {
            NativeAnswer::Collected(counts) => Some(counts),
            NativeAnswer::Failed(failure) => panic!("{failure:?}"),
            _ => None,
        })
        .await
    }

    async fn answers(&self, group: &NativeGroup) -> Vec<NativeLine> {
        let mut reader = self.objects.read(&group.answers_object()).await.unwrap().unwrap();
        let mut lines = Vec::new();
        while let Some(record) = reader.next().await.unwrap() {
            lines.push(NativeLine::decode(&record).unwrap());
        }
        lines
    }
}

fn texts() -> Vec<String> {
    let usual = (0..10).map(|number| format!("question {number}\nof the usual kind"));
    usual.chain([REFUSED, EXPIRED].map(ToOwned::to_owned)).collect()
}

fn text_of(bytes: &Bytes) -> String {
    let answer: Value = serde_json::from_slice(bytes).unwrap();
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

async fn goes_through(kind: BatchKind, dialect: &str) {
    let (world, upstream, sender) = world(kind, dialect).await;
    let (group, calls) = sender.write(&texts()).await;
    let counts = sender.collected(&group).await;
    assert_eq!(counts, NativeCounts { served: 10, refused: 1, unrun: 2 }, "{dialect}");
    let lines = sender.answers(&group).await;
    let of = |call: &RequestId| lines.iter().find(|line| line.head.call == *call).unwrap();
    for call in &calls[..10] {
        let Payload::End(ended, bytes) = &of(call).frame.payload else { panic!("{dialect}: {:?}", of(call)) };
        assert_eq!((text_of(bytes).as_str(), ended.head.as_ref().unwrap().attempts), ("from a batch", 1), "{dialect}");
        // 10 tokens in, 4 of them from a cache or, at Anthropic and Google, besides; 5 out; everything at half its price.
        assert_eq!(ended.summary.cost.unwrap().to_string(), COSTS[kind as usize], "{dialect}");
    }
    let failed = |call: &RequestId| match &of(call).frame.payload {
        Payload::Failed(failed) => (of(call).head.outcome, failed.failure.kind),
        other => panic!("{dialect}: {other:?}"),
    };
    assert_eq!(failed(&calls[10]), (NativeOutcome::Refused, FailureKind::BadRequest), "{dialect}");
    let refused = format!("{:?}", of(&calls[10]).frame.payload);
    assert!(refused.contains("no, not with ***") && !refused.contains(BATCH_KEY), "{dialect}: {refused}");
    assert_eq!(failed(&calls[11]), (NativeOutcome::Unrun, FailureKind::Overloaded), "{dialect}");
    assert_eq!(failed(&calls[12]), (NativeOutcome::Unrun, FailureKind::Unsupported), "{dialect}");
    let sums = "SELECT outcome, native_batch, batch_id, count() AS calls, toString(sum(cost_usd)) AS cost
        FROM attempts GROUP BY ALL ORDER BY calls";
    let rows = world.sql_until(sums, |rows| rows.iter().any(|row| row["calls"] == 10)).await;
    let row = |outcome: &str, calls: u32, cost: Value| json!({ "outcome": outcome, "native_batch": true, "batch_id": "batch_1", "calls": calls, "cost": cost });
    // The one that was refused and the one that was never run; the one that no batch API takes was no attempt.
    assert_eq!(rows, [row("refused", 2, Value::Null), row("served", 10, json!(SUMS[kind as usize]))], "{dialect}");
    assert_eq!(upstream.batches(), 1, "{dialect}");
    assert!(upstream.runs().values().all(|runs| *runs == 1) && upstream.runs().len() == 11, "{dialect}");
    assert_eq!(sender.ask(NativeQuestion::Advance(group.clone())).await, NativeAnswer::Collected(counts));
    assert_eq!(sender.ask(NativeQuestion::Forget(group.clone())).await, NativeAnswer::Forgotten);
    assert!(sender.objects.read(&group.answers_object()).await.unwrap().is_none());
}

/// By the kinds' order: OpenAI's and Mistral's input has the cached tokens in it, Google's too, Anthropic's has them besides.
const COSTS: [&str; 4] = ["0.00003", "0.000032", "0.000032", "0.00003"];

/// Ten of them.
const SUMS: [&str; 4] = ["0.0003", "0.00032", "0.00032", "0.0003"];

#[tokio::test]
async fn a_group_goes_through_openais_batch_api() {
    goes_through(KINDS[0].0, KINDS[0].1).await;
}

#[tokio::test]
async fn a_group_goes_through_anthropics_batch_api() {
    goes_through(KINDS[1].0, KINDS[1].1).await;
}

#[tokio::test]
async fn a_group_goes_through_googles_batch_api() {
    goes_through(KINDS[2].0, KINDS[2].1).await;
}

#[tokio::test]
async fn a_group_goes_through_mistrals_batch_api() {
    goes_through(KINDS[3].0, KINDS[3].1).await;
}

#[tokio::test]
async fn a_group_whose_submission_was_never_answered_is_found_again_and_paid_once() {
    for (kind, dialect) in KINDS {
        let (_world, upstream, sender) = world(kind, dialect).await;
        upstream.is_silent_about(1);
        let (group, _) = sender.write(&texts()).await;
        let counts = sender.collected(&group).await;
        assert_eq!((counts.served, upstream.batches()), (10, 1), "{dialect}");
        assert!(upstream.runs().values().all(|runs| *runs == 1), "{dialect}");
    }
}

#[tokio::test]
async fn a_group_that_is_cancelled_before_it_begins_never_begins() {
    let (_world, upstream, sender) = world(BatchKind::Openai, "openai").await;
    let (group, _) = sender.write(&texts()).await;
    for question in [NativeQuestion::Cancel(group.clone()), NativeQuestion::Advance(group.clone())] {
        let NativeAnswer::Failed(failure) = sender.ask(question).await else { panic!("it began") };
        assert_eq!(failure.kind, FailureKind::Cancelled);
    }
    assert_eq!(upstream.batches(), 0);
}
