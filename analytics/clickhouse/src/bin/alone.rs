//! The embedded ClickHouse on its own: for this package's tests, and to try by hand. The product's is `penstock clickhouse`.
//!
//! `PENSTOCK_CHDB=…/libchdb.so PENSTOCK_CLICKHOUSE_TOKEN=… penstock-clickhouse DIR [ADDRESS]`: prints its URL when ready,
//! ends when its standard input does. `PENSTOCK_CLICKHOUSE_DRAIN` (seconds): how long running statements may take then.

use penstock_clickhouse::{Server, Settings, Token};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().ok_or("usage: penstock-clickhouse DIR [ADDRESS]")?;
    let token = Token::parse(&variable("PENSTOCK_CLICKHOUSE_TOKEN")?)?;
    let mut settings = Settings::new(variable("PENSTOCK_CHDB")?, data, token);
    if let Some(address) = arguments.next() {
        settings.listen = address.parse()?;
    }
    if let Ok(seconds) = variable("PENSTOCK_CLICKHOUSE_DRAIN") {
        settings.drain = Duration::from_secs(seconds.parse()?);
    }
    let server = Server::bind(settings).await?;
    writeln!(std::io::stdout(), "http://{}", server.address())?;
    let mut rest = Vec::new();
    server.serve(tokio::io::stdin().read_to_end(&mut rest)).await?;
    Ok(())
}
