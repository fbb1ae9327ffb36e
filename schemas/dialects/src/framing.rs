//! How the bytes of a stream fall into events, whichever way the provider tells them apart. Knows nothing of what the events
//! say.

use bytes::Bytes;
use penstock_schemas::sse;

mod event_stream;

/// How a stream is split into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    ServerSentEvents,
    /// Amazon's binary messages, `application/vnd.amazon.eventstream`. An event is named like its message; the name of an
    /// exception has `exception:` in front, so that it cannot be taken for an event that is not known yet.
    AmazonEventStream,
}

/// Cuts one stream into its events.
#[derive(Debug)]
pub enum Cutter {
    /// Server-sent events.
    ServerSentEvents(sse::Parser),
    /// Amazon's messages.
    AmazonEventStream(event_stream::EventStreamParser),
}

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// An event is longer than allowed.
    #[error(transparent)]
    TooLong(#[from] sse::TooLong),
    /// A message is damaged, or the bytes are none.
    #[error("the provider's stream is damaged: {0}")]
    Damaged(String),
}

impl Framing {
    /// A cutter for one stream, none of whose events may be longer than `limit` bytes.
    pub fn cutter(self, limit: usize) -> Cutter {
        match self {
            Self::ServerSentEvents => Cutter::ServerSentEvents(sse::Parser::new(limit)),
            Self::AmazonEventStream => Cutter::AmazonEventStream(event_stream::EventStreamParser::new(limit)),
        }
    }
}

impl Cutter {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &Bytes) {
        match self {
            Self::ServerSentEvents(parser) => parser.push(bytes),
            Self::AmazonEventStream(parser) => parser.push(bytes),
        }
    }

    /// The bytes that wait for the end of their event.
    pub fn waiting(&self) -> usize {
        match self {
            Self::ServerSentEvents(parser) => parser.waiting(),
            Self::AmazonEventStream(parser) => parser.waiting(),
        }
    }

    /// The next event that is complete.
    ///
    /// # Errors
    /// When an event is too long or damaged. The stream cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<sse::Event>, CutError> {
        match self {
            Self::ServerSentEvents(parser) => Ok(parser.next_event()?),
            Self::AmazonEventStream(parser) => parser.next_event(),
        }
    }

    /// The event that the end of the stream leaves.
    ///
    /// # Errors
    /// When it is too long, or was cut.
    pub fn finish(&mut self) -> Result<Option<sse::Event>, CutError> {
        match self {
            Self::ServerSentEvents(parser) => Ok(parser.finish()?),
            Self::AmazonEventStream(parser) => parser.finish(),
        }
    }
}
