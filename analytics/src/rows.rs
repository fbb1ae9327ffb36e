//! Events as rows of ClickHouse's tables, and the fold of a start and its end into one. Pure: knows nothing of when or how
//! rows are inserted.

use crate::audit::AuditLogRow;
use crate::row_key::{RowKey, micros};
use crate::score::ScoreRow;
use clickhouse::Row;
use penstock_schemas::alert::Alert;
use penstock_schemas::event::{AttemptEnded, AttemptStarted, RequestEvent, UsageEvent};
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::BatchId;
use penstock_schemas::route::RouteDecision;
use penstock_schemas::usage::UsageSource;
use serde::Serialize;
use std::collections::HashMap;
use uuid::Uuid;

/// The versions of an attempt's row, of which ClickHouse keeps the highest. Between the two stands what SQL writes when a
/// worker is gone: see `proof`.
const START: u8 = 0;
const END: u8 = 2;

/// A row of `attempt_log`. Times are in microseconds, costs in picodollars.
#[derive(Clone, Debug, Default, Row, Serialize)]
pub(crate) struct AttemptRow {
    #[serde(with = "clickhouse::serde::uuid")]
    pub(crate) attempt_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    request_id: Uuid,
    pub(crate) version: u8,
    started_at: i64,
    deadline: i64,
    ended_at: Option<i64>,
    project: String,
    user: Option<String>,
    end_user: Option<String>,
    key_id: String,
    provider: String,
    model: String,
    virtual_model: Option<String>,
    model_version: Option<String>,
    operation: &'static str,
    number: u32,
    link: u32,
    stream: bool,
    outcome: &'static str,
    failure: Option<&'static str>,
    provider_status: Option<u16>,
    provider_request_id: Option<String>,
    finish_reason: Option<String>,
    input_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    cache_write_1h_tokens: Option<u64>,
    input_audio_tokens: Option<u64>,
    input_image_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    output_audio_tokens: Option<u64>,
    output_image_tokens: Option<u64>,
    images: Option<u64>,
    seconds: Option<u64>,
    characters: Option<u64>,
    searches: Option<u64>,
    code_executions: Option<u64>,
    file_searches: Option<u64>,
    claimed_usage: Vec<(&'static str, u64)>,
    unpriced_usage: Vec<(&'static str, u64)>,
    usage_source: &'static str,
    cost_usd: Option<i128>,
    worst_case_usd: Option<i128>,
    price_id: Option<String>,
    first_token_us: Option<u64>,
    total_us: Option<u64>,
    worker: Option<String>,
    worst_tokens: u64,
    charged_tokens: u64,
    charged_usd: i128,
    #[serde(with = "clickhouse::serde::uuid::option")]
    reservation: Option<Uuid>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    lease: Option<Uuid>,
    books: Vec<String>,
    batch_id: String,
    native_batch: bool,
    system_fingerprint: String,
    tools: Vec<String>,
    tags: Vec<(String, String)>,
}

/// A row of `request_log`.
#[derive(Clone, Debug, Row, Serialize)]
pub(crate) struct RequestRow {
    #[serde(with = "clickhouse::serde::uuid")]
    pub(crate) request_id: Uuid,
    received_at: i64,
    ended_at: i64,
    project: String,
    user: Option<String>,
    end_user: Option<String>,
    key_id: String,
    dialect: &'static str,
    operation: &'static str,
    model: String,
    target: Option<String>,
    attempts: u32,
    stream: bool,
    outcome: &'static str,
    failure: Option<&'static str>,
    status: u16,
    cache: &'static str,
    first_token_us: Option<u64>,
    cost_usd: Option<i128>,
    saved_usd: Option<i128>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    cache_source: Option<Uuid>,
    batch_id: String,
    session: String,
    session_source: &'static str,
    trace_id: String,
    stages: Vec<(&'static str, u64)>,
    strategy: String,
    experiment: String,
    arm: String,
    propensity: Option<f64>,
    route: String,
    tags: Vec<(String, String)>,
}

/// A row of `alert_log`.
#[derive(Clone, Debug, Row, Serialize)]
pub(crate) struct AlertLogRow {
    #[serde(with = "clickhouse::serde::uuid")]
    pub(crate) alert_id: Uuid,
    at: i64,
    kind: &'static str,
    subject: String,
    window: String,
    message: String,
    details: Vec<(String, String)>,
}

/// What is inserted together.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) requests: Vec<RequestRow>,
    pub(crate) alerts: Vec<AlertLogRow>,
    pub(crate) audit: Vec<AuditLogRow>,
    pub(crate) scores: Vec<ScoreRow>,
}

impl AttemptRow {
    pub(crate) fn key(&self) -> RowKey {
        (self.attempt_id, self.version)
    }
}

impl RequestRow {
    pub(crate) fn key(&self) -> RowKey {
        (self.request_id, 0)
    }
}

impl AlertLogRow {
    pub(crate) fn key(&self) -> RowKey {
        (self.alert_id, 0)
    }
}

/// Rows in the making.
#[derive(Default)]
pub(crate) struct Folding {
    rows: Rows,
    /// The places of attempts.
    places: HashMap<Uuid, usize>,
}

impl Folding {
    /// Adds what an event says. An attempt whose end comes too makes one row, in the place of its first event.
    pub(crate) fn add(&mut self, event: &UsageEvent) {
        match event {
            UsageEvent::AttemptStarted(start) => self.add_attempt(started(start)),
            UsageEvent::AttemptEnded(end) => self.add_attempt(ended(end)),
            UsageEvent::Request(request) => self.rows.requests.push(requested(request)),
            UsageEvent::Alert(alert) => self.rows.alerts.push(raised(alert)),
            UsageEvent::Audit(event) => self.rows.audit.push(AuditLogRow::of(event)),
            UsageEvent::Score(score) => self.rows.scores.push(ScoreRow::of(score)),
        }
    }

    fn add_attempt(&mut self, row: AttemptRow) {
        let place = *self.places.entry(row.attempt_id).or_insert(self.rows.attempts.len());
        match self.rows.attempts.get_mut(place) {
            Some(earlier) if earlier.version >= row.version => {}
            Some(earlier) => *earlier = row,
            None => self.rows.attempts.push(row),
        }
    }

    /// The rows of all events that were added.
    pub(crate) fn rows(self) -> Rows {
        self.rows
    }
}

/// The key of `event`.
pub(crate) fn key(event: &UsageEvent) -> RowKey {
    match event {
        UsageEvent::AttemptStarted(start) => (start.attempt_id.0, START),
        UsageEvent::AttemptEnded(end) => (end.start.attempt_id.0, END),
        UsageEvent::Audit(event) => (event.id, 0),
        UsageEvent::Score(score) => (score.id, 0),
        UsageEvent::Request(request) => (request.request_id.0, 0),
        UsageEvent::Alert(alert) => (alert.id.0, 0),
    }
}

fn started(start: &AttemptStarted) -> AttemptRow {
    let worst_case = start.worst_case.map(pico);
    let reserved = start.reserved.as_ref();
    AttemptRow {
        attempt_id: start.attempt_id.0,
        request_id: start.request_id.0,
        version: START,
        started_at: micros(start.started_at),
        deadline: micros(start.deadline),
        project: start.caller.project.to_string(),
        user: start.caller.user.clone(),
        end_user: start.caller.end_user.clone(),
        key_id: start.caller.key_id.to_string(),
        provider: start.target.provider.to_string(),
        model: start.target.model.to_string(),
        virtual_model: start.virtual_model.clone(),
        operation: start.operation.as_str(),
        number: start.number,
        link: start.link,
        stream: start.stream,
        outcome: "unknown",
        usage_source: source(UsageSource::Unknown),
        cost_usd: worst_case,
        worst_case_usd: worst_case,
        price_id: start.price_id.clone(),
        worker: start.worker.as_ref().map(ToString::to_string),
        worst_tokens: start.worst_tokens,
        charged_tokens: start.worst_tokens,
        charged_usd: worst_case.unwrap_or_default(),
        reservation: reserved.map(|reserved| reserved.id),
        lease: reserved.map(|reserved| reserved.lease.0),
        books: reserved.map(|reserved| reserved.books.clone()).unwrap_or_default(),
        batch_id: batch(start.batch_id.as_ref()),
        native_batch: start.native_batch,
        tags: start.caller.tags.clone().into_iter().collect(),
        ..AttemptRow::default()
    }
}

fn ended(end: &AttemptEnded) -> AttemptRow {
    let usage = &end.usage;
    AttemptRow {
        version: END,
        ended_at: Some(micros(end.ended_at)),
        model_version: end.model_version.clone(),
        outcome: end.outcome.as_str(),
        failure: end.failure.map(penstock_schemas::failure::FailureKind::as_str),
        provider_status: end.provider_status,
        provider_request_id: end.provider_request_id.clone(),
        finish_reason: end.finish_reason.clone(),
        input_tokens: usage.input,
        cache_read_tokens: usage.cache_read,
        cache_write_tokens: usage.cache_write,
        cache_write_1h_tokens: usage.cache_write_1h,
        input_audio_tokens: usage.input_audio,
        input_image_tokens: usage.input_image,
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        output_audio_tokens: usage.output_audio,
        output_image_tokens: usage.output_image,
        images: usage.images,
        seconds: usage.seconds,
        characters: usage.characters,
        searches: usage.searches,
        code_executions: usage.code_executions,
        file_searches: usage.file_searches,
        claimed_usage: end.claimed.iter().flat_map(|claimed| claimed.used()).collect(),
        unpriced_usage: end.unpriced.iter().flat_map(|unpriced| unpriced.used()).collect(),
        usage_source: source(end.usage_source),
        cost_usd: end.cost.map(pico),
        charged_tokens: end.charged_tokens,
        charged_usd: end.charged.or(end.cost).map_or(0, pico),
        first_token_us: end.first_token_us,
        total_us: Some(end.total_us),
        system_fingerprint: end.system_fingerprint.clone().unwrap_or_default(),
        tools: end.tools.names().to_vec(),
        ..started(&end.start)
    }
}

fn requested(request: &RequestEvent) -> RequestRow {
    let route = request.route.as_deref();
    let word = |word: fn(&RouteDecision) -> Option<&String>| route.and_then(word).cloned().unwrap_or_default();
    RequestRow {
        request_id: request.request_id.0,
        received_at: micros(request.received_at),
        ended_at: micros(request.ended_at),
        project: request.caller.project.to_string(),
        user: request.caller.user.clone(),
        end_user: request.caller.end_user.clone(),
        key_id: request.caller.key_id.to_string(),
        dialect: request.dialect.as_str(),
        operation: request.operation.as_str(),
        model: request.model.clone(),
        target: request.target.as_ref().map(ToString::to_string),
        attempts: request.attempts,
        stream: request.stream,
        outcome: request.outcome.as_str(),
        failure: request.failure.map(penstock_schemas::failure::FailureKind::as_str),
        status: request.status,
        cache: request.cache.as_str(),
        first_token_us: request.first_token_us,
        cost_usd: request.cost.map(pico),
        saved_usd: request.saved.map(pico),
        cache_source: request.cache_source.map(|id| id.0),
        batch_id: batch(request.batch_id.as_ref()),
        session: request.session.as_ref().map(|session| session.id.clone()).unwrap_or_default(),
        session_source: request.session.as_ref().map_or("", |session| session.source.as_str()),
        trace_id: request.trace.map(|trace| format!("{:032x}", trace.trace_id())).unwrap_or_default(),
        stages: request.stages.iter().map(|time| (time.stage.as_str(), time.us)).collect(),
        strategy: word(|route| Some(&route.strategy)),
        experiment: word(|route| route.experiment.as_ref()),
        arm: word(|route| route.arm.as_ref()),
        propensity: route.map(|route| route.propensity),
        route: route.and_then(|route| serde_json::to_string(route).ok()).unwrap_or_default(),
        tags: request.caller.tags.clone().into_iter().collect(),
    }
}

fn raised(alert: &Alert) -> AlertLogRow {
    AlertLogRow {
        alert_id: alert.id.0,
        at: micros(alert.at),
        kind: alert.kind.as_str(),
        subject: alert.subject.clone(),
        window: alert.window.clone(),
        message: alert.message.clone(),
        details: alert.details.clone().into_iter().collect(),
    }
}

/// A batch's id as SQL has it: empty for none.
fn batch(id: Option<&BatchId>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn source(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Provider => "provider",
        UsageSource::Counted => "counted",
        UsageSource::Unknown => "unknown",
    }
}

fn pico(amount: Picodollars) -> i128 {
    i128::from(amount.0)
}
