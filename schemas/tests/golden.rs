//! Every message that crosses a process boundary, as it is on the wire today. What stands in `golden` may still be under
//! way from an older process, so it must be read for ever: a change that makes a file differ needs a file of its own.
//! `UPDATE_GOLDEN=1 cargo test -p penstock-schemas` writes files that are missing, and changes none.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bytes::Bytes;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::asked_tools::AskedTools;
use penstock_schemas::audit::{Action, AuditEvent, Way};
use penstock_schemas::budget::Budget;
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::{Body, Caller, Delivery, Dialect, Envelope, Operation, Unsupported};
use penstock_schemas::event::{
    AttemptEnded, AttemptStarted, AttemptTrace, CacheResult, Outcome, RequestEvent, UsageEvent, decode_batch,
    encode_batch,
};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{
    Accepted, ClientPiece, Control, DeclineReason, Declined, Ended, Failed, Frame, Head, Payload, Summary,
};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::{Admin, AdminSettings, Kind, Role};
use penstock_schemas::message::framed;
use penstock_schemas::model::ProviderCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{AttemptId, BatchId, KeyId, ProcessId, ProjectId, RequestId, Target};
use penstock_schemas::native_batch::{
    NativeAnswer, NativeCounts, NativeGroup, NativeJob, NativeLine, NativeLineHead, NativeOutcome, NativeQuestion,
    NativeStage,
};
use penstock_schemas::plan::{Link, Plan};
use penstock_schemas::reservation::Settled;
use penstock_schemas::route::{RouteCandidate, RouteDecision, RouteFilter};
use penstock_schemas::score::{Score, ScoreSource, ScoreValue};
use penstock_schemas::session::{Session, SessionSource};
use penstock_schemas::spend::{SpendQuery, SpendReply};
use penstock_schemas::stage::{Stage, StageTime};
use penstock_schemas::trace::TraceContext;
use penstock_schemas::usage::{Usage, UsageSource};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

/// The file's bytes; `today` is written when the file is missing and an update was asked for.
fn golden(name: &str, today: &[u8]) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, today).unwrap();
    }
    fs::read(&file).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE_GOLDEN=1 writes it"))
}

fn json<T>(name: &str, value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    let mut today = serde_json::to_string_pretty(value).unwrap();
    today.push('\n');
    let golden = golden(name, today.as_bytes());
    assert_eq!(&serde_json::from_slice::<T>(&golden).unwrap(), value, "{name} is read differently");
    assert_eq!(String::from_utf8(golden).unwrap(), today, "{name} is written differently");
}

fn id(last: u8) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(last))
}

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

fn caller() -> Caller {
    Caller {
        project: ProjectId::parse("search").unwrap(),
        key_id: KeyId::parse("key_0123456789").unwrap(),
        user: Some("Ada".to_owned()),
        end_user: None,
        tags: [("feature".to_owned(), "ranking".to_owned())].into(),
    }
}

fn failure() -> Failure {
    Failure {
        retry_after_ms: Some(1500),
        param: Some("messages".to_owned()),
        provider_code: Some("rate_limit_exceeded".to_owned()),
        provider_status: Some(429),
        ..Failure::provider(FailureKind::RateLimited, "too many requests")
    }
}

fn envelope() -> Envelope {
    let first = Link {
        connect_ms: Some(5_000),
        first_token_ms: Some(60_000),
        idle_ms: Some(60_000),
        total_ms: Some(600_000),
        retries: Some(2),
        on: Some(vec![FailureKind::RateLimited, FailureKind::Overloaded]),
        ..Link::to(target("openai/gpt-4o-mini"))
    };
    Envelope {
        request_id: RequestId(id(1)),
        call: None,
        caller: caller(),
        batch: None,
        deadline: UnixMicros(1_795_000_000_000_000),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        trace: None,
        virtual_model: Some("chat".to_owned()),
        plan: Plan::new(first, [Link::to(target("house/llama-3.3-70b"))]),
        operation: Operation::Chat,
        dialect: Dialect::Openai,
        native: None,
        kept: false,
        keep_sent: 0,
        content_type: None,
        headers: [].into(),
        query: [].into(),
        unsupported: Unsupported::Refuse,
        delivery: Delivery::StreamWithUsage,
        ingress: ProcessId::parse("ingress-1").unwrap(),
        attempts: 1,
        next_seq: 2,
        last_failure: Some(failure()),
        reservation: None,
        extent: None,
        body: Body::Stored("claim".to_owned()),
    }
}

