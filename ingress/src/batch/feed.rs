//! Feeds the lines of a batch into the queues of their providers, so many at a time that memory and queues stay small,
//! and counts the results that come back. Answers nothing itself.

use super::lead::{Halt, Lead, WORD};
use super::line::{Line, endpoint, model};
use super::lines::{Lines, Text};
use super::native::{Lanes, lane_of};
use super::validate;
use crate::refusal::Refusal;
use crate::stage::{line as request, route};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use penstock_runtime::bus::{BusError, Intake, Results};
use penstock_runtime::clock;
use penstock_schemas::batch::{BatchError, BatchStatus, Tally};
use penstock_schemas::key::VirtualKey;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Lines of one batch that may be fed and have no result yet.
const WINDOW: u64 = 10_000;

/// Lines that are put into queues at once.
const AT_ONCE: usize = 64;

/// Lines that may be fed beyond what stands in the batch; a new leader looks for the results of so many.
const UNSAVED: u64 = 2_000;

/// How long the end of groups is waited for whose lines all have results.
const LAST_GROUPS: Duration = Duration::from_secs(5);

/// A line that is read, and what comes of it.
type Next = Result<Option<(u64, Text)>, std::io::Error>;

/// Feeds until every line has a result, the window of the batch has passed, or it is cancelled.
pub(super) async fn feed(lead: &mut Lead) -> Result<(), Halt> {
    let ingress = lead.ingress.clone();
    let Some(file) = super::input(&ingress, &lead.batch).await? else {
        return lead.fail("file_not_found", format!("the file {} was removed", lead.batch.input_file)).await;
    };
    let lines = Lines::new(file, ingress.config.body_limit);
    let lines = stream::unfold(lines, |mut lines| async move {
        let next: Next = lines.next().await;
        Some((next, lines))
    });
    let mut lines = pin!(lines.fuse());
    let mut feeding = Feeding::new(lead).await?;
    let mut lanes = Lanes::open(lead);
    let mut ticks = interval(WORD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while feeding.counted < lead.batch.counts.total {
        let may_read = feeding.may_read(lead);
        select! {
            biased;
            result = feeding.results.next() => feeding.count(lead, result?.1),
            Some(put) = feeding.puts.next() => put?,
            Some(turned) = lanes.next() => lanes.take(lead, turned?).await?,
            _ = ticks.tick() => feeding.look(lead).await?,
            () = ingress.life.stopping() => return Err(Halt::Stopping),
            Some(next) = lines.next(), if may_read => match next.map_err(|error| Halt::File(error.to_string()))? {
                Some((number, text)) => feeding.pass(lead, number, text).await?,
                None => feeding.is_at_end = true,
            },
        }
        if lead.batch.status != BatchStatus::InProgress {
            return Ok(());
        }
    }
    note_last_groups(lead, &mut lanes).await?;
    lead.batch.outcome = Some(BatchStatus::Completed);
    lead.turn(BatchStatus::Finalizing).await
}

/// Waits until the groups whose lines all have results are known to be over, so that the batch tells of them.
async fn note_last_groups(lead: &mut Lead, lanes: &mut Lanes) -> Result<(), Halt> {
    let until = Instant::now() + LAST_GROUPS;
    while lead.batch.native.iter().any(|lane| !lane.groups.is_empty()) {
        match timeout_at(until, lanes.next()).await {
            Ok(Some(turned)) => lanes.take(lead, turned?).await?,
            Ok(None) | Err(_) => break,
        }
    }
    Ok(())
}

struct Feeding {
    key: Result<Arc<VirtualKey>, Refusal>,
    results: Results,
    puts: FuturesUnordered<BoxFuture<'static, Result<(), BusError>>>,
    /// Results that were counted.
    counted: u64,
    /// Those of them that came from a provider's own batch API.
    counted_native: u64,
    /// Lines that were read.
    passed: u64,
    /// Those of them that the lanes take care of.
    passed_native: u64,
    /// Lines up to this one were fed before, those up to the other perhaps.
    fed_before: u64,
    perhaps_before: u64,
    /// `fed` as it stands in the store.
    saved: u64,
    is_at_end: bool,
    /// A line that waits for money.
    waiting: Option<(u64, Bytes)>,
}

impl Feeding {
    async fn new(lead: &mut Lead) -> Result<Self, Halt> {
        let results = lead.ingress.batches.jobs.results(&lead.batch.id).await?;
        let fed_before = lead.batch.fed;
        lead.batch.uncount();
        Ok(Self {
            key: request::find_owner(&lead.batch, &lead.ingress).map(|found| found.key),
            results,
            puts: FuturesUnordered::new(),
            counted: 0,
            counted_native: 0,
            passed: 0,
            passed_native: 0,
            fed_before,
            perhaps_before: if lead.is_first { 0 } else { fed_before + UNSAVED },
            saved: fed_before,
            is_at_end: false,
            waiting: None,
        })
    }

    fn may_read(&self, lead: &Lead) -> bool {
        let is_free = self.queued(lead) < WINDOW && self.puts.len() < AT_ONCE;
        let is_skipping = self.passed < self.fed_before;
        let has_disk = lead.ingress.bus.intake() == Intake::Everything;
        has_disk && !self.is_at_end && self.waiting.is_none() && lead.batch.paused.is_none() && (is_free || is_skipping)
    }

    /// About how many lines are in the queues.
    fn queued(&self, lead: &Lead) -> u64 {
        let by_lanes: u64 = lead.batch.native.iter().map(|lane| lane.queued).sum();
        let answered = self.counted - self.counted_native;
        (self.passed - self.passed_native + by_lanes).saturating_sub(answered)
    }

    fn count(&mut self, lead: &mut Lead, tally: Tally) {
        self.counted += 1;
        self.counted_native += u64::from(tally.is_native);
        lead.batch.count(&tally);
    }

    /// What is to be looked at from time to time.
    async fn look(&mut self, lead: &mut Lead) -> Result<(), Halt> {
        if clock::now() >= lead.batch.expires_at {
            lead.batch.outcome = Some(BatchStatus::Expired);
            return lead.turn(BatchStatus::Finalizing).await;
        }
        if let Some((number, line)) = self.waiting.take() {
            self.feed(lead, number, line).await?;
        }
        if self.puts.is_empty() {
            (lead.batch.fed, self.saved) = (self.passed.max(self.fed_before), self.passed);
        }
        lead.beat().await
    }

    /// Takes the next line of the file.
    async fn pass(&mut self, lead: &mut Lead, number: u64, text: Text) -> Result<(), Halt> {
        self.passed = number;
        // A line that is too long has its result, and so has a bad one.
        let Text::Whole(line) = text else { return Ok(()) };
        if lead.batch.is_bad(number) == Some(true) {
            return Ok(());
        }
        if self.is_of_lane(lead, &line) {
            self.passed_native += 1;
            return Ok(());
        }
        if number <= self.fed_before {
            return Ok(());
        }
        self.feed(lead, number, line).await
    }

    fn is_of_lane(&self, lead: &Lead, line: &Bytes) -> bool {
        let is_any = lead.batch.native.iter().any(|lane| lane.is_native);
        is_any && Line::read(line, &lead.batch.endpoint).is_ok_and(|line| lane_of(&lead.batch, &line.body).is_some())
    }

    /// Puts a line into the queue of its provider, unless it has a result or there is no money for it.
    async fn feed(&mut self, lead: &mut Lead, number: u64, line: Bytes) -> Result<(), Halt> {
        let (batch, ingress) = (&lead.batch, &lead.ingress);
        let is_doubtful = number <= self.perhaps_before || batch.is_bad(number).is_none();
        if is_doubtful && ingress.batches.jobs.result(&batch.id, number).await?.is_some() {
            return Ok(());
        }
        let Ok(read) = Line::read(&line, &batch.endpoint) else { return Ok(()) };
        let Some(model) = model(&batch.endpoint, &read.body) else { return Ok(()) };
        // What is not served any more is refused where it is run.
        let Ok(provider) = route::first_provider(&model, &ingress.models) else {
            return self.lose(lead, number, &read).await;
        };
        if let Some(why) = self.short(lead, &read) {
            lead.batch.paused = Some(why);
            self.waiting = Some((number, line));
            return lead.save().await;
        }
        lead.batch.paused = None;
        if lead.batch.providers.insert(provider.clone()) {
            lead.save().await?;
        }
        if number > self.saved + UNSAVED {
            // Those that are being put are not fed yet.
            while let Some(put) = self.puts.next().await {
                put?;
            }
            (lead.batch.fed, self.saved) = (number - 1, number - 1);
            lead.save().await?;
        }
        let (jobs, id) = (lead.ingress.batches.jobs.clone(), lead.batch.id.clone());
        self.puts.push(Box::pin(async move { jobs.put(&provider, (&id, number), &line).await }));
        Ok(())
    }

    /// A line whose model went away between the two readings.
    async fn lose(&mut self, lead: &Lead, number: u64, line: &Line) -> Result<(), Halt> {
        let error = BatchError {
            code: "model_not_found".to_owned(),
            message: "the model is not served any more".to_owned(),
            line: Some(number),
            param: Some("body.model".to_owned()),
        };
        let written = super::result::unsent(clock::request_id(), Some(&line.custom_id), &error);
        let place = (&lead.batch.id, number);
        lead.ingress.batches.jobs.put_result(place, &Tally::default(), &written).await?;
        Ok(())
    }

    /// Why a line is not to be begun now.
    fn short(&self, lead: &Lead, line: &Line) -> Option<String> {
        let (batch, ingress) = (&lead.batch, &lead.ingress);
        let Ok(key) = &self.key else { return None };
        if !ingress.rules().is_limiting(key) {
            return None;
        }
        let asked = line.ask(endpoint(&batch.endpoint)?).ok()?;
        let wants = validate::wants(&asked, batch, key, ingress).ok()?;
        let short = wants.iter().find(|want| want.is_budget() && ingress.keeper.remaining(want) < want.amount)?;
        let [needed, left] = [short.amount, ingress.keeper.remaining(short)].map(|amount| short.unit.write(amount));
        let label = &short.label;
        Some(format!(
            "the budget `{label}` has {left} left, and line needs {needed}: the batch goes on when there is more"
        ))
    }
}
