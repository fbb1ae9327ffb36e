//! The `penstock` binary: the command line. It composes the roles and holds none of their logic.

mod allocator;
mod chaos;
mod config;
mod handles;
mod reload;
mod roles;
mod scrape;
mod tools;
mod up;

use clap::{Args, Parser, Subcommand, ValueEnum};
use penstock_runtime::config::Mistakes;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

/// How long a thread for heavy work waits for more of it: each keeps memory of its own.
const IDLE_THREAD: Duration = Duration::from_secs(2);

/// The exit code for a configuration that cannot be used: EX_USAGE of sysexits.h.
const BAD_CONFIG: u8 = 64;

/// An AI gateway: one API in front of every language-model provider.
#[derive(Parser)]
#[command(name = "penstock", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

const EXAMPLES: &str = "\
Examples:
  penstock up --demo                        try everything, offline
  OPENAI_API_KEY=sk-… penstock up           a gateway on http://127.0.0.1:8080
  penstock keys create --project search     a key for an application
  penstock budgets create search match.project=search limit_usd=50 cycle=monthly
  penstock apply --dry-run                  what penstock.toml would change of what is managed
  penstock spend --by project,model --since 7d
  penstock tail --failure any               requests that fail, as they do
  penstock batch submit requests.jsonl --watch
  penstock sql 'SELECT count() FROM attempts' --format json

PENSTOCK_LOG says what is logged and how: debug, json,info, human,penstock_workers=debug";

/// Where the configuration and the running instance are found.
#[derive(Args, Clone)]
struct Place {
    /// The configuration [default: penstock.toml, if there is one here]
    #[arg(long, global = true, env = "PENSTOCK_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of everything that `up` keeps [default: ~/.local/share/penstock]
    #[arg(long, global = true, env = "PENSTOCK_DATA")]
    data: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run every role on this machine, with a NATS server and a ClickHouse of its own
    Up(up::UpOptions),
    /// Run an ingress: HTTP in, bus out
    Ingress {
        /// Where to listen, instead of the configured address
        #[arg(long)]
        listen: Option<String>,
    },
    /// Run the worker pools of some providers, or of all that are configured
    Worker {
        /// A provider, by its name in the catalogue or the configuration; may be repeated
        #[arg(long = "provider", value_name = "NAME")]
        providers: Vec<String>,
    },
    /// Run analytics: usage events into ClickHouse, spend reports
    Analytics,
    /// Run the embedded ClickHouse alone; `up` does that
    #[command(hide = true)]
    Clickhouse(up::clickhouse::EngineOptions),
    /// Check the configuration and say what it amounts to
    Check,
    /// Write everything that the instance keeps into a folder, while it runs
    Backup(tools::backup::BackupOptions),
    /// Put a backup back: into a new data folder, or into an empty NATS and ClickHouse
    Restore(tools::backup::BackupOptions),
    /// Print the configuration of a nats-server on which each role has the least rights
    NatsConfig(tools::nats::NatsConfigOptions),
    /// Make every stream and bucket in NATS, where the roles may not make them themselves
    Provision,
    /// Make what is managed be what the configuration declares
    Apply(tools::apply::ApplyOptions),
    /// Create, list and revoke virtual keys
    #[command(subcommand)]
    Keys(tools::keys::KeyCommand),
    /// Manage the keys that providers are called with
    #[command(subcommand)]
    Providers(tools::providers::ProviderCommand),
    /// The ledger's events that cannot be stored
    #[command(subcommand)]
    Ledger(tools::ledger::LedgerCommand),
    /// What somebody had to be told: budgets that run out, keys that fail
    Alerts(tools::alerts::AlertOptions),
    #[command(flatten)]
    Objects(tools::objects::KindCommand),
    /// Who changed what
    Audit(tools::audit::AuditOptions),
    /// Who spent what, where that leads to, and what it would have cost
    Spend(tools::spend::SpendOptions),
    /// One request whole: stages, attempts, times, tokens, money
    Show(tools::show::ShowOptions),
    /// Requests as they end, live
    Tail(tools::tail::TailOptions),
    /// The runs of agents and conversations that requests are parts of, and one of them call by call
    Sessions(tools::sessions::SessionOptions),
    /// Whether the answers of a day are other than those of the weeks before
    Drift(tools::drift::DriftOptions),
    /// What experiments have shown, arm by arm, with intervals and verdicts
    Experiments(tools::experiments::ExperimentOptions),
    /// What another routing policy would have come to
    #[command(subcommand)]
    Route(tools::what_if::RouteCommand),
    /// Ask ClickHouse: tables attempts, requests, prices
    Sql(tools::sql::SqlOptions),
    /// Which targets are well, and why not: circuits, limits, free workers
    Targets(tools::targets::TargetOptions),
    /// Who serves which provider: since when, how busy, which version
    Workers(tools::workers::WorkerOptions),
    /// Try the configuration against failures: simulated providers, and processes that are killed
    Chaos(chaos::ChaosOptions),
    /// Files of requests that are answered in the background: submit, watch, fetch
    #[command(subcommand)]
    Batch(tools::batch::BatchCommand),
    /// Deletes what is kept of the requests and answers of a user
    #[command(subcommand)]
    Bodies(tools::bodies::BodyCommand),
    /// Answers that are kept to be given again: how many, and their removal
    #[command(subcommand)]
    Cache(tools::cache::CacheCommand),
    /// The models that can be asked for
    Models(tools::models::ModelOptions),
}

