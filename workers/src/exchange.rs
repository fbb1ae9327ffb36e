//! One exchange with one provider, from its entry in the ledger to its last byte. Knows the four clocks; knows nothing of
//! retries and other links, and leaves every word of the provider's language to the adapter.

use crate::count;
use crate::limits::Pick;
use crate::provider::Provider;
use crate::providers::{Adapter, ErrorResponse, quota};
use crate::sink::FrameSink;
use ::bytes::Bytes;
use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use meter::Meter;
use penstock_dialects::error_details::strike_failure;
use penstock_dialects::provider::{Form, Observed, Wanted};
use penstock_dialects::strike::{strike, strike_bytes};
use penstock_runtime::bus::{Desk, Pending};
use penstock_runtime::memory::{Memory, Reserved, answered_values};
use penstock_runtime::{HEAVY, Life, Secret, clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Dialect, Envelope, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Payload};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{AttemptId, ProcessId};
use penstock_schemas::reservation::Reservation;
use reqwest::Response;
use stamp::Stamp;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

mod body;
mod bytes;
mod fill;
mod meter;
mod relay;
mod report;
mod request;
mod stamp;
mod unpack;
mod weigh;
mod whole;

pub(crate) use body::{describe, read_refusal, read_up_to as read_body};
pub(crate) use report::{Attempt, Report, Stop};

/// Longest wait, before a provider is called, until the ledger takes the start of the attempt; never beyond the caller's
/// deadline. Longer than an election of nats-servers (4 to 9 s) or a restart; what lasts longer is an outage.
pub(crate) const LEDGER: Duration = Duration::from_secs(30);

/// How long before the caller's deadline an answer that was paid goes out though the ledger has not acknowledged its attempt
/// yet: time enough to reach the caller.
const IN_TIME: Duration = Duration::from_secs(1);

const MEMORY_FULL: &str = "the worker's memory for answers is in use ([workers] memory)";

/// How an answer of status 200 comes.
enum Manner {
    Whole,
    Events,
    Bytes,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// For the connection; `None`: the provider's default.
    pub connect: Option<Duration>,
    /// For the first content of a stream.
    pub first_token: Duration,
    /// Between two pieces of a stream.
    pub idle: Duration,
    /// For everything; never later than the caller's deadline.
    pub total: Duration,
}

/// One attempt that is to be made.
pub(crate) struct Exchange<'a> {
    /// Who is called.
    pub provider: &'a Provider,
    /// What calls may take of this process's memory.
    pub memory: &'a Memory,
    /// What is known of the model.
    pub card: Option<&'a ModelCard>,
    /// How it is spoken to, and in which form.
    pub adapter: &'static dyn Adapter,
    /// What the answer is to be.
    pub wanted: Wanted,
    /// What is asked, by whom.
    pub envelope: &'a Envelope,
    /// The request, in the form that is wanted.
    pub body: &'a Bytes,
    /// What was left out of it already.
    pub left_out: Vec<&'static str>,
    /// How long to wait for what.
    pub clocks: Clocks,
    /// Its id in the ledger.
    pub id: AttemptId,
    /// Which attempt of the request this is, from 1.
    pub number: u32,
    /// The key for it.
    pub key: Pick,
    /// The way to the ingresses, to ask for more money.
    pub desk: &'a Desk,
    /// This process.
    pub worker: &'a ProcessId,
    /// Its tasks.
    pub life: &'a Life,
    /// When it began.
    pub began: Instant,
}

/// Either the exchange goes on, or this is why not.
type Step<T> = Result<T, Stop>;

fn failed(kind: FailureKind, message: impl Into<String>) -> Stop {
    Stop::Failed(Failure::provider(kind, message))
}

