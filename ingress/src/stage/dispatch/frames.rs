//! Where the pieces of an answer come from: a call that is under way, or an answer that is kept. Reads no content.

use crate::cache::flight::Reader;
use bytes::Bytes;
use penstock_runtime::bus::{PendingCall, Replay};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Payload};

/// What gives the pieces of an answer, one after the other.
pub(crate) trait Frames: Send {
    /// The next piece.
    fn next(&mut self) -> impl Future<Output = Result<Payload, Failure>> + Send;

    /// That so many bytes of content were read.
    fn consumed(&mut self, bytes: usize);
}

impl Frames for PendingCall {
    async fn next(&mut self) -> Result<Payload, Failure> {
        PendingCall::next(self).await
    }

    fn consumed(&mut self, bytes: usize) {
        PendingCall::consumed(self, bytes);
    }
}

impl Frames for Replay {
    async fn next(&mut self) -> Result<Payload, Failure> {
        Replay::next(self).await
    }

    fn consumed(&mut self, _bytes: usize) {}
}

/// Either, for the rest of a stream.
pub(crate) enum Source {
    /// A call.
    Live(Box<PendingCall>),
    /// An answer that is read again.
    Again(Box<Replay>),
    /// One that several requests share.
    Shared(Box<Reader>),
    /// An answer that came all at once.
    Whole(Option<(Box<Ended>, Bytes)>),
}

impl Frames for Source {
    async fn next(&mut self) -> Result<Payload, Failure> {
        match self {
            Self::Live(call) => call.next().await,
            Self::Again(replay) => replay.next().await,
            Self::Shared(reader) => reader.next().await,
            Self::Whole(answer) => answer.take().map(|(ended, bytes)| Payload::End(ended, bytes)).ok_or_else(over),
        }
    }

    fn consumed(&mut self, bytes: usize) {
        match self {
            Self::Live(call) => call.consumed(bytes),
            Self::Again(replay) => replay.consumed(bytes),
            // What is shared was credited when it was fetched.
            Self::Shared(_) | Self::Whole(_) => {}
        }
    }
}

fn over() -> Failure {
    Failure::gateway(FailureKind::Internal, "an answer was read after its end")
}
