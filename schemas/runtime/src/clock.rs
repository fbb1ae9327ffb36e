//! The time and the ids that depend on it: the only place where either is made. All processes of a deployment have one time,
//! whatever the clocks of their machines say: it runs with the machine's monotonic clock from the moment that the process
//! began, and `bus::time` steers it after the common one. So a clock that is set changes nothing here, and moments that one
//! process writes (deadlines, leases, pauses) can be compared by another.

use penstock_schemas::UnixMicros;
use penstock_schemas::name::{AttemptId, ProcessId, RequestId};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::{ContextV7, Timestamp, Uuid};

/// A difference is caught up with by this part of the time that passes, so that no deadline is skipped and all processes,
/// which learn of it within seconds of each other, stay within a quarter of a second.
const SLEW: i64 = 20;

/// A larger difference is taken over at once, in microseconds (five minutes): the machine was asleep, or its time was wrong.
const STEP: i64 = 300_000_000;

static CLOCK: LazyLock<Clock> = LazyLock::new(|| {
    let course = Course { since: 0, at: 0, to: 0 };
    Clock { began: Instant::now(), wall: wall(), course: RwLock::new(course) }
});

struct Clock {
    began: Instant,
    /// What the machine's clock said then.
    wall: UnixMicros,
    course: RwLock<Course>,
}

/// How far the time of this process is from what the machine's clock said when the process began, in microseconds: at `at`
/// when `since` had passed, and from there on its way to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    since: i64,
    at: i64,
    to: i64,
}

impl Course {
    fn offset(self, elapsed: i64) -> i64 {
        let most = (elapsed - self.since).max(0) / SLEW;
        self.at + (self.to - self.at).clamp(-most, most)
    }

    /// From now on it is on its way to a time that is so much later.
    fn steered(self, elapsed: i64, difference: i64) -> Self {
        let now = self.offset(elapsed);
        let to = now + difference;
        let at = if difference.abs() > STEP { to } else { now };
        Self { since: elapsed, at, to }
    }
}

/// The time now.
pub fn now() -> UnixMicros {
    let clock = &*CLOCK;
    let elapsed = micros(clock.began.elapsed());
    let offset = clock.course.read().unwrap_or_else(PoisonError::into_inner).offset(elapsed);
    UnixMicros(clock.wall.0.saturating_add_signed(elapsed.saturating_add(offset)))
}

/// What the machine's own clock says, which nothing but a comparison may look at.
pub(crate) fn wall() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The common time is so many microseconds later than ours: catches up with it.
pub(crate) fn steer(difference: i64) {
    change(|course, elapsed| course.steered(elapsed, difference));
}

/// The same at once: before anything depends on the time.
pub(crate) fn set(difference: i64) {
    change(|course, elapsed| {
        let at = course.offset(elapsed) + difference;
        Course { since: elapsed, at, to: at }
    });
}

fn change(next: impl FnOnce(Course, i64) -> Course) {
    let mut course = CLOCK.course.write().unwrap_or_else(PoisonError::into_inner);
    *course = next(*course, micros(CLOCK.began.elapsed()));
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// An id that says when it was made, by the common time: UUIDv7. Those of one process are in the order in which they were
/// made, unless the time was set back.
pub fn id() -> Uuid {
    IDS.lock().unwrap_or_else(PoisonError::into_inner).make(now)
}

/// An id for a request that begins now.
pub fn request_id() -> RequestId {
    RequestId(id())
}

/// An id for an attempt that begins now.
pub fn attempt_id() -> AttemptId {
    AttemptId(id())
}

/// A name for this process, unique in the cluster.
pub fn process_id() -> ProcessId {
    ProcessId::parse(id().simple().to_string()).expect("hexadecimal digits are a name")
}

static IDS: Mutex<IdMaker> = Mutex::new(IdMaker { order: ContextV7::new(), last: UnixMicros(0) });

struct IdMaker {
    order: ContextV7,
    last: UnixMicros,
}

impl IdMaker {
    fn make(&mut self, time: impl FnOnce() -> UnixMicros) -> Uuid {
        let now = time();
        if now < self.last {
            // It would stay at the latest time that it has seen.
            self.order = ContextV7::new();
        }
        self.last = now;
        let nanos = u32::try_from(now.0 % 1_000_000 * 1_000).expect("a second has a billion of them");
        Uuid::new_v7(Timestamp::from_unix(&self.order, now.0 / 1_000_000, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_difference_is_caught_up_with_slowly_and_never_passed_and_the_time_never_runs_back() {
        for difference in [90 * SECOND, -90 * SECOND] {
            let course = Course { since: 0, at: 7, to: 7 }.steered(SECOND, difference);
            assert_eq!(course.offset(SECOND), 7);
            assert_eq!(course.offset(21 * SECOND), 7 + difference.signum() * SECOND);
            assert_eq!(course.offset(i64::MAX / 2), 7 + difference);
            let times = (0..200_i64).map(|step| step * 13 * SECOND).map(|elapsed| elapsed + course.offset(elapsed));
            assert!(times.clone().zip(times.skip(1)).all(|(earlier, later)| earlier < later));
        }
    }

    #[test]
    fn two_that_learn_of_a_jump_within_five_seconds_are_never_half_a_second_apart() {
        let still = Course { since: 0, at: 0, to: 0 };
        let (one, two) = (still.steered(0, 90 * SECOND), still.steered(5 * SECOND, 90 * SECOND));
        let apart = (0..4000).map(|elapsed| (one.offset(elapsed * SECOND) - two.offset(elapsed * SECOND)).abs());
        assert_eq!(apart.max(), Some(SECOND / 4));
    }

    #[test]
    fn a_new_difference_is_taken_from_where_the_time_is_and_a_huge_one_at_once() {
        let course = Course { since: 0, at: 0, to: 0 }.steered(0, 90 * SECOND);
        let turned = course.steered(100 * SECOND, -10 * SECOND);
        assert_eq!((turned.offset(100 * SECOND), turned.to), (5 * SECOND, -5 * SECOND));
        assert_eq!(course.steered(100 * SECOND, 3600 * SECOND).offset(100 * SECOND), 3605 * SECOND);
    }

    #[test]
    fn ids_say_the_common_time_in_order_and_go_back_with_it() {
        let mut ids = IdMaker { order: ContextV7::new(), last: UnixMicros(0) };
        let mut at = |micros: u64| {
            let id = ids.make(|| UnixMicros(micros));
            let (seconds, nanos) = id.get_timestamp().map(|made| made.to_unix()).unwrap();
            (id, seconds * 1_000 + u64::from(nanos / 1_000_000))
        };
        let (later, day) = (1_800_086_400_000_000, 86_400_000_000);
        let (first, second) = (at(later), at(later));
        assert_eq!((first.1, second.1, first.0 < second.0), (later / 1_000, later / 1_000, true));
        assert_eq!(at(later - day).1, (later - day) / 1_000);
    }

    #[test]
    fn the_time_can_be_set_and_steered() {
        let before = now();
        set(90 * SECOND);
        let after = now();
        assert!(after.since(before) >= Duration::from_secs(90) && after.since(wall()) > Duration::from_secs(80));
        steer(-60 * SECOND);
        assert!(now() >= after);
    }
}
