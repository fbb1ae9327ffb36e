//! The answer as HTTP: whole or as a stream, with the reply headers. Chooses no status and no words of its own: `status` and
//! `dialect` do.

use super::dispatch::{Answer, Begun, Continuation, Frames, Placed, Source, Streaming};
use super::record::Record;
use crate::cache::put_together;
use crate::conversation::{self, ToKeep};
use crate::dialect::error_event;
use crate::http::reply::{finish, set};
use crate::http::whole::WholeBody;
use crate::refusal::Refusal;
use crate::status;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use penstock_dialects::client::{Rewriter, own_words};
use penstock_runtime::heavy;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Payload, Summary};
use penstock_schemas::usage::UsageSource;
use tokio::select;
use tokio::task::yield_now;

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// How often a stream may be held at once by a dialect whose last event says all of it again: in parts, and as a whole.
const COLLECTED: usize = 2;

impl Begun {
    /// The response. `record` goes with it, and is written when the last byte is out or the client is gone; `memory` keeps
    /// the answer before its end goes out, so that the next request finds it.
    ///
    /// # Errors
    /// When a whole answer cannot be put into the caller's dialect.
    pub(crate) async fn respond(
        self,
        mut record: Record,
        rewriter: Rewriter,
        memory: Option<ToKeep>,
    ) -> Result<Response, Refusal> {
        let (id, mut headers) = (record.id(), HeaderMap::new());
        let is_stream = record.delivery().is_stream();
        let kind = if is_stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if is_stream {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        set(&mut headers, "x-penstock-cache", record.cache().as_str());
        if let Some(age) = record.cache_age() {
            set(&mut headers, "x-penstock-cache-age", &age.as_secs().to_string());
        }
        if let Some(similarity) = record.similarity() {
            set(&mut headers, "x-penstock-cache-similarity", &format!("{similarity:.3}"));
        }
        let body = match self.answer {
            Answer::Whole(ended, bytes) => {
                let mut rewriter = rewriter;
                if let Some(head) = &ended.head {
                    describe(&mut headers, head, record.dialect());
                    rewriter.answers_in(head.dialect, record.dialect());
                    rewriter.counted(head.input_tokens);
                }
                if ended.summary.usage_source == UsageSource::Counted {
                    set(&mut headers, "x-penstock-usage", "counted");
                }
                if let Some(cost) = record.cost(&ended.summary).filter(|_| !is_stream) {
                    set(&mut headers, "x-penstock-cost-usd", &cost.to_string());
                }
                let bytes = finished(&ended, bytes, &mut record, &mut rewriter).await?;
                conversation::keep(memory, &mut rewriter, &ended.summary).await;
                Body::new(WholeBody::new(bytes, record.into_memory()))
            }
            Answer::Stream(streaming) => {
                describe(&mut headers, &streaming.head, record.dialect());
                let writing = Writing::new(*streaming, self.resume, record, rewriter);
                Writing { memory, ..writing }.into_body()
            }
        };
        Ok(finish(status::ANSWERED, headers, body, id))
    }

    /// A whole answer in the caller's dialect, for a caller who is not there.
    ///
    /// # Errors
    /// When it cannot be put into that dialect.
    pub(crate) async fn into_bytes(
        self,
        record: &mut Record,
        rewriter: &mut Rewriter,
    ) -> Result<(Bytes, Summary), Failure> {
        let Answer::Whole(ended, bytes) = self.answer else {
            return Err(Failure::gateway(FailureKind::Internal, "a stream came where nobody reads one"));
        };
        if let Some(head) = &ended.head {
            rewriter.answers_in(head.dialect, record.dialect());
        }
        let bytes = finished(&ended, bytes, record, rewriter).await?;
        Ok((bytes, Summary { cost: record.cost(&ended.summary), ..ended.summary }))
    }
}

impl Begun {
    /// A streamed chat in the caller's dialect, read to its end and put together.
    ///
    /// # Errors
    /// When it breaks, or there is no memory for it.
    pub(crate) async fn put_together(
        self,
        record: &mut Record,
        rewriter: &mut Rewriter,
    ) -> Result<(Bytes, Summary), Refusal> {
        let (head, mut pieces, mut source, _placed) = match self.answer {
            Answer::Whole(ended, bytes) => (ended.head.clone(), Vec::new(), Source::Whole(Some((ended, bytes))), None),
            Answer::Stream(streaming) => {
                let Streaming { head, first, source, placed } = *streaming;
                (Some(head), vec![first], source, placed)
            }
        };
        if let Some(head) = &head {
            rewriter.answers_in(head.dialect, record.dialect());
        }
        let ended = loop {
            match source.next().await? {
                Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {}
                Payload::Chunk(_, bytes) => {
                    record.hold_more(bytes.len() * COLLECTED)?;
                    source.consumed(bytes.len());
                    pieces.push(bytes);
                }
                Payload::End(ended, bytes) => {
                    pieces.push(bytes);
                    break ended;
                }
                Payload::Failed(failed) => return Err(failed.failure.into()),
            }
        };
        let length = pieces.iter().map(Bytes::len).sum();
        let bytes = match heavy(length, || put_together(&pieces, &ended.summary)).await {
            Some(whole) => rewriter.whole(whole, &ended.summary)?,
            // It says something that is not known here: its events are better than nothing.
            None => pieces.concat().into(),
        };
        record.served(&ended.summary);
        record.sends(&bytes);
        Ok((bytes, Summary { cost: record.cost(&ended.summary), ..ended.summary }))
    }
}

/// The caller's bytes of an answer that is complete.
async fn finished(ended: &Ended, bytes: Bytes, record: &mut Record, rewriter: &mut Rewriter) -> Result<Bytes, Failure> {
    let is_stream = record.delivery().is_stream();
    let read: &[u8] = if rewriter.reads_all() { &bytes } else { &[] };
    let values = heavy(read.len(), || record.hold_values(read)).await;
    let _values = values.inspect_err(|failure| record.broken(failure))?;
    let bytes = heavy(bytes.len(), || match is_stream {
        true => rewriter.end(bytes, &ended.summary),
        false => rewriter.whole(bytes, &ended.summary),
    });
    let bytes = bytes.await;
    let bytes = bytes.inspect_err(|failure| record.broken(failure))?;
    record.served(&ended.summary);
    record.sends(&bytes);
    Ok(bytes)
}

/// A stream that is being written to its client.
struct Writing {
    source: Source,
    resume: Option<Box<Continuation>>,
    record: Record,
    rewriter: Rewriter,
    memory: Option<ToKeep>,
    /// Whether an error can be told as an event; else the connection is broken off, so that nobody takes a part for the whole.
    has_events: bool,
    /// What has come and is not written yet.
    first: Option<Bytes>,
    _placed: Option<Placed>,
}

impl Writing {
    fn new(
        streaming: Streaming,
        mut resume: Option<Box<Continuation>>,
        record: Record,
        mut rewriter: Rewriter,
    ) -> Self {
        let Streaming { head, mut first, source, placed } = streaming;
        if let Some(resume) = &mut resume {
            first = resume.pass(first);
        }
        rewriter.answers_in(head.dialect, record.dialect());
        rewriter.counted(head.input_tokens);
        let has_events = head.content_type.as_ref().is_none_or(|kind| kind.starts_with(EVENTS));
        Self { source, resume, record, rewriter, memory: None, has_events, first: Some(first), _placed: placed }
    }

