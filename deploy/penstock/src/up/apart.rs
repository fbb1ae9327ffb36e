//! A runtime of its own for one role of this process, on one thread: what that role computes for milliseconds, such as a batch of
//! rows, keeps no request of the others waiting.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// The runtime. Its tasks end when it is dropped.
pub(crate) struct ApartRuntime(Option<Runtime>);

impl ApartRuntime {
    /// Starts the thread, under the name of the role.
    pub(crate) fn start(role: &str) -> anyhow::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_keep_alive(crate::IDLE_THREAD).thread_name(role).enable_all();
        Ok(Self(Some(runtime.build().with_context(|| format!("the thread of {role} cannot be started"))?)))
    }

    /// Runs a task there. What it spawns stays there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(task).await.context("it panicked")?
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
