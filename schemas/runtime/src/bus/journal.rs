//! The writing side of the ledger: the journal that roles write usage events to. Events that are ready together travel as
//! one message, bounded in bytes, and none waits for another. Knows nothing of what the events say.

use super::dead::{DeadReason, Letter};
use super::{Alarm, Bus, BusError};
use crate::clock;
use crate::life::Life;
use crate::schedule::full_jitter;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use penstock_schemas::alert::Alert;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::ledger_line;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

/// Events that may wait for the journal; whoever writes more waits, and with it the request.
const QUEUE: usize = 4096;

/// Bytes of events that may wait or be under way: the memory that an outage of NATS can cost.
const HELD: usize = 64 << 20;

/// Events in one message at the most, some 80 KB; and bytes, so that long events travel alone.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 512 * 1024;

/// What a message needs of the server's payload limit besides its events: the header with its id.
pub(super) const MESSAGE_ROOM: usize = 1024;

/// Messages that may wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

/// The first wait before a message is sent again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Tries to put an event among the dead letters, before it is given up and lost.
const BURIALS: u32 = 10;

/// How long an event that nobody waits for may wait for company: one message instead of many, at the price of this much
/// of the ledger when the process is killed. An attempt's end that is lost so leaves its start, which counts in full.
const COMPANY: Duration = Duration::from_millis(5);

/// The writing side. Cloning shares it.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    finishing: CancellationToken,
    life: Life,
}

struct Entry {
    /// The event, as it is written.
    line: Bytes,
    /// Somebody waits until it is written, and until it is acknowledged.
    waiting: Option<(oneshot::Sender<()>, oneshot::Sender<()>)>,
    /// Its share of [`HELD`].
    held: OwnedSemaphorePermit,
}

/// An event on its way into the ledger.
pub struct Pending {
    written: oneshot::Receiver<()>,
    acknowledged: oneshot::Receiver<()>,
}

impl Pending {
    /// Waits until the event has left this process: killing it no longer loses the event. False when it never will.
    pub async fn written(&mut self) -> bool {
        (&mut self.written).await.is_ok()
    }

    /// Waits until the ledger has the event. False when it never will, because it cannot be stored or this process is
    /// ending.
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
        let room = Arc::new(Semaphore::new(HELD));
        let journal = Self { queue, room, finishing: CancellationToken::new(), life: Life::new() };
        let courier = Courier { bus: bus.clone(), alarm: bus.alarm() };
        journal.life.work(write(courier, entries, journal.finishing.clone()));
        Ok(journal)
    }

    /// Adds an event that something depends on: it goes out at once. Waits while the journal is full.
    pub async fn append(&self, event: UsageEvent) -> Pending {
        let (written, on_written) = oneshot::channel();
        let (acknowledged, on_acknowledged) = oneshot::channel();
        self.add(&event, Some((written, acknowledged))).await;
        Pending { written: on_written, acknowledged: on_acknowledged }
    }

    /// Adds an event that nothing waits for: it goes out with the next that somebody does, or after a moment. Waits while
    /// the journal is full.
    pub async fn note(&self, event: UsageEvent) {
        self.add(&event, None).await;
    }

    async fn add(&self, event: &UsageEvent, waiting: Option<(oneshot::Sender<()>, oneshot::Sender<()>)>) {
        let line = Bytes::from(ledger_line::write(event));
        let share = u32::try_from(line.len().min(HELD)).expect("the share is small");
        let held = self.room.clone().acquire_many_owned(share).await.expect("the room is never closed");
        if self.queue.send(Entry { line, waiting, held }).await.is_err() {
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

async fn write(courier: Courier, mut entries: mpsc::Receiver<Entry>, finishing: CancellationToken) {
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
            for message in cut(std::mem::take(&mut batch), courier.most().min(BATCH_BYTES)) {
                let sent = courier.clone().send(message).await;
                in_flight.push(sent);
            }
        }
    }
    while in_flight.next().await.is_some() {}
}

/// Cuts a batch into messages of at most so many bytes; an event that is longer is a message alone.
fn cut(batch: Vec<Entry>, most: usize) -> Vec<Vec<Entry>> {
    let mut messages: Vec<Vec<Entry>> = Vec::with_capacity(1);
    let mut left = 0;
    for entry in batch {
        let length = entry.line.len();
        match messages.last_mut() {
            Some(message) if length <= left => message.push(entry),
            _ => {
                messages.push(vec![entry]);
                left = most;
            }
        }
        left = left.saturating_sub(length);
    }
    messages
}

/// Brings messages to the ledger. Cloning shares it.
#[derive(Clone)]
struct Courier {
    bus: Bus,
    alarm: Alarm,
}

/// Some events under one id, which keeps them from counting twice.
struct Message {
    id: Uuid,
    lines: Vec<Bytes>,
}

impl Message {
    fn new(lines: Vec<Bytes>) -> Self {
        Self { id: Uuid::now_v7(), lines }
    }

