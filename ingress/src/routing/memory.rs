//! What routing remembers, as long as the process lives. Decides nothing.

use super::heads::Heads;
use super::learning::HeadSchool;
use super::learnt::Learnt;
use super::lengths;
use super::pins::Pins;
use super::ratings;
use super::stops::ArmStops;
use crate::config::IngressConfig;
use crate::models::Models;
use penstock_runtime::bus::{Bus, BusError};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Copies of requests that an ingress has answered at once, for shadow arms; beyond it requests are not copied.
const SHADOWS: usize = 64;

/// All of it.
pub(crate) struct RouteMemory {
    /// What answers have taught.
    pub(crate) learnt: Learnt,
    /// How well each target answers which questions.
    pub(crate) heads: Heads,
    /// Where conversations stay.
    pub(crate) pins: Pins,
    /// Arms that take no requests any more.
    pub(crate) stops: ArmStops,
    /// Room for copies of requests, for shadow arms.
    pub(crate) shadows: Arc<Semaphore>,
}

impl RouteMemory {
    /// Begins to follow what other processes know.
    ///
    /// # Errors
    /// When a bucket cannot be set up.
    pub(crate) async fn open(bus: &Bus, config: &IngressConfig, models: &Models) -> Result<Self, BusError> {
        let (learnt, pins) = (Learnt::default(), Pins::follow(&bus.pins().await?));
        lengths::recall(bus, bus.life(), &learnt, config.models.values());
        ratings::follow(bus, bus.life(), &learnt, config.models.values());
        let (stops, shadows) = (ArmStops::follow(&bus.arm_stops().await?), Arc::new(Semaphore::new(SHADOWS)));
        let bucket = bus.heads().await?;
        let heads = Heads::follow(&bucket);
        HeadSchool::new(bus, (&heads, bucket), models).follow(bus.life(), config.models.iter());
        Ok(Self { learnt, heads, pins, stops, shadows })
    }
}
