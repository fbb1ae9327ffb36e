//! Dead letters of an older version: events that it could not read, and that this one can, go back into the ledger at the
//! start. Knows nothing of what the events say.

use penstock_runtime::Life;
use penstock_runtime::bus::{Bus, BusError, DeadLetter};
use penstock_schemas::ledger_line;
use tracing::{info, warn};

/// Puts back what can be read now.
pub(crate) async fn readable(bus: Bus, life: Life) {
    let revived = tokio::select! {
        revived = revive(&bus) => revived,
        () = life.stopping() => return,
    };
    match revived {
        Ok(0) => {}
        Ok(count) => info!(count, "usage events that an older version could not read are in the ledger again"),
        Err(error) => warn!(%error, "the dead letters could not be looked at"),
    }
}

async fn revive(bus: &Bus) -> Result<usize, BusError> {
    let letters = bus.dead_letters().await?;
    let last = letters.last().await?;
    let mut count = 0;
    let mut next = letters.next(1).await?;
    while let Some(letter) = next.filter(|letter| letter.number <= last) {
        if is_readable(&letter) && letters.revive(&letter).await? {
            count += 1;
        }
        next = letters.next(letter.number + 1).await?;
    }
    Ok(count)
}

fn is_readable(letter: &DeadLetter) -> bool {
    letter.is_unreadable() && letter.is_whole() && ledger_line::read(&letter.line).all(|line| line.is_ok())
}