fn usage() -> Usage {
    Usage { input: Some(10), cache_read: Some(4), output: Some(7), reasoning: Some(0), ..Usage::default() }
}

fn started() -> AttemptStarted {
    AttemptStarted {
        attempt_id: AttemptId(id(2)),
        request_id: RequestId(id(1)),
        started_at: UnixMicros(1_794_999_000_000_000),
        deadline: UnixMicros(1_795_000_000_000_000),
        caller: caller(),
        target: target("openai/gpt-4o-mini"),
        virtual_model: Some("chat".to_owned()),
        operation: Operation::Chat,
        number: 1,
        link: 0,
        stream: true,
        worst_case: Some(Picodollars(9_840_750_000)),
        price_id: Some("2026-11-22/openai/gpt-4o-mini".to_owned()),
        worst_tokens: 0,
        worker: None,
        reserved: None,
        batch_id: None,
        native_batch: false,
        trace: None,
    }
}

fn ended() -> AttemptEnded {
    AttemptEnded {
        start: started(),
        ended_at: UnixMicros(1_794_999_001_000_000),
        outcome: Outcome::Broken,
        failure: Some(FailureKind::Broken),
        provider_status: Some(200),
        usage: usage(),
        usage_source: UsageSource::Provider,
        claimed: None,
        unpriced: None,
        cost: Some(Picodollars(6_300_000)),
        charged: None,
        charged_tokens: 0,
        first_token_us: Some(120_000),
        total_us: 1_000_000,
        model_version: Some("gpt-4o-mini-2024-07-18".to_owned()),
        provider_request_id: Some("chatcmpl-1".to_owned()),
        finish_reason: Some("stop".to_owned()),
        system_fingerprint: None,
        tools: AskedTools::default(),
    }
}

fn request_event() -> RequestEvent {
    RequestEvent {
        request_id: RequestId(id(1)),
        received_at: UnixMicros(1_794_999_000_000_000),
        ended_at: UnixMicros(1_794_999_001_000_000),
        caller: caller(),
        dialect: Dialect::Openai,
        operation: Operation::Chat,
        model: "chat".to_owned(),
        target: Some(target("openai/gpt-4o-mini")),
        attempts: 2,
        stream: true,
        outcome: Outcome::Served,
        failure: None,
        status: 200,
        cache: CacheResult::Off,
        first_token_us: Some(120_000),
        cost: Some(Picodollars(6_300_000)),
        saved: None,
        cache_source: None,
        batch_id: None,
        session: None,
        stages: Vec::new(),
        trace: None,
        route: None,
    }
}

#[test]
fn an_envelope() {
    json("envelope.json", &envelope());
    let body = br#"{"model":"chat","messages":[]}"#;
    let today = envelope().encode(body).unwrap();
    let (header, bytes) = Envelope::decode(&Bytes::from(golden("envelope.bin", &today))).unwrap();
    assert_eq!((header, &bytes[..]), (envelope(), &body[..]));
}

/// The same with what a trace adds.
#[test]
fn a_call_of_a_trace_and_its_events() {
    let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    json("envelope-trace.json", &Envelope { traceparent: None, trace: Some(Box::new(context)), ..envelope() });
    let trace = AttemptTrace {
        context,
        provider: "openai".to_owned(),
        host: "api.openai.com".to_owned(),
        port: 443,
        circuit_open: true,
    };
    let start = AttemptStarted { trace: Some(Box::new(trace)), ..started() };
    let stages = [(Stage::Authenticate, 40), (Stage::Dispatch, 120_000), (Stage::Answer, 879_960)];
    let stages = stages.map(|(stage, us)| StageTime { stage, us }).into();
    let events = [
        UsageEvent::AttemptStarted(Box::new(start.clone())),
        UsageEvent::AttemptEnded(Box::new(AttemptEnded { start, ..ended() })),
        UsageEvent::Request(Box::new(RequestEvent { stages, trace: Some(context), ..request_event() })),
    ];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-trace.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-trace.jsonl is written differently");
}

