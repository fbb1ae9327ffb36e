//! The client dialects: how a request is read and how an answer and an error are spelt. One file or folder each, chosen
//! here by name; knows no provider. What a dialect reads and writes is the agnostic form of `penstock_schemas::chat`,
//! unless the provider speaks the caller's own dialect: then bytes pass through untouched.

use crate::refusal::Refusal;
use bytes::Bytes;
use memchr::memmem;
use model_name::ModelName;
use number::Numbers;
use penstock_runtime::heavy;
use penstock_schemas::chat::{ChatRequest, SEAL};
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::name::{self, BadName, RequestId};
use penstock_schemas::sse;
use serde_json::Value;

pub(crate) mod anthropic;
pub(crate) mod carried;
mod fields;
pub(crate) mod file_references;
pub(crate) mod google;
mod model_name;
pub(crate) mod number;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod own_words;
pub(crate) mod responses;
#[cfg(test)]
mod robust;

/// Puts a request of a form that is around a dialect into that dialect.
pub(crate) type Translate = fn(&Bytes) -> Result<Bytes, Refusal>;

/// What a path asks for, before the body is read.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The dialect of the path.
    pub(crate) dialect: Dialect,
    /// What is asked.
    pub(crate) operation: Operation,
    /// The model, where it stands in the path: there it counts, whatever the body says.
    pub(crate) model: Option<String>,
    /// How the answer is wanted, where the path says it.
    pub(crate) delivery: Option<Delivery>,
    /// What puts the body into the dialect, where it comes in a form that is around it.
    pub(crate) translate: Option<Translate>,
    /// What the answer is for.
    pub(crate) purpose: Purpose,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For the caller.
    #[default]
    Answer,
    /// To stand for the conversation that it sums up.
    Compaction,
}

/// A request, as far as the pipeline must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientRequest {
    /// The caller's dialect.
    pub(crate) dialect: Dialect,
    /// What is asked.
    pub(crate) operation: Operation,
    /// The model, as the caller names it.
    pub(crate) model: String,
    /// The end user.
    pub(crate) user: Option<String>,
    /// How the answer is wanted.
    pub(crate) delivery: Delivery,
    /// The caller's bytes, untouched.
    pub(crate) body: Bytes,
    /// The media type of a request that is not JSON.
    pub(crate) content_type: Option<String>,
    /// What of the body shapes its cost.
    pub(crate) extent: Extent,
    /// What the answer is for.
    pub(crate) purpose: Purpose,
}

impl Endpoint {
    /// A path that says no more than this.
    pub(crate) fn new(dialect: Dialect, operation: Operation) -> Self {
        let purpose = Purpose::Answer;
        Self { dialect, operation, model: None, delivery: None, translate: None, purpose }
    }

    /// Whether the request is a form and not JSON.
    pub(crate) fn takes_form(&self) -> bool {
        self.dialect == Dialect::Openai && self.operation.takes_form()
    }

    /// Reads what the pipeline must know of a request.
    pub(crate) fn read(self, body: Bytes, content_type: Option<String>) -> Result<ClientRequest, Refusal> {
        let body = match self.translate {
            None => body,
            Some(translate) => translate(&body)?,
        };
        let asked = match self.dialect {
            Dialect::Openai => openai::read(self, body, content_type),
            Dialect::Anthropic => anthropic::read(self.operation, body),
            Dialect::Google => google::read(self, body),
            Dialect::Responses => responses::read(self.operation, self.purpose, body),
            other => unreachable!("no path is of the dialect {other:?}"),
        }?;
        let wrong = |why: BadName| Refusal::WrongField { field: "model", why: why.to_string() };
        name::check_model(&asked.model).map_err(wrong)?;
        Ok(asked)
    }
}

impl ClientRequest {
    /// Puts another body in the place of the caller's: the same request with what it refers to.
    pub(crate) fn spell_out(&mut self, body: Bytes) -> Result<(), Refusal> {
        self.extent = fields::measure(self.dialect, self.operation, &body)?;
        self.body = body;
        Ok(())
    }

