//! The durable ledger in front of ClickHouse: the journal that roles write usage events to, and the reader that analytics
//! takes them from. Events that are ready together travel as one message, and none waits for another. Knows nothing of
//! what the events say.

use super::{Bus, BusError, failed};
use crate::life::Life;
use crate::schedule::full_jitter;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use penstock_schemas::event::{UsageEvent, decode_batch, encode_batch};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// Events that may wait for the journal; whoever writes more waits, and with it the request.
const QUEUE: usize = 4096;

/// Events in one message at the most: some 80 KB.
const BATCH: usize = 128;

/// Messages that may wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

/// The first wait before a message is sent again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long an event that nobody waits for may wait for company: one message instead of many, at the price of this much
/// of the ledger when the process is killed. An attempt's end that is lost so leaves its start, which counts in full.
const COMPANY: Duration = Duration::from_millis(5);

/// The writing side. Cloning shares it.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    finishing: CancellationToken,
    life: Life,
}

struct Entry {
    event: UsageEvent,
    /// Somebody waits until it is written, and until it is acknowledged.
    waiting: Option<(oneshot::Sender<()>, oneshot::Sender<()>)>,
}

/// An event on its way into the ledger.
pub struct Pending {
    written: oneshot::Receiver<()>,
    acknowledged: oneshot::Receiver<()>,
}

impl Pending {
    /// Waits until the event has left this process: killing it no longer loses the event.
    pub async fn written(&mut self) {
        // The sender is dropped only when the process ends, and then nobody waits.
        let _ = (&mut self.written).await;
    }

    /// Waits until the ledger has the event. False when it never will, because this process is ending.
    pub async fn acknowledged(self) -> bool {
        self.acknowledged.await.is_ok()
    }
}

impl Journal {
    /// Opens the ledger for writing; it outlives the role's other work, see [`Journal::finish`].
    ///
    /// # Errors
    /// When the stream cannot be set up.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.usage_stream().await?;
        let (queue, entries) = mpsc::channel(QUEUE);
        let journal = Self { queue, finishing: CancellationToken::new(), life: Life::new() };
        journal.life.work(write(bus.clone(), entries, journal.finishing.clone()));
        Ok(journal)
    }

    /// Adds an event that something depends on: it goes out at once. Waits while the journal is full.
    pub async fn append(&self, event: UsageEvent) -> Pending {
        let (written, on_written) = oneshot::channel();
        let (acknowledged, on_acknowledged) = oneshot::channel();
        self.add(Entry { event, waiting: Some((written, acknowledged)) }).await;
        Pending { written: on_written, acknowledged: on_acknowledged }
    }

    /// Adds an event that nothing waits for: it goes out with the next that somebody does, or after a moment. Waits while
    /// the journal is full.
    pub async fn note(&self, event: UsageEvent) {
        self.add(Entry { event, waiting: None }).await;
    }

    async fn add(&self, entry: Entry) {
        if self.queue.send(entry).await.is_err() {
            error!("an event came after the journal was finished: it is lost");
        }
    }

    /// Waits at most `limit` until the ledger has everything. False when it has not.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.finishing.cancel();
        let done = self.life.drain(limit).await == 0;
        if !done {
            error!("the ledger did not take the last events in time: they are lost");
        }
        done
    }
}

async fn write(bus: Bus, mut entries: mpsc::Receiver<Entry>, finishing: CancellationToken) {
    let mut in_flight = FuturesUnordered::new();
    let mut batch: Vec<Entry> = Vec::with_capacity(BATCH);
    let mut company_until = Instant::now();
    loop {
        let has_room = in_flight.len() < IN_FLIGHT;
        let is_first = batch.is_empty();
        let is_due = tokio::select! {
            biased;
            Some(()) = in_flight.next() => false,
            count = entries.recv_many(&mut batch, BATCH), if has_room => {
                if is_first {
                    company_until = Instant::now() + COMPANY;
                }
                count == 0 || batch.len() >= BATCH || batch.iter().any(|entry| entry.waiting.is_some())
            }
            () = sleep_until(company_until), if has_room && !is_first => true,
            () = finishing.cancelled(), if !entries.is_closed() => {
                entries.close();
                false
            }
        };
        if is_due && batch.is_empty() {
            break;
        }
        if is_due {
            let sent = send(&bus, std::mem::take(&mut batch)).await;
            in_flight.push(sent);
        }
    }
    while in_flight.next().await.is_some() {}
}

/// Publishes a batch and waits until it is written; what is left to do is to wait for its acknowledgement.
async fn send(bus: &Bus, entries: Vec<Entry>) -> BoxFuture<'static, ()> {
    let mut events = Vec::new();
    let (mut on_written, mut on_acknowledged) = (Vec::new(), Vec::new());
    for entry in entries {
        events.push(entry.event);
        if let Some((written, acknowledged)) = entry.waiting {
            on_written.push(written);
            on_acknowledged.push(acknowledged);
        }
    }
    let payload: Bytes = encode_batch(&events).expect("events have a JSON form").into();
    let id = Uuid::now_v7();
    let connections = bus.connections.subscribe();
    let ack = publish(bus, id, payload.clone()).await;
    if !on_written.is_empty() && bus.client.flush().await.is_ok() {
        notify(on_written);
    }
    let bus = bus.clone();
    async move {
        deliver(&bus, id, payload, ack, connections).await;
        notify(on_acknowledged);
    }
    .boxed()
}

