//! Child processes that are started again when they die, and stopped in good order at the end. Knows nothing of what
//! they do.

use anyhow::Context;
use penstock_runtime::Life;
use penstock_runtime::schedule::full_jitter;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

/// The first wait before a dead child is started again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A child that lived this long is healthy: its next death is its first.
const HEALTHY: Duration = Duration::from_secs(10);

/// How long a child may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(15);

/// All children of this process.
#[derive(Default)]
pub(crate) struct Children {
    life: Life,
    pids: Pids,
}

/// The running children by their names.
type Pids = Arc<Mutex<HashMap<&'static str, u32>>>;

impl Children {
    /// Starts a child and keeps it running. `make` gives the command anew for each start.
    ///
    /// # Errors
    /// When it cannot be started the first time.
    pub(crate) fn keep(
        &mut self,
        name: &'static str,
        make: impl Fn() -> anyhow::Result<Command> + Send + 'static,
    ) -> anyhow::Result<()> {
        let pids = self.pids.clone();
        let start = move || {
            let child = start(name, &make)?;
            pids.lock().unwrap_or_else(PoisonError::into_inner).extend(child.id().map(|pid| (name, pid)));
            anyhow::Ok(child)
        };
        let first = start()?;
        let life = self.life.clone();
        self.life.work(async move {
            let mut child = first;
            let mut deaths = 0;
            loop {
                let began = Instant::now();
                // Held open: waiting for a child would close its input, and one of ours ends when that does.
                let input = child.stdin.take();
                let status = tokio::select! {
                    status = child.wait() => status,
                    () = life.stopping() => return stop(name, child, input).await,
                };
                deaths = if began.elapsed() > HEALTHY { 1 } else { deaths + 1 };
                warn!(child = name, status = describe(status), "a child process died; starting it again");
                child = loop {
                    sleep(full_jitter(deaths, AGAIN.0, AGAIN.1)).await;
                    if life.is_stopping() {
                        return;
                    }
                    match start() {
                        Ok(child) => break child,
                        Err(error) => error!(child = name, %error, "a child process cannot be started"),
                    }
                    deaths += 1;
                };
            }
        });
        Ok(())
    }

    /// Ends a child as a crash does; it is started again.
    pub(crate) fn kill(&self, name: &str) {
        let pid = self.pids.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        signal(pid, Signal::KILL);
    }

    /// What asks a child to stop, so that it is started again.
    pub(crate) fn restart(&self, name: &'static str) -> impl Fn() + Send + Sync + use<> {
        let pids = self.pids.clone();
        move || terminate(pids.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied())
    }

    /// Stops all of them and waits.
    pub(crate) async fn stop(self) {
        self.life.drain(STOP + Duration::from_secs(1)).await;
    }
}

fn start(name: &str, make: &impl Fn() -> anyhow::Result<Command>) -> anyhow::Result<Child> {
    let mut command = make()?;
    // A group of its own: Ctrl-C is for us, and we stop the children when the work is done.
    let child = command.process_group(0).kill_on_drop(true).spawn();
    let child =
        child.with_context(|| format!("{name} ({}) cannot be started", command.as_std().get_program().display()))?;
    info!(child = name, pid = child.id(), "started");
    Ok(child)
}

async fn stop(name: &str, mut child: Child, input: Option<ChildStdin>) {
    terminate(child.id());
    drop(input);
    if timeout(STOP, child.wait()).await.is_err() {
        error!(child = name, "a child process did not stop in time: killing it");
        if let Err(error) = child.kill().await {
            error!(child = name, %error, "it could not be killed");
        }
    }
}

/// Asks a process to stop.
pub(crate) fn terminate(pid: Option<u32>) {
    signal(pid, Signal::TERM);
}

fn signal(pid: Option<u32>, signal: Signal) {
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        warn!(%error, "a process could not be sent a signal");
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
