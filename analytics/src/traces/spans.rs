//! A request and an attempt as spans of OpenTelemetry. The same event is the same span, however often it comes. Names are
//! those of the semantic conventions 1.42 (`http.*`, `server.*`, `error.type`), and of their GenAI part as it stood there and
//! moved on in <https://github.com/open-telemetry/semantic-conventions-genai>; what they have no name for is `penstock.*`.

use super::assembly::Piece;
use opentelemetry::trace::{SpanContext, SpanId as OtelSpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Operation;
use penstock_schemas::event::{AttemptEnded, AttemptTrace, Outcome, RequestEvent};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::money::Picodollars;
use penstock_schemas::stage::StageTime;
use penstock_schemas::trace::{SpanId, TraceContext};
use penstock_schemas::usage::UsageSource;
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The conventions that the names are of.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Stages that took less are no spans of their own, in microseconds: they would be most of all spans and say nothing.
const SHORT: u64 = 1_000;

/// From which status on an answer is the server's own failure: a client's mistake leaves a SERVER span's status unset.
/// Source: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status>.
const SERVER_ERROR: u16 = 500;

/// The spans of a part of a trace.
pub(super) fn of(piece: &Piece) -> Vec<SpanData> {
    match piece {
        Piece::Request(request) => of_request(request),
        Piece::Attempt(ended) => ended.start.trace.as_ref().map(|trace| of_attempt(ended, trace)).into_iter().collect(),
    }
}

/// Attributes, where what is not known is left out.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    fn text(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, value.to_string());
        }
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.put(name, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn dollars(&mut self, name: &'static str, value: Option<Picodollars>) {
        if let Some(value) = value {
            self.put(name, dollars(value));
        }
    }

    fn failure(&mut self, failure: Option<FailureKind>, outcome: Outcome) {
        if outcome != Outcome::Served {
            self.put("error.type", failure.map_or(outcome.as_str(), FailureKind::as_str));
        }
    }
}

fn of_request(request: &RequestEvent) -> Vec<SpanData> {
    let Some(trace) = request.trace else { return Vec::new() };
    let id = SpanId::of_request(request.request_id);
    let mut all = Attributes(Vec::with_capacity(24));
    all.put("gen_ai.operation.name", operation(request.operation));
    all.put("gen_ai.request.model", request.model.clone());
    let has_answer = request.first_token_us.is_some() || request.outcome == Outcome::Served;
    all.text("gen_ai.response.model", request.target.as_ref().filter(|_| has_answer).map(|target| &target.model));
    if request.batch_id.is_none() {
        all.put("http.request.method", "POST");
        all.put("http.response.status_code", i64::from(request.status));
    }
    all.failure(request.failure, request.outcome);
    all.put("penstock.request_id", request.request_id.to_string());
    all.put("penstock.project", request.caller.project.to_string());
    all.text("gen_ai.conversation.id", request.session.as_ref().map(|session| &session.id));
    all.put("penstock.key_id", request.caller.key_id.to_string());
    all.put("penstock.dialect", request.dialect.as_str());
    all.put("penstock.outcome", request.outcome.as_str());
    all.put("penstock.cache", request.cache.as_str());
    all.put("penstock.stream", request.stream);
    all.put("penstock.attempts", i64::from(request.attempts));
    all.text("penstock.target", request.target.as_ref());
    all.text("penstock.batch_id", request.batch_id.as_ref());
    all.dollars("penstock.cost_usd", request.cost);
    all.number("penstock.first_token_us", request.first_token_us);
    // A name that no target is known for is the caller's own: it does not become the name of a span.
    let model = request.target.as_ref().map(|_| request.model.as_str());
    let is_ours = request.outcome == Outcome::Broken || request.status >= SERVER_ERROR;
    let root = SpanData {
        parent_span_id: trace.parent().map_or(OtelSpanId::INVALID, otel_id),
        parent_span_is_remote: trace.parent().is_some(),
        span_kind: SpanKind::Server,
        status: status(is_ours, request.failure),
        attributes: all.0,
        ..span((&trace, id), named(request.operation, model), (request.received_at, request.ended_at))
    };
    let stages = of_stages(&trace, id, request.received_at, &request.stages);
    std::iter::once(root).chain(stages).collect()
}

/// The stages that took a while, one after the other.
fn of_stages(trace: &TraceContext, request: SpanId, from: UnixMicros, stages: &[StageTime]) -> Vec<SpanData> {
    let mut at = from;
    let mut spans = Vec::new();
    for StageTime { stage, us } in stages {
        let end = at.after(Duration::from_micros(*us));
        if *us >= SHORT {
            spans.push(SpanData {
                parent_span_id: otel_id(request),
                ..span((trace, request.part(*stage as u64)), Cow::Borrowed(stage.as_str()), (at, end))
            });
        }
        at = end;
    }
    spans
}

fn of_attempt(ended: &AttemptEnded, trace: &AttemptTrace) -> SpanData {
    let start = &ended.start;
    let is_failed = matches!(ended.outcome, Outcome::Refused | Outcome::Broken);
    let context = (&trace.context, SpanId::of_attempt(start.attempt_id));
    let times = (start.started_at, ended.ended_at);
    SpanData {
        parent_span_id: otel_id(SpanId::of_request(start.request_id)),
        // The worker knows its request from a message.
        parent_span_is_remote: true,
        span_kind: SpanKind::Client,
        status: status(is_failed, ended.failure),
        attributes: attributes(ended, trace).0,
        ..span(context, named(start.operation, Some(start.target.model.as_str())), times)
    }
}

