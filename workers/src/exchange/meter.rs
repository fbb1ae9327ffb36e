//! Watches what a stream comes to while it runs, where a budget is to hold: when more is said than is set aside for, more is
//! asked for, and when there is none, the stream is stopped before it has cost more. A provider that keeps to the limits that
//! it was given never gets there. Knows prices and what was sent, and nothing of budgets.

use super::Step;
use super::report::Stop;
use crate::count::{self, Sent};
use crate::sink::FrameSink;
use penstock_runtime::bus::Desk;
use penstock_runtime::{Life, heavy};
use penstock_schemas::bound;
use penstock_schemas::budget::Unit;
use penstock_schemas::envelope::{Envelope, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::Target;
use penstock_schemas::price::Prices;
use penstock_schemas::reservation::{Charge, MoreGiven, MoreWanted, Reservation};
use penstock_schemas::usage::Usage;
use tracing::warn;

/// No text is more tokens than one for so many bytes, but for some that nobody writes: beyond that it is counted.
const BYTES_A_TOKEN: u64 = 2;

/// Tokens by which the provider's count may be below ours.
const SLACK: u64 = 8;

/// The least that is asked for at once, in tokens.
const LEAST: u64 = 64;

/// The meter of one stream.
pub(super) struct Meter {
    desk: Desk,
    envelope: Envelope,
    reservation: Reservation,
    target: Target,
    prices: Option<Prices>,
    /// The input, counted as generously as where it was set aside.
    input: u64,
    /// Tokens of output that what is set aside pays for.
    allowed: u64,
    counted: u64,
    /// What is not counted yet.
    sent: Sent,
}

impl Meter {
    /// A meter, where a budget is to hold.
    pub(super) fn new(desk: &Desk, envelope: &Envelope, card: Option<&ModelCard>, bytes: usize) -> Option<Self> {
        let reservation = envelope.reservation.clone()?;
        let target = envelope.plan.current().target.clone();
        let is_chat = matches!(envelope.operation, Operation::Chat | Operation::Completions);
        if !is_chat || !reservation.charges.iter().any(|charge| charge.is_metered && charge.counts(&target)) {
            return None;
        }
        let is_strict = reservation.charges.iter().any(|charge| charge.is_strict);
        let longest = || match &envelope.extent {
            Some(extent) => bound::longest_input(card, extent),
            None => bytes as u64,
        };
        let input = if is_strict { longest() } else { bytes as u64 / 4 };
        let prices = card.and_then(|card| card.price.as_ref()).map(|price| price.prices.clone());
        let (desk, envelope) = (desk.clone(), envelope.clone());
        let mut meter =
            Self { desk, envelope, reservation, target, prices, input, allowed: 0, counted: 0, sent: Sent::default() };
        meter.allowed = meter.allowance();
        Some(meter)
    }

    fn metered(&self) -> impl Iterator<Item = &Charge> {
        self.reservation.charges.iter().filter(|charge| charge.is_metered && charge.counts(&self.target))
    }

    /// What `output` tokens, and the input, come to in a unit.
    fn amount(&self, unit: Unit, output: u64) -> u64 {
        match (unit, &self.prices) {
            (Unit::Usd, Some(prices)) => {
                let usage = Usage { input: Some(self.input), output: Some(output), ..Usage::default() };
                prices.cost(&usage).map_or(0, |cost| u64::try_from(cost.0).unwrap_or(0))
            }
            (Unit::Usd, None) => 0,
            (Unit::Tokens | Unit::Requests, _) => self.input.saturating_add(output),
        }
    }

    /// The most output that every charge has room for, found by halving.
    fn allowance(&self) -> u64 {
        let fits = |output: u64| {
            self.metered()
                .all(|charge| charge.spent.saturating_add(self.amount(charge.unit, output)) <= charge.reserved)
        };
        let (mut fitting, mut too_much) = (0, u64::from(u32::MAX));
        while too_much - fitting > 1 {
            let middle = fitting.midpoint(too_much);
            if fits(middle) { fitting = middle } else { too_much = middle }
        }
        fitting
    }

    /// Notes what is about to go out.
    ///
    /// # Errors
    /// When it is more than there is money for.
    pub(super) async fn pass(&mut self, bytes: &[u8], life: &Life, sink: &mut impl FrameSink) -> Step<()> {
        heavy(bytes.len(), || self.sent.gather(bytes)).await;
        if self.counted + self.sent.length() / BYTES_A_TOKEN <= self.allowed {
            return Ok(());
        }
        let sent = std::mem::take(&mut self.sent);
        let counted = sink.wait(count::sent(life, sent)).await.ok_or(Stop::Cancelled)?;
        self.counted += counted.unwrap_or(0);
        if self.counted <= self.allowed + SLACK {
            return Ok(());
        }
        self.ask(sink).await
    }

    async fn ask(&mut self, sink: &mut impl FrameSink) -> Step<()> {
        let output = self.counted + LEAST.max(self.counted / 2);
        let needed = self.reservation.charges.iter().map(|charge| {
            let is_metered = charge.is_metered && charge.counts(&self.target);
            let needed = if is_metered { charge.spent + self.amount(charge.unit, output) } else { 0 };
            charge.reserved.max(needed)
        });
        let wanted = MoreWanted { id: self.reservation.id, needed: needed.collect() };
        let asking = self.desk.ask_more(&self.envelope.ingress, &wanted);
        let refused =
            |why: String| Stop::Failed(Failure::gateway(FailureKind::Budget, format!("the stream is stopped: {why}")));
        match sink.wait(asking).await.ok_or(Stop::Cancelled)? {
            Ok(MoreGiven::Granted { reserved, .. }) => {
                for (charge, reserved) in self.reservation.charges.iter_mut().zip(reserved) {
                    charge.reserved = reserved;
                }
                self.allowed = self.allowance();
                Ok(())
            }
            Ok(MoreGiven::Refused(why)) => Err(refused(why)),
            Err(error) => {
                warn!(%error, "the ingress of a stream does not say whether it may go on");
                Err(refused("nobody says whether there is money for more of it".to_owned()))
            }
        }
    }
}
