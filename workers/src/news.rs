//! What one pool has to tell others: how its last calls went. Knows nothing of how it is told.

use crate::vitals::Vitals;
use std::sync::Mutex;
use tokio::sync::Notify;

/// What one pool has to tell.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// What became of its last calls.
    pub vitals: Mutex<Vitals>,
    changed: Notify,
}

impl News {
    /// Waits until others should know at once.
    pub(crate) async fn urgent(&self) {
        self.changed.notified().await;
    }

    /// That others should know at once.
    pub(crate) fn is_urgent(&self) {
        self.changed.notify_one();
    }
}
