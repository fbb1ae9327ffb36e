//! What the ledger is made of: a start and an end for every attempt, one event for every request. Knows nothing of where
//! they are kept. A batch of events is one message: one JSON object a line.

use crate::UnixMicros;
use crate::alert::Alert;
use crate::asked_tools::AskedTools;
use crate::audit::AuditEvent;
use crate::envelope::{Caller, Dialect, Operation};
use crate::failure::FailureKind;
use crate::money::Picodollars;
use crate::name::{AttemptId, BatchId, ProcessId, RequestId, Target};
use crate::reservation::LeaseId;
use crate::route::RouteDecision;
use crate::score::Score;
use crate::session::Session;
use crate::stage::StageTime;
use crate::trace::TraceContext;
use crate::usage::{Usage, UsageSource};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One line of the ledger. In JSON its `type` stands first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub enum UsageEvent {
    /// Written before a provider is called.
    #[serde(rename = "attempt.started")]
    AttemptStarted(Box<AttemptStarted>),
    /// Written when the call is over. Holds the start too, so that it makes a whole row alone.
    #[serde(rename = "attempt.ended")]
    AttemptEnded(Box<AttemptEnded>),
    /// Written when the caller has its answer, or never will.
    #[serde(rename = "request")]
    Request(Box<RequestEvent>),
    /// Written when somebody must be told something.
    #[serde(rename = "alert")]
    Alert(Box<Alert>),
    /// Written when something that is managed was changed.
    #[serde(rename = "audit")]
    Audit(Box<AuditEvent>),
    /// Written when an answer was scored.
    #[serde(rename = "score")]
    Score(Box<Score>),
}

/// The types of events, as [`UsageEvent`] writes them.
#[derive(Deserialize)]
enum EventType {
    #[serde(rename = "attempt.started")]
    AttemptStarted,
    #[serde(rename = "attempt.ended")]
    AttemptEnded,
    #[serde(rename = "request")]
    Request,
    #[serde(rename = "alert")]
    Alert,
    #[serde(rename = "audit")]
    Audit,
    #[serde(rename = "score")]
    Score,
}

/// Reads the type first, so that the fields behind it need not be kept aside until it is known.
struct TypeFirst;

impl<'de> Visitor<'de> for TypeFirst {
    type Value = UsageEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event whose first field is its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsageEvent, A::Error> {
        #[derive(Deserialize)]
        enum FirstField {
            #[serde(rename = "type")]
            Type,
        }
        let Some(FirstField::Type) = map.next_key()? else { return Err(de::Error::missing_field("type")) };
        let kind = map.next_value()?;
        let fields = MapAccessDeserializer::new(map);
        Ok(match kind {
            EventType::AttemptStarted => UsageEvent::AttemptStarted(Deserialize::deserialize(fields)?),
            EventType::AttemptEnded => UsageEvent::AttemptEnded(Deserialize::deserialize(fields)?),
            EventType::Request => UsageEvent::Request(Deserialize::deserialize(fields)?),
            EventType::Alert => UsageEvent::Alert(Deserialize::deserialize(fields)?),
            EventType::Audit => UsageEvent::Audit(Deserialize::deserialize(fields)?),
            EventType::Score => UsageEvent::Score(Deserialize::deserialize(fields)?),
        })
    }
}

impl<'de> Deserialize<'de> for UsageEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TypeFirst)
    }
}

impl UsageEvent {
    /// An attempt begins. What only its span says comes with its end.
    pub fn started(start: &AttemptStarted) -> Self {
        Self::AttemptStarted(Box::new(AttemptStarted { trace: None, ..start.clone() }))
    }
}

/// A provider is about to be called. Without an end it becomes a row of unknown outcome at its worst-case cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptStarted {
    /// The attempt.
    pub attempt_id: AttemptId,
    /// The request that it serves.
    pub request_id: RequestId,
    /// When the call began.
    pub started_at: UnixMicros,
    /// When it ends at the latest; after that, a start without an end is of unknown outcome for good.
    pub deadline: UnixMicros,
    /// Who asks and who pays.
    pub caller: Caller,
    /// Who is called.
    pub target: Target,
    /// The virtual model that was asked for, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_model: Option<String>,
    /// What is asked.
    pub operation: Operation,
    /// Its number within the request, from 1.
    pub number: u32,
    /// Its link's place in the plan, from 0.
    pub link: u32,
    /// Whether the answer was asked for as a stream.
    pub stream: bool,
    /// The most that it can cost; `None` when the model has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_case: Option<Picodollars>,
    /// Which price row the costs are made with; `None` when the model has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_id: Option<String>,
    /// The most tokens that it can come to.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worst_tokens: u64,
    /// The process that makes it: when it is gone, the attempt is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<ProcessId>,
    /// What is set aside for the call that it belongs to, and under whose lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<StartReservation>,
    /// The batch that its request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// Whether it is made through the provider's own batch API, at that API's price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub native_batch: bool,
    /// What its span says besides, in the event of its end; absent: its request is no part of a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<AttemptTrace>>,
}

