//! One call on its way to a provider's pool: everything a worker needs, and nothing it must look up. On the wire it is
//! a version byte, the length of the header (4 bytes, big endian), the header as JSON, and the request's bytes untouched.

use crate::UnixMicros;
pub use crate::caller::Caller;
pub use crate::dialect::{Dialect, Operation};
use crate::extent::Extent;
use crate::failure::Failure;
use crate::name::{BatchId, ProcessId, RequestId};
use crate::plan::Plan;
use crate::reservation::Reservation;
use crate::trace::TraceContext;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The version that this code writes. A reader refuses any other: see `Malformed`.
const VERSION: u8 = 1;

/// How the caller wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// In one piece.
    Whole,
    /// As server-sent events.
    Stream,
    /// As server-sent events, the last of which reports the usage.
    StreamWithUsage,
}

impl Delivery {
    /// Whether the answer comes in pieces.
    pub fn is_stream(self) -> bool {
        self != Self::Whole
    }
}

/// What happens to what a provider cannot express.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// The request is refused, and the field named.
    #[default]
    Refuse,
    /// The field is left out, and named in `x-penstock-dropped-params`.
    Drop,
}

impl Unsupported {
    fn is_refuse(&self) -> bool {
        *self == Self::Refuse
    }
}

/// How long a call can wait: sync traffic has a caller who does, batch traffic has time, and takes the slots that the other
/// leaves. Each has subjects of its own, so that a pool can take the one and not the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// A caller waits for the answer.
    Sync,
    /// The call belongs to a batch.
    Batch,
}

impl Traffic {
    /// The word that stands for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Batch => "batch",
        }
    }
}

/// Where the request's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Behind the header.
    Inline,
    /// In the object store under this name, because the message would pass NATS's payload limit.
    Stored(String),
}

/// The header of a call. The request itself follows it as bytes, in `dialect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The request.
    pub request_id: RequestId,
    /// The id of this one call, where a request makes several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<RequestId>,
    /// Who asks and who pays.
    pub caller: Caller,
    /// The batch that the call belongs to; absent: a caller waits for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// When the caller stops waiting.
    pub deadline: UnixMicros,
    /// The caller's W3C trace context, passed on where the request is no part of a trace here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The trace that the request is a part of; absent: no traces are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<TraceContext>>,
    /// The name that the caller asked for, when it is a virtual model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_model: Option<String>,
    /// Whom to call, in order.
    pub plan: Plan,
    /// What is asked.
    pub operation: Operation,
    /// The caller's format: of the first `native` of the request's bytes, and of the answer that the caller reads.
    pub dialect: Dialect,
    /// How many of the request's bytes are in `dialect`; the others are the same request in its agnostic form. Either may
    /// be none, when no target of the plan wants it. Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<u64>,
    /// The media type of a request that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The caller's own headers that its dialect passes on to a provider of the same dialect, such as `anthropic-beta`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The parameters of the caller's address that go along so, such as `beta=true`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// What happens to what a provider cannot express.
    #[serde(default, skip_serializing_if = "Unsupported::is_refuse")]
    pub unsupported: Unsupported,
    /// How the caller wants the answer.
    pub delivery: Delivery,
    /// The ingress whose inbox the reply frames go to.
    pub ingress: ProcessId,
    /// Whether the answer is kept, for a caller who asks again or comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// How much is wanted of what the provider is sent, in bytes, to be kept beside the caller's own; 0: nothing.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub keep_sent: u32,
    /// Attempts that were made so far, at earlier links.
    #[serde(default)]
    pub attempts: u32,
    /// The sequence number of the next reply frame.
    #[serde(default)]
    pub next_seq: u32,
    /// Why the last attempt failed, for the error when no link is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// What is set aside for the call in budgets and rates; absent: nothing limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// What of the request shapes its cost; absent: whoever needs it reads it from the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extent: Option<Box<Extent>>,
    /// Where the request's bytes are.
    pub body: Body,
}

fn is_nothing(bytes: &u32) -> bool {
    *bytes == 0
}

/// Why bytes are not a message of this version.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Written by a newer process: upgrade the reader first.
    #[error("version {0} of the message is not known here: upgrade this process")]
    Version(u8),
    /// Cut short.
    #[error("the message is cut short")]
    Short,
    /// A kind that is not known here.
    #[error("message kind {0} is not known here")]
    Kind(u8),
    /// The header is not the JSON it should be.
    #[error("the header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
}

impl Envelope {
    /// What the call is known by on the bus: the request's id, unless the request makes several calls.
    pub fn call_id(&self) -> RequestId {
        self.call.unwrap_or(self.request_id)
    }

    /// How long it can wait.
    pub fn traffic(&self) -> Traffic {
        if self.batch.is_some() { Traffic::Batch } else { Traffic::Sync }
    }

    /// The part of the request's bytes that is in the caller's own dialect; `None` when it does not travel along.
    pub fn native(&self, body: &Bytes) -> Option<Bytes> {
        let native = self.split(body);
        (native > 0).then(|| body.slice(..native))
    }

    /// The part of the request's bytes that is in the agnostic form; `None` when it does not travel along.
    pub fn agnostic(&self, body: &Bytes) -> Option<Bytes> {
        if self.dialect == Dialect::Openai {
            return Some(body.clone());
        }
        let native = self.split(body);
        (native < body.len()).then(|| body.slice(native..))
    }

    fn split(&self, body: &Bytes) -> usize {
        self.native.and_then(|native| usize::try_from(native).ok()).map_or(body.len(), |native| native.min(body.len()))
    }

    /// The message: this header and the request's bytes.
    ///
    /// # Errors
    /// Never in practice: the header's types all have a JSON form.
    pub fn encode(&self, body: &[u8]) -> Result<Bytes, Malformed> {
        let header = serde_json::to_vec(self)?;
        let mut out = BytesMut::with_capacity(5 + header.len() + body.len());
        out.put_u8(VERSION);
        out.put_u32(u32::try_from(header.len()).map_err(|_| Malformed::Short)?);
        out.put_slice(&header);
        out.put_slice(body);
        Ok(out.freeze())
    }

    /// The header and the request's bytes; the bytes are not copied.
    ///
    /// # Errors
    /// When `message` is of another version, cut short, or its header is not JSON of this type.
    pub fn decode(message: &Bytes) -> Result<(Self, Bytes), Malformed> {
        let (&[version, a, b, c, d], rest) = message.split_first_chunk().ok_or(Malformed::Short)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let header = rest.get(..length).ok_or(Malformed::Short)?;
        Ok((serde_json::from_slice(header)?, message.slice(5 + length..)))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        for (bytes, what) in [
            (&b""[..], "the message is cut short"),
            (b"\x02\0\0\0\0", "version 2 of the message is not known here: upgrade this process"),
            (b"\x01\0\0\0\x09{}", "the message is cut short"),
        ] {
            assert_eq!(Envelope::decode(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string(), what);
        }
    }
}