#[test]
fn scores() {
    let score = |value| Score {
        id: id(9),
        at: UnixMicros(1_794_999_002_000_000),
        request_id: RequestId(id(1)),
        project: ProjectId::parse("search").unwrap(),
        name: "thumbs_up".to_owned(),
        value,
        comment: Some("right".to_owned()),
        by: "search-web".to_owned(),
        source: ScoreSource::Key,
    };
    let values = [ScoreValue::Boolean(true), ScoreValue::Number(0.5), ScoreValue::Text("good".to_owned())];
    let events = values.map(|value| UsageEvent::Score(Box::new(score(value))));
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-score.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-score.jsonl is written differently");
}

#[test]
fn an_answer_that_asks_for_tools() {
    let tools = ["search", "mcp__files__read"].into_iter().collect();
    let over = AttemptEnded { system_fingerprint: Some("fp_44709d6fcb".to_owned()), tools, ..ended() };
    let events = [UsageEvent::AttemptEnded(Box::new(over))];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-tools.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-tools.jsonl is written differently");
}

#[test]
fn a_request_of_a_session() {
    let session = Session::parse("run-7", SessionSource::Header).map(Box::new);
    let events = [UsageEvent::Request(Box::new(RequestEvent { session, ..request_event() }))];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-session.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-session.jsonl is written differently");
}

#[test]
fn a_request_of_a_virtual_model() {
    let candidate = |target: &str, propensity: f64| RouteCandidate {
        target: target.to_owned(),
        propensity,
        usd: Some(0.0025),
        ms: Some(420.5),
        quality: Some(0.75),
        level: None,
        busy: Some(2),
    };
    let filter = RouteFilter {
        target: "house/m".to_owned(),
        by: "rule residency: regions".to_owned(),
        why: "it says no region, and only eu may be called".to_owned(),
    };
    let route = RouteDecision {
        strategy: "cost".to_owned(),
        reason: "the cheapest".to_owned(),
        propensity: 0.99,
        sticky: Some("session".to_owned()),
        rule: Some("night".to_owned()),
        experiment: Some("mini".to_owned()),
        arm: Some("control".to_owned()),
        candidates: vec![candidate("openai/gpt-4o-mini", 0.99), candidate("anthropic/claude", 0.01)],
        filters: vec![filter],
        features: vec![0.5, -1.0],
    };
    let route = Some(Box::new(route));
    let events = [UsageEvent::Request(Box::new(RequestEvent { route, ..request_event() }))];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-route.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-route.jsonl is written differently");
}

#[test]
fn a_call_of_a_batch_and_its_events() {
    let batch = Some(BatchId::parse("batch_0190f3a2c5d4").unwrap());
    json("envelope-batch.json", &Envelope { batch: batch.clone(), ..envelope() });
    let start = AttemptStarted { batch_id: batch.clone(), native_batch: true, ..started() };
    let events = [
        UsageEvent::AttemptStarted(Box::new(start.clone())),
        UsageEvent::AttemptEnded(Box::new(AttemptEnded { start, ..ended() })),
        UsageEvent::Request(Box::new(RequestEvent { batch_id: batch, ..request_event() })),
    ];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-batch.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-batch.jsonl is written differently");
}

