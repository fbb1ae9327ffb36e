//! The money of a call: is enough set aside for another attempt, and what became of it in the end. Knows
//! what travels with the call, and nothing of budgets.

use super::{Call, CallContext};
use crate::exchange;
use crate::sink::FrameSink;
use penstock_runtime::bus::{BusError, Desk, Recorded};
use penstock_runtime::clock;
use penstock_schemas::envelope::Envelope;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::{ProcessId, Target};
use penstock_schemas::plan::Link;
use penstock_schemas::reservation::{Amounts, MoreGiven, MoreWanted, Reservation, Settled};
use tokio::time::timeout;
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
        let wanted = more(reservation, &link.target, worst);
        let asking = self.context.desk.ask_more(&self.envelope.ingress, &wanted);
        match self.sink.wait(asking).await {
            None => Err(Failure::gateway(FailureKind::Cancelled, "the caller went away")),
            Some(answer) => take_more(reservation, &link.target, answer),
        }
    }

    /// The same for so many responses of a session that nobody knows the cost of yet, besides those that are over. Of rates a
    /// session takes what its first response can come to, and no more.
    pub(super) async fn afford_responses(&mut self, link: &Link, count: u64) -> Result<(), Failure> {
        let worst = self.context.worst((&self.envelope, &self.body), link);
        let Some(reservation) = &mut self.envelope.reservation else { return Ok(()) };
        let (usd, tokens) = (worst.usd.unwrap_or(0).saturating_mul(count), worst.tokens.saturating_mul(count));
        let all = Amounts { usd, tokens };
        let needed = reservation.charges.iter().map(|charge| {
            let is_bound = (charge.is_strict || charge.is_metered) && charge.counts(&link.target);
            let more = if is_bound { all.of(charge.unit) } else { 0 };
            let needed = if charge.is_proven { charge.spent.saturating_add(more) } else { 0 };
            charge.reserved.max(needed)
        });
        let needed: Vec<u64> = needed.collect();
        let is_covered = reservation.charges.iter().zip(&needed).all(|(charge, needed)| *needed <= charge.reserved);
        if is_covered && clock::now() < reservation.start_by {
            return Ok(());
        }
        let wanted = MoreWanted { id: reservation.id, needed };
        let asking = self.context.desk.ask_more(&self.envelope.ingress, &wanted);
        match self.sink.wait(asking).await {
            None => Err(Failure::gateway(FailureKind::Cancelled, "the caller went away")),
            Some(answer) => take_more(reservation, &link.target, answer),
        }
    }

    /// Notes what a response of a session has come to.
    pub(super) fn spend_on_response(&mut self, target: &Target, amounts: Amounts) {
        let Some(reservation) = &mut self.envelope.reservation else { return };
        reservation.spend(target, amounts);
        for charge in reservation.charges.iter_mut().filter(|charge| !charge.is_proven) {
            charge.spent = charge.spent.min(charge.reserved);
        }
    }

    /// Waits until the ledger has the ends of the attempts so far. Only then may another begin, here or elsewhere: for both at
    /// their worst case nothing is set aside.
    pub(super) async fn record_ends(&mut self) -> Result<(), Failure> {
        let is_bound = self.envelope.reservation.as_ref().is_some_and(Reservation::is_proven);
        let ends = std::mem::take(&mut self.ends);
        if ends.is_empty() || !is_bound {
            return Ok(());
        }
        let recording = timeout(self.envelope.deadline.since(clock::now()), all_recorded(ends));
        match self.sink.wait(recording).await {
            Some(Ok(true)) => Ok(()),
            None => Err(self.give_up(Failure::gateway(FailureKind::Cancelled, "the caller went away"))),
            Some(Ok(false) | Err(_)) => Err(self.give_up(exchange::ledger_failed())),
        }
    }

    /// What the call has come to is left to the ledger to tell.
    fn give_up(&mut self, failure: Failure) -> Failure {
        self.envelope.reservation = None;
        failure
    }

    /// Tells it at the end of the call, if this pool has it still. Nobody waits for the ledger.
    pub(super) async fn settle(&mut self) {
        let Some(reservation) = self.envelope.reservation.take() else { return };
        let (ends, ingress) = (std::mem::take(&mut self.ends), self.envelope.ingress.clone());
        let desk = self.context.desk.clone();
        if ends.is_empty() || !reservation.is_proven() {
            return tell_settled(&desk, &ingress, &reservation).await;
        }
        self.context.life.work(async move { settle(&desk, &ingress, &reservation, ends).await });
    }
}

/// Tells the ingress what became of what it had set aside, once the ledger has the ends of all attempts. Where it never
/// will, the ledger says itself what they came to.
pub(super) async fn settle(desk: &Desk, ingress: &ProcessId, reservation: &Reservation, ends: Vec<Recorded>) {
    if !reservation.is_proven() || all_recorded(ends).await {
        tell_settled(desk, ingress, reservation).await;
    }
}

async fn tell_settled(desk: &Desk, ingress: &ProcessId, reservation: &Reservation) {
    let spent = reservation.charges.iter().map(|charge| charge.spent).collect();
    let settled = Settled { id: reservation.id, spent };
    if let Err(error) = desk.tell_settled(ingress, &settled).await {
        warn!(%error, "what was settled could not be told; the ledger will");
    }
}

/// What is wanted for an attempt at a target that can come to `worst`.
fn more(reservation: &Reservation, target: &Target, worst: Amounts) -> MoreWanted {
    let needed = reservation.charges.iter().map(|charge| {
        let more = if charge.is_strict && charge.counts(target) { worst.of(charge.unit) } else { 0 };
        charge.reserved.max(charge.spent.saturating_add(more))
    });
    MoreWanted { id: reservation.id, needed: needed.collect() }
}

fn take_more(
    reservation: &mut Reservation,
    target: &Target,
    answer: Result<MoreGiven, BusError>,
) -> Result<(), Failure> {
    let refused = |why: String| Failure::gateway(FailureKind::Budget, why);
    match answer {
        Ok(MoreGiven::Granted { reserved, start_by }) => {
            reservation.start_by = start_by;
            for (charge, reserved) in reservation.charges.iter_mut().zip(reserved) {
                charge.reserved = reserved;
            }
            Ok(())
        }
        Ok(MoreGiven::Refused(why)) => Err(refused(format!("{target}: {why}"))),
        Err(error) => {
            warn!(%error, "the ingress of a call does not say whether another attempt may be paid");
            Err(refused(format!("{target}: nobody says whether another attempt may be paid")))
        }
    }
}

/// Whether the ledger has got all of them in the end.
pub(crate) async fn all_recorded(ends: Vec<Recorded>) -> bool {
    let mut is_all = true;
    for end in ends {
        is_all &= end.acknowledged().await;
    }
    is_all
}

impl CallContext {
    /// Makes sure that what a line of a native batch can come to is still set aside: it may have waited for a while.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) async fn afford_line(&self, envelope: &Envelope, worst: Amounts) -> Result<(), Failure> {
        let target = &envelope.plan.current().target;
        let Some(mut reservation) = envelope.reservation.clone() else { return Ok(()) };
        if reservation.covers(target, worst, clock::now()) {
            return Ok(());
        }
        let answer = self.desk.ask_more(&envelope.ingress, &more(&reservation, target, worst)).await;
        take_more(&mut reservation, target, answer)
    }
}
