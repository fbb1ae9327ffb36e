//! The embedded ClickHouse of `penstock up`: the child, and how the parent starts it. The child ends when its standard
//! input does, so it never outlives a parent that was killed.

use super::child::Children;
use super::data::{DataDir, log_file};
use super::{ports, programs};
use anyhow::Context;
use penstock_clickhouse::{Server, Settings, Token};
use penstock_runtime::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// The variable that the child reads its password from: arguments can be seen by everybody on the machine.
const TOKEN: &str = "PENSTOCK_CLICKHOUSE_TOKEN";

/// How far the child steps back behind the processes that answer requests.
const YIELD: i32 = 10;

/// What the child is told.
#[derive(clap::Args)]
#[command(
    after_help = "The password of the one user, `default`, is read from PENSTOCK_CLICKHOUSE_TOKEN: 16 characters or more.
It ends when its standard input does, so that it never outlives a parent. Alone, keep that open:

  sleep infinity | penstock clickhouse --files DIR --listen 127.0.0.1:8123"
)]
pub(crate) struct EngineOptions {
    /// The folder of the engine's files
    #[arg(long)]
    files: PathBuf,
    /// A loopback address
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Starts the child; gives the URL with user and password.
pub(crate) fn start(data: &DataDir, children: &mut Children) -> anyhow::Result<String> {
    let library = programs::engine()?;
    let token = data.secret("clickhouse-password", || Secret::generate(""))?;
    let port = ports::kept(data, "clickhouse-port")?;
    let (files, log, program) = (data.join("clickhouse"), data.join("clickhouse.log"), std::env::current_exe()?);
    let password = token.clone();
    children.keep("clickhouse", move || {
        let mut command = Command::new(&program);
        command.arg("clickhouse").arg("--files").arg(&files).arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.env("PENSTOCK_CHDB", &library).env(TOKEN, password.reveal()).env("PENSTOCK_LOG", "json,info");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log_file(&log)?);
        Ok(command)
    })?;
    Ok(format!("http://default:{}@127.0.0.1:{port}", token.reveal()))
}

/// The child itself.
pub(crate) async fn run(options: EngineOptions) -> anyhow::Result<ExitCode> {
    let token = std::env::var(TOKEN).with_context(|| {
        format!("{TOKEN} is not set: it holds the password of the one user, which `penstock up` makes by itself")
    })?;
    // Requests come first on a small machine; the ledger's rows wait in JetStream meanwhile.
    if let Err(error) = rustix::process::nice(YIELD) {
        warn!(%error, "the priority could not be lowered");
    }
    let mut settings = Settings::new(programs::engine()?, options.files, Token::parse(&token)?);
    settings.listen = options.listen;
    let server = Server::bind(settings).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        let (mut input, mut rest) = (tokio::io::stdin(), Vec::new());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = input.read_to_end(&mut rest) => {
                warn!("standard input has ended, which stands for the end of the parent: stopping");
            }
        }
    };
    server.serve(shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