    fn into_body(self) -> Body {
        let grant = self.record.grant();
        let rest = stream::unfold(Some((self, grant)), move |writing| async move {
            let (mut writing, mut grant) = writing?;
            let next = select! {
                biased;
                refusal = grant.over() => writing.revoke(&refusal).await,
                next = writing.next() => next,
            };
            match next {
                Ok((bytes, is_last)) => {
                    writing.record.sends(&bytes);
                    Some((Ok(bytes), (!is_last).then_some((writing, grant))))
                }
                Err(failure) => Some((Err(failure), None)),
            }
        });
        Body::from_stream(rest)
    }

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
        let (dialect, id) = (self.record.dialect(), self.record.id());
        Ok((self.rewriter.broken(&failure, || error_event(dialect, &failure, id)), true))
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
            Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {
                Ok((Bytes::new(), false))
            }
            Payload::Chunk(_, bytes) => {
                self.source.consumed(bytes.len());
                if self.rewriter.collects() {
                    self.record.hold_more(bytes.len() * COLLECTED)?;
                }
                let bytes = self.pass(bytes);
                let length = self.rewriter.waiting() + bytes.len();
                Ok((heavy(length, || self.rewriter.next(bytes)).await?, false))
            }
            Payload::End(ended, bytes) => {
                let bytes = self.pass(bytes);
                // The last event may hold all that was said.
                let length = self.rewriter.taken() + bytes.len();
                let bytes = heavy(length, || self.rewriter.end(bytes, &ended.summary)).await?;
                self.record.served(&ended.summary);
                conversation::keep(self.memory.take(), &mut self.rewriter, &ended.summary).await;
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
