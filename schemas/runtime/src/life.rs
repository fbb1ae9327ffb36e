//! The life of a role: every task is spawned here, so that a stop can wait for it. Two sorts: *work* is what a caller
//! waits for, and drain waits for it; *services* keep the role going, and end once the work is done.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::RuntimeFlavor::MultiThread;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

/// Longest wait for services after the work is done.
const SERVICES_END: Duration = Duration::from_secs(2);

/// The tasks of one role, and whether it is stopping.
#[derive(Clone, Default)]
pub struct Life {
    work: TaskTracker,
    services: TaskTracker,
    stopping: CancellationToken,
    ended: CancellationToken,
}

impl Life {
    /// A role that is just starting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a piece of work: drain waits for it. It may be large, and is moved several times on its way into its task:
    /// in a box only a pointer is.
    #[expect(clippy::disallowed_methods, reason = "this is the tracked spawner that the ban points to")]
    pub fn work(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.work.track_future(Box::pin(task)));
    }

    /// Counts as work while it is held: for work that runs in a task of somebody else's.
    pub fn hold(&self) -> TaskTrackerToken {
        self.work.token()
    }

    /// Spawns what keeps the role going until the work is done. One that ends earlier stops the role, loudly.
    #[expect(clippy::disallowed_methods, reason = "this is the tracked spawner that the ban points to")]
    pub fn service(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (ended, stopping) = (self.ended.clone(), self.stopping.clone());
        let running = tokio::spawn(task);
        let handle = running.abort_handle();
        self.services.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => handle.abort(),
                result = running => {
                    if !stopping.is_cancelled() {
                        error!(service = name, panicked = result.is_err(), "a service ended by itself: stopping");
                        stopping.cancel();
                    }
                }
            }
        });
    }

    /// Spawns a side task of a service, such as one connection. It may end at any time, and is to end soon after
    /// [`Life::ended`].
    pub fn side(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.services.spawn(task);
    }

    /// Waits until the work is done and the services are to end.
    pub fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }

    /// Runs blocking code on a thread of its own; drain waits for it.
    pub fn blocking(&self, task: impl FnOnce() + Send + 'static) {
        self.work.spawn_blocking(task);
    }

    /// Begins to stop: no new work is to be taken.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Whether no new work is to be taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until the role begins to stop.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stopping.cancelled()
    }

    /// Stops: waits at most `limit` for the work, then ends the services. Returns how much work was left undone.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.stop();
        self.work.close();
        let undone = match timeout(limit, self.work.wait()).await {
            Ok(()) => 0,
            Err(_) => self.work.len(),
        };
        self.ended.cancel();
        self.services.close();
        if timeout(SERVICES_END, self.services.wait()).await.is_err() {
            error!(services = self.services.len(), "services did not end in time");
        }
        undone
    }
}

/// The size of an input, in bytes, from which on working on it may hold a runtime's thread for longer than a millisecond.
pub const HEAVY: usize = 64 * 1024;

/// How much of such work runs at once. Each piece holds a thread, and each thread keeps memory of its own: as many as there are
/// cores are as fast as more.
static HEAVY_PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// Does work that grows with an input of so many bytes. Where that is much, it waits for its turn, and the runtime's other tasks
/// go on elsewhere meanwhile.
pub async fn heavy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if !is_heavy(bytes) {
        return work();
    }
    // It is never closed.
    let _place = HEAVY_PLACES.acquire().await;
    tokio::task::block_in_place(work)
}

/// The same at once, for what cannot wait and keeps nothing of its input.
pub fn heavy_at_once<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if is_heavy(bytes) { tokio::task::block_in_place(work) } else { work() }
}

fn is_heavy(bytes: usize) -> bool {
    let has_threads =
        || tokio::runtime::Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == MultiThread);
    bytes >= HEAVY && has_threads()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn drain_waits_for_work_and_then_ends_services() {
        let life = Life::new();
        let (finish, finished) = oneshot::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        life.service("endless", std::future::pending());
        life.work(async move {
            finished.await.unwrap();
            flag.store(true, Ordering::SeqCst);
        });
        life.stop();
        finish.send(()).unwrap();
        assert_eq!(life.drain(Duration::from_secs(5)).await, 0);
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_counted() {
        let life = Life::new();
        life.work(std::future::pending());
        assert_eq!(life.drain(Duration::ZERO).await, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn heavy_work_does_not_hold_up_other_tasks() {
        let (tell, told) = oneshot::channel();
        let life = Life::new();
        life.work(async move {
            let _ = tell.send(());
        });
        heavy(HEAVY, || told.blocking_recv()).await.expect("the other task ran meanwhile");
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_stops_the_role() {
        let life = Life::new();
        life.service("short", async {});
        life.stopping().await;
    }
}
