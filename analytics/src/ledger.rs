//! The way of usage events from the ledger into ClickHouse: gather, insert, acknowledge, in this order, so that an event is
//! in one of the two at every moment. Knows nothing of SQL.

use crate::audit::AuditLogRow;
use crate::freshness::Freshness;
use crate::metrics::AnalyticsMetrics;
use crate::outage::Outage;
use crate::prepare::Preparation;
use crate::row_key::RowKey;
use crate::rows::{AlertLogRow, AttemptRow, Folding, RequestRow, Rows, key};
use crate::schema::SchemaError;
use crate::score::ScoreRow;
use crate::sift::{Verdict, sift};
use crate::standing::Standing;
use crate::traces::Traces;
use crate::trouble::Trouble;
use crate::turns::EventTurns;
use bytes::Bytes;
use penstock_runtime::bus::{Alarm, Bus, BusError, DeadReason, Letter, UsageBatch, UsageReader};
use penstock_runtime::{Life, clock, schedule};
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::Alert;
use penstock_schemas::event::UsageEvent;
use penstock_schemas::ledger_line;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, warn};

/// Events that are inserted together, about.
const MOST: usize = 5_000;

/// How long a stopping role waits for more events before it believes that there are none, and how long it goes on when
/// there are: others write on.
const LAST: Duration = Duration::from_millis(500);
const LEFT: Duration = Duration::from_secs(3);

/// Bytes of messages that are inserted together, about: what long events take of this process's memory.
const MOST_BYTES: usize = 32 << 20;

/// After so many exceptions over one batch, some 30 s, its rows may be the reason even if ClickHouse does not say so: a
/// batch that is too large for its memory would hold up all others for ever.
const INSISTS: u32 = 20;

/// Waits before the ledger is opened again, the first and the longest.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The reader of the ledger and what it needs.
pub(crate) struct Ledger {
    bus: Bus,
    life: Life,
    preparation: Preparation,
    metrics: AnalyticsMetrics,
    outage: Outage,
    standing: Standing,
    freshness: Freshness,
    alarm: Alarm,
    known: Known,
    traces: Option<Traces>,
}

/// For each table a row that it took: it must take that again before anything is put down to the rows.
#[derive(Default)]
struct Known {
    attempt: Option<AttemptRow>,
    request: Option<RequestRow>,
    alert: Option<AlertLogRow>,
    audit: Option<AuditLogRow>,
    score: Option<ScoreRow>,
}

/// What ClickHouse refuses for good, and why.
type Refused = HashMap<RowKey, String>;

impl Ledger {
    pub(crate) fn new(bus: &Bus, standing: Standing, preparation: Preparation, metrics: AnalyticsMetrics) -> Self {
        let (alarm, bus, life) = (bus.alarm(), bus.clone(), bus.life().clone());
        let (outage, known) = (Outage::default(), Known::default());
        let freshness = Freshness::default();
        Self { bus, life, preparation, metrics, outage, standing, freshness, alarm, known, traces: None }
    }

    /// How long events wait for others; to be told of questions.
    pub(crate) fn freshness(&self) -> Freshness {
        self.freshness.clone()
    }

