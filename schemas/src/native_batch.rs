//! Lines of a batch on their way through a provider's own batch API, as an ingress and a worker speak of them. A group is
//! some lines for one model at one provider; its lines and what came of them are objects, too large for messages. Knows
//! nothing of how a provider is asked.
//!
//! The ingress writes the group's lines into an object, each as the very [`Envelope`] that a single call would be, and asks
//! again and again how the group is ([`NativeQuestion::Advance`]). Whichever worker of the provider hears it does what is due
//! next, in the background, and answers at once. What was done stands in a bucket that all workers share, so that any of them
//! goes on where another was killed, and nothing is paid twice.

use crate::UnixMicros;
use crate::envelope::{Envelope, Malformed};
use crate::failure::Failure;
use crate::frame::Frame;
use crate::name::{AttemptId, BatchId, ProcessId, RequestId, Target};
use crate::reservation::Settled;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// The most lines of a group, and the most that their object may hold, in bytes: a worker holds them in its memory while it
/// submits them. Providers take fewer in part: see [`NativeBatchCard`].
pub const GROUP_LINES: u32 = 10_000;
/// See [`GROUP_LINES`].
pub const GROUP_BYTES: u64 = 16 << 20;

/// The longest line of an object, in bytes: a request, or a whole answer.
pub const LINE_BYTES: usize = 64 << 20;

/// What a provider's own batch API takes, as its pool tells the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeBatchCard {
    /// The most lines of one group.
    pub lines: u32,
    /// The most bytes of one group.
    pub bytes: u64,
    /// How long the provider may take, in hours.
    pub hours: u32,
}

/// Some lines of a batch for one target. The same lines are in the same group however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeGroup {
    /// The batch that the lines belong to.
    pub batch: BatchId,
    /// Tells it from the batch's other groups: drawn anew for each, so that two leaders never give one name to two groups.
    pub number: u32,
    /// Who is to answer them.
    pub target: Target,
    /// How many there are.
    pub lines: u32,
    /// When the group was made: what the ledger says of when its attempts began.
    pub at: UnixMicros,
    /// When the answers are of no use any more. Attempts that the ledger knows no end of are of unknown outcome then.
    pub deadline: UnixMicros,
}

impl NativeGroup {
    /// Names it: in the bucket, in the object store, and at the provider.
    pub fn name(&self) -> String {
        format!("{}-{}", self.batch, self.number)
    }

    /// The id of its attempt at a line: made of the call and the group, so that it is the same whenever it is asked for; with the
    /// group's time in front, as ids of attempts have theirs.
    pub fn attempt_id(&self, call: RequestId) -> AttemptId {
        let hash = Sha256::new().chain_update(call.0.as_bytes()).chain_update(self.name()).finalize();
        AttemptId(self.timed(&hash))
    }

    /// The id of the request that a line of the batch is in this group: the same whenever it is asked for.
    pub fn request_id(&self, line: u64) -> RequestId {
        let hash = Sha256::new().chain_update(self.name()).chain_update(line.to_be_bytes()).finalize();
        RequestId(self.timed(&hash))
    }

    /// An id with the group's time in front.
    fn timed(&self, hash: &[u8]) -> Uuid {
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        Builder::from_unix_timestamp_millis(self.at.0 / 1000, &random).into_uuid()
    }

    /// The object of its lines.
    pub fn lines_object(&self) -> String {
        format!("{}.lines", self.name())
    }

    /// The object of what came of them.
    pub fn answers_object(&self) -> String {
        format!("{}.answers", self.name())
    }
}

/// What an ingress asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeQuestion {
    /// Do what is due with this group, and say how it is.
    Advance(NativeGroup),
    /// Let the provider stop with it. What it has answered by then is still to be had by [`Self::Advance`].
    Cancel(NativeGroup),
    /// Forget it: its objects, and what is known of it. The provider's own is left to its age.
    Forget(NativeGroup),
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeAnswer {
    /// It is on its way to the provider.
    Submitting,
    /// The provider has it.
    Running {
        /// Lines that the provider has answered, as far as it says.
        done: u64,
    },
    /// The provider has done, and its answers are read.
    Collecting,
    /// What came of each line is in [`NativeGroup::answers_object`]. Lines that are not there were never run: see
    /// [`NativeOutcome`].
    Collected(NativeCounts),
    /// There will be no answers; no line was run, and nothing is paid.
    Failed(Box<Failure>),
    /// Not now: ask again.
    Later(Box<Failure>),
    /// It is forgotten, or was never known.
    Forgotten,
}