    fn payload(&self) -> Bytes {
        match &self.lines[..] {
            [line] => line.clone(),
            lines => lines.concat().into(),
        }
    }
}

impl Courier {
    /// The most bytes of events that fit into a message of the server that is connected now.
    fn most(&self) -> usize {
        self.bus.client.max_payload().saturating_sub(MESSAGE_ROOM)
    }

    /// Publishes a message and waits until it is written; what is left to do is to wait for its acknowledgement.
    async fn send(self, entries: Vec<Entry>) -> BoxFuture<'static, ()> {
        let (mut lines, mut held) = (Vec::new(), Vec::new());
        let (mut on_written, mut on_acknowledged) = (Vec::new(), Vec::new());
        for entry in entries {
            lines.push(entry.line);
            held.push(entry.held);
            if let Some((written, acknowledged)) = entry.waiting {
                on_written.push(written);
                on_acknowledged.push(acknowledged);
            }
        }
        let message = Message::new(lines);
        let connections = self.bus.connections.subscribe();
        let ack = self.publish(&message).await;
        let is_too_large = matches!(&ack, Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded);
        if is_too_large {
            on_written.clear(); // who waits must know that it will not be written
        }
        if !on_written.is_empty() && self.bus.client.flush().await.is_ok() {
            notify(on_written);
        }
        async move {
            if self.deliver(message, ack, connections).await {
                notify(on_acknowledged);
            }
            drop(held);
        }
        .boxed()
    }

    async fn publish(&self, message: &Message) -> Result<PublishAckFuture, PublishError> {
        let publish = PublishMessage::build().message_id(message.id.to_string()).payload(message.payload());
        self.bus.jetstream.send_publish(self.bus.subjects.usage(), publish).await
    }

    /// Waits for the acknowledgement, and publishes again until it comes. After a broken connection at once, since nobody
    /// knows what the server got: until then only this process has the events. False when the ledger never takes them
    /// all: what is too large for the server is among the dead letters then.
    async fn deliver(
        &self,
        message: Message,
        first: Result<PublishAckFuture, PublishError>,
        mut connections: watch::Receiver<u64>,
    ) -> bool {
        let mut ack = first;
        for again in 1.. {
            let refused = match ack {
                Ok(ack) => tokio::select! {
                    acknowledged = ack.into_future() => match acknowledged {
                        Ok(_) => return true,
                        Err(error) => Some(error),
                    },
                    Ok(()) = connections.changed() => None,
                },
                Err(error) => Some(error),
            };
            match refused {
                Some(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    return self.deliver_apart(message, connections).await;
                }
                Some(error) => {
                    warn!(%error, "the ledger did not confirm usage events; sending them again");
                    sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
                }
                None => {}
            }
            ack = self.publish(&message).await;
        }
        false
    }

    /// A message that is too large for the server, which may be another by now: each event alone.
    async fn deliver_apart(&self, message: Message, connections: watch::Receiver<u64>) -> bool {
        if let [line] = &message.lines[..] {
            self.bury(line).await;
            return false;
        }
        let mut is_whole = true;
        for line in message.lines {
            let alone = Message::new(vec![line]);
            let ack = self.publish(&alone).await;
            is_whole &= Box::pin(self.deliver(alone, ack, connections.clone())).await;
        }
        is_whole
    }

    /// Puts an event that no message can hold among the dead letters, and says so.
    async fn bury(&self, line: &Bytes) {
        let why = format!("an event of {} bytes does not fit into a message of nats-server (max_payload)", line.len());
        error!(bytes = line.len(), "a usage event is too large for the ledger: it goes to the dead letters");
        self.alarm.raise(Alert::ledger_dead_letter(DeadReason::TooLarge.as_str(), &why, clock::now()));
        let letter = Letter { reason: DeadReason::TooLarge, why, line: line.clone() };
        for again in 1..=BURIALS {
            match self.bus.bury(&letter).await {
                Ok(()) => return,
                Err(error) => warn!(%error, "a dead letter could not be kept"),
            }
            sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
        }
        error!(bytes = line.len(), "a usage event that is too large for the ledger is lost");
    }
}

fn notify(waiting: Vec<oneshot::Sender<()>>) {
    for sender in waiting {
        // Nobody has to wait for it.
        let _ = sender.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_cut_by_bytes_in_order_and_a_long_event_travels_alone() {
        let room = Arc::new(Semaphore::new(HELD));
        let mut batch = Vec::new();
        for length in [10, 60, 30, 500, 1, 99, 1, 100] {
            let held = room.clone().acquire_many_owned(1).await.unwrap();
            batch.push(Entry { line: vec![b'x'; length].into(), waiting: None, held });
        }
        let cut: Vec<Vec<usize>> =
            cut(batch, 100).iter().map(|message| message.iter().map(|entry| entry.line.len()).collect()).collect();
        assert_eq!(cut, [vec![10, 60, 30], vec![500], vec![1, 99], vec![1], vec![100]]);
    }
}
