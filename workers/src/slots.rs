//! The slots of a pool, one call each, and how many of them calls of batches may have: these never take the last ones, nor
//! those that callers had lately, so that a caller who waits finds one. Knows nothing of calls or of the bus.

use penstock_schemas::envelope::Traffic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// A pool that took no more calls of batches takes them again when this part of their slots is free: each time costs a
/// subscription. With fewer, it takes them after [`SETTLE`].
const PART: usize = 8;

/// The time after which one free slot is enough. With it, a pool subscribes to batch traffic 50 times a second at most,
/// however short its calls are.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a pool that was full is left to sync traffic alone: an ingress with a call in its queue looks for a free slot
/// every 20 ms, and is to find it before a batch does.
const SYNC_FIRST: Duration = Duration::from_millis(50);

/// How long at least the most slots that callers had at once are left to them: their next calls need as many, and a batch's
/// calls would hold them for as long as an answer takes.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Of the slots that callers had, this part is left to them besides, for when they become more.
const MORE: usize = 8;

/// So many calls may wait in line for a slot: this part of the slots, one at least.
const LINE_PART: usize = 8;

/// Longest wait in line. Shorter than the silence after which an ingress gives a worker up.
const LINE_WAIT: Duration = Duration::from_millis(300);

/// The part of a pool's slots that calls of batches may have, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShare(u32);

impl BatchShare {
    /// What holds where the operator says nothing: nine of ten.
    pub const USUAL: Self = Self(900);

    /// Reads a fraction: 0.05 to 1.
    pub fn parse(fraction: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 50 and 1000")]
        (0.05..=1.0).contains(&fraction).then(|| Self((fraction * 1000.0).round() as u32))
    }

    /// How many of so many slots that is: one at least.
    pub fn of(self, slots: usize) -> usize {
        (slots.saturating_mul(self.0 as usize) / 1000).max(1)
    }
}

/// All slots of one pool. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    all: Arc<Semaphore>,
    count: usize,
    callers: Mutex<CallerSlots>,
    /// The most that calls of batches may have where there are no callers.
    most: usize,
    /// Those that they have.
    batch: AtomicUsize,
    batch_freed: Notify,
    /// Places in the line.
    line: Semaphore,
}

/// A slot that a call has, until it is dropped.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    given: Option<(Traffic, Slots)>,
}

/// How many slots callers have, and had at most of late.
struct CallerSlots {
    now: usize,
    /// Since [`Self::since`], and in the time before.
    most: [usize; 2],
    since: Instant,
}

impl CallerSlots {
    /// The most of late.
    fn most(&mut self, at: Instant) -> usize {
        let passed = at.duration_since(self.since);
        if passed >= REMEMBERED {
            let before = if passed >= 2 * REMEMBERED { self.now } else { self.most[0] };
            (self.most, self.since) = ([self.now, before], at);
        }
        self.most[0].max(self.most[1])
    }

    fn add(&mut self, at: Instant) {
        self.most(at);
        self.now += 1;
        self.most[0] = self.most[0].max(self.now);
    }
}

/// Since when no calls of batches are taken, and until when they are not in any case.
#[derive(Clone, Copy)]
pub(crate) struct Pause {
    since: Instant,
    least: Duration,
}

impl Pause {
    /// Calls of batches have all slots that they may have.
    pub(crate) fn at_share() -> Self {
        Self { since: Instant::now(), least: Duration::ZERO }
    }

    /// The pool was full: sync traffic goes first.
    pub(crate) fn after_full() -> Self {
        Self { least: SYNC_FIRST, ..Self::at_share() }
    }

    /// So long at least.
    pub(crate) fn of(least: Duration) -> Self {
        Self { least, ..Self::at_share() }
    }
}

impl Slots {
    /// So many, all free.
    pub(crate) fn new(count: usize, share: BatchShare) -> Self {
        let all = Arc::new(Semaphore::new(count));
        let callers = Mutex::new(CallerSlots { now: 0, most: [0, 0], since: Instant::now() });
        let (most, batch, batch_freed) = (share.of(count), AtomicUsize::new(0), Notify::new());
        let line = Semaphore::new((count / LINE_PART).max(1));
        Self(Arc::new(Shared { all, count, callers, most, batch, batch_freed, line }))
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.0.all.available_permits()
    }

