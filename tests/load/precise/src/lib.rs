//! Waiting to within microseconds, by a timerfd: tokio's own timers have a grain of a millisecond.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// A timer that can be set again and again.
pub struct Timer(AsyncFd<Raw>);

impl Timer {
    /// One that never fires until it is set.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and when the process has no file descriptor left.
    #[expect(clippy::new_without_default, reason = "it makes a file descriptor: that should be seen")]
    pub fn new() -> Self {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
        let timer = Raw(timer.expect("a timer can be made"));
        // SAFETY: the descriptor is the timer's own, open for as long as the timer is, which nobody else can take out.
        Self(unsafe { AsyncFd::register(timer) }.expect("the runtime takes a timer"))
    }

    /// Fires once, after `wait`.
    pub fn set(&self, wait: Duration) {
        let once = Expiration::OneShot(TimeSpec::from_duration(wait.max(Duration::from_nanos(500))));
        self.0.get_ref().0.set(once, TimerSetTimeFlags::empty()).expect("the time is a valid one");
    }

    /// Has it fired? Told once for each time.
    pub fn poll_fired(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context)).expect("the runtime is alive");
            if guard.try_io(|timer| timer.get_ref().0.wait().map_err(std::io::Error::from)).is_ok() {
                return Poll::Ready(());
            }
        }
    }

    /// Sets it, and waits until it fires.
    pub async fn sleep(&self, wait: Duration) {
        self.set(wait);
        std::future::poll_fn(|context| self.poll_fired(context)).await;
    }
}

/// What tokio wants to see of a file descriptor, and nix does not show.
struct Raw(TimerFd);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
