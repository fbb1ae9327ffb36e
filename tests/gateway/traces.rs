//! Traces: what a real receiver of OTLP gets of requests, and that one which is gone or hangs is nobody's trouble.

use crate::batches;
use penstock_tests::{
    Collector, Manner, Otlp, Part, Reply, SeenSpan, Setup, World, checkout, tool, until, until_right, words,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A world whose traces go to the receiver.
fn traced(collector: &Collector, protocol: &str) -> Setup {
    World::setup()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret-of-the-receiver")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
}

/// The spans of a trace once there are so many requests and attempts in it, by their ids: one tree.
async fn tree(collector: &Collector, trace_id: &str, spans: (usize, usize)) -> BTreeMap<String, SeenSpan> {
    until_right(&format!("{spans:?} spans of requests and attempts in {trace_id}"), async || {
        let all: BTreeMap<String, SeenSpan> = collector
            .spans()
            .into_iter()
            .filter(|span| span.trace_id == trace_id)
            .map(|span| (span.id.clone(), span))
            .collect();
        let count = |kind| all.values().filter(|span| span.kind == kind).count();
        if (count(SERVER), count(CLIENT)) == spans { Ok(all) } else { Err(format!("{all:#?}")) }
    })
    .await
}

fn of_kind(tree: &BTreeMap<String, SeenSpan>, kind: i32) -> Vec<&SeenSpan> {
    let mut spans: Vec<&SeenSpan> = tree.values().filter(|span| span.kind == kind).collect();
    spans.sort_by_key(|span| span.start);
    spans
}

/// Everything below the request's span lies within its trace, and has a parent in it.
fn assert_connected(tree: &BTreeMap<String, SeenSpan>, root_parent: &str) {
    for span in tree.values() {
        if span.kind == SERVER {
            assert_eq!(span.parent, root_parent);
        } else {
            let parent = tree.get(&span.parent).unwrap_or_else(|| panic!("no parent: {span:#?}"));
            assert_eq!(parent.kind, SERVER);
        }
        assert!(span.start <= span.end, "{span:#?}");
        assert_eq!(span.resource["service.name"], "penstock");
    }
}

async fn a_fallback_is_one_tree(otlp: Otlp, protocol: &str) {
    let collector = Collector::start(otlp, Manner::Takes).await;
    let world = traced(&collector, protocol).start().await;
    world.upstream("alpha").replies(Reply::error(400).header("retry-after", "0")).once();
    world.upstream("alpha").fails(503).always();
    world.upstream("beta").replies(Reply::stream(words::stream("hello"))).always();
    let answer = world.ask("fast").stream().header("traceparent", CALLER).await;
    assert_eq!(answer.error(), "400 invalid_request_error -");
    let answer = world.ask("fast").stream().header("traceparent", CALLER).await;
    assert_eq!(answer.text(), "hello");
    let tree = tree(&collector, "0af7651916cd43dd8448eb211c80319c", (2, 5)).await;
    assert_connected(&tree, "b7ad6b7169203331");
    let requests = of_kind(&tree, SERVER);
    assert!(!requests[0].is_error, "a client's mistake is no error of the server");
    assert_eq!(requests[0].attributes["error.type"], "bad_request");
    assert_eq!(requests[1].name, "chat fast");
    let models = [0, 1].map(|at| requests[at].attributes.get("gen_ai.response.model"));
    assert_eq!(models, [None, Some(&json!("m"))], "no model made an answer that there was not");
    assert_eq!(requests[1].attributes["penstock.request_id"], answer.header("x-penstock-request-id"));
    assert_eq!(requests[1].attributes["penstock.attempts"], 4);
    let attempts = of_kind(&tree, CLIENT);
    let served = attempts[4];
    assert!(attempts[..4].iter().all(|span| span.is_error) && !served.is_error);
    assert_eq!(attempts[1].attributes["error.type"], "overloaded");
    assert_eq!(attempts[1].attributes["http.response.status_code"], 503);
    let expected = json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "beta",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": true,
        "gen_ai.response.model": "m-2026-11-22",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "penstock.project": "default",
        "penstock.attempt.number": 4,
        "penstock.plan.link": 1,
        "penstock.circuit.open": false,
        "penstock.virtual_model": "fast",
        "penstock.cost_usd": 0.000001666685,
    });
    for (name, value) in expected.as_object().expect("it is an object") {
        assert_eq!(served.attributes.get(name), Some(value), "{name} of {served:#?}");
    }
    // The provider knows its attempt by the span's id.
    let call = world.upstream("beta").received(1).await;
    assert_eq!(call.header("traceparent"), format!("00-{}-{}-01", served.trace_id, served.id));
    read_by_others(&collector, &world).await;
    assert_eq!(collector.header("x-token"), "secret-of-the-receiver");
    assert!(!world.logs().contains("secret-of-the-receiver"));
}

