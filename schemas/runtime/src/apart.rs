//! A runtime of its own for one role of a process, on one thread: what that role computes for milliseconds, such as a batch of
//! rows, keeps no request of the others waiting.

use std::io;
use std::panic::resume_unwind;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// The runtime. Its tasks end when it is dropped.
pub struct ApartRuntime(Option<Runtime>);

impl ApartRuntime {
    /// Starts the thread, under the name of the role. Threads for heavy work end after `idle` without any.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(role: &str, idle: Duration) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(1).thread_keep_alive(idle).thread_name(role).enable_all().build().map(Some).map(Self)
    }

    /// Runs a task there. What it spawns stays there.
    ///
    /// # Panics
    /// When the task does.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(task).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }
}

impl Drop for ApartRuntime {
    fn drop(&mut self) {
        // A runtime may not wait for another one's threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{current, sleep};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_a_role_computes_and_spawns_there_holds_no_other_thread() {
        let apart = ApartRuntime::start("apart", Duration::from_secs(1)).unwrap();
        let (begin, begun) = oneshot::channel();
        let life = crate::Life::new();
        let inner = life.clone();
        let name = apart
            .run(async move {
                inner.work(async move {
                    let _ = begin.send(current().name().map(ToOwned::to_owned));
                    sleep(Duration::from_millis(50));
                });
                current().name().map(ToOwned::to_owned)
            })
            .await;
        assert_eq!((name.as_deref(), begun.await.unwrap().as_deref()), (Some("apart"), Some("apart")));
        assert_eq!(life.drain(Duration::from_secs(60)).await, 0);
    }
}
