//! Brings the journal's messages to the ledger, again and again until it acknowledges them. What no message can hold goes to
//! the dead letters. Knows nothing of how events come together in a message.

use super::Entry;
use crate::bus::dead::{DeadReason, Letter, MESSAGE_ROOM};
use crate::bus::ledger_health::{LedgerHealth, Sent};
use crate::bus::{Alarm, Bus};
use crate::clock;
use crate::schedule::full_jitter;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use penstock_schemas::alert::Alert;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};
use uuid::Uuid;

/// The first wait before a message is sent again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// An acknowledgement that takes longer puts the ledger in doubt; it takes a tenth of a millisecond.
const LATE: Duration = Duration::from_millis(250);

/// A message that is not acknowledged by then is sent again: its server may have died with it. An election of a cluster's
/// servers takes 4 to 9 s.
const SILENCE: Duration = Duration::from_secs(2);

/// Tries to put an event among the dead letters, before it is given up and lost.
const BURIALS: u32 = 10;

/// Brings messages to the ledger. Cloning shares it.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) bus: Bus,
    pub(super) alarm: Alarm,
    pub(super) health: LedgerHealth,
}

/// Some events under one id, which keeps them from counting twice.
struct Message {
    id: Uuid,
    lines: Vec<Bytes>,
}

/// A message that was handed to the connection.
struct Published {
    ack: PublishAckFuture,
    sent: Sent,
}

impl Message {
    fn new(lines: Vec<Bytes>) -> Self {
        Self { id: clock::id(), lines }
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
    pub(super) fn most(&self) -> usize {
        self.bus.client.max_payload().saturating_sub(MESSAGE_ROOM)
    }

    /// Whether what is written now may be taken for recorded: see [`LedgerHealth::is_proven`].
    fn is_proven(&self) -> bool {
        let connection = *self.bus.connections.borrow();
        self.bus.is_connected() && self.health.is_proven(connection, Instant::now())
    }

    /// Publishes a message; when the ledger is well, waits until it is written. What is left to do is to wait for its
    /// acknowledgement.
    pub(super) async fn send(self, entries: Vec<Entry>) -> BoxFuture<'static, ()> {
        let (mut lines, mut held) = (Vec::new(), Vec::new());
        let (mut on_cleared, mut on_acknowledged) = (Vec::new(), Vec::new());
        for entry in entries {
            lines.push(entry.line);
            held.push(entry.held);
            on_cleared.extend(entry.cleared);
            on_acknowledged.push(entry.acknowledged);
        }
        let message = Message::new(lines);
        let is_proven = self.is_proven();
        let connections = self.bus.connections.subscribe();
        let published = self.publish(&message).await;
        if is_proven && published.is_ok() && !on_cleared.is_empty() {
            let is_flushed = self.bus.client.flush().await.is_ok();
            // A connection that broke meanwhile may have taken it along.
            if is_flushed && self.is_proven() {
                notify(std::mem::take(&mut on_cleared));
            }
        }
        async move {
            if self.deliver(message, published, connections).await {
                notify(on_cleared);
                notify(on_acknowledged);
            }
            drop(held);
        }
        .boxed()
    }

    async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        let publish = PublishMessage::build().message_id(message.id.to_string()).payload(message.payload());
        let sent = self.health.sending(*self.bus.connections.borrow());
        let ack = self.bus.jetstream.send_publish(self.bus.subjects.usage(), publish).await?;
        Ok(Published { ack, sent })
    }

    /// Asks a ledger that fails whether it is back, by a message without events.
    pub(super) async fn probe(self) {
        let message = Message::new(Vec::new());
        let connections = self.bus.connections.subscribe();
        match self.publish(&message).await {
            Ok(published) => drop(self.confirmed(published, &mut connections.clone()).await),
            Err(error) => self.health.failed(&error.to_string(), Instant::now()),
        }
    }

    /// Waits for one acknowledgement. `Err(None)`: the connection broke.
    async fn confirmed(
        &self,
        Published { ack, sent }: Published,
        connections: &mut watch::Receiver<u64>,
    ) -> Result<(), Option<PublishError>> {
        let mut ack = std::pin::pin!(timeout(SILENCE, ack.into_future()));
        let late = sleep(LATE);
        let acknowledged = tokio::select! {
            biased;
            acknowledged = &mut ack => acknowledged,
            Ok(()) = connections.changed() => {
                self.health.doubt(Instant::now());
                return Err(None);
            }
            () = late => {
                self.health.doubt(Instant::now());
                tokio::select! {
                    acknowledged = &mut ack => acknowledged,
                    Ok(()) = connections.changed() => return Err(None),
                }
            }
        };
        match acknowledged {
            Ok(Ok(_)) => {
                self.health.acknowledged(sent, Instant::now());
                Ok(())
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(Some(PublishError::new(PublishErrorKind::TimedOut))),
        }
    }

    /// Waits for the acknowledgement, and publishes again until it comes. After a broken connection at once, since it
    /// is not known what the server got: until then only this process has the events. False when the ledger never takes them
    /// all: what is too large for the server is among the dead letters then.
    async fn deliver(
        &self,
        message: Message,
        first: Result<Published, PublishError>,
        mut connections: watch::Receiver<u64>,
    ) -> bool {
        let mut published = first;
        for again in 1.. {
            let refused = match published {
                Ok(published) => match self.confirmed(published, &mut connections).await {
                    Ok(()) => return true,
                    Err(refused) => refused,
                },
                Err(error) => Some(error),
            };
            match refused {
                Some(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    return self.deliver_apart(message, connections).await;
                }
                Some(error) => {
                    if self.health.failure().is_none() {
                        warn!(%error, "the ledger did not confirm usage events; sending them again until it does");
                    }
                    self.health.failed(&error.to_string(), Instant::now());
                    sleep(full_jitter(again, AGAIN.0, AGAIN.1)).await;
                }
                None => {}
            }
            published = self.publish(&message).await;
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
            let published = self.publish(&alone).await;
            is_whole &= Box::pin(self.deliver(alone, published, connections.clone())).await;
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