    /// The same with traces made of what is stored.
    pub(crate) fn tracing(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Carries events over until the role stops, and then those that are left.
    pub(crate) async fn run(mut self, mut reader: UsageReader) {
        self.standing.gives();
        while let Err(error) = self.preparation.make().await {
            if !self.endure(error).await {
                return;
            }
        }
        self.taken();
        let (mut failures, mut end) = (0, None);
        loop {
            if self.life.is_stopping() && *end.get_or_insert_with(|| Instant::now() + LEFT) <= Instant::now() {
                return;
            }
            match self.gather(&mut reader).await {
                Ok(Some(batches)) => {
                    failures = 0;
                    self.carry(batches).await;
                }
                Ok(None) => return,
                Err(error) => {
                    failures += 1;
                    warn!(%error, "the ledger cannot be read; opening it again");
                    match self.reopen(failures).await {
                        Some(opened) => reader = opened,
                        None if self.life.is_stopping() => return,
                        None => {}
                    }
                }
            }
        }
    }

    /// What one insert is made of: a message of the ledger each, so that each can be acknowledged by itself. `None` when
    /// the role stops and nothing is left.
    async fn gather(&self, reader: &mut UsageReader) -> Result<Option<Vec<UsageBatch>>, BusError> {
        let Some(first) = self.first(reader).await else { return Ok(None) };
        let mut batches = vec![first?];
        let (mut count, mut bytes) = (batches[0].events.len(), batches[0].bytes());
        let until = Instant::now() + self.freshness.begin();
        let mut hurried = std::pin::pin!(self.freshness.hurried());
        let mut turns = EventTurns::default();
        while count < MOST && bytes < MOST_BYTES {
            let next = tokio::select! {
                next = timeout_at(until, reader.next(1, Duration::ZERO)) => next,
                () = &mut hurried => break,
                () = self.life.stopping() => break,
            };
            // An error here is met again by the next `first`.
            let Ok(Ok(batch)) = next else { break };
            count += batch.events.len();
            bytes += batch.bytes();
            batches.push(batch);
            turns.next().await;
        }
        Ok(Some(batches))
    }

    async fn first(&self, reader: &mut UsageReader) -> Option<Result<UsageBatch, BusError>> {
        let mut next = std::pin::pin!(reader.next(1, Duration::ZERO));
        tokio::select! {
            batch = &mut next => Some(batch),
            () = self.life.stopping() => timeout(LAST, next).await.ok(),
        }
    }

    async fn reopen(&self, failures: u32) -> Option<UsageReader> {
        tokio::select! {
            () = sleep(schedule::full_jitter(failures, REOPEN.0, REOPEN.1)) => UsageReader::open(&self.bus).await.ok(),
            () = self.life.stopping() => None,
        }
    }

    /// Inserts until it works, then acknowledges. When the role stops in an outage, the ledger keeps the events.
    async fn carry(&mut self, batches: Vec<UsageBatch>) {
        let mut refused = Refused::new();
        loop {
            let rows = fold(&batches, &refused).await;
            let Some(new) = self.store_at_last(&rows, &batches).await else { return };
            if new.is_empty() {
                break;
            }
            // Where an attempt's end is refused, its start makes a row of its own.
            refused.extend(new.into_iter().map(|(key, trouble)| (key, trouble.to_string())));
        }
        self.taken();
        self.freshness.carried();
        self.metrics.batches.inc();
        if let Some(oldest) = batches.iter().flat_map(|batch| &batch.events).filter_map(written_at).min() {
            self.metrics.took(clock::now().since(oldest));
        }
        let mut turns = EventTurns::default();
        for mut batch in batches {
            self.acknowledge(&mut batch, &refused).await;
            if let Some(traces) = &self.traces {
                traces.take(batch.events.into_iter());
            }
            turns.next().await;
        }
    }

    /// Tries until ClickHouse has taken the rows, and gives those that it refuses. `None` when the role stops before that.
    async fn store_at_last(&mut self, rows: &Rows, batches: &[UsageBatch]) -> Option<Vec<(RowKey, Trouble)>> {
        let mut verdict = Verdict::Values;
        let mut exceptions = 0;
        loop {
            let error = match self.store(rows, verdict).await {
                Ok(refused) => return Some(refused),
                Err(error) => error,
            };
            for batch in batches {
                batch.keep().await;
            }
            exceptions += u32::from(matches!(error, SchemaError::Trouble(Trouble::Exception { .. })));
            if exceptions >= INSISTS {
                verdict = Verdict::Any;
            }
            if !self.endure(error).await {
                return None;
            }
        }
    }

    /// After an outage ClickHouse may be another one, without our tables.
    async fn store(&mut self, rows: &Rows, verdict: Verdict) -> Result<Vec<(RowKey, Trouble)>, SchemaError> {
        if self.outage.is_on() {
            self.preparation.make().await?;
        }
        Ok(self.insert(rows, verdict).await?)
    }

    /// Attempts first: a request is never seen without the attempts that it caused.
    async fn insert(&mut self, rows: &Rows, verdict: Verdict) -> Result<Vec<(RowKey, Trouble)>, Trouble> {
        let begun = Instant::now();
        self.standing.gives();
        let (warehouse, known) = (&self.preparation.warehouse, &mut self.known);
        let mut refused = sift(warehouse, &rows.attempts, verdict, &mut known.attempt).await?;
        refused.extend(sift(warehouse, &rows.requests, verdict, &mut known.request).await?);
        refused.extend(sift(warehouse, &rows.alerts, verdict, &mut known.alert).await?);
        refused.extend(sift(warehouse, &rows.audit, verdict, &mut known.audit).await?);
        refused.extend(sift(warehouse, &rows.scores, verdict, &mut known.score).await?);
        self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        Ok(refused)
    }

    /// What cannot be stored becomes a dead letter first. When that does not work, the ledger gives the message again.
    async fn acknowledge(&self, batch: &mut UsageBatch, refused: &Refused) {
        let mut letters = std::mem::take(&mut batch.unreadable);
        letters.extend(batch.events.iter().filter_map(|event| Some(letter(event, refused.get(&key(event))?))));
        for letter in &letters {
            if let Err(error) = self.bury(letter).await {
                error!(%error, "a usage event that cannot be stored stays in the ledger");
                return;
            }
        }
        let count = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
        match batch.acknowledge().await {
            Ok(()) => {
                self.metrics.events.inc_by(count);
                self.metrics.dead.inc_by(u64::try_from(letters.len()).unwrap_or(u64::MAX));
            }
            Err(error) => warn!(%error, "usage events that are safe could not be acknowledged: they come again"),
        }
    }

    async fn bury(&self, letter: &Letter) -> Result<(), BusError> {
        let reason = letter.reason.as_str();
        error!(reason, why = letter.why, "a usage event cannot be stored: it goes to the dead letters");
        self.bus.bury(letter).await?;
        self.alarm.raise(Alert::ledger_dead_letter(reason, &letter.why, clock::now()));
        Ok(())
    }

    /// Waits a little for ClickHouse. False when the role stops, or somebody must mend the tables.
    async fn endure(&mut self, error: SchemaError) -> bool {
        let SchemaError::Trouble(trouble) = error else {
            error!(%error, "usage events stay in the ledger");
            self.life.stop();
            return false;
        };
        let pause = self.outage.goes_on(&trouble);
        self.standing.fails(&trouble.to_string());
        self.metrics.down.set(1);
        tokio::select! {
            () = sleep(pause) => true,
            () = self.life.stopping() => false,
        }
    }

    fn taken(&mut self) {
        self.outage.is_over();
        self.standing.taken();
        self.metrics.down.set(0);
    }
}

/// The rows of all events that ClickHouse does not refuse.
async fn fold(batches: &[UsageBatch], refused: &Refused) -> Rows {
    let (mut folding, mut turns) = (Folding::default(), EventTurns::default());
    for event in batches.iter().flat_map(|batch| &batch.events) {
        if !refused.contains_key(&key(event)) {
            folding.add(event);
        }
        turns.next().await;
    }
    folding.rows()
}

/// When an event was written, about.
fn written_at(event: &UsageEvent) -> Option<UnixMicros> {
    match event {
        UsageEvent::AttemptStarted(start) => Some(start.started_at),
        UsageEvent::AttemptEnded(ended) => Some(ended.ended_at),
        UsageEvent::Request(request) => Some(request.ended_at),
        UsageEvent::Alert(_) | UsageEvent::Audit(_) | UsageEvent::Score(_) => None,
    }
}

fn letter(event: &UsageEvent, why: &str) -> Letter {
    Letter { reason: DeadReason::Refused, why: why.to_owned(), line: Bytes::from(ledger_line::write(event)) }
}
