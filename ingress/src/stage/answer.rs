//! The answer as HTTP: whole or as a stream, or a refusal, with the reply headers. Chooses no status and no words of its
//! own: `status` and `dialect` do.

use super::body::WholeBody;
use super::dispatch::Placed;
use super::frames::{Frames, Source};
use super::record::{Record, Told};
use super::resume::Resume;
use crate::conversation::Memory;
use crate::dialect::{self, Rewriter, own_words};
use crate::refusal::Refusal;
use crate::status;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Payload};
use penstock_schemas::name::{RequestId, Target};
use penstock_schemas::usage::UsageSource;
use tokio::select;
use tokio::task::yield_now;

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// How often a stream may be held at once by a dialect whose last event says all of it again: in parts, and as a whole.
const COLLECTED: usize = 2;

/// An answer that has begun.
pub(crate) enum Answer {
    /// All of it.
    Whole(Box<Ended>, Bytes),
    /// Its first content; the rest follows.
    Stream(Box<Streaming>),
}

/// A stream on its way to the client.
pub(crate) struct Streaming {
    head: Head,
    first: Bytes,
    source: Source,
    placed: Option<Placed>,
    resume: Option<Box<Resume>>,
}

impl Answer {
    pub(crate) fn stream(head: Head, first: Bytes, source: Source, placed: Option<Placed>) -> Self {
        Self::Stream(Box::new(Streaming { head, first, source, placed, resume: None }))
    }

    /// The same answer; if it is a stream that breaks, another target goes on with it.
    pub(crate) fn resumable(self, resume: impl FnOnce(Target) -> Resume) -> Self {
        match self {
            Self::Stream(streaming) => {
                let resume = Some(Box::new(resume(streaming.head.target.clone())));
                Self::Stream(Box::new(Streaming { resume, ..*streaming }))
            }
            whole => whole,
        }
    }