/// How a tool prints its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
}

fn main() -> ExitCode {
    allocator::keep_little();
    let cli = Cli::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.thread_keep_alive(IDLE_THREAD);
    // The kernel, NATS and ClickHouse need the other half, and each thread more is one more to wake up per message:
    // measured on 2 cores, one thread answers a third sooner than two. TOKIO_WORKER_THREADS overrides it.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        runtime.worker_threads(available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)));
    }
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                code = prepare(cli) => code,
                never = allocator::collect() => never,
            }
        }),
        Err(error) => fail(&error.into()),
    }
}

async fn prepare(cli: Cli) -> ExitCode {
    // One provider of cryptography for every TLS connection of the process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail(&anyhow::anyhow!("the TLS library was set up twice"));
    }
    // `up` and the tools say what they have to say themselves; a role's log is its only voice.
    let quiet = !matches!(cli.command, Command::Ingress { .. } | Command::Worker { .. } | Command::Analytics);
    let wish = std::env::var("PENSTOCK_LOG").unwrap_or_else(|_| if quiet { "warn".to_owned() } else { String::new() });
    if let Err(error) = penstock_runtime::logs::start(&wish) {
        return fail(&anyhow::anyhow!("PENSTOCK_LOG: `{wish}` is not a filter: {error}"));
    }
    handles::raise();
    match Box::pin(run(cli)).await {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = cli.place;
    match cli.command {
        Command::Up(options) => up::run(&place, options).await,
        Command::Ingress { listen } => Box::pin(roles::ingress(&place, listen)).await,
        Command::Worker { providers } => roles::worker(&place, &providers).await,
        Command::Analytics => roles::analytics(&place).await,
        Command::Clickhouse(options) => up::clickhouse::run(options).await,
        Command::Chaos(options) => chaos::run(&place, &options).await,
        Command::Check => tools::check::run(&place),
        Command::Backup(options) => Box::pin(tools::backup::save(&place, &options)).await,
        Command::Restore(options) => Box::pin(tools::backup::load(&place, &options)).await,
        Command::NatsConfig(options) => tools::nats::print(&place, &options),
        Command::Provision => tools::nats::provision(&place).await,
        Command::Ledger(command) => tools::ledger::run(&place, command).await,
        Command::Alerts(options) => tools::alerts::run(&place, &options).await,
        Command::Providers(command) => Box::pin(tools::providers::run(&place, command)).await,
        Command::Apply(options) => Box::pin(tools::apply::run(&place, &options)).await,
        Command::Keys(command) => Box::pin(tools::keys::run(&place, command)).await,
        Command::Objects(command) => Box::pin(tools::objects::run(&place, command)).await,
        Command::Audit(options) => tools::audit::run(&place, &options).await,
        Command::Spend(options) => tools::spend::run(&place, &options).await,
        Command::Show(options) => tools::show::run(&place, &options).await,
        Command::Tail(options) => tools::tail::run(&place, &options).await,
        Command::Sessions(options) => tools::sessions::run(&place, &options).await,
        Command::Drift(options) => tools::drift::run(&place, &options).await,
        Command::Experiments(options) => Box::pin(tools::experiments::run(&place, &options)).await,
        Command::Route(command) => Box::pin(tools::what_if::run(&place, &command)).await,
        Command::Sql(options) => tools::sql::run(&place, &options).await,
        Command::Bodies(command) => Box::pin(tools::bodies::run(&place, &command)).await,
        Command::Cache(command) => tools::cache::run(&place, &command).await,
        Command::Targets(options) => tools::targets::run(&place, &options).await,
        Command::Workers(options) => tools::workers::run(&place, &options).await,
        Command::Batch(command) => Box::pin(tools::batch::run(&place, command)).await,
        Command::Models(options) => tools::models::run(&place, &options).await,
    }
}

#[expect(clippy::print_stderr, reason = "the command line's last word")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("penstock: {error:#}");
    if error.is::<Mistakes>() { ExitCode::from(BAD_CONFIG) } else { ExitCode::FAILURE }
}
