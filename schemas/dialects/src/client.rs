//! The words in which a client's wire format is spoken of: what a path and a request ask for, what is wrong with it, what
//! writes the answer. Knows no format: each has its own folder. Knows nothing of HTTP statuses.

use crate::most;
use bytes::Bytes;
use penstock_schemas::UnixMicros;
use penstock_schemas::chat::CompletionChunk;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse;
use serde_json::{Map, Value};
use std::time::Duration;

pub mod carried;
pub(crate) mod fields;
pub mod file_references;
mod model_name;
mod number;
pub mod own_words;
mod rankings;
mod rewriter;
mod vectors;
mod wrong_request;

pub use number::Numbers;
pub use rewriter::Rewriter;
pub use wrong_request::WrongRequest;

/// Reads the clock of the process: a format has none of its own.
pub type Now = fn() -> UnixMicros;

/// Puts a request of a form that is around a dialect into that dialect.
pub type Translate = fn(&Bytes) -> Result<Bytes, WrongRequest>;

/// What a path asks for, before the body is read.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The dialect of the path.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The model, where it stands in the path: there it counts, whatever the body says.
    pub model: Option<String>,
    /// How the answer is wanted, where the path says it.
    pub delivery: Option<Delivery>,
    /// What puts the body into the dialect, where it comes in a form that is around it.
    pub translate: Option<Translate>,
    /// What the answer is for.
    pub purpose: Purpose,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// For the caller.
    #[default]
    Answer,
    /// To stand for the conversation that it sums up.
    Compaction,
}

/// A request, as far as the pipeline must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// The caller's dialect.
    pub dialect: Dialect,
    /// What is asked.
    pub operation: Operation,
    /// The model, as the caller names it.
    pub model: String,
    /// The end user.
    pub user: Option<String>,
    /// How the answer is wanted.
    pub delivery: Delivery,
    /// The caller's bytes, untouched.
    pub body: Bytes,
    /// The media type of a request that is not JSON.
    pub content_type: Option<String>,
    /// What of the body shapes its cost.
    pub extent: Extent,
    /// What the answer is for.
    pub purpose: Purpose,
}

impl Endpoint {
    /// A path that says no more than this.
    pub fn new(dialect: Dialect, operation: Operation) -> Self {
        let purpose = Purpose::Answer;
        Self { dialect, operation, model: None, delivery: None, translate: None, purpose }
    }

    /// Whether the request is a form and not JSON.
    pub fn takes_form(&self) -> bool {
        self.dialect == Dialect::Openai && self.operation.takes_form()
    }
}

/// Turns one agnostic answer into a client's dialect.
pub trait Writer: Send {
    /// A whole answer.
    ///
    /// # Errors
    /// When the answer cannot be read.
    fn whole(&mut self, answer: &Bytes, summary: &Summary) -> Result<Bytes, Failure>;

    /// The next event of a stream: the JSON of one chunk.
    ///
    /// # Errors
    /// When the chunk cannot be read.
    fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Failure>;

    /// The end of a stream that is complete.
    fn end(&mut self, summary: &Summary, out: &mut Vec<u8>);

    /// The next event of a stream as it came.
    ///
    /// # Errors
    /// When it cannot be read.
    fn event(&mut self, event: &sse::Event, out: &mut Vec<u8>) -> Result<(), Failure> {
        let data = event.data.trim_ascii();
        if data.starts_with(b"{") { self.chunk(data, out) } else { Ok(()) }
    }

    /// Takes what the request was counted to be, before a stream begins.
    fn counted(&mut self, _input_tokens: u64) {}

    /// The writer for an answer that comes in the caller's own dialect; `None` when its bytes pass untouched.
    fn native(self: Box<Self>) -> Option<Box<dyn Writer>> {
        None
    }

    /// The last event of a stream that broke, where it must know what came before.
    fn broken(&mut self, _failure: &Failure) -> Option<Bytes> {
        None
    }

    /// The finished answer, the first time, if the caller may read it later; and whether a provider wrote it in this dialect.
    fn kept(&mut self) -> Option<(Bytes, bool)> {
        None
    }

    /// Whether it collects a stream, because its last event says all of it again.
    fn collects(&self) -> bool {
        false
    }
}

/// One chunk of a stream in the agnostic form.
///
/// # Errors
/// When it cannot be read, or is of one choice or call too many.
pub(crate) fn read_chunk(json: &[u8]) -> Result<CompletionChunk, Failure> {
    let chunk = serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
    most::check(&chunk)?;
    Ok(chunk)
}

/// That an answer came which is not of the agnostic form.
pub fn unreadable(error: &impl ToString) -> Failure {
    Failure::gateway(FailureKind::Internal, format!("the worker's answer cannot be read: {}", error.to_string()))
}

/// What an error says to a client, before a dialect has its form for it.
#[derive(Debug)]
pub struct ClientError<'a> {
    /// For people.
    pub message: String,
    /// The field of the request that is wrong.
    pub param: Option<&'a str>,
    /// What else the provider's error object holds.
    pub details: Option<&'a Map<String, Value>>,
    /// How long the caller is to wait before it tries again.
    pub retry_after: Option<Duration>,
    /// The request.
    pub request_id: RequestId,
}

impl<'a> ClientError<'a> {
    /// What a failed call says.
    pub fn of(failure: &'a Failure, request_id: RequestId) -> Self {
        Self {
            message: failure.to_string(),
            param: failure.param.as_deref(),
            details: failure.details.as_deref(),
            retry_after: failure.retry_after(),
            request_id,
        }
    }

    /// The provider's members of the error object, save the names that are taken.
    pub(crate) fn others<'b>(
        &'b self,
        taken: &'b Map<String, Value>,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> + 'b {
        self.details.into_iter().flatten().filter(|(name, _)| !taken.contains_key(*name))
    }
}
