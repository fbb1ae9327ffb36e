//! Bodies in ClickHouse: taken into a bounded queue as they come, stored together, and deleted for good when their user asks for
//! it. Knows not whose are kept, nor what is masked in them.

use crate::metrics::AnalyticsMetrics;
use crate::row_key::micros;
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_runtime::Life;
use penstock_runtime::bus::{Bus, BusError};
use penstock_schemas::body::{BodyDeleted, BodyDeletion, KeptBody, KeptReply};
use penstock_schemas::spend::ReportReply;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;
use uuid::Uuid;

/// Bodies that wait to be stored, in number and in KiB.
const QUEUE: usize = 1_000;
const QUEUE_KIB: usize = 64 << 10;

/// How long the first of them waits for others, and how many are stored together: each insert is a part that ClickHouse merges
/// later.
const GATHER: Duration = Duration::from_secs(1);
const TOGETHER: usize = 500;

/// Longest time in which ClickHouse must have taken them, and the pause between two attempts.
const STORE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait until those of a user are deleted: ClickHouse rewrites the parts that they are in. The asker waits longer.
const DELETE: Duration = Duration::from_secs(25);

/// A row of `body_log`.
#[derive(Clone, Row, Serialize)]
struct BodyRow {
    #[serde(with = "clickhouse::serde::uuid")]
    request_id: Uuid,
    received_at: i64,
    project: String,
    user: Option<String>,
    end_user: Option<String>,
    key_id: String,
    dialect: String,
    model: String,
    request: String,
    request_bytes: u64,
    answer: String,
    answer_bytes: u64,
    sent: String,
    sent_bytes: u64,
}

enum Work {
    /// A row, and its place in the queue.
    Store(Box<BodyRow>, OwnedSemaphorePermit),
    /// Tells when all that came before is stored.
    Tell(oneshot::Sender<()>),
}

/// Takes bodies and deletes them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct BodyStore {
    warehouse: Warehouse,
    queue: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
}

impl BodyStore {
    /// Takes and deletes as long as the role lives.
    pub(crate) async fn start(bus: &Bus, warehouse: &Warehouse, metrics: &AnalyticsMetrics) -> Result<(), BusError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let storing = Storing { warehouse: warehouse.clone(), life: bus.life().clone(), metrics: metrics.clone() };
        bus.life().work(storing.run(waiting));
        let store = Self { warehouse: warehouse.clone(), queue, room: Arc::new(Semaphore::new(QUEUE_KIB)) };
        let own = store.clone();
        bus.store_bodies(move |body| std::future::ready(own.take(body))).await?;
        bus.answer_body_deletions(move |whose| {
            let own = store.clone();
            async move { own.delete(&whose).await }
        })
        .await
    }

    /// Puts a body into the queue, if there is room.
    fn take(&self, body: KeptBody) -> KeptReply {
        let full = || ReportReply::Unavailable("too many bodies wait to be stored".to_owned());
        let kib = u32::try_from((body.request.len() + body.answer.len() + body.sent.len()).div_ceil(1024))
            .unwrap_or(u32::MAX);
        let Ok(place) = self.room.clone().try_acquire_many_owned(kib) else { return full() };
        match self.queue.try_send(Work::Store(Box::new(BodyRow::of(body)), place)) {
            Ok(()) => ReportReply::Report(true),
            Err(_) => full(),
        }
    }

    async fn delete(&self, whose: &BodyDeletion) -> ReportReply<BodyDeleted> {
        let deleting = async {
            // What was taken before the question is stored first, so that none of it appears later.
            let (tell, told) = oneshot::channel();
            if self.queue.send(Work::Tell(tell)).await.is_ok() {
                let _ = told.await;
            }
            delete(&self.warehouse, whose).await
        };
        let trouble = match timeout(DELETE, deleting).await {
            Ok(Ok(deleted)) => return ReportReply::Report(deleted),
            Ok(Err(error)) => Trouble::judge(&error, self.warehouse.address()),
            Err(_) => Trouble::too_slow(self.warehouse.address()),
        };
        ReportReply::Unavailable(trouble.to_string())
    }
}

/// What stores them.
struct Storing {
    warehouse: Warehouse,
    life: Life,
    metrics: AnalyticsMetrics,
}

