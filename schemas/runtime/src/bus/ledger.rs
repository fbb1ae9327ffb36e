//! The reading side of the ledger: what roles wrote, for analytics, message by message. Fetches are bounded in messages and in
//! bytes, so that a backlog never floods the connection. Knows nothing of what the events say.

use super::dead::{DeadReason, Letter};
use super::{Bus, BusError, failed};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::ledger_line;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, warn};

/// How often an empty ledger is looked at again. Messages are fetched and not pushed: pushed, each would be delivered in
/// the middle of the call that it belongs to, and cost that call time.
const LOOK: Duration = Duration::from_millis(200);

/// Longest wait for the next of them, or for the word that there are no more: the server says so at once. One that was
/// restarted in between knows nothing of the question.
const FETCHED: Duration = Duration::from_secs(2);

/// Messages that are fetched together, and bytes: a quarter of what a server lets wait for a client before it cuts it off as
/// too slow (64 MB). One message is always fetched, whatever its size.
const FETCH: usize = 1024;
const FETCH_BYTES: usize = 16 << 20;

/// What a message takes of them besides its payload, at the most.
const MESSAGE: usize = 64 * 1024;

/// What the server says when a fetch that is bounded in bytes is over: the next message does not fit, or all messages came.
/// Source: <https://github.com/nats-io/nats-server/blob/main/server/consumer.go>.
const OVER: [&str; 2] = ["Message Size Exceeds MaxBytes", "Batch Completed"];

/// The reading side: one durable consumer, shared by all analytics processes.
pub struct UsageReader {
    consumer: PullConsumer,
    most_bytes: usize,
    /// What is being fetched. Kept, so that nothing is forgotten when a wait is given up.
    fetching: Option<pull::Batch>,
}

/// Events that were read together. Until it is acknowledged, the ledger keeps them, and gives them again after a while.
pub struct UsageBatch {
    /// The events, in the order they were written.
    pub events: Vec<UsageEvent>,
    /// What is no event that this version knows.
    pub unreadable: Vec<Letter>,
    messages: Vec<Message>,
}

impl UsageReader {
    /// How long the ledger waits for an acknowledgement or [`UsageBatch::keep`] before it gives a batch again.
    pub const ACK_WAIT: Duration = Duration::from_secs(15);

    /// Opens the ledger for reading.
    ///
    /// # Errors
    /// When the stream or the consumer cannot be set up.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.usage_stream().await?;
        let config = pull::Config {
            durable_name: Some("analytics".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Self::ACK_WAIT,
            max_ack_pending: 4096,
            ..pull::Config::default()
        };
        let consumer = bus.consumer(&bus.subjects.usage_stream(), "analytics", config).await?;
        let most_bytes = FETCH_BYTES.max(bus.client.max_payload() + MESSAGE);
        Ok(Self { consumer, most_bytes, fetching: None })
    }

    /// Waits for an event, then gathers what else comes within `linger`, up to about `most` events.
    ///
    /// # Errors
    /// When the consumer is gone; open the ledger again.
    pub async fn next(&mut self, most: usize, linger: Duration) -> Result<UsageBatch, BusError> {
        let mut batch = UsageBatch { events: Vec::new(), unreadable: Vec::new(), messages: Vec::new() };
        let mut until = None;
        while batch.count() < most {
            let message = match until {
                None => self.message().await?,
                Some(until) => match timeout_at(until, self.message()).await {
                    Ok(message) => message?,
                    Err(_) => break,
                },
            };
            until.get_or_insert_with(|| Instant::now() + linger);
            batch.take(message);
        }
        Ok(batch)
    }

    async fn message(&mut self) -> Result<Message, BusError> {
        loop {
            let is_new = self.fetching.is_none();
            let fetching = match &mut self.fetching {
                Some(fetching) => fetching,
                none => {
                    let fetch = self.consumer.fetch().max_messages(FETCH).max_bytes(self.most_bytes);
                    none.insert(fetch.messages().await.map_err(failed("read the ledger"))?)
                }
            };
            let is_empty = match timeout(FETCHED, fetching.next()).await {
                Ok(Some(Ok(message))) => return Ok(message),
                Ok(Some(Err(error))) if OVER.iter().any(|words| error.to_string().contains(words)) => false,
                Ok(Some(Err(error))) => {
                    self.fetching = None;
                    return Err(failed("read the ledger")(error));
                }
                Ok(None) => is_new,
                Err(_) => {
                    warn!("the ledger did not answer: it is asked again");
                    is_new
                }
            };
            self.fetching = None;
            if is_empty {
                sleep(LOOK).await;
            }
        }
    }
}

impl UsageBatch {
    fn take(&mut self, message: Message) {
        for line in ledger_line::read(&message.payload) {
            match line {
                Ok(event) => self.events.push(event),
                Err((line, error)) => {
                    error!(%error, "a usage event cannot be read: is this analytics role older than the others?");
                    let line = Bytes::copy_from_slice(line);
                    self.unreadable.push(Letter { reason: DeadReason::Unreadable, why: error.to_string(), line });
                }
            }
        }
        self.messages.push(message);
    }

    fn count(&self) -> usize {
        self.events.len() + self.unreadable.len()
    }

    /// What it takes of this process's memory, about.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.payload.len()).sum()
    }

    /// Tells the ledger that the events are safe elsewhere.
    ///
    /// # Errors
    /// When that cannot be sent; the events will come again.
    pub async fn acknowledge(&self) -> Result<(), BusError> {
        for message in &self.messages {
            message.ack().await.map_err(failed("acknowledge usage events"))?;
        }
        Ok(())
    }

    /// Asks the ledger for more time; to be called more often than every [`UsageReader::ACK_WAIT`].
    pub async fn keep(&self) {
        for message in &self.messages {
            if let Err(error) = message.ack_with(AckKind::Progress).await {
                warn!(%error, "the ledger could not be asked for more time");
                return;
            }
        }
    }
}
