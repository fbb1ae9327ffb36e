//! Turns answers into the caller's dialect as they come, whole or cut anywhere. Knows no dialect: the request has the writer.

use super::model_name::ModelName;
use super::rankings::Rankings;
use super::vectors::Encoding;
use super::{ClientRequest, Now, Numbers, Writer, unreadable};
use bytes::Bytes;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::RequestId;
use penstock_schemas::sse::{self, EVENT_BYTES};

/// Turns an agnostic stream, which comes cut anywhere, into the caller's dialect, or passes it on with the model's name that
/// the caller asked for.
pub struct Rewriter {
    writer: Option<Box<dyn Writer>>,
    /// The name, where an answer of the caller's own dialect holds one.
    name: Option<ModelName>,
    events: sse::Parser,
    /// The numbers of the events, where the client can come back to them.
    numbers: Option<Numbers>,
    /// The answer as it goes out, piece by piece, where it is stored and passes otherwise untouched.
    copy: Option<Vec<Bytes>>,
    /// How vectors are to be written, where the answer holds some.
    vectors: Option<Encoding>,
    /// Whether the answer holds vectors, which pass unread.
    has_vectors: bool,
    /// How many documents were asked for, where the answer has them by rank.
    rankings: Option<Rankings>,
    /// The bytes of a stream so far.
    taken: usize,
}

impl Rewriter {
    /// For the answer to a request.
    pub fn of(asked: &ClientRequest, call: RequestId, numbers: Option<Numbers>, now: Now) -> Self {
        let (writer, name) = (asked.writer(call, now), ModelName::of(asked));
        let copy = asked.is_stored_chat().then(Vec::new);
        let asks_for = |operation| asked.dialect == Dialect::Openai && asked.operation == operation;
        let vectors = asks_for(Operation::Embeddings).then(|| Encoding::of(&asked.body));
        let rankings = asks_for(Operation::Rerank).then(|| Rankings::of(&asked.body));
        let (events, has_vectors) = (sse::Parser::new(EVENT_BYTES), asked.operation == Operation::Embeddings);
        Self { writer, name, events, numbers, copy, vectors, has_vectors, rankings, taken: 0 }
    }

    /// Notes in which form the answer comes: the caller's own needs no writer.
    pub fn answers_in(&mut self, form: Dialect, caller: Dialect) {
        if form == caller {
            self.writer = self.writer.take().and_then(Writer::native);
        }
    }

    /// Whether every value of the answer is read on its way.
    pub fn reads_all(&self) -> bool {
        self.writer.is_some() && !self.has_vectors
    }

    /// Takes what the request was counted to be.
    pub fn counted(&mut self, input_tokens: Option<u64>) {
        if let (Some(writer), Some(tokens)) = (&mut self.writer, input_tokens) {
            writer.counted(tokens);
        }
    }

    /// A whole answer.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn whole(&mut self, answer: Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        if let Some(writer) = &mut self.writer {
            return writer.whole(&answer, summary);
        }
        let answer = match &mut self.name {
            None => answer,
            Some(name) => name.put_into(answer),
        };
        let answer = match self.vectors {
            None => answer,
            Some(encoding) => encoding.put_into(answer),
        };
        let answer = match self.rankings {
            None => answer,
            Some(rankings) => rankings.put_into(answer),
        };
        self.remember(&answer);
        Ok(answer)
    }

    fn remember(&mut self, bytes: &Bytes) {
        if let Some(copy) = &mut self.copy {
            copy.push(bytes.clone());
        }
    }

    /// What the client gets for the next bytes of a stream; empty when they complete no event.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn next(&mut self, bytes: Bytes) -> Result<Bytes, Failure> {
        let bytes = self.rewrite(bytes)?;
        self.remember(&bytes);
        Ok(self.number(bytes))
    }

    /// What the client gets for an event that is of its own dialect already.
    pub fn number(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.numbers {
            None => bytes,
            Some(numbers) => numbers.number(&bytes),
        }
    }

    /// The bytes that wait for the end of their event.
    pub fn waiting(&self) -> usize {
        self.events.waiting()
    }

    /// The bytes of a stream so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    fn rewrite(&mut self, bytes: Bytes) -> Result<Bytes, Failure> {
        self.taken += bytes.len();
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
    pub fn end(&mut self, bytes: Bytes, summary: &Summary) -> Result<Bytes, Failure> {
        let last = self.rewrite(bytes)?;
        let Some(writer) = &mut self.writer else {
            let rest = self.name.as_mut().map(ModelName::end).unwrap_or_default();
            let last = if rest.is_empty() { last } else { [last, rest].concat().into() };
            self.remember(&last);
            return Ok(self.number(last));
        };
        let mut out = Vec::from(last);
        writer.end(summary, &mut out);
        Ok(self.number(out.into()))
    }

    /// The last event of a stream that broke; `usual` writes it where the writer does not need to know what came before.
    pub fn broken(&mut self, failure: &Failure, usual: impl FnOnce() -> Bytes) -> Bytes {
        let own = self.writer.as_mut().and_then(|writer| writer.broken(failure));
        self.number(own.unwrap_or_else(usual))
    }

    /// Whether a stream is collected on its way.
    pub fn collects(&self) -> bool {
        self.copy.is_some() || self.writer.as_ref().is_some_and(|writer| writer.collects())
    }

    /// The finished answer, the first time, if the caller may read it later; and whether a provider wrote it in this dialect.
    pub fn kept(&mut self) -> Option<(Bytes, bool)> {
        match self.copy.take() {
            Some(pieces) => Some((pieces.concat().into(), true)),
            None => self.writer.as_mut().and_then(|writer| writer.kept()),
        }
    }
}
