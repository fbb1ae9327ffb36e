//! The pieces of an answer on their way from a worker to the ingress's inbox. A call has any number of `Chunk`s and
//! exactly one terminal frame (`End` or `Failed`); sequence numbers have no gaps. On the wire: version, kind, sequence
//! number (4 bytes, big endian), length of the header (4 bytes), the header as JSON, and the provider's bytes untouched.

use crate::body::SentBody;
use crate::envelope::{Dialect, Malformed};
use crate::failure::Failure;
use crate::money::Picodollars;
use crate::name::{ProcessId, RequestId, Target};
use crate::usage::{Usage, UsageSource};
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u8 = 1;
const HEADER: usize = 10;

/// What the ingress learns with the first content of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The worker that serves the call: control messages go there.
    pub worker: ProcessId,
    /// Who answers.
    pub target: Target,
    /// The format of the answer's bytes: the caller's own, or the agnostic form (`openai`).
    pub dialect: Dialect,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// The fields of the request that the provider cannot express and that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// The media type of an answer that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the request was counted to be, where the caller's dialect says that at the beginning of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// What was sent to the provider, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Box<SentBody>>,
}

/// What the ingress learns when the answer is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What the attempt consumed.
    pub usage: Usage,
    /// Who says so.
    pub usage_source: UsageSource,
    /// What it costs; `None` when the model has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Picodollars>,
}

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its place: 0, 1, 2, … over the whole call, also across links.
    pub seq: u32,
    /// What it says.
    pub payload: Payload,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A worker holds the call and nothing has come from the provider yet.
    Accepted(Accepted),
    /// Content, and the head if it is the first.
    Chunk(Option<Head>, Bytes),
    /// The rest of the content, the head if it is also the first, and the sum. Terminal.
    End(Box<Ended>, Bytes),
    /// No answer, or no more of it. Terminal.
    Failed(Failed),
    /// Answer to a probe, outside the sequence: the worker still holds the call.
    Alive,
    /// Answer to a probe, outside the sequence: the worker does not hold the call, or no longer.
    Gone,
    /// Outside the sequence: the worker does not take the call, and has done nothing with it.
    Declined(Declined),
    /// Outside the sequence: so much of what the client of a session says was read, as [`ClientPiece::cost`] counts it.
    Read(u32),
}

/// The header of [`Payload::Accepted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The worker that holds the call: control messages go there.
    pub worker: ProcessId,
}

/// The header of [`Payload::Declined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// The worker.
    pub worker: ProcessId,
    /// Why.
    pub reason: DeclineReason,
}

/// Why a worker does not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// It came when the last slot was taken.
    Full,
    /// It cannot be read, as a newer ingress's by an older worker.
    Unreadable,
}

/// The header of [`Payload::End`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Present when no chunk came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Usage and cost.
    pub summary: Summary,
}

/// The header of [`Payload::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// The last target that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Attempts that were made.
    pub attempts: u32,
    /// What was sent to the last provider, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Box<SentBody>>,
}

impl Frame {
    /// The message.
    ///
    /// # Errors
    /// Never in practice: the headers' types all have a JSON form.
    pub fn encode(&self) -> Result<Bytes, Malformed> {
        let none = Bytes::new();
        let (kind, header, bytes) = match &self.payload {
            Payload::Accepted(accepted) => (0, serde_json::to_vec(accepted)?, &none),
            Payload::Chunk(None, bytes) => (1, Vec::new(), bytes),
            Payload::Chunk(Some(head), bytes) => (1, serde_json::to_vec(head)?, bytes),
            Payload::End(ended, bytes) => (2, serde_json::to_vec(ended)?, bytes),
            Payload::Failed(failed) => (3, serde_json::to_vec(failed)?, &none),
            Payload::Alive => (4, Vec::new(), &none),
            Payload::Gone => (5, Vec::new(), &none),
            Payload::Declined(declined) => (6, serde_json::to_vec(declined)?, &none),
            Payload::Read(cost) => (7, serde_json::to_vec(cost)?, &none),
        };
        let mut out = BytesMut::with_capacity(HEADER + header.len() + bytes.len());
        out.put_u8(VERSION);
        out.put_u8(kind);
        out.put_u32(self.seq);
        out.put_u32(u32::try_from(header.len()).map_err(|_| Malformed::Short)?);
        out.put_slice(&header);
        out.put_slice(bytes);
        Ok(out.freeze())
    }

