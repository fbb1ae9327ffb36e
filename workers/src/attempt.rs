//! One call to one provider, from its entry in the ledger to its last byte. Knows the four clocks; knows nothing of
//! retries and other links, and leaves every word of the provider's language to the adapter.

use crate::claim::Possible;
use crate::cost::sum_up;
use crate::count::{self, Sent};
use crate::limits::Pick;
use crate::provider::Provider;
use crate::providers::quota::{self, Left};
use crate::providers::tool_map::ToolMap;
use crate::providers::{self, Adapter, Ask, Form, Observed, Outgoing, Refusal, Wanted, surrogates};
use ::bytes::{Bytes, BytesMut};
use body::{describe, read_up_to};
use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use meter::Meter;
use penstock_runtime::bus::{Desk, Pending, Replies};
use penstock_runtime::memory::Memory;
use penstock_runtime::{Life, Secret, clock, heavy};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Dialect, Envelope, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Payload};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{AttemptId, ProcessId};
use penstock_schemas::usage::Usage;
use reqwest::Response;
use stamp::Stamp;
use std::mem;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

mod body;
mod bytes;
mod meter;
mod relay;
mod stamp;
mod unpack;

/// Longest wait, before a provider is called, until the ledger takes the start of the attempt; never beyond the caller's
/// deadline. Longer than an election of nats-servers (4 to 9 s) or a restart; what lasts longer is an outage.
pub const LEDGER: Duration = Duration::from_secs(30);

/// How long before the caller's deadline an answer that was paid goes out though the ledger has not acknowledged its attempt
/// yet: time enough to reach the caller.
const IN_TIME: Duration = Duration::from_secs(1);

/// The most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

/// The longest whole answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

const MEMORY_FULL: &str = "the worker's memory for answers is in use ([workers] memory)";

/// How an attempt ended.
#[derive(Debug)]
pub enum Attempt {
    /// The answer is complete and with the client.
    Served,
    /// Nothing reached the client.
    Refused(Failure),
    /// It ended after something had reached the client.
    Broken(Failure),
    /// The client went away.
    Cancelled,
}

/// What is known of an attempt besides its end.
#[derive(Debug, Default)]
pub struct Report {
    /// What the answer said of itself.
    pub observed: Observed,
    /// From the start to the first content.
    pub first_token: Option<Duration>,
    /// Whether the request left this process, or may have.
    pub was_sent: bool,
    /// The provider's HTTP status.
    pub status: Option<u16>,
    /// What the provider says of its limits.
    pub left: Left,
    /// The fields of the request that were left out.
    pub dropped: Vec<String>,
    /// The count of the request that is under way, and what it came to.
    pub counting: Option<oneshot::Receiver<Option<u64>>>,
    pub input_tokens: Option<u64>,
    /// The tools that were spelt otherwise.
    pub tools: Option<ToolMap>,
    /// What was counted here, because the provider did not report it.
    pub counted: Option<Usage>,
    /// The media type of an answer that need not be JSON.
    pub content_type: Option<String>,
    /// What was sent to the client of an answer that comes in pieces.
    pub sent: Sent,
    /// The length of the answer, in bytes.
    pub length: u64,
    /// What the provider claims, where that cannot be.
    pub claimed: Option<Usage>,
}

/// How an answer of status 200 comes.
enum Manner {
    Whole,
    Events,
    Bytes,
}

impl Report {
    /// Whether the answer was cut off before the provider could say what it comes to, so that it must be counted. Who said
    /// why it stopped has also said that, or never would.
    pub fn is_cut(&self, attempt: &Attempt, operation: Operation) -> bool {
        let is_known = self.observed.usage.is_some() && self.observed.finish_reason.is_some();
        let is_cut = matches!(attempt, Attempt::Broken(_) | Attempt::Cancelled) && self.status == Some(200);
        is_cut && !is_known && is_counted(operation)
    }

    /// Whether the provider may charge for an attempt of which it has told no usage: not when it refused to do anything.
    pub fn may_be_charged(&self, failure: Option<FailureKind>) -> bool {
        let is_refusal = self.status.is_some_and(|status| status != 200) || failure.is_some_and(refuses);
        self.was_sent && !is_refusal
    }