    /// The request in its agnostic form, for a provider that does not speak the caller's dialect.
    pub(crate) fn agnostic(&self) -> Result<Bytes, Refusal> {
        let agnostic = match self.dialect {
            Dialect::Openai => return Ok(self.body.clone()),
            Dialect::Anthropic => anthropic::agnostic(&self.body),
            Dialect::Google => google::agnostic(self),
            Dialect::Responses => responses::agnostic(&self.body),
            other => unreachable!("no path is of the dialect {other:?}"),
        }?;
        if self.operation == Operation::Chat {
            settled(&agnostic)?;
        }
        Ok(agnostic)
    }

    /// Whether the request holds what another provider has sealed: the provider of this dialect would refuse it.
    pub(crate) fn holds_seal(&self) -> bool {
        match self.dialect {
            Dialect::Google => google::holds_seal(&self.body),
            _ => memmem::find(&self.body, SEAL.as_bytes()).is_some(),
        }
    }

    /// A writer that turns an agnostic answer into the caller's dialect; `None` when that is the agnostic form itself.
    pub(crate) fn writer(&self, id: RequestId) -> Option<Box<dyn Writer>> {
        match self.dialect {
            Dialect::Openai => None,
            // The agnostic count of tokens is Anthropic's.
            Dialect::Anthropic if self.operation == Operation::CountTokens => None,
            Dialect::Anthropic => Some(Box::new(anthropic::Messages::new(id, self.model.clone()))),
            Dialect::Google => Some(google::writer(self, id)),
            Dialect::Responses => Some(responses::writer(self, id)),
            other => unreachable!("no path is of the dialect {other:?}"),
        }
    }
}

/// Fields that the caller's dialect does not know keep their names, and these may be names of the agnostic form's own: then
/// they must be as it has them, and stand there once.
fn settled(agnostic: &[u8]) -> Result<(), Refusal> {
    serde_json::from_slice::<ChatRequest>(agnostic).map(drop).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        fields::wrong("body", format!("a field of it that this dialect does not have cannot be passed on: {why}"))
    })
}

/// Turns one agnostic answer into a client's dialect.
pub(crate) trait Writer: Send {
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

    /// The finished answer, once, where somebody may ask for it again; and whether a provider wrote it in this dialect.
    fn kept(&mut self) -> Option<(Bytes, bool)> {
        None
    }

    /// Whether it collects a stream, because its last event says all of it again.
    fn collects(&self) -> bool {
        false
    }
}

/// Turns an agnostic stream, which comes cut anywhere, into the caller's dialect, or passes it on with the model's name that
/// the caller asked for.
pub(crate) struct Rewriter {
    writer: Option<Box<dyn Writer>>,
    /// The name, where an answer of the caller's own dialect holds one.
    name: Option<ModelName>,
    events: sse::Parser,
    /// The numbers of the events, where the client can come back to them.
    numbers: Option<Numbers>,
}

/// The longest event of a stream, in bytes, as in the workers.
const EVENT_BYTES: usize = 16 * 1024 * 1024;

impl Rewriter {
    /// For the answer to a request.
    pub(crate) fn of(asked: &ClientRequest, call: RequestId, numbers: Option<Numbers>) -> Self {
        let (writer, name) = (asked.writer(call), ModelName::of(asked));
        Self { writer, name, events: sse::Parser::new(EVENT_BYTES), numbers }
    }

    /// Notes in which form the answer comes: the caller's own needs no writer.
    pub(crate) fn answers_in(&mut self, form: Dialect, caller: Dialect) {
        if form == caller {
            self.writer = self.writer.take().and_then(Writer::native);
        }
    }

    /// Takes what the request was counted to be.
    pub(crate) fn counted(&mut self, input_tokens: Option<u64>) {
        if let (Some(writer), Some(tokens)) = (&mut self.writer, input_tokens) {
            writer.counted(tokens);
        }
    }

