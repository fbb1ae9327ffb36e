//! Makes every stream, bucket and store of a deployment at once, for deployments whose roles may not make them. Knows nothing
//! of what is in them.

use super::{Bus, BusError};
use std::time::Duration;

impl Bus {
    /// Makes what is missing, and compares the rest. `batches`: how long what is known of a batch is kept.
    ///
    /// # Errors
    /// When JetStream does not answer, or something is there with other settings.
    pub async fn provision(&self, batches: Duration) -> Result<(), BusError> {
        self.usage_stream().await?;
        self.dead_letters().await?;
        self.alerts_stream().await?;
        self.posts_stream().await?;
        self.replays().await?;
        self.key_value_for(&self.subjects.kept_sizes_bucket(), super::streams::KEPT_MAX_AGE).await?;
        self.cache_store().await?;
        self.pieces_stream().await?;
        self.file_entries().await?;
        self.jobs(batches).await?;
        self.async_stream().await?;
        self.later_jobs().await?;
        self.key_value_for(&self.subjects.responses_bucket(), super::kept::MAX_AGE).await?;
        self.keys().await?;
        self.presets().await?;
        self.models().await?;
        self.dashboard_sessions().await?;
        self.pins().await?;
        self.arm_stops().await?;
        self.heads().await?;
        self.thresholds().await?;
        self.books().await?;
        self.rates().await?;
        self.day_rates().await?;
        self.leases().await?;
        self.key_value(&self.subjects.directory_bucket()).await?;
        self.native_groups().await?;
        self.native_objects().await?;
        self.object_store(&self.subjects.bodies_bucket()).await.map(drop)
    }
}