    /// Counts what was sent.
    pub async fn count(&mut self, life: &Life, request: Bytes) {
        if let Some(counted) = count::usage(life, request, mem::take(&mut self.sent)).await {
            self.counted = Some(count::larger(self.observed.usage.take(), counted));
        }
    }
}

/// Whether a failure is the provider's word that it has done nothing; one that is ours, or an answer that broke off, is not.
fn refuses(kind: FailureKind) -> bool {
    match kind {
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::ProviderAuth
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::BadRequest
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported
        | FailureKind::NoPool
        | FailureKind::Busy => true,
        FailureKind::Timeout
        | FailureKind::Broken
        | FailureKind::Ledger
        | FailureKind::Budget
        | FailureKind::Revoked
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Cancelled
        | FailureKind::Hedge
        | FailureKind::Internal => false,
    }
}

/// Whether it is tokens that this operation costs.
fn is_counted(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::Completions | Operation::Embeddings)
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
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
pub struct Call<'a> {
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

/// Either the attempt goes on, or it has ended so.
type Step<T> = Result<T, Attempt>;

fn refused(kind: FailureKind, message: impl Into<String>) -> Attempt {
    Attempt::Refused(Failure::provider(kind, message))
}

impl Call<'_> {
    /// Makes the attempt; the answer goes out through `replies` as it comes. `start` is its entry in the ledger: it must
    /// be cleared before the provider is called, and acknowledged before the first byte goes out.
    pub async fn make(&self, start: Pending, replies: &mut Replies) -> (Attempt, Report) {
        let mut report = Report::default();
        let attempt = match self.answer(start, replies, &mut report).await {
            Ok(()) => Attempt::Served,
            Err(attempt) => attempt,
        };
        self.doubt(&mut report);
        (attempt, report)
    }

    /// Takes a claim that cannot be out of the report: what is counted stands in its place, or as much of it as can be.
    fn doubt(&self, report: &mut Report) {
        let Some(claim) = report.observed.usage else { return };
        let read;
        let extent = match &self.envelope.extent {
            Some(extent) => extent,
            None => {
                read = Extent::read(self.envelope.dialect, self.wanted.operation, self.body)
                    .unwrap_or_else(|_| Extent::unknown(self.body.len()));
                &read
            }
        };
        let possible = Possible::of(self.card, self.wanted.operation, extent);
        if !possible.holds(&claim, report.length) {
            report.observed.usage = None;
            report.claimed = Some(claim);
            if !is_counted(self.wanted.operation) {
                report.counted = Some(possible.cut(&claim));
            }
        }
    }

    /// Counts an answer that is complete, where the provider did not report its usage.
    async fn count_served(&self, answer: Sent, report: &mut Report) {
        if report.observed.usage.is_none() && is_counted(self.wanted.operation) {
            report.counted = count::usage(self.life, self.body.clone(), answer).await;
        }
    }

    async fn answer(&self, mut start: Pending, replies: &mut Replies, report: &mut Report) -> Step<()> {
        let until = (self.began + LEDGER).min(self.total_by());
        let cleared = replies.wait(timeout_at(until, start.cleared())).await.ok_or(Attempt::Cancelled)?;
        if !cleared.map_err(|_| ledger_failed())? {
            return Err(ledger_failed());
        }
        let key = replies.wait(timeout_at(self.total_by(), self.provider.secret(&self.key))).await;
        let key = key.ok_or(Attempt::Cancelled)?.map_err(|_| self.late("got no access token in time"))?;
        let key = key.map_err(Attempt::Refused)?;
        let key = key.as_ref();
        report.counting = self.begin_count();
        let response = self.ask(key, replies, report).await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(Attempt::Refused(self.refusal(response, key, replies).await?));
        }
        match self.manner(&response, report) {
            Manner::Whole => self.forward_whole(response, start, replies, report).await,
            Manner::Events => relay::relay(self, response, start, replies, report).await,
            Manner::Bytes => bytes::pass_on(self, response, start, replies, report).await,
        }
    }

    /// How the answer comes: of audio and texts of audio, the provider's own media type says it. Models that cannot
    /// stream answer in one piece.
    fn manner(&self, response: &Response, report: &mut Report) -> Manner {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is = |wanted: &str| kind.get(..wanted.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        if matches!(self.wanted.operation, Operation::Speech | Operation::Transcriptions | Operation::Translations) {
            report.content_type = Some(kind.to_owned()).filter(|kind| !kind.is_empty());
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
    async fn ask(&self, key: Option<&Secret>, replies: &mut Replies, report: &mut Report) -> Step<Response> {
        let request = heavy(self.body.len(), || self.spell(key, report)).map_err(Attempt::Refused)?;
        let client = self.provider.client(self.clocks.connect);
        let client = client.map_err(|error| refused(FailureKind::Internal, describe(&error)))?;
        let mut headers = request.headers;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(unpack::ACCEPTED));
        let request = client.post(request.url).headers(headers).body(request.body);
        let until = if self.envelope.delivery.is_stream() { self.first_token_by() } else { self.total_by() };
        report.was_sent = true;
        let response = replies.wait(timeout_at(until, request.send())).await.ok_or(Attempt::Cancelled)?;
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

    /// The request, complete with its key.
    fn spell(&self, key: Option<&Secret>, report: &mut Report) -> Result<Outgoing, Failure> {
        let (spelled, tools) = providers::spell(
            self.adapter,
            &Ask {
                wanted: self.wanted,
                body: self.body,
                content_type: self.envelope.content_type.as_deref(),
                headers: &self.envelope.headers,
                model: &self.envelope.plan.current().target.model,
                card: self.card,
                settings: &self.provider.settings,
                unsupported: self.envelope.unsupported,
            },
        )?;
        report.tools = tools;
        report.dropped = spelled.dropped;
        let url = self.provider.url(spelled.path.as_str());
        let mut request = Outgoing { url, headers: spelled.headers, body: spelled.body };
        if self.wanted.form == Form::Own {
            request.carry(&self.envelope.query, &self.envelope.headers);
        }
        // OpenAI's header for the caller's own id; others ignore it. It is what support asks for when figures differ.
        // Source: <https://platform.openai.com/docs/api-reference/debugging-requests>.
        let id = HeaderValue::from_str(&self.id.to_string()).expect("an id is a header value");
        request.headers.insert("x-client-request-id", id);
        if let Some(traceparent) = self.envelope.traceparent.as_ref().and_then(|text| HeaderValue::from_str(text).ok())
        {
            request.headers.insert("traceparent", traceparent);
        }
        if let Some(key) = key {
            self.adapter.authorize(&mut request, key.reveal(), &self.provider.settings, clock::now())?;
        }
        Ok(request)
    }

    async fn refusal(&self, response: Response, key: Option<&Secret>, replies: &mut Replies) -> Step<Failure> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut memory = self.memory.none();
        let read = timeout_at(self.total_by(), read_up_to(response, REFUSAL_BYTES, &mut memory));
        let body = replies.wait(read).await.ok_or(Attempt::Cancelled)?.ok().and_then(Result::ok).unwrap_or_default();
        let (provider, key) = (&self.provider.id, key.map(Secret::reveal));
        let refusal = Refusal { provider, key, status, headers: &headers, body: &body, now: clock::now() };
        Ok(self.adapter.refuse(&refusal))
    }

    async fn forward_whole(
        &self,
        response: Response,
        start: Pending,
        replies: &mut Replies,
        report: &mut Report,
    ) -> Step<()> {
        let mut memory = self.memory.none();
        let read = timeout_at(self.total_by(), read_up_to(response, ANSWER_BYTES, &mut memory));
        let body = replies.wait(read).await.ok_or(Attempt::Cancelled)?;
        let body = body.map_err(|_| self.late("did not finish its answer in time"))?;
        let body = body.map_err(|error| Attempt::Refused(error.into_failure(&self.provider.id)))?;
        let whole =
            heavy(body.len(), || surrogates::read_whole(self.adapter, self.wanted, &body)).map_err(Attempt::Refused)?;
        report.observed = whole.observed;
        report.length = whole.bytes.len() as u64;
        self.doubt(report);
        report.first_token = Some(self.began.elapsed());
        if report.observed.usage.is_none() {
            // Within `wait`, so that the ingress knows that somebody holds its call.
            let count = self.count_served(Sent::whole(&whole.bytes), report);
            replies.wait(count).await.ok_or(Attempt::Cancelled)?;
        }
        let mut bytes = match &report.tools {
            Some(tools) => tools.whole(&whole.bytes),
            None => whole.bytes,
        };
        if let Some(stamp) = self.stamp() {
            let mut stamped = BytesMut::with_capacity(bytes.len() + 128);
            stamp.put_on(&bytes, &mut stamped);
            bytes = stamped.freeze();
        }
        self.wait_for_ledger(start, replies).await?;
        self.send(replies, Payload::End(Box::new(self.ended(Some(self.head(report)), report)), bytes)).await
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
    fn stamp(&self) -> Option<Stamp> {
        let is_translated = self.wanted.form == Form::Agnostic;
        let has_head = matches!(self.wanted.operation, Operation::Chat | Operation::Embeddings);
        (is_translated && has_head)
            .then(|| Stamp::new(self.envelope.request_id, &self.envelope.plan.current().target.model))
    }

    fn head(&self, report: &Report) -> Head {
        Head {
            worker: self.worker.clone(),
            target: self.envelope.plan.current().target.clone(),
            dialect: match self.wanted.form {
                Form::Own => self.envelope.dialect,
                Form::Agnostic => Dialect::Openai,
            },
            attempts: self.number,
            dropped: report.dropped.clone(),
            content_type: report.content_type.clone(),
            input_tokens: report.input_tokens,
        }
    }

    fn ended(&self, head: Option<Head>, report: &Report) -> Ended {
        Ended { head, summary: sum_up(self.card, report.observed.usage, report.counted) }
    }

    /// Sends a frame; a client that does not read does not hold it up beyond the total time.
    async fn send(&self, replies: &mut Replies, payload: Payload) -> Step<()> {
        match timeout_at(self.total_by(), replies.send(payload)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Attempt::Broken(Failure::gateway(FailureKind::Internal, error.to_string()))),
            Err(_) => Err(Attempt::Broken(Failure::gateway(FailureKind::Deadline, "the client reads too slowly"))),
        }
    }

    /// Nothing goes out before the ledger knows that a provider was called; but once it was asked and paid, the caller gets
    /// the answer while there is time: the journal goes on until the ledger has the attempt.
    async fn wait_for_ledger(&self, start: Pending, replies: &mut Replies) -> Step<()> {
        let until = self.total_by() - IN_TIME.min(self.clocks.total / 10);
        match replies.wait(timeout_at(until, start.acknowledged())).await {
            None => Err(Attempt::Cancelled),
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(ledger_failed()),
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

    fn total_by(&self) -> Instant {
        self.began + self.clocks.total
    }

    fn late(&self, what: &str) -> Attempt {
        let target = &self.envelope.plan.current().target;
        refused(FailureKind::Timeout, format!("{target} {what} ({:.1?})", self.began.elapsed()))
    }

    fn unknown_encoding(&self, encoding: &str) -> Attempt {
        let target = &self.envelope.plan.current().target;
        refused(FailureKind::Broken, format!("{target} answered in the encoding {encoding}, which is not known here"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Attempt {
        let target = &self.envelope.plan.current().target;
        let (kind, what) = match error {
            error if error.is_timeout() => (FailureKind::Timeout, "could not be reached"),
            error if error.is_connect() => (FailureKind::Connect, "could not be reached"),
            _ => (FailureKind::Broken, "broke off before its answer began"),
        };
        refused(kind, format!("{target} {what}: {}", describe(error)))
    }
}

/// What an attempt ends with when the ledger does not take it.
pub fn ledger_failed() -> Attempt {
    let why = "the usage ledger (JetStream) did not take the attempt in time";
    Attempt::Refused(Failure::gateway(FailureKind::Ledger, why))
}

/// When an attempt that begins now is over at the latest.
pub fn deadline(envelope: &Envelope, clocks: &Clocks, now: UnixMicros) -> UnixMicros {
    now.after(clocks.total).min(envelope.deadline)
}
