//! One process at a time leads a batch, from its file to its results. Knows the order of the phases, and none of what they do.

use super::lead::{Halt, Lead, is_led_by_another};
use super::{feed, finish, validate};
use crate::state::Shared;
use penstock_runtime::clock;
use penstock_schemas::batch::BatchStatus;
use penstock_schemas::name::BatchId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::select;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often batches without a leader are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Wait before a phase that failed is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// Leads every batch that has no leader, as long as the role lives.
pub(super) async fn all(ingress: Shared) {
    let led = Arc::new(Mutex::new(HashSet::<BatchId>::new()));
    let mut changed = ingress.batches.changed.subscribe();
    loop {
        // A process that has not read all keys and models yet would take them for unknown.
        let now = clock::now();
        let open = ingress.batches.open_ones().into_iter().filter(|batch| !batch.is_waiting(now));
        for batch in open.filter(|_| ingress.is_ready()) {
            let is_new = !is_led_by_another(&batch, ingress.bus.process())
                && led.lock().unwrap_or_else(PoisonError::into_inner).insert(batch.id.clone());
            if is_new && !ingress.life.is_stopping() {
                let (ingress, led, id) = (ingress.clone(), led.clone(), batch.id.clone());
                ingress.life.clone().work(async move {
                    Box::pin(lead(&ingress, &id)).await;
                    led.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                });
            }
        }
        select! {
            _ = changed.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

async fn lead(ingress: &Shared, id: &BatchId) {
    let mut lead = match Lead::claim(ingress, id).await {
        Ok(Some(lead)) => lead,
        Ok(None) => return,
        Err(error) => return warn!(batch = %id, %error, "a batch could not be claimed"),
    };
    while !lead.batch.status.is_final() {
        let done = match lead.batch.status {
            BatchStatus::Validating => validate::validate(&mut lead).await,
            BatchStatus::InProgress => feed::feed(&mut lead).await,
            _ => Box::pin(finish::finish(&mut lead)).await,
        };
        match done {
            Ok(()) => {}
            Err(Halt::Lost) => return,
            Err(Halt::Stopping) => return lead.give_up().await,
            Err(halt @ (Halt::Bus(_) | Halt::File(_))) => {
                warn!(batch = %id, status = lead.batch.status.as_str(), error = %halt, "a batch stands still; trying again");
                lead.is_first = false;
                select! {
                    () = sleep(AGAIN) => {}
                    () = ingress.life.stopping() => return lead.give_up().await,
                }
                if matches!(lead.save().await, Err(Halt::Lost)) {
                    return;
                }
            }
        }
    }
    let counts = lead.batch.counts;
    info!(batch = %id, status = lead.batch.status.as_str(), counts.completed, counts.failed, "a batch is over");
}