    /// Whether a message is the last frame of its call, by its kind alone.
    pub fn is_terminal(message: &Bytes) -> bool {
        matches!(message.get(1), Some(2 | 3))
    }

    /// The frame that `message` holds; its bytes are not copied.
    ///
    /// # Errors
    /// When `message` is of another version or kind, cut short, or its header is not JSON of its type.
    pub fn decode(message: &Bytes) -> Result<Self, Malformed> {
        let (&[version, kind, s0, s1, s2, s3, l0, l1, l2, l3], rest) =
            message.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let header = rest.get(..length).ok_or(Malformed::Short)?;
        let bytes = message.slice(HEADER + length..);
        let payload = match kind {
            0 => Payload::Accepted(read(header)?),
            1 if header.is_empty() => Payload::Chunk(None, bytes),
            1 => Payload::Chunk(Some(read(header)?), bytes),
            2 => Payload::End(read(header)?, bytes),
            3 => Payload::Failed(read(header)?),
            4 => Payload::Alive,
            5 => Payload::Gone,
            6 => Payload::Declined(read(header)?),
            7 => Payload::Read(read(header)?),
            other => return Err(Malformed::Kind(other)),
        };
        Ok(Self { seq: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }
}

fn read<T: DeserializeOwned>(header: &[u8]) -> Result<T, Malformed> {
    Ok(serde_json::from_slice(header)?)
}

/// What an ingress tells the worker that holds its call, on the worker's control subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The client is gone: stop, and let go of the provider.
    Cancel,
    /// Another call of the same request was faster: the same.
    Outrun,
    /// The worker kept silent and is given up: the same, for a call whose first frame was to have a number below this
    /// one. The same worker may hold the call again by now, with higher numbers.
    GiveUp(u32),
    /// The client has read this many more bytes of the stream.
    Credit(u32),
    /// To the worker that passed a call on: another one has it now.
    Taken,
    /// Do you still hold this call? Answered by [`Payload::Alive`] or [`Payload::Gone`].
    Probe,
}

/// What stands in a call's place in a probe that asks whether the worker lives, for all calls that it holds. Any answer says
/// that: workers before 2026-12 answer [`Payload::Gone`].
pub fn pulse_id(number: u64) -> RequestId {
    RequestId(Uuid::from_u64_pair(0, number))
}

/// Whether it stands for no call: ids of calls begin with the time.
pub fn is_pulse(id: RequestId) -> bool {
    id.0.as_u64_pair().0 == 0
}

/// Each time a call is given to another worker, its frames are numbered from the next multiple of this on: so frames of
/// the worker that was given up are known when they come after all, and so is the order to it to stop.
pub const TURN: u32 = 1 << 24;

/// How much of a stream may be under way to a client that does not read: bytes of content, each frame counting as at
/// least [`FRAME_COST`].
pub const STREAM_CREDIT: u32 = 256 * 1024;

/// The least that a frame takes from the credit, so that many small frames are bounded too.
pub const FRAME_COST: u32 = 256;

/// The same for an answer that is kept: it goes on when its client is gone, and even its ingress.
pub const KEPT_CREDIT: u32 = 8 * 1024 * 1024;

/// How much of what the client of a session says may be under way to its worker, as [`ClientPiece::cost`] counts it.
pub const CLIENT_WINDOW: u32 = 256 * 1024;

/// The most bytes of one piece.
pub const CLIENT_PIECE: usize = 64 * 1024;

/// A piece of what the client of a session says, on the subject of orders to the worker. On the wire: a version byte, which
/// no order begins with, the sequence number (4 bytes, big endian), the bytes. One without bytes says that the client has
/// left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPiece {
    /// Its place: 0, 1, 2, …
    pub seq: u32,
    /// A part of the client's messages: see `crate::message`.
    pub bytes: Bytes,
}

impl ClientPiece {
    /// The message.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(5 + self.bytes.len());
        out.put_u8(VERSION);
        out.put_u32(self.seq);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    /// The piece that `message` holds; `None` when it is an order.
    pub fn decode(message: &Bytes) -> Option<Self> {
        let (&[version, a, b, c, d], _) = message.split_first_chunk()?;
        (version == VERSION).then(|| Self { seq: u32::from_be_bytes([a, b, c, d]), bytes: message.slice(5..) })
    }

    /// What a piece of so many bytes takes of the window.
    pub fn cost(bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).max(FRAME_COST)
    }
}
