//! Lines of a batch through their provider's own batch API. A lane is all lines that name one model: `choice` says whether
//! they go that way, `gather` makes groups of them, `collect` gives each line of a group its result. What was gathered and
//! not done stands in the batch, so that another leader goes on; what the provider does not do in time is queued like any
//! other line. Knows no provider, and nothing of other lines.

mod choice;
mod collect;
mod gather;

use super::lead::{Halt, Lead};
use super::line::{Line, model};
use crate::limits::Hold;
use crate::state::Shared;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use gather::Gathered;
use penstock_runtime::bus::{Intake, NativeObjects};
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::batch::Batch;
use penstock_schemas::native_batch::{NativeAnswer, NativeQuestion};
use penstock_schemas::native_lane::{LaneGroup, NativeLane};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

pub(super) use choice::lanes;

/// Groups of one lane that are under way at once: each is up to 16 MB in the store, and its money is set aside.
const GROUPS: usize = 4;

/// The shortest and the longest wait before a group is asked for again: a twentieth of its age in between.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Before the window ends, this much of it is kept for what a provider has not done: an hour, or a quarter where that is less.
/// The lines are to be taken back, queued and answered in it.
const KEPT: (Duration, u32) = (Duration::from_secs(3600), 4);

/// How long the groups of a batch that ends early are waited for: OpenAI's take up to ten minutes to stop.
/// Source: <https://platform.openai.com/docs/api-reference/batch/cancel>.
const LAST: Duration = Duration::from_secs(600);

/// What the work on a lane needs.
#[derive(Clone)]
struct Lanework {
    ingress: Shared,
    batch: Arc<Batch>,
}

/// The lanes of a batch, each with what is done for it now.
pub(super) struct Lanes {
    work: Lanework,
    turns: FuturesUnordered<BoxFuture<'static, Result<(usize, Turned), Halt>>>,
    /// Groups that the provider was asked to stop with.
    stopped: HashSet<u32>,
}

/// What was done for a lane.
pub(super) enum Turned {
    Gathered(Box<Gathered>),
    Ended(Ended),
    /// Nothing: its groups are under way.
    Waits,
}

/// A group that is over.
#[derive(Debug)]
pub(super) struct Ended {
    number: u32,
    /// Lines that have their result.
    done: u64,
    /// Lines that were queued.
    queued: u64,
    /// Whether the provider has run none of it.
    is_unrun: bool,
    /// Whether the file of its lines was removed.
    is_orphaned: bool,
}

/// From when on nothing more is left to the providers' own batch APIs.
fn late_from(batch: &Batch) -> UnixMicros {
    let kept = KEPT.0.min(batch.expires_at.since(batch.begins_at()) / KEPT.1);
    UnixMicros(batch.expires_at.0.saturating_sub(u64::try_from(kept.as_micros()).unwrap_or(u64::MAX)))
}

/// The lane that a line belongs to, if its lines go through a provider's own batch API.
pub(super) fn lane_of<'a>(batch: &'a Batch, body: &Bytes) -> Option<&'a NativeLane> {
    let mut native = batch.native.iter().filter(|lane| lane.is_native).peekable();
    native.peek()?;
    let model = model(&batch.endpoint, body)?;
    native.find(|lane| lane.model == model)
}

impl Lanes {
    /// Begins, or goes on, with all lanes of a batch.
    pub(super) fn open(lead: &mut Lead) -> Self {
        let native = lead.batch.native.iter().filter(|lane| lane.is_native);
        lead.batch.providers.extend(native.map(|lane| lane.target.provider.clone()));
        let work = Lanework { ingress: lead.ingress.clone(), batch: Arc::new(lead.batch.clone()) };
        let mut lanes = Self { work, turns: FuturesUnordered::new(), stopped: HashSet::new() };
        for (at, lane) in lead.batch.native.iter().enumerate() {
            lanes.turn(at, lane, Duration::ZERO);
        }
        lanes
    }