    /// A whole answer.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn whole(&mut self, answer: Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        match &mut self.writer {
            Some(writer) => heavy(answer.len(), || writer.whole(&answer, summary)),
            None => Ok(match &mut self.name {
                None => answer,
                Some(name) => heavy(answer.len(), || name.put_into(answer)),
            }),
        }
    }

    /// What the client gets for the next bytes of a stream; empty when they complete no event.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn next(&mut self, bytes: Bytes) -> Result<Bytes, Failure> {
        let bytes = self.rewrite(bytes)?;
        Ok(self.number(bytes))
    }

    /// What the client gets for an event that is of its own dialect already.
    pub(crate) fn number(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.numbers {
            None => bytes,
            Some(numbers) => numbers.number(&bytes),
        }
    }

    fn rewrite(&mut self, bytes: Bytes) -> Result<Bytes, Failure> {
        let Some(writer) = &mut self.writer else {
            return Ok(match &mut self.name {
                None => bytes,
                Some(name) => name.put_into_next(bytes),
            });
        };
        self.events.push(&bytes);
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
        while let Some(event) = self.events.next_event().map_err(|error| unreadable(&error))? {
            writer.event(&event, &mut out)?;
        }
        Ok(out.into())
    }

    /// What the client gets for the last bytes of a stream that is complete.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn end(&mut self, bytes: Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let last = self.rewrite(bytes)?;
        let Some(writer) = &mut self.writer else {
            let rest = self.name.as_mut().map(ModelName::end).unwrap_or_default();
            let last = if rest.is_empty() { last } else { [last, rest].concat().into() };
            return Ok(self.number(last));
        };
        let mut out = Vec::from(last);
        writer.end(summary, &mut out);
        Ok(self.number(out.into()))
    }

    /// The last event of a stream that broke.
    pub(crate) fn broken(&mut self, dialect: Dialect, failure: &Failure, id: RequestId) -> Bytes {
        let own = self.writer.as_mut().and_then(|writer| writer.broken(failure));
        let event = own.unwrap_or_else(|| error_event(dialect, failure, id));
        self.number(event)
    }

    /// Whether a stream is collected on its way.
    pub(crate) fn collects(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.collects())
    }

    /// The finished answer, once, where somebody may ask for it again; and whether a provider wrote it in this dialect.
    pub(crate) fn kept(&mut self) -> Option<(Bytes, bool)> {
        self.writer.as_mut().and_then(|writer| writer.kept())
    }
}

/// That an answer came which is not of the agnostic form.
pub(crate) fn unreadable(error: &impl ToString) -> Failure {
    Failure::gateway(FailureKind::Internal, format!("the worker's answer cannot be read: {}", error.to_string()))
}

/// The dialect of a path, for what is refused before anybody reads the request.
pub(crate) fn of_path(path: &str) -> Dialect {
    match path {
        path if path == "/v1/messages" || path.starts_with("/v1/messages/") => Dialect::Anthropic,
        path if google::is_path(path) => Dialect::Google,
        _ => Dialect::Openai,
    }
}

/// The dialect of a request that nothing serves: Anthropic's clients say in a header that they are.
pub(crate) fn of_request(request: &axum::extract::Request) -> Dialect {
    match of_path(request.uri().path()) {
        Dialect::Openai if request.headers().contains_key("anthropic-version") => Dialect::Anthropic,
        dialect => dialect,
    }
}

/// An error in the words of a dialect.
pub(crate) fn error_body(dialect: Dialect, refusal: &Refusal, id: RequestId) -> Value {
    let own = match refusal {
        Refusal::Failed(failure) => own_words::failure(dialect, failure).map(Refusal::from),
        _ => None,
    };
    let refusal = own.as_ref().unwrap_or(refusal);
    match dialect {
        Dialect::Anthropic => anthropic::error_body(refusal, id),
        Dialect::Google => google::error_body(refusal, id),
        _ => openai::error_body(refusal, id),
    }
}

/// The last event of a stream that broke after its first content.
pub(crate) fn error_event(dialect: Dialect, failure: &Failure, id: RequestId) -> Bytes {
    let own = own_words::failure(dialect, failure);
    let failure = own.as_ref().unwrap_or(failure);
    match dialect {
        Dialect::Anthropic => anthropic::error_event(failure, id),
        Dialect::Google => google::error_event(failure, id),
        _ => openai::error_event(failure, id),
    }
}