    fn callers(&self) -> MutexGuard<'_, CallerSlots> {
        self.0.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls of batches may have at most, now: one at least, so that they come to an end.
    pub(crate) fn most_of_batches(&self) -> usize {
        let callers = self.callers().most(Instant::now());
        self.0.most.min(self.0.count.saturating_sub(callers + callers / MORE)).max(1)
    }

    /// How many of the free ones calls of batches may have.
    pub(crate) fn free_for_batches(&self) -> usize {
        self.left().min(self.free())
    }

    /// How many more calls of batches may have, whether they are free or not.
    pub(crate) fn left(&self) -> usize {
        self.most_of_batches().saturating_sub(self.0.batch.load(Ordering::Acquire))
    }

    /// Whether calls of batches may have another one.
    pub(crate) fn has_share(&self) -> bool {
        self.left() > 0
    }

    /// Waits until one is free.
    pub(crate) async fn wait(&self) {
        drop(self.0.all.acquire().await.expect("the slots are never closed"));
    }

    /// Takes one for a call, if there is one for it.
    pub(crate) fn take(&self, traffic: Traffic) -> Option<Slot> {
        let slot = self.reserve()?;
        match traffic {
            Traffic::Sync => Some(self.give_to_caller(slot)),
            Traffic::Batch => self.give_to_batch(slot),
        }
    }

    /// Waits in line for one for a caller's call. `None` when the line is full, and when it took too long.
    pub(crate) async fn line_up(&self) -> Option<Slot> {
        let _place = self.0.line.try_acquire().ok()?;
        let permit = timeout(LINE_WAIT, self.0.all.clone().acquire_owned()).await.ok()?;
        let slot = Slot { _permit: permit.expect("the slots are never closed"), given: None };
        Some(self.give_to_caller(slot))
    }

    /// Takes one for the next call, whosever it is.
    pub(crate) fn reserve(&self) -> Option<Slot> {
        Some(Slot { _permit: self.0.all.clone().try_acquire_owned().ok()?, given: None })
    }

    /// Makes a slot one of a caller's call.
    pub(crate) fn give_to_caller(&self, mut slot: Slot) -> Slot {
        self.callers().add(Instant::now());
        slot.given = Some((Traffic::Sync, self.clone()));
        slot
    }

    /// Makes a slot one of a batch's call; `None` when these have all that they may have.
    pub(crate) fn give_to_batch(&self, mut slot: Slot) -> Option<Slot> {
        let most = self.most_of_batches();
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        self.0.batch.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        slot.given = Some((Traffic::Batch, self.clone()));
        Some(slot)
    }

    /// Waits until calls of batches are to be taken again.
    pub(crate) async fn batch_again(&self, pause: Pause) {
        sleep_until(pause.since + pause.least).await;
        let settled = pause.since + SETTLE;
        loop {
            let is_settled = Instant::now() >= settled;
            if is_enough(self.left(), self.most_of_batches(), is_settled) {
                return;
            }
            tokio::select! {
                () = self.0.batch_freed.notified() => {}
                () = sleep_until(settled), if !is_settled => {}
            }
        }
    }
}

