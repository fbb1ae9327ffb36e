//! What processes and the machine consumed, from the kernel's own counters. Knows nothing of requests.

use crate::tally::round;
use anyhow::Context as _;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The kernel's unit in /proc/stat: a hundredth of a second on every Linux.
const TICK: f64 = 0.01;

/// A process to charge.
#[derive(Clone)]
pub(crate) struct Process {
    name: String,
    pid: Pid,
}

impl Process {
    /// `NAME=PID`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (name, pid) = text.split_once('=').with_context(|| format!("--pid {text}: needs NAME=PID"))?;
        Ok(Self { name: name.to_owned(), pid: Pid::from_raw(pid.parse().with_context(|| format!("--pid {text}"))?) })
    }

    /// CPU time of all its threads, also of those that have ended; `None` when the process is gone.
    fn cpu(&self) -> Option<Duration> {
        Some(clock_gettime(clock_getcpuclockid(self.pid).ok()?).ok()?.into())
    }

    fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB");
        Some(kilobytes.parse::<f64>().ok()? / 1024.0)
    }
}

/// A process and the CPU time that it used; `None` when it is gone.
type Used = (Process, Option<Duration>);

/// The counters at one moment.
pub(crate) struct Snapshot {
    processes: Vec<Used>,
    own: Duration,
    busy: f64,
    steal: f64,
}

impl Snapshot {
    pub(crate) fn take(processes: &[Process]) -> Self {
        let own = Process { name: String::new(), pid: Pid::this() };
        let (busy, steal) = machine();
        Self {
            processes: processes.iter().map(|process| (process.clone(), process.cpu())).collect(),
            own: own.cpu().unwrap_or_default(),
            busy,
            steal,
        }
    }
}

/// Seconds that all cores together were busy, and that the hypervisor kept from us.
fn machine() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> =
        stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; guests' are in user's.
    let [user, nice, system, _, _, interrupts, soft, stolen, ..] = ticks[..] else { return (0.0, 0.0) };
    ((user + nice + system + interrupts + soft) * TICK, stolen * TICK)
}

/// What was consumed between two moments.
pub(crate) struct Consumption {
    processes: Vec<Used>,
    own: Duration,
    elapsed: f64,
    pub(crate) busy_cores: f64,
    pub(crate) steal_cores: f64,
    /// Busy neither with us nor with the processes that were named.
    pub(crate) foreign_cores: f64,
}

impl Consumption {
    pub(crate) fn between(before: &Snapshot, after: &Snapshot, elapsed: f64) -> Self {
        let used = |(before, after): (&Used, &Used)| {
            (before.0.clone(), before.1.zip(after.1).map(|(before, after)| after.saturating_sub(before)))
        };
        let processes: Vec<_> = before.processes.iter().zip(&after.processes).map(used).collect();
        let own = after.own.saturating_sub(before.own);
        let known: Duration = processes.iter().filter_map(|(_, used)| *used).sum::<Duration>() + own;
        let busy = after.busy - before.busy;
        Self {
            processes,
            own,
            elapsed,
            busy_cores: round(busy / elapsed, 2),
            steal_cores: round((after.steal - before.steal) / elapsed, 2),
            foreign_cores: round((busy - known.as_secs_f64()) / elapsed, 2),
        }
    }

    /// Our own CPU, in microseconds per request.
    pub(crate) fn own(&self, requests: u64) -> f64 {
        per(self.own, requests)
    }

    pub(crate) fn processes(&self, requests: u64) -> Map<String, Value> {
        let show = |(process, used): &Used| {
            let shown = used.map_or_else(
                || json!("gone"),
                |used| {
                    json!({
                        "us_per_req": per(used, requests),
                        "cores": round(used.as_secs_f64() / self.elapsed, 2),
                        "rss_mb": process.resident_mb().map(|megabytes| round(megabytes, 1)),
                    })
                },
            );
            (process.name.clone(), shown)
        };
        self.processes.iter().map(show).collect()
    }
}

fn per(used: Duration, requests: u64) -> f64 {
    round(used.as_secs_f64() * 1e6 / requests.max(1) as f64, 1)
}
