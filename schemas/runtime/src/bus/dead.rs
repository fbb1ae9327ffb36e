//! Dead letters: events of the ledger that cannot be stored, each once, with the reason; kept until they are put back or
//! too old. Knows nothing of what the events say.

use super::{Bus, BusError, failed};
use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType, Stream};
use bytes::Bytes;
use penstock_schemas::{UnixMicros, hex};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use std::time::Duration;

/// The most that is kept, in bytes: beyond it, what cannot be stored stays in the ledger's own stream.
const MAX_BYTES: i64 = 1 << 30;

/// How long a dead letter is kept: time enough for an operator to find it.
const MAX_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// What a message needs of the server's payload limit besides its events: the header with its id.
pub(super) const MESSAGE_ROOM: usize = 1024;

/// The longest reason that is kept, in bytes.
const WHY: usize = 512;

/// What the headers of a dead letter take of the payload limit, in bytes.
const HEADERS: usize = WHY + MESSAGE_ROOM;

const REASON: &str = "penstock-reason";
const WHY_HEADER: &str = "penstock-why";
const LENGTH: &str = "penstock-length";

/// Why an event cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// No message of nats-server can hold it.
    TooLarge,
    /// It is no event that this version knows.
    Unreadable,
    /// The store refuses its values.
    Refused,
}

impl DeadReason {
    /// The word that stands for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }
}

/// An event that is to become a dead letter.
pub struct Letter {
    /// Why.
    pub reason: DeadReason,
    /// The same in words.
    pub why: String,
    /// The event, as it was written.
    pub line: Bytes,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its number in the stream.
    pub number: u64,
    /// When it was put there.
    pub at: UnixMicros,
    /// Why, as [`DeadReason::as_str`] spells it.
    pub reason: String,
    /// The same in words.
    pub why: String,
    /// The event's length, in bytes.
    pub length: usize,
    /// The event: all of it, or its beginning when it is longer than a message.
    pub line: Bytes,
}

impl DeadLetter {
    /// Whether the event is there as a whole, so that it can be put back.
    pub fn is_whole(&self) -> bool {
        self.line.len() == self.length
    }

    /// Whether the event could not be read by the version that met it.
    pub fn is_unreadable(&self) -> bool {
        self.reason == DeadReason::Unreadable.as_str()
    }
}

/// The dead letters of a deployment.
#[derive(Clone)]
pub struct DeadLetters {
    bus: Bus,
    stream: Stream,
}

impl Bus {
    /// Keeps an event that cannot be stored. The same one is kept once.
    ///
    /// # Errors
    /// When JetStream does not confirm it, or too many are kept already.
    pub async fn bury(&self, letter: &Letter) -> Result<(), BusError> {
        self.dead_stream().await?;
        let hash = digest(&SHA256, &letter.line);
        let name = hex::write(&hash.as_ref()[..16]);
        let most = self.client.max_payload().saturating_sub(HEADERS);
        let mut headers = HeaderMap::new();
        headers.insert(REASON, letter.reason.as_str());
        headers.insert(WHY_HEADER, header(&letter.why).as_str());
        headers.insert(LENGTH, letter.line.len().to_string().as_str());
        let payload = letter.line.slice(..letter.line.len().min(most));
        let message = PublishMessage::build().headers(headers).payload(payload).expected_last_subject_sequence(0);
        let sent = self.jetstream.send_publish(self.subjects.dead(&name), message).await;
        match self.noted(&self.subjects.dead_stream(), sent.map_err(failed("keep a dead letter"))?.await) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()), // it is there
            Err(error) => Err(failed("keep a dead letter")(error)),
        }
    }

    /// The dead letters.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream has other settings.
    pub async fn dead_letters(&self) -> Result<DeadLetters, BusError> {
        Ok(DeadLetters { bus: self.clone(), stream: self.dead_stream().await? })
    }

    async fn dead_stream(&self) -> Result<Stream, BusError> {
        self.work_stream(Config {
            name: self.subjects.dead_stream(),
            subjects: vec![self.subjects.all_dead()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: MAX_BYTES,
            max_age: MAX_AGE,
            num_replicas: self.replicas,
            ..super::work::work_config()
        })
        .await
    }
}

impl DeadLetters {
    /// The first one whose number is at least this; `None` after the last.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn next(&self, number: u64) -> Result<Option<DeadLetter>, BusError> {
        let all = self.bus.subjects.all_dead();
        let message = match self.stream.get_first_raw_message_by_subject(all, number).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(failed("read the dead letters")(error)),
        };
        let header = |name| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
        let nanos = message.time.unix_timestamp_nanos();
        Ok(Some(DeadLetter {
            number: message.sequence,
            at: UnixMicros(u64::try_from(nanos / 1000).unwrap_or_default()),
            reason: header(REASON),
            why: header(WHY_HEADER),
            length: header(LENGTH).parse().unwrap_or(message.payload.len()),
            line: message.payload,
        }))
    }

    /// The number of the last one that was ever put there.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn last(&self) -> Result<u64, BusError> {
        let info = self.stream.get_info().await.map_err(failed("read the dead letters"))?;
        Ok(info.state.last_sequence)
    }

    /// Writes an event into the ledger again, and then forgets that it was dead. False when only its beginning is there.
    ///
    /// # Errors
    /// When JetStream does not confirm it: then it may be in the ledger and here, which does no harm.
    pub async fn revive(&self, letter: &DeadLetter) -> Result<bool, BusError> {
        if !letter.is_whole() {
            return Ok(false);
        }
        let sent = self.bus.jetstream.publish(self.bus.subjects.usage(), letter.line.clone()).await;
        sent.map_err(failed("put an event back"))?.await.map_err(failed("put an event back"))?;
        self.stream.delete_message(letter.number).await.map_err(failed("remove a dead letter"))?;
        Ok(true)
    }
}

/// A text as a header may hold it.
fn header(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() || !c.is_ascii() { ' ' } else { c });
    printable.take(WHY).collect()
}