    /// The next thing that was done; `None` when there is nothing to do.
    pub(super) async fn next(&mut self) -> Option<Result<(usize, Turned), Halt>> {
        self.turns.next().await
    }

    /// Lets something be done for a lane, unless all of it is.
    fn turn(&mut self, at: usize, lane: &NativeLane, wait: Duration) {
        if !lane.is_native || lane.is_read && lane.groups.is_empty() {
            return;
        }
        let is_late = clock::now() >= late_from(&self.work.batch);
        let to_stop = lane.groups.iter().map(|group| group.group.number).filter(|_| is_late);
        let to_stop: HashSet<u32> = to_stop.filter(|number| self.stopped.insert(*number)).collect();
        let (work, lane) = (self.work.clone(), lane.clone());
        self.turns.push(Box::pin(async move {
            sleep(wait).await;
            Ok((at, Box::pin(work.turn(&lane, is_late, &to_stop)).await?))
        }));
    }

    /// Notes what was done, and goes on.
    pub(super) async fn take(&mut self, lead: &mut Lead, (at, turned): (usize, Turned)) -> Result<(), Halt> {
        let mut wait = pause(&lead.batch.native[at]);
        match turned {
            Turned::Waits => {}
            Turned::Gathered(gathered) => {
                let lane = &mut lead.batch.native[at];
                (lane.read, lane.offset) = gathered.place;
                lane.is_read = gathered.is_read;
                lane.queued += gathered.queued;
                if gathered.waiting.is_none() {
                    wait = Duration::ZERO;
                }
                lane.waiting = gathered.waiting;
                if let Some((group, held)) = gathered.group {
                    lead.held.insert(group.group.number, held);
                    lane.groups.push(group);
                }
                lead.save().await?;
            }
            Turned::Ended(ended) => {
                note_end(lead, at, &ended);
                lead.save().await?;
                if ended.is_orphaned {
                    return Err(Halt::File(format!("the file {} was removed", lead.batch.input_file)));
                }
                wait = Duration::ZERO;
            }
        }
        self.turn(at, &lead.batch.native[at], wait);
        Ok(())
    }
}

fn note_end(lead: &mut Lead, at: usize, ended: &Ended) {
    let lane = &mut lead.batch.native[at];
    lane.groups.retain(|group| group.group.number != ended.number);
    (lane.done, lane.queued) = (lane.done + ended.done, lane.queued + ended.queued);
    let held: Vec<Hold> = lead.held.remove(&ended.number).unwrap_or_default();
    if ended.is_unrun {
        held.iter().for_each(|hold| lead.ingress.keeper.release(&hold.reservation));
    }
    info!(batch = %lead.batch.id, model = lead.batch.native[at].model, ?ended, "a group of a native batch is over");
}

/// The wait before the groups of a lane are asked for again.
fn pause(lane: &NativeLane) -> Duration {
    let youngest = lane.groups.iter().map(|group| group.group.at).max();
    let age = youngest.map_or(Duration::ZERO, |at| clock::now().since(at));
    (age / 20).clamp(PAUSE.0, PAUSE.1)
}

impl Lanework {
    async fn turn(&self, lane: &NativeLane, is_late: bool, to_stop: &HashSet<u32>) -> Result<Turned, Halt> {
        for group in &lane.groups {
            if to_stop.contains(&group.group.number) {
                self.ask(lane, NativeQuestion::Cancel(group.group.clone())).await;
            }
            if let Some(ended) = self.advance(lane, group).await? {
                return Ok(Turned::Ended(ended));
            }
        }
        if lane.is_read {
            return Ok(Turned::Waits);
        }
        if is_late {
            return Ok(Turned::Gathered(Box::new(self.queue_rest(lane).await?)));
        }
        if lane.groups.len() >= GROUPS || self.ingress.bus.intake() != Intake::Everything {
            return Ok(Turned::Waits);
        }
        Ok(Turned::Gathered(Box::new(self.gather(lane).await?)))
    }