fn notify(waiting: Vec<oneshot::Sender<()>>) {
    for sender in waiting {
        // Nobody has to wait for it.
        let _ = sender.send(());
    }
}

async fn publish(bus: &Bus, id: Uuid, payload: Bytes) -> Result<PublishAckFuture, String> {
    let message = PublishMessage::build().message_id(id.to_string()).payload(payload);
    bus.jetstream.send_publish(bus.subjects.usage(), message).await.map_err(|error| error.to_string())
}

/// Waits for the acknowledgement, and publishes again until it comes: the id keeps the message from counting twice. After
/// a broken connection at once, since nobody knows what the server got: until then only this process has the events.
async fn deliver(
    bus: &Bus,
    id: Uuid,
    payload: Bytes,
    first: Result<PublishAckFuture, String>,
    mut connections: watch::Receiver<u64>,
) {
    let mut ack = first;
    for again in 1.. {
        let refused = match ack {
            Ok(ack) => tokio::select! {
                acknowledged = ack.into_future() => match acknowledged {
                    Ok(_) => return,
                    Err(error) => Some(error.to_string()),
                },
                Ok(()) = connections.changed() => None,
            },
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            warn!(error, "the ledger did not confirm usage events; sending them again");
            sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
        }
        ack = publish(bus, id, payload.clone()).await;
    }
}

/// How often an empty ledger is looked at again. Messages are fetched and not pushed: pushed, each would be delivered in
/// the middle of the call that it belongs to, and cost that call time.
const LOOK: Duration = Duration::from_millis(200);

/// Longest wait for the next of them, or for the word that there are no more: the server says so at once. One that was
/// restarted in between knows nothing of the question.
const FETCHED: Duration = Duration::from_secs(2);

/// Messages that are fetched together.
const FETCH: usize = 1024;

/// The reading side: one durable consumer, shared by all analytics processes.
pub struct UsageReader {
    consumer: PullConsumer,
    /// What is being fetched. Kept, so that nothing is forgotten when a wait is given up.
    fetching: Option<pull::Batch>,
}

/// Events that were read together. Until it is acknowledged, the ledger keeps them, and gives them again after a while.
pub struct UsageBatch {
    /// The events, in the order they were written.
    pub events: Vec<UsageEvent>,
    messages: Vec<async_nats::jetstream::Message>,
}

impl UsageReader {
    /// How long the ledger waits for an acknowledgement or [`UsageBatch::keep`] before it gives a batch again.
    pub const ACK_WAIT: Duration = Duration::from_secs(10);

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
        let stream = bus.jetstream.get_stream(bus.subjects.usage_stream()).await.map_err(failed("open the ledger"))?;
        let consumer: PullConsumer =
            stream.get_or_create_consumer("analytics", config).await.map_err(failed("open the ledger"))?;
        Ok(Self { consumer, fetching: None })
    }

    /// Waits for an event, then gathers what else comes within `linger`, up to about `most` events.
    ///
    /// # Errors
    /// When the consumer is gone; open the ledger again.
    pub async fn next(&mut self, most: usize, linger: Duration) -> Result<UsageBatch, BusError> {
        let mut batch = UsageBatch { events: Vec::new(), messages: Vec::new() };
        let mut until = None;
        while batch.events.len() < most {
            let message = match until {
                None => self.message().await?,
                Some(until) => match timeout_at(until, self.message()).await {
                    Ok(message) => message?,
                    Err(_) => break,
                },
            };
            match decode_batch(&message.payload) {
                Ok(events) => {
                    until.get_or_insert_with(|| Instant::now() + linger);
                    batch.events.extend(events);
                    batch.messages.push(message);
                }
                Err(error) => set_aside(&message, &error).await,
            }
        }
        Ok(batch)
    }
}

impl UsageReader {
    async fn message(&mut self) -> Result<async_nats::jetstream::Message, BusError> {
        loop {
            let is_new = self.fetching.is_none();
            let fetching = match &mut self.fetching {
                Some(fetching) => fetching,
                none => {
                    let fetched = self.consumer.fetch().max_messages(FETCH).messages().await;
                    none.insert(fetched.map_err(failed("read the ledger"))?)
                }
            };
            match timeout(FETCHED, fetching.next()).await {
                Ok(Some(message)) => return message.map_err(failed("read the ledger")),
                Ok(None) => {}
                Err(_) => warn!("the ledger did not answer: it is asked again"),
            }
            self.fetching = None;
            if is_new {
                sleep(LOOK).await;
            }
        }
    }
}

/// An event of a newer version stays in the ledger until somebody comes who can read it.
async fn set_aside(message: &async_nats::jetstream::Message, error: &serde_json::Error) {
    error!(%error, "usage events cannot be read and stay in the ledger: is this analytics role older than the others?");
    if let Err(error) = message.ack_with(AckKind::Nak(Some(Duration::from_secs(60)))).await {
        warn!(%error, "the ledger could not be told to wait");
    }
}

impl UsageBatch {
    /// Tells the ledger that the events are safe elsewhere.
    ///
    /// # Errors
    /// When that cannot be sent; the events will come again.
    pub async fn acknowledge(self) -> Result<(), BusError> {
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
