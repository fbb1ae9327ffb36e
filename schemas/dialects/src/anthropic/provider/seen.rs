//! One event of a stream, read once for all who look at it. Knows no other event.

use super::answer::{Added, Block, Message, read};
use super::errors;
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event's data.
#[derive(Debug, Deserialize)]
pub(super) struct EventData<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    pub(super) usage: Option<Value>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// An event, read once.
#[derive(Debug)]
pub(super) struct SeenEvent<'a> {
    /// What its data say that it is, or else its name.
    pub(super) kind: String,
    pub(super) event: EventData<'a>,
    /// The block of a `content_block_start`.
    pub(super) block: Option<Block<'a>>,
    /// What a `content_block_delta` or a `message_delta` adds.
    pub(super) added: Added,
}

impl<'a> SeenEvent<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// When it is an error, or no event.
    pub(super) fn of(event: &'a sse::Event) -> Result<Self, Failure> {
        let read_event: EventData<'_> = read(&event.data)?;
        let name = || event.event.as_deref().map(|name| String::from_utf8_lossy(name).into_owned());
        let kind = read_event.kind.clone().or_else(name).unwrap_or_default();
        if kind == "error" || (kind.is_empty() && read_event.error.is_some()) {
            return Err(errors::within(&read(&event.data)?));
        }
        let block = read_event.content_block.filter(|_| kind == "content_block_start");
        let block = block.map(|block| read(block.get().as_bytes())).transpose()?;
        let delta = read_event.delta.filter(|_| matches!(kind.as_str(), "content_block_delta" | "message_delta"));
        let added = delta.map_or_else(|| Ok(Added::default()), |delta| read(delta.get().as_bytes()))?;
        Ok(Self { kind, event: read_event, block, added })
    }
}
