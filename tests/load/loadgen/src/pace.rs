//! The schedule of the open loop. Knows when requests are due, not what they are.

use crate::talk::Load;
use precise::Timer;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Tells the connections when a request is due. To within microseconds.
pub(crate) async fn schedule(load: Rc<Load>, rate: f64) {
    let timer = Timer::new();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut next = load.start;
    while next < load.end {
        let now = Instant::now();
        while next <= now && next < load.end {
            let mut due = load.due.borrow_mut();
            due.push_back(next);
            load.max_backlog.set(load.max_backlog.get().max(due.len()));
            load.is_due.notify_one();
            let gap = if load.options.poisson { random.exponential() } else { 1.0 };
            next += Duration::from_secs_f64(gap / rate);
        }
        timer.sleep(next.saturating_duration_since(Instant::now())).await;
    }
    load.is_over.set(true);
    load.is_due.notify_waiters();
}

/// Xorshift: the same arrivals in every run.
struct Random(u64);

impl Random {
    /// A gap of a Poisson process with mean 1.
    fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        -((self.0 >> 11) as f64 / (1u64 << 53) as f64).max(1e-12).ln()
    }
}
