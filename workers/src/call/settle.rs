//! The money of a call: is enough set aside for another attempt, and what became of it in the end. Knows
//! what travels with the call, and nothing of budgets.

use super::{Call, CallContext};
use crate::sink::FrameSink;
use penstock_runtime::clock;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ProcessId;
use penstock_schemas::plan::Link;
use penstock_schemas::reservation::{Amounts, MoreGiven, MoreWanted, Reservation, Settled};
use tracing::warn;

impl<S: FrameSink> Call<S> {
    /// Makes sure that what an attempt at this link can come to is set aside: for the first one it is; another needs more,
    /// because nobody knows what the last has cost before it is over.
    pub(super) async fn afford(&mut self, link: &Link) -> Result<(), Failure> {
        let worst = self.context.worst((&self.envelope, &self.body), link);
        let Some(reservation) = &mut self.envelope.reservation else { return Ok(()) };
        let worst = Amounts { usd: worst.usd.unwrap_or(0), tokens: worst.tokens };
        if reservation.covers(&link.target, worst, clock::now()) {
            return Ok(());
        }
        let needed = reservation.charges.iter().map(|charge| {
            let more = if charge.is_strict && charge.counts(&link.target) { worst.of(charge.unit) } else { 0 };
            charge.reserved.max(charge.spent.saturating_add(more))
        });
        let wanted = MoreWanted { id: reservation.id, needed: needed.collect() };
        let asking = self.context.desk.ask_more(&self.envelope.ingress, &wanted);
        let refused = |why: String| Failure::gateway(FailureKind::Budget, why);
        match self.sink.wait(asking).await {
            None => Err(Failure::gateway(FailureKind::Cancelled, "the caller went away")),
            Some(Ok(MoreGiven::Granted { reserved, start_by })) => {
                reservation.start_by = start_by;
                for (charge, reserved) in reservation.charges.iter_mut().zip(reserved) {
                    charge.reserved = reserved;
                }
                Ok(())
            }
            Some(Ok(MoreGiven::Refused(why))) => Err(refused(format!("{}: {why}", link.target))),
            Some(Err(error)) => {
                warn!(%error, "the ingress of a call does not say whether another attempt may be paid");
                Err(refused(format!("{}: nobody says whether another attempt may be paid", link.target)))
            }
        }
    }

    /// Tells it at the end of the call, if this pool has it still.
    pub(super) async fn settle(&mut self) {
        if let Some(reservation) = self.envelope.reservation.take() {
            self.context.settle(&self.envelope.ingress, &reservation).await;
        }
    }
}

impl CallContext {
    /// Tells the ingress what became of what it had set aside.
    pub(super) async fn settle(&self, ingress: &ProcessId, reservation: &Reservation) {
        let spent = reservation.charges.iter().map(|charge| charge.spent).collect();
        let settled = Settled { id: reservation.id, spent };
        if let Err(error) = self.desk.tell_settled(ingress, &settled).await {
            warn!(%error, "what was settled could not be told; the ledger will");
        }
    }
}
