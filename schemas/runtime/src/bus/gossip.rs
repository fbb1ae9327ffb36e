//! How pools tell how they are, and who hears it. Nothing here is durable: what is missed is told again a second later.

use super::{Bus, BusError, failed};
use futures_util::StreamExt;
use penstock_schemas::pool::PoolState;
use tracing::warn;

impl Bus {
    /// Tells how a pool is.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn tell_pool(&self, state: &PoolState) -> Result<(), BusError> {
        let payload = serde_json::to_vec(state).map_err(failed("write a pool's state"))?;
        let subject = self.subjects.pool(&state.provider);
        self.client.publish(subject, payload.into()).await.map_err(failed("tell a pool's state"))
    }

    /// Gives what every pool tells to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub(crate) async fn hear_pools(&self, hear: impl Fn(PoolState) + Send + Sync + 'static) -> Result<(), BusError> {
        let subject = self.subjects.pools();
        let mut told = self.client.subscribe(subject).await.map_err(failed("listen to the pools"))?;
        self.life.service("gossip of pools", async move {
            while let Some(message) = told.next().await {
                match serde_json::from_slice(&message.payload) {
                    Ok(state) => hear(state),
                    Err(error) => warn!(%error, "what a pool tells cannot be read: is one process older?"),
                }
            }
        });
        Ok(())
    }
}