impl Storing {
    /// Until the role stops, and then those that are left.
    async fn run(self, mut waiting: mpsc::Receiver<Work>) {
        loop {
            let first = tokio::select! {
                biased;
                first = waiting.recv() => first,
                () = self.life.stopping() => waiting.try_recv().ok(),
            };
            let Some(first) = first else { return };
            let (mut rows, mut tell, mut places) = (Vec::new(), Vec::new(), Vec::new());
            let (until, mut next) = (Instant::now() + GATHER, Some(first));
            while let Some(work) = next.take() {
                match work {
                    Work::Store(row, place) => {
                        rows.push(*row);
                        places.push(place);
                    }
                    Work::Tell(asker) => tell.push(asker),
                }
                if rows.len() < TOGETHER && tell.is_empty() {
                    next = tokio::select! {
                        biased;
                        more = timeout_at(until, waiting.recv()) => more.ok().flatten(),
                        () = self.life.stopping() => waiting.try_recv().ok(),
                    };
                }
            }
            self.store(&rows).await;
            for asker in tell {
                let _ = asker.send(());
            }
        }
    }

    /// Tries for a while; what is not stored then is lost: it holds up nothing.
    async fn store(&self, rows: &[BodyRow]) {
        let until = Instant::now() + STORE;
        while !rows.is_empty() {
            let why = match timeout_at(until, insert(&self.warehouse, rows)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Trouble::judge(&error, self.warehouse.address()).to_string(),
                Err(_) => Trouble::too_slow(self.warehouse.address()).to_string(),
            };
            if self.life.is_stopping() || Instant::now() + PAUSE >= until {
                warn!(bodies = rows.len(), why, "bodies that were to be kept are lost");
                self.metrics.bodies_dropped.inc_by(rows.len() as u64);
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

impl BodyRow {
    fn of(body: KeptBody) -> Self {
        let caller = body.caller;
        Self {
            request_id: body.request_id.0,
            received_at: micros(body.received_at),
            project: caller.project.to_string(),
            user: caller.user,
            end_user: caller.end_user,
            key_id: caller.key_id.to_string(),
            dialect: body.dialect.as_str().to_owned(),
            model: body.model,
            request: body.request,
            request_bytes: body.request_bytes,
            answer: body.answer,
            answer_bytes: body.answer_bytes,
            sent: body.sent,
            sent_bytes: body.sent_bytes,
        }
    }
}

async fn insert(warehouse: &Warehouse, rows: &[BodyRow]) -> Result<(), Error> {
    let mut insert = warehouse.client().insert::<BodyRow>("body_log").await?;
    for row in rows {
        insert.write(row).await?;
    }
    insert.end().await
}

async fn delete(warehouse: &Warehouse, whose: &BodyDeletion) -> Result<BodyDeleted, Error> {
    let of = "(user = ? OR end_user = ?) AND (? = '' OR project = ?)";
    let project = whose.project.clone().unwrap_or_default();
    let ask = |sql: String| {
        let query = warehouse.client().query(&sql).bind(&whose.user).bind(&whose.user);
        query.bind(&project).bind(&project)
    };
    let count = async || ask(format!("SELECT uniqExact(request_id) FROM body_log WHERE {of}")).fetch_one::<u64>().await;
    let deleted = count().await?;
    // Not a mark in front of the rows: ClickHouse writes the parts anew without them, on every replica, before it answers.
    let delete = ask(format!("ALTER TABLE body_log DELETE WHERE {of}")).with_setting("mutations_sync", "2");
    delete.execute().await?;
    Ok(BodyDeleted { deleted, left: count().await? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Database};
    use penstock_schemas::UnixMicros;
    use penstock_schemas::caller::Caller;
    use penstock_schemas::dialect::Dialect;
    use penstock_schemas::name::{KeyId, ProjectId, RequestId};
    use std::collections::BTreeMap;

    fn body(length: usize) -> KeptBody {
        let (project, key_id) = (ProjectId::parse("a").unwrap(), KeyId::parse("k").unwrap());
        KeptBody {
            request_id: RequestId(Uuid::now_v7()),
            received_at: UnixMicros(1),
            caller: Caller { project, key_id, user: None, end_user: None, tags: BTreeMap::new() },
            dialect: Dialect::Openai,
            model: "m".to_owned(),
            request: "x".repeat(length),
            request_bytes: length as u64,
            answer: String::new(),
            answer_bytes: 0,
            sent: String::new(),
            sent_bytes: 0,
        }
    }

    #[test]
    fn a_queue_that_is_full_in_number_or_in_bytes_refuses_at_once() {
        let address = Address::parse("http://127.0.0.1:9").unwrap();
        let warehouse = Warehouse::connect(&address, &Database::parse("penstock").unwrap());
        let (queue, mut waiting) = mpsc::channel(2);
        let store = BodyStore { warehouse, queue, room: Arc::new(Semaphore::new(8)) };
        let is_taken = |length| matches!(store.take(body(length)), ReportReply::Report(true));
        assert!(is_taken(1) && is_taken(1) && !is_taken(1), "two of any length");
        drop((waiting.try_recv(), waiting.try_recv()));
        assert!(is_taken(7 << 10) && !is_taken(2 << 10) && is_taken(1 << 10), "eight KiB in all");
    }
}
