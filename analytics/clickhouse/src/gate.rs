//! How many statements run at a time, and how many may wait for it. Knows nothing of what runs.

use crate::exception::{Exception, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Gate {
    pub(crate) fn new(running: usize, most_waiting: usize) -> Gate {
        Gate { running: Arc::new(Semaphore::new(running)), waiting: AtomicUsize::new(0), most_waiting }
    }

    /// Waits for a place among the running statements; refuses at once when too many wait already.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Exception> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place { count: &self.waiting, ahead: self.waiting.fetch_add(1, Ordering::Relaxed) };
        if place.ahead >= self.most_waiting {
            let message = format_args!("Too many simultaneous queries: {} wait already", self.most_waiting);
            return Err(Exception::new(Kind::TooManySimultaneousQueries, message));
        }
        Ok(Arc::clone(&self.running).acquire_owned().await.expect("the semaphore is never closed"))
    }
}

/// One among those that wait; leaves when dropped, also when its client goes.
struct Place<'a> {
    count: &'a AtomicUsize,
    ahead: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn one_runs_one_waits_and_the_third_is_refused() {
        let gate = Gate::new(1, 1);
        let mut context = Context::from_waker(Waker::noop());
        let mut poll =
            |entering: &mut (dyn Future<Output = _> + Unpin)| std::pin::Pin::new(entering).poll(&mut context);
        let first = poll(&mut pin!(gate.enter()));
        assert!(first.is_ready());
        {
            let mut second = pin!(gate.enter());
            assert!(poll(&mut second).is_pending());
            let third = poll(&mut pin!(gate.enter()));
            assert!(
                third
                    .map(|entered| entered.is_err_and(|exception| exception.code == 202))
                    .eq(&std::task::Poll::Ready(true))
            );
            drop(first);
            assert!(poll(&mut second).is_ready());
        }
        assert!(poll(&mut pin!(gate.enter())).is_ready(), "those that left are not counted");
    }
}
