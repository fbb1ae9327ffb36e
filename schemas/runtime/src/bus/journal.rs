//! The writing side of the ledger: the journal that roles write usage events to. Events that are ready together travel as
//! one message, bounded in bytes, and none waits for another. While the ledger acknowledges, a provider may be called as soon
//! as its attempt's start has left this process; after trouble, only once that start is acknowledged. Knows nothing of what
//! the events say.

mod courier;

use super::ledger_health::{LedgerHealth, LedgerState};
use super::{Bus, BusError, Intake};
use crate::life::Life;
use bytes::Bytes;
use courier::Courier;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use penstock_schemas::event::UsageEvent;
use penstock_schemas::ledger_line;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::error;

/// Events that may wait for the journal; when it is full, writing waits, and with it the request.
const QUEUE: usize = 4096;

/// Bytes of events that may wait or be under way: the memory that an outage of NATS can cost.
const HELD: usize = 64 << 20;

/// Events in one message at the most, some 80 KB; and bytes, so that long events travel alone.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 512 * 1024;

/// Messages that may wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

/// While the ledger fails and nothing is under way, an empty message asks it so often whether it is back.
const PROBE: Duration = Duration::from_millis(500);

/// How long an event without a waiting request may wait for others, to share a message with them: so much of the ledger is
/// lost when the process is killed. An attempt's end that is lost so leaves its start, which counts in full: see [`Recorded`].
const COMPANY: Duration = Duration::from_millis(5);

/// The writing side. Cloning shares it.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    room: Arc<Semaphore>,
    courier: Courier,
}

struct Entry {
    /// The event, as it is written.
    line: Bytes,
    /// Somebody waits until it is cleared: it goes out at once.
    cleared: Option<oneshot::Sender<()>>,
    acknowledged: oneshot::Sender<()>,
    /// Its share of [`HELD`].
    held: OwnedSemaphorePermit,
}

/// An event on its way into the ledger.
pub struct Pending {
    cleared: oneshot::Receiver<()>,
    recorded: Recorded,
}

/// An event that goes into the ledger with others. Until it is there, killing this process loses it.
pub struct Recorded(oneshot::Receiver<()>);

impl Pending {
    /// Waits until what the event announces may happen: it has left this process, so that killing it no longer loses the
    /// event; and when the ledger is not known to be well, the ledger has it. False when it never will.
    pub async fn cleared(&mut self) -> bool {
        (&mut self.cleared).await.is_ok()
    }

    /// Waits until the ledger has the event. False when it never will, because it cannot be stored or this process is
    /// ending.
    pub async fn acknowledged(self) -> bool {
        self.recorded.acknowledged().await
    }
}

impl Recorded {
    /// Waits until the ledger has the event. False when it never will, because it cannot be stored or this process is
    /// ending.
    pub async fn acknowledged(self) -> bool {
        self.0.await.is_ok()
    }
}

impl Journal {
    /// The journal of this connection, and of those beside it: what roles of one process write together travels together.
    ///
    /// # Errors
    /// When the stream cannot be set up.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        bus.journal.get_or_try_init(|| Self::start(bus)).await.cloned()
    }

    async fn start(bus: &Bus) -> Result<Self, BusError> {
        bus.usage_stream().await?;
        let (queue, entries) = mpsc::channel(QUEUE);
        let courier = Courier { bus: bus.clone(), alarm: bus.alarm(), health: LedgerHealth::default() };
        // It outlives the role's other work, and what waits for the ledger outlives it: see `finish`.
        Life::new().work(write(courier.clone(), entries));
        Ok(Self { queue, room: Arc::new(Semaphore::new(HELD)), courier })
    }

    /// Adds an event that something depends on: it goes out at once. Waits while the journal is full.
    pub async fn append(&self, event: UsageEvent) -> Pending {
        let (cleared, on_cleared) = oneshot::channel();
        let recorded = self.add(&event, Some(cleared)).await;
        Pending { cleared: on_cleared, recorded }
    }

    /// How the ledger is, as far as this process knows.
    pub fn state(&self) -> LedgerState {
        self.courier.health.state(Instant::now())
    }

    /// What is known of the ledger's failures.
    pub fn health(&self) -> &LedgerHealth {
        &self.courier.health
    }

    /// Events that wait in this process until the ledger has them, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        HELD.saturating_sub(self.room.available_permits())
    }

    /// Adds the start of an attempt, once this process takes new ones: see [`Intake`].
    pub async fn begin(&self, start: UsageEvent) -> Pending {
        let mut intake = self.courier.bus.intake.subscribe();
        // The sender lives as long as the bus.
        let _ = intake.wait_for(|intake| *intake != Intake::Nothing).await;
        self.append(start).await
    }

    /// Adds an event without a waiting request: it goes out with the next event that has one, or after a moment. Waits
    /// while the journal is full.
    pub async fn note(&self, event: UsageEvent) -> Recorded {
        self.add(&event, None).await
    }

    async fn add(&self, event: &UsageEvent, cleared: Option<oneshot::Sender<()>>) -> Recorded {
        let (acknowledged, on_acknowledged) = oneshot::channel();
        let line = Bytes::from(ledger_line::write(event));
        let share = u32::try_from(line.len().min(HELD)).expect("the share is small");
        let held = self.room.clone().acquire_many_owned(share).await.expect("the room is never closed");
        if self.queue.send(Entry { line, cleared, acknowledged, held }).await.is_err() {
            error!("the journal has ended: an event is lost");
        }
        Recorded(on_acknowledged)
    }

    /// Waits at most `limit` until the ledger has everything that was written so far. False when it has not.
    pub async fn finish(&self, limit: Duration) -> bool {
        let all = u32::try_from(HELD).expect("it is 64 MB");
        let is_done = timeout(limit, self.room.acquire_many(all)).await.is_ok();
        if !is_done {
            error!("the ledger did not take the last events in time: they are lost");
        }
        is_done
    }
}

async fn write(courier: Courier, mut entries: mpsc::Receiver<Entry>) {
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
                count == 0 || batch.len() >= BATCH || batch.iter().any(|entry| entry.cleared.is_some())
            }
            () = sleep_until(company_until), if has_room && !is_first => true,
            () = sleep(PROBE), if is_first && in_flight.is_empty() && courier.health.failure().is_some() => {
                in_flight.push(courier.clone().probe().boxed());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_cut_by_bytes_in_order_and_a_long_event_travels_alone() {
        let room = Arc::new(Semaphore::new(HELD));
        let mut batch = Vec::new();
        for length in [10, 60, 30, 500, 1, 99, 1, 100] {
            let held = room.clone().acquire_many_owned(1).await.unwrap();
            let (acknowledged, _) = oneshot::channel();
            batch.push(Entry { line: vec![b'x'; length].into(), cleared: None, acknowledged, held });
        }
        let cut: Vec<Vec<usize>> =
            cut(batch, 100).iter().map(|message| message.iter().map(|entry| entry.line.len()).collect()).collect();
        assert_eq!(cut, [vec![10, 60, 30], vec![500], vec![1, 99], vec![1], vec![100]]);
    }
}