#[test]
fn a_group_of_lines_for_a_native_batch() {
    let group = NativeGroup {
        batch: BatchId::parse("batch_0190f3a2c5d4").unwrap(),
        number: 3,
        target: target("openai/gpt-4o-mini"),
        lines: 2,
        at: UnixMicros(1_794_999_000_000_000),
        deadline: UnixMicros(1_795_000_000_000_000),
    };
    let questions = [NativeQuestion::Advance, NativeQuestion::Cancel, NativeQuestion::Forget];
    json("native-questions.json", &questions.map(|question| question(group.clone())).to_vec());
    let counts = NativeCounts { served: 5, refused: 1, unrun: 2 };
    let answers = [
        NativeAnswer::Submitting,
        NativeAnswer::Running { done: 4 },
        NativeAnswer::Collecting,
        NativeAnswer::Collected(counts),
        NativeAnswer::Failed(Box::new(failure())),
        NativeAnswer::Later(Box::new(failure())),
        NativeAnswer::Forgotten,
    ];
    json("native-answers.json", &answers.to_vec());
    let (worker, pulse) = (ProcessId::parse("worker-1").unwrap(), UnixMicros(1_794_999_000_000_000));
    let job = NativeJob { id: "batch_abc".to_owned(), key: "9f86d081".to_owned() };
    let stages = [
        NativeStage::Submitting { worker: worker.clone(), pulse },
        NativeStage::Submitted(job.clone()),
        NativeStage::Collecting { job, worker, pulse },
        NativeStage::Collected(counts),
        NativeStage::Failed(Box::new(failure())),
    ];
    json("native-stages.json", &stages.to_vec());
    let settled = Some(Settled { id: id(7), spent: vec![1, 2] });
    let head = NativeLineHead { call: RequestId(id(1)), outcome: NativeOutcome::Refused, settled };
    let failed = Failed { failure: failure(), target: Some(target("openai/gpt-4o-mini")), attempts: 1, sent: None };
    let line = NativeLine { head, frame: Frame { seq: 0, payload: Payload::Failed(failed) } };
    let today = line.encode().unwrap();
    let bytes = Bytes::from(golden("native-line.bin", &today));
    assert_eq!(NativeLine::decode(&bytes).unwrap(), line);
    assert_eq!(bytes, today, "native-line.bin is written differently");
    assert!((0..bytes.len()).all(|length| NativeLine::decode(&bytes.slice(..length)).is_err()), "cut short");
}

#[test]
fn every_kind_of_frame() {
    let worker = ProcessId::parse("worker-1").unwrap();
    let head = Head {
        worker: worker.clone(),
        target: target("openai/gpt-4o-mini"),
        dialect: Dialect::Openai,
        attempts: 2,
        dropped: Vec::new(),
        content_type: None,
        input_tokens: None,
        sent: None,
    };
    let summary = Summary { usage: usage(), usage_source: UsageSource::Provider, cost: Some(Picodollars(6_300_000)) };
    let content = Bytes::from_static(b"data: {\"choices\":[]}\n\n");
    let failed = Failed { failure: failure(), target: Some(target("house/llama-3.3-70b")), attempts: 3, sent: None };
    let payloads = [
        ("declined", Payload::Declined(Declined { worker: worker.clone(), reason: DeclineReason::Full })),
        ("accepted", Payload::Accepted(Accepted { worker })),
        ("first-chunk", Payload::Chunk(Some(head.clone()), content.clone())),
        ("chunk", Payload::Chunk(None, content.clone())),
        ("end", Payload::End(Box::new(Ended { head: None, summary: summary.clone() }), content.clone())),
        ("whole", Payload::End(Box::new(Ended { head: Some(head), summary }), content)),
        ("failed", Payload::Failed(failed)),
        ("alive", Payload::Alive),
        ("gone", Payload::Gone),
        ("read", Payload::Read(65_536)),
    ];
    for (name, payload) in payloads {
        let frame = Frame { seq: 7, payload };
        let today = frame.encode().unwrap();
        let bytes = Bytes::from(golden(&format!("frame-{name}.bin"), &today));
        assert_eq!(Frame::decode(&bytes).unwrap(), frame, "{name}");
        assert_eq!(bytes, today, "{name} is written differently");
    }
}