    /// Asks for a group; its end, when it is over and its lines have their results.
    async fn advance(&self, lane: &NativeLane, group: &LaneGroup) -> Result<Option<Ended>, Halt> {
        let is_unrun = match self.ask(lane, NativeQuestion::Advance(group.group.clone())).await {
            Some(NativeAnswer::Collected(_)) => false,
            Some(NativeAnswer::Failed(failure)) => {
                let group = group.group.name();
                warn!(group, reason = failure.message, "a native batch was not taken: its lines are queued");
                true
            }
            _ => return Ok(None),
        };
        let ended = Box::pin(self.collect(lane, group, is_unrun)).await?;
        self.ask(lane, NativeQuestion::Forget(group.group.clone())).await;
        Ok(Some(ended))
    }

    async fn ask(&self, lane: &NativeLane, question: NativeQuestion) -> Option<NativeAnswer> {
        let answer = self.ingress.bus.ask_native(&lane.target.provider, &question).await;
        answer.inspect_err(|error| debug!(batch = %self.batch.id, %error, "no worker answers for a native batch")).ok()
    }

    async fn objects(&self) -> Result<NativeObjects, Halt> {
        Ok(self.ingress.bus.native_objects().await?)
    }

    /// Whether a line of the file is one of this lane's, and can be run.
    async fn is_in(&self, lane: &NativeLane, number: u64, text: &Bytes) -> Result<Option<Line>, Halt> {
        let Ok(line) = Line::read(text, &self.batch.endpoint) else { return Ok(None) };
        if model(&self.batch.endpoint, &line.body).is_none_or(|model| model != lane.model) {
            return Ok(None);
        }
        let is_bad = match self.batch.is_bad(number) {
            Some(is_bad) => is_bad,
            None => self.ingress.batches.jobs.result(&self.batch.id, number).await?.is_some(),
        };
        Ok((!is_bad).then_some(line))
    }

    /// Queues a line like any other, unless it has its result.
    async fn queue(&self, lane: &NativeLane, number: u64, text: &Bytes) -> Result<(), Halt> {
        let jobs = &self.ingress.batches.jobs;
        if jobs.result(&self.batch.id, number).await?.is_none() {
            jobs.put(&lane.target.provider, (&self.batch.id, number), text).await?;
        }
        Ok(())
    }
}

/// Has the providers stop with what is under way of a batch that ends early, and takes what they have answered.
pub(super) async fn give_up(lead: &mut Lead) -> Result<(), Halt> {
    let work = Lanework { ingress: lead.ingress.clone(), batch: Arc::new(lead.batch.clone()) };
    for lane in lead.batch.native.clone() {
        for group in &lane.groups {
            work.ask(&lane, NativeQuestion::Cancel(group.group.clone())).await;
        }
    }
    let until = Instant::now() + LAST;
    while lead.batch.native.iter().any(|lane| !lane.groups.is_empty()) && Instant::now() < until {
        for (at, lane) in lead.batch.native.clone().iter().enumerate() {
            for group in &lane.groups {
                if let Some(ended) = work.advance(lane, group).await? {
                    note_end(lead, at, &ended);
                    lead.save().await?;
                }
            }
        }
        lead.beat().await?;
        sleep(PAUSE.0).await;
    }
    Ok(())
}

/// Removes what gathering may have left behind.
pub(super) async fn clear(lead: &Lead) -> Result<(), Halt> {
    if lead.batch.native.iter().any(|lane| lane.is_native && lane.groups.is_empty()) {
        let objects = lead.ingress.bus.native_objects().await?;
        let own = format!("{}-", lead.batch.id);
        let under_way: Vec<String> =
            lead.batch.native.iter().flat_map(|lane| &lane.groups).map(|of| of.group.name()).collect();
        objects.clear(|name| name.starts_with(&own) && !under_way.iter().any(|group| name.starts_with(group))).await?;
    }
    Ok(())
}
