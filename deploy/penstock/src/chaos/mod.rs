//! `penstock chaos`: a whole deployment on this machine, on a copy of the operator's configuration, in front of simulated
//! providers that fail; while it answers requests its processes are killed. Says how many were answered. Composes: no
//! logic of a role is here.

mod cluster;
mod copy;
mod ledger;
mod load;
mod report;

use crate::roles::wait_for_stop;
use crate::{Format, Place, config};
use anyhow::{Context, bail};
use cluster::Cluster;
use copy::Copied;
use penstock_runtime::Life;
use penstock_workers::demo::{Faults, serve_faulty};
use report::Report;
use std::future::pending;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;

const EXAMPLES: &str = "\
Examples:
  penstock chaos                                      three links, 20000 requests
  penstock --config penstock.toml chaos --requests 50000 --format json

Nothing of the real deployment is touched and no provider is called: the configuration is copied, its providers are
replaced by simulated ones without keys, and everything runs in a temporary folder on loopback. Each provider fails a share
of its calls at random, the first one all calls for the middle third of the run; a worker, an ingress and nats-server are
killed (-9) and started again. A client that finds an ingress refusing connections asks the other one, as behind a load
balancer, and repeats nothing else: what is being answered when its ingress or NATS is killed counts as failed. These are
about as many as run at once, however long the run is: a short one cannot reach 99.9 %. Exit code 1: fewer answers than
the target, or a ledger that is wrong.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChaosOptions {
    /// Requests, half of them streamed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    requests: u64,
    /// Requests at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Calls that each provider fails, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    failing: u64,
    /// What the faults are drawn with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests that must be answered correctly, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.9)]
    target: f64,
    /// A virtual model to ask for; may be repeated [default: all that are configured]
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The longest wait for simulated providers at the end.
const REST: Duration = Duration::from_secs(1);

/// A simulated provider.
struct Upstream {
    provider: String,
    url: String,
    faults: Faults,
}

pub(crate) async fn run(place: &Place, options: &ChaosOptions) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = Box::pin(try_out(place, options)) => done,
        // The children end with the runtime.
        asked = wait_for_stop(pending()) => {
            asked?;
            bail!("stopped before the end")
        }
    }
}

async fn try_out(place: &Place, options: &ChaosOptions) -> anyhow::Result<ExitCode> {
    let mut copied = Copied::read(config::file(place).as_deref(), &options.models)?;
    let life = Life::new();
    let mut upstreams = Vec::new();
    for (number, provider) in (0..).zip(copied.providers()) {
        upstreams.push(start_upstream(&life, provider, Faults::new(options.seed + number, options.failing)).await?);
    }
    copied.simulate(upstreams.iter().map(|upstream| (upstream.provider.as_str(), upstream.url.as_str())));
    let cluster = Cluster::start(&copied).await?;
    let load = load::Load { options, models: copied.models(), cluster: &cluster, first: &upstreams[0].faults };
    let run = load.run().await?;
    let called: Vec<String> = upstreams.iter().flat_map(|upstream| upstream.faults.attempts()).collect();
    let ledger = ledger::check(cluster.warehouse(), &called).await?;
    let report = Report::new(options, &run, ledger);
    let is_reached = report.is_reached();
    report.print(options.format)?;
    cluster.stop(is_reached).await;
    life.drain(REST).await;
    Ok(if is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start_upstream(life: &Life, provider: String, faults: Faults) -> anyhow::Result<Upstream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a simulated provider cannot listen")?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let stop = life.clone();
    life.work(serve_faulty(listener, faults.clone(), async move { stop.stopping().await }));
    Ok(Upstream { provider, url, faults })
}
