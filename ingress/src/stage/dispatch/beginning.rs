//! How an answer begins, read off its frames: with content, all at once, or not at all. Knows nothing of who is asked, and
//! reads no content.

use super::frames::Frames;
use crate::refusal::Refusal;
use crate::stage::record::Record;
use bytes::{Bytes, BytesMut};
use penstock_runtime::bus::BusError;
use penstock_schemas::body::SentBody;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Failed, Head, Payload};
use penstock_schemas::name::Target;
use tracing::warn;

/// How often a whole answer may be held at once: as it came, and in the caller's dialect.
const ANSWER_COPIES: usize = 2;

/// The beginning of an answer.
pub(super) enum Beginning {
    /// Head and end came together.
    Whole(Box<Ended>, Bytes),
    /// The first content, with more to come.
    Stream(Head, Bytes),
}

/// Who was tried last, in how many attempts, and with what, where that is kept.
pub(super) struct Tried {
    target: Option<Target>,
    attempts: u32,
    sent: Option<Box<SentBody>>,
}

impl Tried {
    fn note(self, record: &mut Record) {
        record.tried(self.target, self.attempts);
        record.was_sent(self.sent);
    }
}

impl From<Failed> for Tried {
    fn from(failed: Failed) -> Self {
        Self { target: failed.target, attempts: failed.attempts, sent: failed.sent }
    }
}

/// Why no answer has begun, and who was tried last.
pub(super) struct Fallen {
    pub(super) failure: Failure,
    pub(super) tried: Option<Box<Tried>>,
}

/// The same, as the caller is told it.
pub(super) struct Unsent {
    pub(super) refusal: Refusal,
    pub(super) tried: Option<Box<Tried>>,
}

impl From<Failure> for Fallen {
    fn from(failure: Failure) -> Self {
        Self { failure, tried: None }
    }
}

impl Fallen {
    pub(super) fn into_unsent(self) -> Unsent {
        Unsent { refusal: self.failure.into(), tried: self.tried }
    }
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, tried: None }
    }
}

/// Notes how an answer begins, or why it does not.
pub(super) fn note(begun: Result<Beginning, Unsent>, record: &mut Record) -> Result<Beginning, Refusal> {
    match &begun {
        Ok(Beginning::Stream(head, _)) => record.first_content(head),
        Ok(Beginning::Whole(ended, _)) => ended.head.iter().for_each(|head| record.first_content(head)),
        Err(_) => {}
    }
    begun.map_err(|unsent| {
        if let Some(tried) = unsent.tried {
            tried.note(record);
        }
        unsent.refusal
    })
}

/// Waits for it.
pub(super) async fn first_content(frames: &mut impl Frames) -> Result<Beginning, Fallen> {
    loop {
        match frames.next().await? {
            Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {}
            Payload::Chunk(Some(head), bytes) => return Ok(Beginning::Stream(head, bytes)),
            Payload::End(ended, bytes) => return Ok(Beginning::Whole(ended, bytes)),
            Payload::Chunk(None, _) => {
                return Err(Failure::gateway(FailureKind::Internal, "an answer without a head").into());
            }
            Payload::Failed(failed) => {
                let failure = failed.failure.clone();
                return Err(Fallen { failure, tried: Some(Box::new(failed.into())) });
            }
        }
    }
}

/// The rest of an answer that is wanted in one piece, and was too large for one frame.
pub(super) async fn collect(
    call: &mut impl Frames,
    head: Head,
    first: Bytes,
    record: &mut Record,
) -> Result<(Box<Ended>, Bytes), Refusal> {
    call.consumed(first.len());
    record.hold_more(first.len() * ANSWER_COPIES)?;
    let mut whole = BytesMut::from(first);
    loop {
        match call.next().await? {
            Payload::Accepted(_) | Payload::Alive | Payload::Gone | Payload::Declined(_) | Payload::Read(_) => {}
            Payload::Chunk(_, bytes) => {
                // First its place, then the credit for more.
                record.hold_more(bytes.len() * ANSWER_COPIES)?;
                call.consumed(bytes.len());
                whole.extend_from_slice(&bytes);
            }
            Payload::End(ended, bytes) => {
                whole.extend_from_slice(&bytes);
                return Ok((Box::new(Ended { head: Some(head), ..*ended }), whole.freeze()));
            }
            Payload::Failed(failed) => return Err(refused(failed, record).into()),
        }
    }
}

fn refused(failed: Failed, record: &mut Record) -> Failure {
    let failure = failed.failure.clone();
    Tried::from(failed).note(record);
    failure
}

/// That the bus does not take a call.
pub(super) fn internal(error: &BusError) -> Refusal {
    warn!(%error, "a call could not be sent");
    Refusal::NotReady("the bus does not take the call")
}