impl Exchange<'_> {
    /// Makes the attempt; the answer goes out through `sink` as it comes. `start` is its entry in the ledger: it must
    /// be cleared before the provider is called, and acknowledged before the first byte goes out.
    pub(crate) async fn make(&self, start: Pending, sink: &mut impl FrameSink) -> (Attempt, Report) {
        let mut report = Report::default();
        let mut result = self.answer(start, sink, &mut report).await;
        if let Err(Stop::Failed(failure)) = &mut result {
            strike_failure(failure, report.key.as_ref().map(Secret::reveal));
        }
        report.strike_observed();
        let attempt = Attempt::of(result, &report);
        if !matches!(attempt, Attempt::Served) {
            self.weigh_broken(&attempt, &mut report);
        }
        (attempt, report)
    }

    async fn answer(&self, mut start: Pending, sink: &mut impl FrameSink, report: &mut Report) -> Step<()> {
        let until = (self.began + LEDGER).min(self.total_by());
        let cleared = sink.wait(timeout_at(until, start.cleared())).await.ok_or(Stop::Cancelled)?;
        let call_by = self.envelope.reservation.as_ref().and_then(Reservation::call_by);
        let is_late = call_by.is_some_and(|by| clock::now() >= by);
        if !cleared.map_err(|_| ledger_failed())? || is_late {
            return Err(ledger_failed().into());
        }
        let key = sink.wait(timeout_at(self.total_by(), self.provider.secret(&self.key))).await;
        let key = key.ok_or(Stop::Cancelled)?.map_err(|_| self.late("got no access token in time"))?;
        let key = key.map_err(Stop::Failed)?;
        report.key.clone_from(&key);
        let key = key.as_ref();
        report.counting = self.begin_count();
        let response = self.ask(key, sink, report).await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(Stop::Failed(self.refusal(response, key, sink).await?));
        }
        match self.manner(&response, report) {
            Manner::Whole => whole::forward(self, response, start, sink, report).await,
            Manner::Events => relay::relay(self, response, start, sink, report).await,
            Manner::Bytes => bytes::pass_on(self, response, start, sink, report).await,
        }
    }

    /// How the answer comes: of audio and texts of audio, the provider's own media type says it. Models that cannot
    /// stream answer in one piece.
    fn manner(&self, response: &Response, report: &mut Report) -> Manner {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is = |wanted: &str| kind.get(..wanted.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        if matches!(self.wanted.operation, Operation::Speech | Operation::Transcriptions | Operation::Translations) {
            let kind = strike(kind, report.key.as_ref().map(Secret::reveal));
            report.content_type = Some(kind).filter(|kind| !kind.is_empty());
        }
        match (self.envelope.delivery.is_stream(), self.wanted.operation) {
            (false, _) => Manner::Whole,
            (true, Operation::Speech) if is("application/json") => Manner::Whole,
            (true, Operation::Speech) if !is("text/event-stream") => Manner::Bytes,
            (true, operation) if (operation.takes_form() || operation.makes_images()) && !is("text/event-stream") => {
                Manner::Whole
            }
            (true, _) => Manner::Events,
        }
    }

    /// Sends the request and waits for the answer's head.
    async fn ask(&self, key: Option<&Secret>, sink: &mut impl FrameSink, report: &mut Report) -> Step<Response> {
        let request = heavy(self.body.len(), || self.spell(key, report)).await.map_err(Stop::Failed)?;
        let client = self.provider.client(self.clocks.connect);
        let client = client.map_err(|error| failed(FailureKind::Internal, describe(&error)))?;
        let mut headers = request.headers;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(unpack::ACCEPTED));
        let request = client.post(request.url).headers(headers).body(request.body);
        report.was_sent = true;
        let response = sink.wait(timeout_at(self.head_by(), request.send())).await.ok_or(Stop::Cancelled)?;
        let response = response.map_err(|_| self.late("did not begin to answer in time"))?;
        let response = response.map_err(|error| {
            report.was_sent = !error.is_connect();
            self.unreachable(&error)
        })?;
        report.status = Some(response.status().as_u16());
        report.left = quota::read(response.headers(), clock::now());
        if response.status().is_success() {
            report.left.retry_after = None; // it belongs to refusals
        }
        unpack::unpacked(response).map_err(|encoding| self.unknown_encoding(&encoding))
    }

    async fn refusal(&self, response: Response, key: Option<&Secret>, sink: &mut impl FrameSink) -> Step<Failure> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let read = timeout_at(self.head_by(), read_refusal(response));
        let body = sink.wait(read).await.ok_or(Stop::Cancelled)?.unwrap_or_default();
        let (provider, key) = (&self.provider.id, key.map(Secret::reveal));
        let refusal = ErrorResponse { provider, key, status, headers: &headers, body: &body, now: clock::now() };
        Ok(self.adapter.refuse(&refusal))
    }

    /// What the values of an answer, or of an event of one, take while they are read: two bytes can be a value. Vectors pass
    /// unread, and the values of what is short fit into what every call has.
    async fn hold_values(&self, json: &[u8]) -> Result<Reserved, Failure> {
        if json.len() < HEAVY || self.wanted.operation == Operation::Embeddings {
            return Ok(self.memory.none());
        }
        let values = heavy(json.len(), || answered_values(json)).await;
        self.memory.reserve(values).map_err(|_| Failure::gateway(FailureKind::Internal, MEMORY_FULL))
    }

    /// Watches what a stream comes to, where a budget is to hold.
    fn meter(&self) -> Option<Meter> {
        Meter::new(self.desk, self.envelope, self.card, self.body.len())
    }

    /// Counts the request while the provider works, for callers whose streams begin with that figure.
    fn begin_count(&self) -> Option<oneshot::Receiver<Option<u64>>> {
        let is_told = self.envelope.dialect == Dialect::Anthropic && self.envelope.delivery.is_stream();
        let is_translated = self.wanted.form == Form::Agnostic && self.wanted.operation == Operation::Chat;
        (is_told && is_translated).then(|| count::begin(self.life, self.body.clone()))
    }

    /// What a translated answer may lack; the provider's own bytes lack nothing.
    fn stamp(&self, observed: &Observed) -> Option<Stamp> {
        let is_translated = self.wanted.form == Form::Agnostic || observed.is_translated;
        let has_head = matches!(self.wanted.operation, Operation::Chat | Operation::Embeddings);
        (is_translated && has_head)
            .then(|| Stamp::new(self.envelope.request_id, &self.envelope.plan.current().target.model))
    }

    fn head(&self, report: &Report) -> Head {
        Head {
            worker: self.worker.clone(),
            target: self.envelope.plan.current().target.clone(),
            dialect: match self.wanted.form {
                Form::Own if !report.observed.is_translated => self.envelope.dialect,
                Form::Own | Form::Agnostic => Dialect::Openai,
            },
            attempts: self.number,
            dropped: report.dropped.clone(),
            content_type: report.content_type.clone(),
            input_tokens: report.input_tokens,
            sent: report.sent_body.clone(),
        }
    }

    fn ended(&self, head: Option<Head>, report: &Report) -> Ended {
        let model = &self.envelope.plan.current().target.model;
        // Lines of batches have prices of their own, and no tier.
        let card = if report.observed.is_flex { self.provider.model_as_served(model, true) } else { self.card };
        Ended { head, summary: report.sum_up(card, self.provider) }
    }

    /// Sends a frame; a client that does not read does not hold it up beyond the total time.
    async fn send(&self, sink: &mut impl FrameSink, report: &mut Report, payload: Payload) -> Step<()> {
        report.has_begun = true;
        let key = report.key.as_ref().map(Secret::reveal);
        let payload = match payload {
            Payload::Chunk(head, bytes) => Payload::Chunk(head, struck(bytes, key).await),
            Payload::End(ended, bytes) => Payload::End(ended, struck(bytes, key).await),
            other => other,
        };
        match timeout_at(self.total_by(), sink.send(payload)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stop::Failed(Failure::gateway(FailureKind::Internal, error.to_string()))),
            Err(_) => Err(Stop::Failed(Failure::gateway(FailureKind::Deadline, "the client reads too slowly"))),
        }
    }

    /// Nothing goes out before the ledger knows that a provider was called; but once it was asked and paid, the caller gets
    /// the answer while there is time: the journal goes on until the ledger has the attempt.
    async fn wait_for_ledger(&self, start: Pending, sink: &mut impl FrameSink) -> Step<()> {
        let until = self.total_by() - IN_TIME.min(self.clocks.total / 10);
        match sink.wait(timeout_at(until, start.acknowledged())).await {
            None => Err(Stop::Cancelled),
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(ledger_failed().into()),
            Some(Err(_)) => {
                let id = &self.id;
                warn!(attempt_id = %id, "an answer goes out though the ledger has not acknowledged its attempt yet");
                Ok(())
            }
        }
    }

    fn first_token_by(&self) -> Instant {
        (self.began + self.clocks.first_token).min(self.total_by())
    }

    /// When the provider is to have begun its answer.
    fn head_by(&self) -> Instant {
        if self.envelope.delivery.is_stream() { self.first_token_by() } else { self.total_by() }
    }

    fn total_by(&self) -> Instant {
        self.began + self.clocks.total
    }

    fn late(&self, what: &str) -> Stop {
        let target = &self.envelope.plan.current().target;
        failed(FailureKind::Timeout, format!("{target} {what} ({:.1?})", self.began.elapsed()))
    }

    fn unknown_encoding(&self, encoding: &str) -> Stop {
        let target = &self.envelope.plan.current().target;
        failed(FailureKind::Broken, format!("{target} answered in the encoding {encoding}, which is not known here"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Stop {
        let target = &self.envelope.plan.current().target;
        let (kind, what) = match error {
            error if error.is_timeout() => (FailureKind::Timeout, "could not be reached"),
            error if error.is_connect() => (FailureKind::Connect, "could not be reached"),
            _ => (FailureKind::Broken, "broke off before its answer began"),
        };
        failed(kind, format!("{target} {what}: {}", describe(error)))
    }
}

/// The answer without the key.
async fn struck(bytes: Bytes, key: Option<&str>) -> Bytes {
    heavy(bytes.len(), || strike_bytes(bytes, key)).await
}

/// That the ledger does not take an attempt.
pub(crate) fn ledger_failed() -> Failure {
    Failure::gateway(FailureKind::Ledger, "the usage ledger (JetStream) did not take the attempt in time")
}

/// When an attempt that begins now is over at the latest.
pub(crate) fn deadline(envelope: &Envelope, clocks: &Clocks, now: UnixMicros) -> UnixMicros {
    now.after(clocks.total).min(envelope.deadline)
}
