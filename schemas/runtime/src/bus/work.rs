//! Work that is kept in a stream until it is done: read by one of those who share it, and given again, to whomever, when it is
//! neither acknowledged nor put off. Knows nothing of what is to be done.

use super::{Bus, BusError, failed};
use crate::clock;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Config;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;
use tracing::error;

/// How long work may take before it is given to another.
const ACK_WAIT: Duration = Duration::from_secs(60);

/// Work that may be under way or put off.
const PENDING: i64 = 20_000;

/// Pieces that are fetched together.
const FETCH: usize = 32;

/// How long a second copy is recognized by its `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Reads work.
pub struct WorkReader<T> {
    bus: Bus,
    messages: pull::Stream,
    values: PhantomData<fn() -> T>,
}

/// A piece of work.
pub struct Work<T> {
    /// What is to be done.
    pub value: T,
    /// How often it was given, this time included.
    pub tries: u32,
    /// How long it had been in the stream when it was given.
    pub age: Duration,
    message: Message,
    bus: Bus,
}

/// What the settings of such streams have in common.
pub(super) fn work_config() -> Config {
    Config { duplicate_window: DUPLICATE_WINDOW, ..Config::default() }
}

impl Bus {
    pub(super) async fn read_work<T>(&self, stream: &str, durable: &str) -> Result<WorkReader<T>, BusError> {
        let config = pull::Config {
            durable_name: Some(durable.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: PENDING,
            ..pull::Config::default()
        };
        let consumer = self.consumer(stream, durable, config).await?;
        let messages = consumer.stream().max_messages_per_batch(FETCH).messages().await;
        let messages = messages.map_err(failed("read a work queue"))?;
        Ok(WorkReader { bus: self.clone(), messages, values: PhantomData })
    }
}

impl<T: DeserializeOwned> WorkReader<T> {
    /// Waits for the next piece.
    ///
    /// # Errors
    /// When the queue cannot be read: it is to be opened again.
    pub async fn next(&mut self) -> Result<Work<T>, BusError> {
        loop {
            let Some(message) = self.messages.next().await else {
                return Err(failed("read a work queue")("it is closed"));
            };
            let message = message.map_err(failed("read a work queue"))?;
            match serde_json::from_slice(&message.payload) {
                Ok(value) => {
                    let (tries, age) = history(&message);
                    return Ok(Work { value, tries, age, message, bus: self.bus.clone() });
                }
                Err(error) => {
                    error!(subject = %message.subject, %error, "a piece of work cannot be read: is this role older?");
                    put_off(&message, ACK_WAIT).await?;
                }
            }
        }
    }
}

impl<T> Work<T> {
    /// It is done.
    ///
    /// # Errors
    /// When that cannot be told; then it comes again.
    pub async fn done(&self) -> Result<(), BusError> {
        self.message.ack().await.map_err(failed("acknowledge work"))?;
        // This process may end at once: what is still in its buffer would be lost.
        self.bus.flush().await
    }

    /// It is still worked on.
    ///
    /// # Errors
    /// When that cannot be told; then it may be given to another.
    pub async fn goes_on(&self) -> Result<(), BusError> {
        self.message.ack_with(AckKind::Progress).await.map_err(failed("say that work goes on"))
    }

    /// It is to be given again after `wait`.
    ///
    /// # Errors
    /// When that cannot be told; then it comes again in its own time.
    pub async fn again(&self, wait: Duration) -> Result<(), BusError> {
        put_off(&self.message, wait).await?;
        self.bus.flush().await
    }
}

/// How often a message was given, and how long it had been in the stream by then.
fn history(message: &Message) -> (u32, Duration) {
    let Ok(info) = message.info() else { return (1, Duration::ZERO) };
    let tries = u32::try_from(info.delivered).unwrap_or(u32::MAX);
    let kept = u64::try_from(info.published.unix_timestamp_nanos() / 1_000).unwrap_or_default();
    (tries, Duration::from_micros(clock::now().0.saturating_sub(kept)))
}

async fn put_off(message: &Message, wait: Duration) -> Result<(), BusError> {
    message.ack_with(AckKind::Nak(Some(wait))).await.map_err(failed("put work off"))
}