/// Whether so many of the most slots that batches may have are worth a subscription.
fn is_enough(left: usize, most: usize, is_settled: bool) -> bool {
    left >= if is_settled { 1 } else { most.div_ceil(PART) }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.given.take() {
            Some((Traffic::Batch, slots)) => {
                slots.0.batch.fetch_sub(1, Ordering::AcqRel);
                slots.0.batch_freed.notify_one();
            }
            Some((Traffic::Sync, slots)) => slots.callers().now -= 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn batches_have_their_share_and_one_slot_at_least() {
        for (share, slots, most) in [
            (0.9, 256, 230),
            (0.9, 10, 9),
            (0.9, 9, 8),
            (0.9, 2, 1),
            (0.9, 1, 1),
            (0.29, 100, 29),
            (0.05, 10, 1),
            (0.05, 100, 5),
            (0.5, 3, 1),
            (1.0, 7, 7),
        ] {
            assert_eq!(BatchShare::parse(share).unwrap().of(slots), most, "{share} of {slots}");
        }
        for bad in [0.0, 0.049, 1.001, -0.5, f64::NAN, f64::INFINITY] {
            assert_eq!(BatchShare::parse(bad), None, "{bad}");
        }
        assert_eq!(BatchShare::parse(0.9), Some(BatchShare::USUAL));
    }

    #[test]
    fn batches_never_take_the_last_slots_and_sync_traffic_takes_any() {
        let slots = Slots::new(10, BatchShare::USUAL);
        let mut held: Vec<Slot> = (0..9).map(|_| slots.take(Traffic::Batch).unwrap()).collect();
        assert!(slots.take(Traffic::Batch).is_none() && !slots.has_share());
        assert_eq!((slots.free(), slots.free_for_batches()), (1, 0));
        let sync = slots.take(Traffic::Sync).unwrap();
        assert!(slots.take(Traffic::Sync).is_none());
        held.pop();
        assert_eq!((slots.free(), slots.free_for_batches(), slots.has_share()), (1, 1, true));
        // The slot that is free goes to whoever comes, and sync traffic may fill the pool.
        let other = slots.take(Traffic::Sync).unwrap();
        assert!(slots.take(Traffic::Batch).is_none() && !slots.has_share(), "callers have the two last ones");
        drop((sync, other));
        assert!(slots.take(Traffic::Batch).is_none(), "callers had two lately");
        held.pop();
        assert!(slots.take(Traffic::Batch).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_callers_had_at_once_is_left_to_them_and_an_eighth_more_until_they_need_less() {
        let slots = Slots::new(100, BatchShare::USUAL);
        let batch = || std::iter::from_fn(|| slots.take(Traffic::Batch)).collect::<Vec<Slot>>();
        let mut callers: Vec<Slot> = (0..40).map(|_| slots.take(Traffic::Sync).unwrap()).collect();
        assert_eq!((batch().len(), slots.most_of_batches()), (55, 55));
        callers.truncate(16);
        assert_eq!(batch().len(), 55, "the next callers may be as many");
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(batch().len(), 55);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(batch().len(), 82, "16 and two more");
        drop(callers);
        tokio::time::advance(2 * REMEMBERED).await;
        assert_eq!(batch().len(), 90);
        let all: Vec<Slot> = (0..100).map(|_| slots.take(Traffic::Sync).unwrap()).collect();
        drop(all);
        assert_eq!(batch().len(), 1, "one at least");
    }

    #[test]
    fn a_slot_that_was_meant_for_sync_traffic_counts_as_a_batchs_once_it_has_it() {
        let slots = Slots::new(2, BatchShare::USUAL);
        let slot = slots.give_to_batch(slots.reserve().unwrap()).unwrap();
        assert!(slots.give_to_batch(slots.reserve().unwrap()).is_none());
        assert_eq!(slots.free(), 1, "the one that it could not have is free again");
        drop(slot);
        assert_eq!((slots.free(), slots.free_for_batches()), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_line_has_the_next_slot_before_who_comes_then_and_the_line_is_short() {
        let slots = Slots::new(16, BatchShare::USUAL);
        let mut held: Vec<Slot> = (0..16).map(|_| slots.take(Traffic::Sync).unwrap()).collect();
        let (mut first, mut second) = (Box::pin(slots.line_up()), Box::pin(slots.line_up()));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert!(slots.line_up().await.is_none(), "an eighth of 16 may wait");
        held.pop();
        assert!(slots.take(Traffic::Sync).is_none(), "the slot is the first one's");
        let first = first.await.unwrap();
        let mut third = Box::pin(slots.line_up());
        assert!((&mut third).now_or_never().is_none(), "it has the place of the first one");
        held.pop();
        assert!((&mut third).now_or_never().is_none());
        let second = second.await.unwrap();
        let before = Instant::now();
        assert!(third.await.is_none() && before.elapsed() <= LINE_WAIT);
        drop((held, first, second));
        assert_eq!((slots.free(), slots.callers().now), (16, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_wait_until_a_part_is_free_or_a_moment_is_over_and_longer_after_a_full_pool() {
        let slots = Slots::new(100, BatchShare::parse(0.8).unwrap());
        let mut held: Vec<Slot> = (0..80).map(|_| slots.take(Traffic::Batch).unwrap()).collect();
        let pause = Pause::at_share();
        let mut again = Box::pin(slots.batch_again(pause));
        held.truncate(71);
        assert!((&mut again).now_or_never().is_none(), "9 of 80 are less than an eighth");
        held.truncate(70);
        again.await;
        assert_eq!(pause.since.elapsed(), Duration::ZERO);

        let pause = Pause::at_share();
        held.push(slots.take(Traffic::Batch).unwrap());
        slots.batch_again(pause).await;
        assert_eq!(pause.since.elapsed(), SETTLE, "one is enough then");

        let pause = Pause::after_full();
        drop(held);
        slots.batch_again(pause).await;
        assert_eq!(pause.since.elapsed(), SYNC_FIRST);
    }
}
