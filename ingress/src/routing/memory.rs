//! What routing remembers, as long as the process lives. Decides nothing.

use super::learnt::Learnt;
use super::pins::Pins;
use super::ratings;
use crate::config::IngressConfig;
use penstock_runtime::bus::{Bus, BusError};

/// All of it.
#[derive(Default)]
pub(crate) struct RouteMemory {
    /// What answers have taught.
    pub(crate) learnt: Learnt,
    /// Where conversations stay.
    pub(crate) pins: Pins,
}

impl RouteMemory {
    /// Begins to follow what other processes know.
    ///
    /// # Errors
    /// When a bucket cannot be set up.
    pub(crate) async fn open(bus: &Bus, config: &IngressConfig) -> Result<Self, BusError> {
        let (learnt, pins) = (Learnt::default(), Pins::follow(&bus.pins().await?));
        ratings::follow(bus, bus.life(), &learnt, config.models.values());
        Ok(Self { learnt, pins })
    }
}