    /// The response. `record` goes with it, and is written when the last byte is out or the client is gone; `memory` keeps
    /// the answer before its end goes out, so that the next request finds it.
    ///
    /// # Errors
    /// When a whole answer cannot be put into the caller's dialect.
    pub(crate) async fn respond(
        self,
        id: RequestId,
        mut record: Record,
        rewriter: Rewriter,
        memory: Option<Memory>,
    ) -> Result<Response, Refusal> {
        let mut headers = HeaderMap::new();
        let is_stream = record.delivery().is_stream();
        let kind = if is_stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if is_stream {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        set(&mut headers, "x-penstock-cache", record.cache().as_str());
        let body = match self {
            Self::Whole(ended, bytes) => {
                let mut rewriter = rewriter;
                if let Some(head) = &ended.head {
                    describe(&mut headers, head, record.dialect());
                    rewriter.answers_in(head.dialect, record.dialect());
                    rewriter.counted(head.input_tokens);
                }
                if ended.summary.usage_source == UsageSource::Counted {
                    set(&mut headers, "x-penstock-usage", "counted");
                }
                if let Some(cost) = ended.summary.cost.filter(|_| !is_stream) {
                    set(&mut headers, "x-penstock-cost-usd", &cost.to_string());
                }
                let bytes = finished(&ended, bytes, &mut record, &mut rewriter)?;
                keep(memory, &mut rewriter).await;
                Body::new(WholeBody::new(bytes, record.into_memory()))
            }
            Self::Stream(streaming) => {
                describe(&mut headers, &streaming.head, record.dialect());
                streaming.body(id, record, rewriter, memory)
            }
        };
        Ok(finish(status::ANSWERED, headers, body, id))
    }

    /// A whole answer in the caller's dialect, for a caller who is not there.
    ///
    /// # Errors
    /// When it cannot be put into that dialect.
    pub(crate) fn into_bytes(self, record: &mut Record, rewriter: &mut Rewriter) -> Result<Bytes, Failure> {
        let Self::Whole(ended, bytes) = self else {
            return Err(Failure::gateway(FailureKind::Internal, "a stream came where nobody reads one"));
        };
        if let Some(head) = &ended.head {
            rewriter.answers_in(head.dialect, record.dialect());
        }
        finished(&ended, bytes, record, rewriter)
    }
}

/// The caller's bytes of an answer that is complete.
fn finished(ended: &Ended, bytes: Bytes, record: &mut Record, rewriter: &mut Rewriter) -> Result<Bytes, Failure> {
    let is_stream = record.delivery().is_stream();
    let bytes = if is_stream { rewriter.end(bytes, &ended.summary) } else { rewriter.whole(bytes, &ended.summary) };
    let bytes = bytes.inspect_err(|failure| record.broken(failure))?;
    record.served(&ended.summary);
    Ok(bytes)
}

async fn keep(memory: Option<Memory>, rewriter: &mut Rewriter) {
    if let Some(memory) = memory
        && let Some((response, native)) = rewriter.kept()
    {
        // Boxed: most answers are not kept.
        Box::pin(memory.keep(response, native)).await;
    }
}

/// A stream that is being written to its client.
struct Writing {
    source: Source,
    resume: Option<Box<Resume>>,
    record: Record,
    rewriter: Rewriter,
    memory: Option<Memory>,
    id: RequestId,
    /// Whether an error can be told as an event; else the connection is broken off, so that nobody takes a part for the whole.
    has_events: bool,
    /// What has come and is not written yet.
    first: Option<Bytes>,
    _placed: Option<Placed>,
}

impl Streaming {
    fn body(self, id: RequestId, record: Record, mut rewriter: Rewriter, memory: Option<Memory>) -> Body {
        let Self { head, mut first, source, placed, mut resume } = self;
        if let Some(resume) = &mut resume {
            first = resume.pass(first);
        }
        rewriter.answers_in(head.dialect, record.dialect());
        rewriter.counted(head.input_tokens);
        let has_events = head.content_type.as_ref().is_none_or(|kind| kind.starts_with(EVENTS));
        let writing =
            Writing { source, resume, record, rewriter, memory, id, has_events, first: Some(first), _placed: placed };
        let grant = writing.record.grant();
        let rest = stream::unfold(Some((writing, grant)), move |writing| async move {
            let (mut writing, mut grant) = writing?;
            let next = select! {
                biased;
                refusal = grant.over() => writing.revoke(&refusal).await,
                next = writing.next() => next,
            };
            match next {
                Ok((bytes, is_last)) => Some((Ok(bytes), (!is_last).then_some((writing, grant)))),
                Err(failure) => Some((Err(failure), None)),
            }
        });
        Body::from_stream(rest)
    }
}

impl Writing {
    /// The next bytes for the client, and whether they are the last.
    async fn next(&mut self) -> Result<(Bytes, bool), Failure> {
        let failure: Failure = loop {
            match self.frame().await {
                Ok((bytes, false)) if bytes.is_empty() => {}
                Ok(next) => return Ok(next),
                Err(failure) => {
                    let Some(resume) = &mut self.resume else { break failure };
                    let Some((source, first)) = resume.go_on(&failure, &mut self.record).await else { break failure };
                    (self.source, self.first) = (source, Some(first));
                }
            }
        };
        self.end(failure).await
    }

    /// The end of a stream whose caller may not have the rest.
    async fn revoke(&mut self, refusal: &Refusal) -> Result<(Bytes, bool), Failure> {
        self.end(Failure::gateway(FailureKind::Revoked, refusal.to_string())).await
    }

    async fn end(&mut self, failure: Failure) -> Result<(Bytes, bool), Failure> {
        self.record.broken(&failure);
        if !self.has_events {
            // What came before is to arrive: a connection that has nothing to do writes what it holds.
            yield_now().await;
            return Err(failure);
        }
        Ok((self.rewriter.broken(self.record.dialect(), &failure, self.id), true))
    }

    fn pass(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.resume {
            None => bytes,
            Some(resume) => resume.pass(bytes),
        }
    }

