//! Record: what became of a request, as one event in the ledger, whatever happens: it is written when the record is dropped,
//! and says `cancelled` unless something else was noted.

mod captured;
mod ending;

use super::limit_headers::{LimitHeaders, RateStanding};
use super::route::Route;
use super::stage_clock::StageClock;
use crate::capture::Capture;
use crate::http::body::header;
use crate::keys::grant::Grant;
use crate::limits::{Hold, Place};
use crate::metrics::IngressMetrics;
use crate::request::Request;
use crate::routing::{Learnt, RouteWatch, WatchedCall};
use crate::state::Shared;
use crate::status;
use axum::http::HeaderMap;
use captured::capture;
use penstock_runtime::bus::Journal;
use penstock_runtime::memory::{MemoryFull, Reserved, answered_values};
use penstock_runtime::{Life, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::body::SentBody;
use penstock_schemas::budget::Unit;
use penstock_schemas::envelope::{Delivery, Dialect, Envelope};
use penstock_schemas::event::{CacheResult, Outcome, RequestEvent, UsageEvent};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::RequestId;
use penstock_schemas::session::Session;
use penstock_schemas::stage::Stage;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

/// How long a request's event waits for a ledger that is full. It holds no money: the attempts' events do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The request's line in the ledger, until it is complete.
pub(crate) struct Record {
    id: RequestId,
    event: Option<(Box<RequestEvent>, StageClock)>,
    delivery: Delivery,
    deadline: UnixMicros,
    dialect: Dialect,
    grant: Grant,
    journal: Journal,
    life: Life,
    /// Drain waits for the request.
    _in_flight: TaskTrackerToken,
    /// Its place in the process's memory.
    memory: Arc<Reserved>,
    /// That of its answer, as far as it is held here.
    answer: Reserved,
    /// Its place among the requests at once.
    place: Option<Place>,
    /// What is set aside for its calls.
    held: Vec<Hold>,
    limits: LimitHeaders,
    metrics: Arc<IngressMetrics>,
    /// How old the answer is, where it came from the cache.
    cache_age: Option<Duration>,
    learnt: Learnt,
    /// The conversation that the request belongs to.
    conversation: Option<u64>,
    /// What is learnt from its call.
    watch: Option<RouteWatch>,
    /// How probable it is that the question which it answers wants the same, where it is another.
    similarity: Option<f32>,
    /// What is kept of the request and its answer to be read later.
    capture: Option<Box<Capture>>,
}

impl Record {
    /// Begins the record of a known caller's request.
    pub(crate) fn begin(request: &Request, ingress: &Shared) -> Self {
        let event = RequestEvent {
            request_id: request.id,
            received_at: request.at,
            ended_at: request.at,
            caller: request.caller.clone(),
            dialect: request.asked.dialect,
            operation: request.asked.operation,
            model: request.asked.model.clone(),
            target: None,
            attempts: 0,
            stream: request.asked.delivery.is_stream(),
            outcome: Outcome::Cancelled,
            failure: Some(FailureKind::Cancelled),
            status: status::cancelled().as_u16(),
            cache: CacheResult::Off,
            first_token_us: None,
            cost: None,
            saved: None,
            cache_source: None,
            batch_id: request.batch.clone(),
            session: request.session.clone(),
            stages: Vec::new(),
            trace: request.trace.as_deref().copied(),
            route: None,
        };
        Self {
            id: request.id,
            event: Some((Box::new(event), StageClock::begin(request.at, request.known_at, clock::now()))),
            delivery: request.asked.delivery,
            deadline: request.deadline,
            dialect: request.asked.dialect,
            grant: request.grant().clone(),
            journal: ingress.journal.clone(),
            life: ingress.life.clone(),
            _in_flight: ingress.life.hold(),
            memory: request.memory.clone(),
            answer: ingress.memory.none(),
            place: None,
            held: Vec::new(),
            limits: LimitHeaders::default(),
            metrics: ingress.metrics.clone(),
            cache_age: None,
            learnt: ingress.routes.learnt.clone(),
            conversation: None,
            watch: None,
            similarity: None,
            capture: capture(request, ingress),
        }
    }

    /// For a request that only reads the answer to another: it has no line of its own.
    pub(crate) fn unwritten(request: &Request, ingress: &Shared) -> Self {
        let mut record = Self::begin(request, ingress);
        (record.event, record.capture) = (None, None);
        record
    }

    /// These bytes go to the caller.
    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.answers(bytes, self.delivery.is_stream());
        }
    }

    /// The request's id.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// How the caller wants the answer.
    pub(crate) fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// When it must be answered.
    pub(crate) fn deadline(&self) -> UnixMicros {
        self.deadline
    }

    /// Takes the answer in one piece, whichever way the caller is told of it.
    pub(crate) fn deliver_whole(&mut self) {
        self.delivery = Delivery::Whole;
    }

    /// The caller's dialect.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the request goes on by.
    pub(crate) fn grant(&self) -> Grant {
        self.grant.clone()
    }

    /// The request goes on by this right from now on.
    pub(crate) fn goes_on_by(&mut self, grant: &Grant) {
        self.grant = grant.clone();
    }

    /// Where the rates of requests or tokens stand.
    pub(crate) fn stands(&mut self, unit: Unit, standing: Option<RateStanding>) {
        match unit {
            Unit::Requests => self.limits.requests = standing,
            Unit::Tokens | Unit::Usd => self.limits.tokens = standing,
        }
    }

    /// A budget has sent the request to another model.
    pub(crate) fn sent_down(&mut self, budget: &str, model: &str) {
        self.limits.sent_down = Some(format!("{model}; budget={budget}"));
    }

    /// The request has this place until it is over.
    pub(crate) fn holds_place(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// This is set aside until the request is over.
    pub(crate) fn holds(&mut self, held: impl IntoIterator<Item = Hold>) {
        self.held.extend(held);
    }

    /// So many more bytes of its answer are to be held.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn hold_more(&mut self, bytes: usize) -> Result<(), Failure> {
        self.answer.grow(bytes).map_err(full)
    }

    /// What the values of its answer take while they are read.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn hold_values(&self, json: &[u8]) -> Result<Reserved, Failure> {
        let mut held = self.answer.none();
        held.grow(answered_values(json)).map_err(full)?;
        Ok(held)
    }

    /// Ends the record; what the request and its answer hold of the memory, for as long as the answer is not written.
    pub(crate) fn into_memory(mut self) -> (Arc<Reserved>, Reserved) {
        let none = self.answer.none();
        (self.memory.clone(), std::mem::replace(&mut self.answer, none))
    }

    /// What the caller is told of limits.
    pub(crate) fn limits(&self) -> &LimitHeaders {
        &self.limits
    }

    /// Notes what the cache did.
    pub(crate) fn looked_up(&mut self, cache: CacheResult) {
        self.edit(|event| event.cache = cache);
    }

    /// Notes that the answer is one that another request paid for, and how old it is.
    pub(crate) fn found(&mut self, cache: CacheResult, source: RequestId, age: Duration) {
        self.cache_age = Some(age);
        self.edit(|event| {
            event.cache = cache;
            event.cache_source = Some(source);
        });
    }

    /// Notes how surely the answer is to a question of the same meaning.
    pub(crate) fn similar(&mut self, similarity: Option<f32>) {
        self.similarity = similarity;
    }

    /// How surely it is, where it came from the cache and is to another question.
    pub(crate) fn similarity(&self) -> Option<f32> {
        self.similarity
    }

    /// How old the answer is, where it came from the cache.
    pub(crate) fn cache_age(&self) -> Option<Duration> {
        self.cache_age
    }

    /// What the request is charged for an answer that consumed this.
    pub(crate) fn cost(&self, summary: &Summary) -> Option<Picodollars> {
        if self.cache().is_hit() { Some(Picodollars(0)) } else { summary.cost }
    }

    /// What is set aside for its calls, for who goes on with them.
    pub(crate) fn hand_on(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.held)
    }

    /// What the cache did.
    pub(crate) fn cache(&self) -> CacheResult {
        self.event.as_ref().map_or(CacheResult::Off, |(event, _)| event.cache)
    }

    /// Notes why the plan is as it is, and tells it a caller who wants to know.
    pub(crate) fn routed(&mut self, route: &Route, request: &Request) {
        self.conversation = route.conversation;
        let Some(decision) = &route.decision else { return };
        self.limits.route = wants_reasons(&request.headers).then(|| decision.header());
        self.edit(|event| event.route = Some(decision.clone()));
    }

    /// Notes whom the plan begins with, and watches how that goes.
    pub(crate) fn planned(&mut self, envelope: &Envelope) {
        let call = WatchedCall {
            target: envelope.plan.current().target.clone(),
            project: envelope.caller.project.to_string(),
            conversation: self.conversation,
            is_stream: self.delivery.is_stream(),
        };
        self.watch = Some(RouteWatch::begin(&self.learnt, call, clock::now));
        self.edit(|event| event.target = Some(envelope.plan.current().target.clone()));
    }

    /// Notes the session that the request is a part of.
    pub(crate) fn joins(&mut self, session: Option<&Session>) {
        self.edit(|event| event.session = session.cloned().map(Box::new));
    }

    /// The request is in this stage now.
    pub(crate) fn enter(&mut self, stage: Stage) {
        if let Some((_, stages)) = &mut self.event {
            stages.enter(stage, clock::now());
        }
    }

    /// How much is wanted of what the provider is sent, in bytes.
    pub(crate) fn keeps_sent(&self) -> u32 {
        self.capture.as_ref().map_or(0, |capture| capture.keeps_sent())
    }

    /// Notes what was sent to the provider, where that is kept.
    pub(crate) fn was_sent(&mut self, sent: Option<Box<SentBody>>) {
        if let (Some(capture), Some(sent)) = (&mut self.capture, sent) {
            capture.was_sent(*sent);
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut RequestEvent)) {
        if let Some((event, _)) = &mut self.event {
            edit(event);
        }
    }
}

/// Whether a caller wants to know why its request goes where it goes.
fn wants_reasons(headers: &HeaderMap) -> bool {
    header(headers, "x-penstock-explain").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some((mut event, stages)) = self.event.take() else { return };
        event.ended_at = clock::now();
        event.stages = stages.finish(event.ended_at);
        self.metrics.ended(&event);
        if let Some(capture) = self.capture.take() {
            capture.finish(&event, &self.life);
        }
        let journal = self.journal.clone();
        self.life.work(async move {
            let id = event.request_id;
            if timeout(PATIENCE, journal.note(UsageEvent::Request(event))).await.is_err() {
                error!(request_id = %id, "the ledger is full: the request's own row is lost, its attempts' rows are not");
            }
        });
    }
}

fn full(_: MemoryFull) -> Failure {
    Failure::gateway(FailureKind::Internal, "the memory for answers is in use ([ingress] memory)")
}
