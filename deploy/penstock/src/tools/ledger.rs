//! `penstock ledger`: the events of the ledger that cannot be stored, and how they are put back once they can. Knows nothing
//! of what the events say.

use super::output::print;
use crate::{Format, Place};
use penstock_runtime::bus::DeadLetter;
use penstock_schemas::rfc3339;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(crate) enum LedgerCommand {
    /// Events that cannot be stored: too large, unreadable, or refused by ClickHouse
    #[command(after_help = "Example:\n  penstock ledger dead --retry    after the reason was mended")]
    Dead {
        /// Write them into the ledger again
        #[arg(long)]
        retry: bool,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// The longest beginning of an event that a table shows, in characters.
const SHOWN: usize = 80;

pub(crate) async fn run(place: &Place, command: LedgerCommand) -> anyhow::Result<ExitCode> {
    let LedgerCommand::Dead { retry, format } = command;
    let letters = super::bus(place).await?.dead_letters().await?;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    let mut next = letters.next(1).await?;
    // What is retried may come back, behind the others: each is looked at once.
    let last = letters.last().await?;
    while let Some(letter) = next.filter(|letter| letter.number <= last) {
        let state = match retry {
            false => "dead",
            true if letters.revive(&letter).await? => "put back",
            true => "only its beginning is kept",
        };
        let event = String::from_utf8_lossy(&letter.line).trim_end().to_owned();
        rows.push(row(&letter, state, &event));
        values.push(value(&letter, state, &event));
        next = letters.next(letter.number + 1).await?;
    }
    print(format, &["at", "reason", "bytes", "state", "why", "event"], &rows, &values)?;
    Ok(ExitCode::SUCCESS)
}

fn row(letter: &DeadLetter, state: &str, event: &str) -> [String; 6] {
    let shown = event.chars().take(SHOWN).collect();
    let (at, bytes) = (rfc3339::write(letter.at), letter.length.to_string());
    [at, letter.reason.clone(), bytes, state.to_owned(), letter.why.clone(), shown]
}

fn value(letter: &DeadLetter, state: &str, event: &str) -> Value {
    json!({
        "at": rfc3339::write(letter.at), "reason": letter.reason, "why": letter.why, "bytes": letter.length,
        "state": state, "event": event,
    })
}