fn attributes(ended: &AttemptEnded, trace: &AttemptTrace) -> Attributes {
    let start = &ended.start;
    let mut all = Attributes(Vec::with_capacity(40));
    all.put("gen_ai.operation.name", operation(start.operation));
    all.put("gen_ai.provider.name", trace.provider.clone());
    all.put("gen_ai.request.model", start.target.model.to_string());
    all.put("gen_ai.request.stream", start.stream);
    all.text("gen_ai.response.model", ended.model_version.as_ref());
    all.text("gen_ai.response.id", ended.provider_request_id.as_ref());
    if let Some(reason) = &ended.finish_reason {
        let reasons: Vec<StringValue> = vec![reason.clone().into()];
        all.put("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons)));
    }
    if let Some(first) = ended.first_token_us.filter(|_| start.stream) {
        all.put("gen_ai.response.time_to_first_chunk", Duration::from_micros(first).as_secs_f64());
    }
    usage(&mut all, ended);
    all.put("server.address", trace.host.clone());
    all.put("server.port", i64::from(trace.port));
    all.number("http.response.status_code", ended.provider_status.map(u64::from));
    all.failure(ended.failure, ended.outcome);
    all.put("penstock.request_id", start.request_id.to_string());
    all.put("penstock.attempt_id", start.attempt_id.to_string());
    all.put("penstock.project", start.caller.project.to_string());
    all.put("penstock.provider", start.target.provider.to_string());
    all.put("penstock.outcome", ended.outcome.as_str());
    all.put("penstock.attempt.number", i64::from(start.number));
    all.put("penstock.plan.link", i64::from(start.link));
    all.put("penstock.circuit.open", trace.circuit_open);
    all.text("penstock.virtual_model", start.virtual_model.as_ref());
    all.text("penstock.batch_id", start.batch_id.as_ref());
    all.text("penstock.price_id", start.price_id.as_ref());
    if start.batch_id.is_some() {
        all.put("penstock.native_batch", start.native_batch);
    }
    all.dollars("penstock.cost_usd", ended.cost);
    all.dollars("penstock.budget.reserved_usd", start.worst_case);
    all.dollars("penstock.budget.charged_usd", ended.charged.or(ended.cost));
    if let Some(reserved) = &start.reserved {
        all.number("penstock.budget.count", Some(reserved.books.len() as u64));
    }
    all
}

/// Tokens, as the conventions sum them up. What was not reported is not said.
fn usage(all: &mut Attributes, ended: &AttemptEnded) {
    let (usage, is_known) = (&ended.usage, ended.usage_source != UsageSource::Unknown);
    all.number("gen_ai.usage.input_tokens", is_known.then(|| usage.input_total()));
    all.number("gen_ai.usage.output_tokens", is_known.then(|| usage.output_total()));
    all.number("gen_ai.usage.cache_read.input_tokens", usage.cache_read);
    let written = usage.cache_write.zip(usage.cache_write_1h).map(|(short, long)| short.saturating_add(long));
    let written = written.or(usage.cache_write).or(usage.cache_write_1h);
    all.number("gen_ai.usage.cache_creation.input_tokens", written);
    all.number("gen_ai.usage.reasoning.output_tokens", usage.reasoning);
    let source = match ended.usage_source {
        UsageSource::Provider => "provider",
        UsageSource::Counted => "counted",
        UsageSource::Unknown => "unknown",
    };
    all.put("penstock.usage_source", source);
}

fn span(
    (trace, id): (&TraceContext, SpanId),
    name: Cow<'static, str>,
    (from, to): (UnixMicros, UnixMicros),
) -> SpanData {
    // What is exported is recorded, whatever was drawn at its beginning.
    let flags = TraceFlags::SAMPLED;
    let trace_id = TraceId::from_bytes(trace.trace_id().to_be_bytes());
    SpanData {
        span_context: SpanContext::new(trace_id, otel_id(id), flags, false, TraceState::default()),
        parent_span_id: OtelSpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name,
        start_time: time(from),
        end_time: time(to.max(from)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("penstock")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA)
            .build(),
    }
}

/// The name of a span of the conventions: what is done, and with which model.
fn named(what: Operation, model: Option<&str>) -> Cow<'static, str> {
    match model {
        Some(model) => Cow::Owned(format!("{} {model}", operation(what))),
        None => Cow::Borrowed(operation(what)),
    }
}

/// `gen_ai.operation.name`: where the conventions have no word, ours.
fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Completions => "text_completion",
        other => other.as_str(),
    }
}

fn status(is_error: bool, failure: Option<FailureKind>) -> Status {
    if is_error { Status::error(failure.map_or("", FailureKind::as_str)) } else { Status::Unset }
}

fn otel_id(id: SpanId) -> OtelSpanId {
    OtelSpanId::from_bytes(id.0.get().to_be_bytes())
}

fn time(at: UnixMicros) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(at.0)
}

/// As a number for those who draw it; the exact amount is in the ledger.
#[expect(clippy::cast_precision_loss, reason = "an amount to look at")]
fn dollars(amount: Picodollars) -> f64 {
    amount.0 as f64 / 1e12
}
