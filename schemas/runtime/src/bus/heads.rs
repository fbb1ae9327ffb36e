//! What was learnt of virtual models' targets, in NATS KV: followed by every ingress, made anew by any, frozen and thrown away by
//! operators. Knows nothing of how it is learnt.

use super::{Bucket, Bus, BusError, failed};
use penstock_schemas::UnixMicros;
use penstock_schemas::head::{HeadsChange, ModelHeads};

/// Times that a change is tried again when another came between.
const TRIES: u32 = 16;

impl Bus {
    /// The bucket of what was learnt of virtual models' targets, by `ModelHeads::key`.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn heads(&self) -> Result<Bucket<ModelHeads>, BusError> {
        Bucket::open(self, &self.subjects.heads_bucket()).await
    }

    /// Freezes heads, lets them learn, or throws them away.
    ///
    /// # Errors
    /// When JetStream does not confirm it.
    pub async fn change_heads(&self, change: &HeadsChange, now: UnixMicros) -> Result<ModelHeads, BusError> {
        let (bucket, key) = (self.heads().await?, ModelHeads::key(&change.model));
        for _ in 0..TRIES {
            let found = bucket.get_with_revision(&key).await?;
            let (known, revision) = found.map_or((None, 0), |(known, revision)| (Some(known), revision));
            let changed = known.unwrap_or_else(|| ModelHeads::new(&change.model)).changed(change.action, now);
            let written = match revision {
                0 => bucket.create(&key, &changed).await?,
                revision => bucket.update(&key, &changed, revision).await?,
            };
            if written.is_some() {
                return Ok(changed);
            }
        }
        Err(failed("write to a bucket")("others change the same heads all the time"))
    }
}
