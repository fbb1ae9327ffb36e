//! Arms of experiments that were stopped because they were worse: kept in NATS KV and followed by every ingress. Decides
//! nothing.

use super::lot;
use penstock_runtime::bus::{Bucket, BusError, Change};
use penstock_schemas::experiment::ArmStop;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All that are known. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct ArmStops {
    known: Arc<Mutex<HashMap<String, ArmStop>>>,
    bucket: Option<Bucket<ArmStop>>,
}

/// The key of an arm in the bucket: its names may hold what a key may not.
pub(crate) fn key(experiment: &str, arm: &str) -> String {
    format!("{:016x}", lot::number(&["arm", experiment, arm]))
}

impl ArmStops {
    /// Follows what every ingress stops.
    pub(super) fn follow(bucket: &Bucket<ArmStop>) -> Self {
        let stops = Self { known: Arc::default(), bucket: Some(bucket.clone()) };
        let known = stops.clone();
        bucket.follow(move |change| known.change(change));
        stops
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, ArmStop>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: Change<ArmStop>) {
        match change {
            Change::Put(key, stop) => drop(self.known().insert(key, stop)),
            Change::Deleted(key) => drop(self.known().remove(&key)),
            Change::Current => {}
        }
    }

    /// Whether an arm takes no requests any more.
    pub(crate) fn holds(&self, experiment: &str, arm: &str) -> bool {
        let known = self.known();
        !known.is_empty() && known.contains_key(&key(experiment, arm))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<ArmStop> {
        self.known().values().cloned().collect()
    }

    /// Stops an arm.
    ///
    /// # Errors
    /// When NATS KV does not confirm it.
    pub(crate) async fn stop(&self, stop: &ArmStop) -> Result<(), BusError> {
        match &self.bucket {
            Some(bucket) => bucket.put(&key(&stop.experiment, &stop.arm), stop).await,
            None => Ok(()),
        }
    }
}