/// What the span of an attempt says that its row does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptTrace {
    /// The trace.
    pub context: TraceContext,
    /// The provider by the name that OpenTelemetry's conventions have for it.
    pub provider: String,
    /// Where it is.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// Whether the target's circuit was open when it was called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub circuit_open: bool,
}

/// How an attempt counts in budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartReservation {
    /// The reservation.
    pub id: Uuid,
    /// Whose share of the budgets it is taken from.
    pub lease: LeaseId,
    /// The keys of the books that it counts in.
    pub books: Vec<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer is complete.
    Served,
    /// Nothing reached the client.
    Refused,
    /// It ended after something had reached the client.
    Broken,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    /// The word that stands for it on the wire and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A provider was called, and this is what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnded {
    /// What was written when it began.
    pub start: AttemptStarted,
    /// When it was over.
    pub ended_at: UnixMicros,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it was served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// The provider's HTTP status, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// What it consumed.
    pub usage: Usage,
    /// Who says so.
    pub usage_source: UsageSource,
    /// What the provider claims, where that cannot be: then `usage` is what was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Box<Usage>>,
    /// What of the usage has no price, so that `cost` is the sum of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpriced: Option<Box<Usage>>,
    /// What it costs; `None` when the model has no price or the usage is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
    /// What it counts as in budgets, where that is not its cost: the worst case, when the usage is unknown and the provider
    /// may charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<Picodollars>,
    /// The same in tokens: those of the usage, or of the worst case.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub charged_tokens: u64,
    /// From the start to the first content, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_us: Option<u64>,
    /// From the start to the end, in microseconds.
    pub total_us: u64,
    /// The model as the provider named it in its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The provider's own id of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// Why the model stopped, in the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// How the provider runs the model, in its word: another one may answer otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// The tools that the answer asked for, by the caller's names.
    #[serde(default, skip_serializing_if = "AskedTools::is_empty")]
    pub tools: AskedTools,
}

/// How a request was answered from the cache, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheResult {
    /// The cache was not asked.
    Off,
    /// It was asked and had nothing.
    Miss,
    /// The same request was answered before.
    Exact,
    /// A request of the same meaning was answered before.
    Semantic,
    /// The same request was being answered.
    Joined,
}

impl CacheResult {
    /// The word that stands for it on the wire, in SQL and in `x-penstock-cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Miss => "miss",
            Self::Exact => "exact",
            Self::Semantic => "semantic",
            Self::Joined => "joined",
        }
    }

    /// Whether the answer was paid for by another request.
    pub fn is_hit(self) -> bool {
        match self {
            Self::Off | Self::Miss => false,
            Self::Exact | Self::Semantic | Self::Joined => true,
        }
    }
}

/// A caller has its answer, or never will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEvent {
    /// The request.
    pub request_id: RequestId,
    /// When its first byte arrived.
    pub received_at: UnixMicros,
    /// When its last byte was handed to the client's connection.
    pub ended_at: UnixMicros,
    /// Who asks and who pays.
    pub caller: Caller,
    /// The client's dialect.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The model that the caller named.
    pub model: String,
    /// Who answered, or was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Attempts that were made.
    pub attempts: u32,
    /// Whether the answer was asked for as a stream.
    pub stream: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it was served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// The HTTP status that the client saw.
    pub status: u16,
    /// What the cache did.
    pub cache: CacheResult,
    /// From the first byte in to the first content out, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_us: Option<u64>,
    /// What the answer cost; failed attempts before it have rows of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
    /// What the answer would have cost, when it came from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Picodollars>,
    /// The request that paid for it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_source: Option<RequestId>,
    /// The batch that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<BatchId>,
    /// The session that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<Session>>,
    /// The stages that it went through, one after the other; none in events of older processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTime>,
    /// The trace that it is a part of; absent: no traces are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Why it went where it went; absent: its caller named one target, or the cache had the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteDecision>>,
}

/// One message of `events`: a line of JSON each.
///
/// # Errors
/// Never in practice: the types all have a JSON form.
pub fn encode_batch<'a>(events: impl IntoIterator<Item = &'a UsageEvent>) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// The events of one message.
///
/// # Errors
/// When a line is not an event that this version knows.
pub fn decode_batch(message: &[u8]) -> Result<Vec<UsageEvent>, serde_json::Error> {
    message.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
}