/// Reads what the receiver got with OpenTelemetry's own types of Python.
async fn read_by_others(collector: &Collector, world: &World) {
    let write = |(at, message): (usize, &[u8])| {
        let file = world.folder().path().join(format!("otlp-{at}"));
        std::fs::write(&file, message).expect("the test's folder can be written to");
        file
    };
    let files: Vec<PathBuf> = collector.messages().iter().map(AsRef::as_ref).enumerate().map(write).collect();
    let script = checkout().join("tests/sdk/otlp.py");
    let output = Command::new(tool("PENSTOCK_TEST_PYTHON")).arg(script).args(files).output().await;
    let output = output.expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let is_right = output.status.success() && said.lines().filter(|line| line.starts_with("ok ")).count() == 3;
    assert!(is_right, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_request_with_a_fallback_is_one_tree_over_http() {
    a_fallback_is_one_tree(Otlp::Http, "http/protobuf").await;
}

#[tokio::test]
async fn a_request_with_a_fallback_is_one_tree_over_grpc() {
    a_fallback_is_one_tree(Otlp::Grpc, "grpc").await;
}

#[tokio::test]
async fn processes_of_their_own_make_one_tree_of_a_cancelled_stream_and_of_the_line_of_a_batch() {
    let collector = Collector::start(Otlp::Http, Manner::Takes).await;
    let mut world = traced(&collector, "http/protobuf").apart().start().await;
    let _worker = world.worker().await;
    let parts = [words::role().into(), words::content("one ").into(), Part::Silence];
    world.upstream("alpha").replies(Reply::stream(parts)).once();
    world.upstream("alpha").answers("hello");
    let mut open = world.ask("fast").stream().header("traceparent", CALLER).open().await;
    open.until("one ").await;
    drop(open);
    let cancelled = tree(&collector, "0af7651916cd43dd8448eb211c80319c", (1, 1)).await;
    assert_connected(&cancelled, "b7ad6b7169203331");
    for span in cancelled.values().filter(|span| span.kind != 1) {
        assert_eq!((span.is_error, &span.attributes["error.type"]), (false, &json!("cancelled")), "{span:#?}");
    }
    assert!(cancelled.values().any(|span| span.name == "dispatch"), "{cancelled:#?}");
    batches::answers(&world, world.key(), "alpha/m").await;
    let rows = world
        .sql_until("SELECT toString(request_id) AS id FROM requests WHERE batch_id != ''", |rows| !rows.is_empty());
    let id = rows.await[0]["id"].as_str().expect("it is a text").replace('-', "");
    let of_line = tree(&collector, &id, (1, 1)).await;
    assert_connected(&of_line, "");
    assert!(
        of_line.values().filter(|span| span.kind != 1).all(|span| span.attributes.contains_key("penstock.batch_id"))
    );
}

#[tokio::test]
async fn what_failed_is_exported_though_it_was_not_drawn_and_the_rest_is_not() {
    let collector = Collector::start(Otlp::Http, Manner::Takes).await;
    let setup = traced(&collector, "http/protobuf").env("OTEL_TRACES_SAMPLER", "traceidratio");
    let world = setup.env("OTEL_TRACES_SAMPLER_ARG", "0").start().await;
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    let call = world.upstream("alpha").received(1).await;
    assert!(call.header("traceparent").ends_with("-00"), "{}", call.header("traceparent"));
    world.upstream("beta").fails(400).always();
    let failed = world.ask("beta/m").await;
    assert_eq!(failed.status, 400);
    let id = failed.header("x-penstock-request-id").replace('-', "");
    let tree = tree(&collector, &id, (1, 1)).await;
    assert_connected(&tree, "");
    assert!(collector.spans().iter().all(|span| span.trace_id == id), "the request that was served is not exported");
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_no_request_and_what_it_does_not_take_is_counted() {
    let collector = Collector::start(Otlp::Http, Manner::Hangs).await;
    let setup = traced(&collector, "http/protobuf").env("OTEL_BSP_MAX_QUEUE_SIZE", "4");
    let mut world = setup.env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1").start().await;
    world.upstream("alpha").answers("hello");
    let dropped = async |world: &World| {
        let text = world.get("/metrics").key(world.admin_key()).await.raw();
        let line = text.lines().find(|line| line.contains("spans_dropped_total{reason=\"queue_full\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    until_right("spans that have no room", async || {
        assert_eq!(world.ask("alpha/m").await.text(), "hello");
        match dropped(&world).await {
            0 => Err("none yet".to_owned()),
            count => Ok(count),
        }
    })
    .await;
    // The spans of one request may fill the queue before the first of them is on its way.
    until("the first batch", async || (collector.requests() > 0).then_some(())).await;
    assert_eq!(collector.requests(), 1, "it holds one batch and hangs");
    world.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(30), world.up().ended()).await;
    assert!(ended.expect("a receiver that hangs does not hold the end up").success());
}

#[tokio::test]
async fn without_a_receiver_there_are_no_traces_and_a_callers_own_is_passed_on() {
    let collector = Collector::start(Otlp::Http, Manner::Takes).await;
    let world = traced(&collector, "http/protobuf").env("OTEL_SDK_DISABLED", "true").start().await;
    world.upstream("alpha").answers("hello");
    assert_eq!(world.ask("alpha/m").header("traceparent", CALLER).await.text(), "hello");
    assert_eq!(world.ask("alpha/m").await.text(), "hello");
    let calls = world.upstream("alpha").calls();
    assert_eq!((calls[0].header("traceparent"), calls[1].header("traceparent")), (CALLER, ""));
    world.requests(2).await;
    assert_eq!(collector.requests(), 0);
}
