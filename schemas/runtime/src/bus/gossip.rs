//! How pools tell how they are, and who carries the ledger over, and who hears it. Nothing here is durable: what is missed is told again a second later.

use super::{Bus, BusError, failed};
use futures_util::StreamExt;
use penstock_schemas::carry::CarryState;
use penstock_schemas::load::QueueState;
use penstock_schemas::pool::{PoolState, Resume};
use serde::de::DeserializeOwned;
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

    /// Tells all workers to lift the pauses of a target.
    ///
    /// # Errors
    /// When the connection is closed for good, or does not take the message.
    pub async fn tell_resume(&self, resume: &Resume) -> Result<(), BusError> {
        let payload = serde_json::to_vec(resume).map_err(failed("write the end of a pause"))?;
        self.client.publish(self.subjects.resume(), payload.into()).await.map_err(failed("end a pause"))?;
        self.client.flush().await.map_err(failed("end a pause"))
    }

    /// Gives every such message to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn hear_resumes(&self, hear: impl Fn(Resume) + Send + Sync + 'static) -> Result<(), BusError> {
        let mut told = self.client.subscribe(self.subjects.resume()).await.map_err(failed("listen to operators"))?;
        self.life.service("ends of pauses", async move {
            while let Some(message) = told.next().await {
                match serde_json::from_slice(&message.payload) {
                    Ok(resume) => hear(resume),
                    Err(error) => warn!(%error, "the end of a pause cannot be read: is one process older?"),
                }
            }
        });
        Ok(())
    }

    /// Gives what every pool tells to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub(crate) async fn hear_pools(&self, hear: impl Fn(PoolState) + Send + Sync + 'static) -> Result<(), BusError> {
        Box::pin(self.hear(self.subjects.pools(), hear)).await
    }

    /// Tells what waits at an ingress.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn tell_queue(&self, state: &QueueState) -> Result<(), BusError> {
        let payload = serde_json::to_vec(state).map_err(failed("write what waits"))?;
        let told = self.client.publish(self.subjects.queue(&state.ingress), payload.into()).await;
        told.map_err(failed("tell what waits"))
    }

    /// Gives what every ingress tells of that to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn hear_queues(&self, hear: impl Fn(QueueState) + Send + Sync + 'static) -> Result<(), BusError> {
        Box::pin(self.hear(self.subjects.queues(), hear)).await
    }

    /// Tells how the ledger is carried over.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn tell_carry(&self, state: &CarryState) -> Result<(), BusError> {
        let payload = serde_json::to_vec(state).map_err(failed("write how the ledger is carried over"))?;
        let told = self.client.publish(self.subjects.carry(), payload.into()).await;
        told.map_err(failed("tell how the ledger is carried over"))
    }

    /// Gives what is told of it to `hear`, as long as the role lives.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn hear_carry(&self, hear: impl Fn(CarryState) + Send + Sync + 'static) -> Result<(), BusError> {
        Box::pin(self.hear(self.subjects.carry(), hear)).await
    }

    async fn hear<S: DeserializeOwned + Send + 'static>(
        &self,
        subject: String,
        hear: impl Fn(S) + Send + Sync + 'static,
    ) -> Result<(), BusError> {
        let mut told = self.client.subscribe(subject).await.map_err(failed("listen to other processes"))?;
        self.life.service("gossip", async move {
            while let Some(message) = told.next().await {
                match serde_json::from_slice(&message.payload) {
                    Ok(state) => hear(state),
                    Err(error) => warn!(%error, "what a process tells cannot be read: is it older or newer?"),
                }
            }
        });
        Ok(())
    }
}