/// How many lines ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeCounts {
    /// Answered.
    pub served: u32,
    /// Refused by the provider, each for a reason of its own.
    pub refused: u32,
    /// Never run: the provider's API does not take them, or they were too late or cancelled there.
    pub unrun: u32,
}

/// What the workers of a provider know of a group together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeStage {
    /// A worker takes it to the provider. If its pulse is old, it may have done so, or not.
    Submitting {
        /// Who.
        worker: ProcessId,
        /// The last sign of its life.
        pulse: UnixMicros,
    },
    /// The provider has it.
    Submitted(NativeJob),
    /// A worker reads the answers.
    Collecting {
        /// Of this.
        job: NativeJob,
        /// Who.
        worker: ProcessId,
        /// The last sign of its life.
        pulse: UnixMicros,
    },
    /// The answers are stored.
    Collected(NativeCounts),
    /// The provider did not take it.
    Failed(Box<Failure>),
}

/// A group at its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeJob {
    /// The provider's own name for it.
    pub id: String,
    /// Stands for the key that it was submitted with, and that alone can see it; empty for none.
    pub key: String,
}

/// Which of the three kinds a line's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeOutcome {
    /// The frame is an answer.
    Served,
    /// The provider was asked and refused; the frame is the failure.
    Refused,
    /// The provider was never asked, and nothing is paid: the line can be sent as a single call. The frame is the reason.
    Unrun,
}

/// What came of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeLine {
    /// What is known of it.
    pub head: NativeLineHead,
    /// The terminal frame that a worker would have sent for a single call.
    pub frame: Frame,
}

/// What is known of a line's end besides its frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeLineHead {
    /// The call: [`Envelope::call_id`] of the line.
    pub call: RequestId,
    /// How it ended.
    pub outcome: NativeOutcome,
    /// What became of what was set aside for it: for the ingress to settle, if the reservation is still its own. Absent:
    /// nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

impl NativeLine {
    /// The line's record in the object.
    ///
    /// # Errors
    /// Never in practice: the header has a JSON form.
    pub fn encode(&self) -> Result<Bytes, Malformed> {
        let (head, frame) = (serde_json::to_vec(&self.head)?, self.frame.encode()?);
        let mut out = BytesMut::with_capacity(4 + head.len() + frame.len());
        out.put_u32(u32::try_from(head.len()).map_err(|_| Malformed::Short)?);
        out.put_slice(&head);
        out.put_slice(&frame);
        Ok(out.freeze())
    }

    /// The line that a record holds.
    ///
    /// # Errors
    /// When it is cut short, or not of this version.
    pub fn decode(record: &Bytes) -> Result<Self, Malformed> {
        let (length, rest) = record.split_first_chunk::<4>().ok_or(Malformed::Short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let head = serde_json::from_slice(rest.get(..length).ok_or(Malformed::Short)?)?;
        Ok(Self { head, frame: Frame::decode(&record.slice(4 + length..))? })
    }
}

/// Whether a call can be a line of a group at all: what only a worker that makes it itself can do is not for it.
///
/// # Errors
/// Says what stands against it.
pub fn check_line(envelope: &Envelope, group: &NativeGroup) -> Result<(), &'static str> {
    if envelope.plan.current().target != group.target {
        return Err("it is for another target");
    }
    if envelope.delivery.is_stream() {
        return Err("its answer is to be streamed");
    }
    if envelope.operation.takes_form() {
        return Err("it is a form");
    }
    if !envelope.headers.is_empty() || !envelope.query.is_empty() {
        return Err("its headers are for it alone, and a batch has the same for all");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_of_a_group_has_one_id_and_its_groups_time() {
        let group = |number| NativeGroup {
            batch: BatchId::parse("batch_1").unwrap(),
            number,
            target: Target::parse("a/m").unwrap(),
            lines: 1,
            at: UnixMicros(1_795_000_000_000_000),
            deadline: UnixMicros(1_795_000_000_000_001),
        };
        let of = |call, number| group(number).attempt_id(RequestId(Uuid::from_u128(call)));
        assert_eq!(of(1, 0), of(1, 0));
        assert!(of(1, 0) != of(2, 0) && of(1, 0) != of(1, 1));
        assert!(group(0).request_id(1) != group(0).request_id(2) && group(0).request_id(1) != group(1).request_id(1));
        let (seconds, _) = of(1, 0).0.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, of(1, 0).0.get_version_num()), (1_795_000_000, 7));
    }
}