#[test]
fn a_piece_of_what_a_client_says_is_no_order() {
    let piece = ClientPiece { seq: 7, bytes: framed(br#"{"type":"response.create"}"#) };
    let bytes = Bytes::from(golden("client-piece.bin", &piece.encode()));
    assert_eq!((ClientPiece::decode(&bytes), &bytes), (Some(piece.clone()), &piece.encode()));
    for order in [Control::Cancel, Control::Credit(1), Control::GiveUp(1)] {
        assert_eq!(ClientPiece::decode(&serde_json::to_vec(&order).unwrap().into()), None);
    }
}

#[test]
fn control_messages() {
    json(
        "control.json",
        &vec![Control::Cancel, Control::Credit(131_072), Control::Taken, Control::Probe, Control::GiveUp(1 << 24)],
    );
}

#[test]
fn a_batch_of_usage_events() {
    let events = [
        UsageEvent::AttemptStarted(Box::new(started())),
        UsageEvent::AttemptEnded(Box::new(ended())),
        UsageEvent::Request(Box::new(request_event())),
    ];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage.jsonl is written differently");
}

#[test]
fn an_alert() {
    let alert = Alert::new(AlertKind::BudgetThreshold, "search", "80", "2026-11", UnixMicros(1_795_000_000_000_000));
    let alert = alert.saying("80 % of the budget search is spent").with("threshold", 80);
    json("alert.json", &alert);
    let events = [UsageEvent::Alert(Box::new(alert))];
    let today = encode_batch(&events).unwrap();
    let bytes = golden("usage-alert.jsonl", &today);
    assert_eq!(decode_batch(&bytes).unwrap(), events);
    assert_eq!(bytes, today, "usage-alert.jsonl is written differently");
}

#[test]
fn an_event_of_the_audit_and_the_directory() {
    let text = r#"{"name":"b","match":{"project":"search"},"limit_usd":"5","cycle":"daily"}"#;
    let budget: Budget = serde_json::from_str(text).unwrap();
    let event = UsageEvent::Audit(Box::new(AuditEvent {
        id: id(9),
        at: UnixMicros(1_763_769_600_000_000),
        actor: "ann".to_owned(),
        role: Role::Owner,
        action: Action::Update,
        kind: Kind::Budget,
        name: "b".to_owned(),
        project: Some("search".to_owned()),
        before: None,
        after: Some(serde_json::to_value(&budget).unwrap()),
        request_id: Some(RequestId(id(1))),
        way: Way::Api,
    }));
    json("audit.json", &event);
    let settings = AdminSettings { name: "ann".to_owned(), role: Role::Admin, ..AdminSettings::default() };
    let admin = Admin { settings, sha256: "ab".to_owned(), created_at: UnixMicros(1) };
    let directory = Directory {
        budgets: [("b".to_owned(), budget)].into(),
        admins: [("ann".to_owned(), admin)].into(),
        ..Directory::default()
    };
    json("directory.json", &directory);
}

#[test]
fn a_key() {
    let key = VirtualKey {
        id: KeyId::parse("key_0123456789").unwrap(),
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        prefix: "psk_a1b2".to_owned(),
        secrets: Vec::new(),
        project: ProjectId::parse("search").unwrap(),
        user: Some("Ada".to_owned()),
        name: Some("ranking service".to_owned()),
        models: vec!["openai/*".to_owned()],
        tags: [("team".to_owned(), "web".to_owned())].into(),
        created_at: UnixMicros(1_794_999_000_000_000),
        expires_at: Some(UnixMicros(1_795_000_000_000_000)),
        disabled: false,
        budgets: Vec::new(),
        generations: [].into(),
        rates: None,
        cache: None,
        addresses: Vec::new(),
    };
    json("key.json", &key);
}

#[test]
fn a_provider_card() {
    let card = r#"{"provider":"openai","dialect":"openai","models":[{"model":"gpt-4o-mini","mode":"chat",
        "context":128000,"max_output":16384,"capabilities":["tools","vision"],"deprecated_on":"2027-09-02",
        "price":{"price_id":"2026-11-22/openai/gpt-4o-mini","valid_from":1763769600000000,"prices":{
        "input":"0.15","cache_read":"0.075","output":"0.6","per_image":"0.04",
        "tiers":[{"above_input_tokens":200000,"input":"0.3"}]}}}]}"#;
    json("provider-card.json", &serde_json::from_str::<ProviderCard>(card).unwrap());
}

#[test]
fn a_spend_query_and_its_answers() {
    let query =
        SpendQuery { by: vec!["model".to_owned()], since: UnixMicros(1), until: UnixMicros(2), projects: vec![] };
    json("spend-query.json", &query);
    let report = r#"{"report":{"since":"2026-11-01T00:00:00Z","until":"2026-11-22T00:00:00Z","by":["model"],
        "rows":[{"model":"gpt-4o-mini","requests":1,"attempts":2,"input_tokens":3,"output_tokens":4,"cost_usd":"0.000123"}],
        "total":{"requests":1,"attempts":2,"input_tokens":3,"output_tokens":4,"cost_usd":"0.000123"}}}"#;
    let replies = [
        serde_json::from_str(report).unwrap(),
        SpendReply::BadQuery("no such dimension".to_owned()),
        SpendReply::Unavailable("ClickHouse is down".to_owned()),
    ];
    json("spend-replies.json", &replies.to_vec());
}