    async fn frame(&mut self) -> Result<(Bytes, bool), Failure> {
        if let Some(first) = self.first.take() {
            return Ok((self.rewriter.next(first)?, false));
        }
        match self.source.next().await? {
            Payload::Accepted(_) | Payload::Alive | Payload::Gone => Ok((Bytes::new(), false)),
            Payload::Chunk(_, bytes) => {
                self.source.consumed(bytes.len());
                if self.rewriter.collects() {
                    self.record.hold_more(bytes.len() * COLLECTED)?;
                }
                let bytes = self.pass(bytes);
                Ok((self.rewriter.next(bytes)?, false))
            }
            Payload::End(ended, bytes) => {
                let bytes = self.pass(bytes);
                let bytes = self.rewriter.end(bytes, &ended.summary)?;
                self.record.served(&ended.summary);
                keep(self.memory.take(), &mut self.rewriter).await;
                Ok((bytes, true))
            }
            Payload::Failed(failed) => Err(failed.failure),
        }
    }
}

fn describe(headers: &mut HeaderMap, head: &Head, dialect: Dialect) {
    set(headers, "x-penstock-target", &head.target.to_string());
    set(headers, "x-penstock-attempts", &head.attempts.to_string());
    if !head.dropped.is_empty() {
        let own = |name: &String| own_words::field(dialect, name).unwrap_or_else(|| name.clone());
        let mut names: Vec<String> = head.dropped.iter().map(own).collect();
        names.dedup();
        set(headers, "x-penstock-dropped-params", &names.join(","));
    }
    if let Some(kind) = head.content_type.as_ref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, kind);
    }
}

/// Tells what limits there are: in OpenAI's headers, and where a budget has sent the request to another model.
/// Source: <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>.
pub(crate) fn tell(response: &mut Response, told: &Told) {
    let headers = response.headers_mut();
    let names = [
        (
            &told.requests,
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        ),
        (&told.tokens, ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
    ];
    for (standing, [limit, remaining, reset]) in names {
        if let Some(standing) = standing {
            set(headers, limit, &standing.limit.to_string());
            set(headers, remaining, &standing.remaining.to_string());
            set(headers, reset, &format!("{:.3}s", standing.reset.as_secs_f64()));
        }
    }
    if let Some(down) = &told.sent_down {
        set(headers, "x-penstock-downgraded", down);
    }
}

/// Says that an answer was given before. Stripe's name for it: <https://docs.stripe.com/api/idempotent_requests>.
pub(crate) fn mark_as_repeated(response: &mut Response) {
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
}

/// The response that says why not.
pub(crate) fn refuse(dialect: Dialect, refusal: &Refusal, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after() {
        // Whole seconds, rounded up: a header of 0 would ask for a storm.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value"));
    }
    if refusal.is_lasting() {
        // The official SDKs of OpenAI and Anthropic ask a 429 again by themselves, unless this tells them not to.
        set(&mut headers, "x-should-retry", "false");
    }
    finish(status::of(refusal), headers, Body::from(dialect::error_body(dialect, refusal, id).to_string()), id)
}

/// A stream of events that comes from nowhere else.
pub(crate) fn events(body: Body, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    finish(status::ANSWERED, headers, body, id)
}

/// Any other JSON.
pub(crate) fn json(value: &impl serde::Serialize, id: RequestId) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = serde_json::to_vec(value).expect("answers have a JSON form");
    finish(status::ANSWERED, headers, Body::from(body), id)
}

fn finish(status: StatusCode, mut headers: HeaderMap, body: Body, id: RequestId) -> Response {
    let id = id.to_string();
    // The official SDKs show these with their errors: OpenAI's the first, Anthropic's the second.
    set(&mut headers, "x-request-id", &id);
    set(&mut headers, "request-id", &id);
    set(&mut headers, "x-penstock-request-id", &id);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Sets a header; characters that a header cannot hold become `?`.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let safe: String = value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    headers.insert(
        HeaderName::from_static(name),
        HeaderValue::from_str(&safe).expect("printable ASCII is a header value"),
    );
}
