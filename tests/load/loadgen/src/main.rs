//! Loads an HTTP/1.1 server with chat completions and says how it bore it. Knows nothing of gateways.

mod machine;
mod options;
mod pace;
mod talk;
mod tally;

use anyhow::Context as _;
use clap::Parser as _;
use machine::{Consumption, Process, Snapshot};
use options::Options;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::{Duration, Instant};
use talk::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    nix::sys::prctl::set_timerslack(1).context("timer slack")?;
    let as_json = options.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = tokio::task::LocalSet::new().block_on(&runtime, measure(options))?;
    if as_json {
        println!("{report}")
    } else {
        tally::print(&report)
    }
    Ok(())
}

/// Warms up, measures, and waits for what is still in flight.
async fn measure(options: Options) -> anyhow::Result<Value> {
    let processes: Vec<Process> = options.pid.iter().map(|text| Process::parse(text)).collect::<Result<_, _>>()?;
    let load = Rc::new(Load::new(options)?);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..load.options.connections {
        all.spawn_local(talk::connection(load.clone()));
    }
    if let Some(rate) = load.options.rate {
        all.spawn_local(pace::schedule(load.clone(), rate));
    }
    tokio::time::sleep_until(load.measure_from.into()).await;
    let before = Snapshot::take(&processes);
    let began = Instant::now();
    let is_done = tokio::time::timeout_at(load.end.into(), join(&mut all)).await.is_ok();
    let elapsed = began.elapsed().as_secs_f64();
    let consumption = Consumption::between(&before, &Snapshot::take(&processes), elapsed);
    let done = load.tally.borrow().ok;
    if !is_done {
        let longest = Duration::from_secs_f64(load.options.timeout);
        // What does not end in time is counted as a time-out by its own connection.
        let _ = tokio::time::timeout(longest, join(&mut all)).await;
    }
    Ok(report(&load, done, elapsed, &consumption))
}

async fn join(all: &mut tokio::task::JoinSet<()>) {
    while all.join_next().await.is_some() {}
}

fn report(load: &Load, done: u64, elapsed: f64, consumption: &Consumption) -> Value {
    let (options, tally) = (&load.options, load.tally.borrow());
    let mut report = json!({
        "label": options.label,
        "rate": options.rate,
        "connections": options.connections,
        "seconds": tally::round(elapsed, 3),
        "ok": tally.ok,
        "errors": tally.errors.values().sum::<u64>(),
        "error_kinds": tally.errors,
        "sample_error": tally.sample_error,
        "rps": tally::round(done as f64 / elapsed, 1),
        "mb_per_s": tally::round(tally.bytes as f64 / elapsed / 1e6, 2),
        "latency_us": tally::quantiles(&tally.latency),
        "cpu": consumption.processes(done),
        "loadgen_cpu_us_per_req": consumption.own(done),
        "system_busy_cores": consumption.busy_cores,
        "steal_cores": consumption.steal_cores,
        "foreign_cores": consumption.foreign_cores,
    });
    if options.rate.is_some() {
        report["corrected_us"] = tally::quantiles(&tally.corrected);
        report["max_backlog"] = json!(load.max_backlog.get());
    }
    if options.stream {
        let streams = tally.ok.max(1) as f64;
        report["ttft_us"] = tally::quantiles(&tally.first_chunk);
        report["frame_gap_us"] = tally::quantiles(&tally.gap);
        report["frames_per_stream"] = json!(tally::round(tally.frames as f64 / streams, 1));
        report["events_per_stream"] = json!(tally::round(tally.events as f64 / streams, 1));
        report["cancelled"] = json!(tally.cancelled);
    }
    report
}
