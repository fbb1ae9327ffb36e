//! Ends the role when NATS no longer has a stream or bucket that this process opened: it was removed, or NATS restarted with an
//! empty disk. Readers and caches of this process do not recover from that. When the role is started again, it creates what is
//! missing. Knows nothing of what is in the streams.

use super::Bus;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

/// Between two looks, where NATS was there all the time.
const LOOK: Duration = Duration::from_secs(30);

/// Between two looks when one is missing, and how many must miss it: it may be on its way back, from a backup for instance.
const MISSING: Duration = Duration::from_secs(5);
const LOOKS: u32 = 4;

/// The streams that this process has opened, those of buckets and stores of objects among them. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenedStreams(Arc<Mutex<BTreeSet<String>>>);

impl OpenedStreams {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one was opened.
    pub(super) fn add(&self, stream: &str) {
        self.names().insert(stream.to_owned());
    }
}

impl Bus {
    /// Looks for the streams that were opened, until one is gone.
    pub(super) async fn miss_stream(self) {
        let (mut looks, mut connections) = (0, self.connections());
        while looks < LOOKS {
            if looks == 0 {
                let _ = timeout(LOOK, connections.changed()).await;
            }
            sleep(MISSING).await;
            match self.missing_stream().await {
                None => looks = 0,
                Some(stream) => {
                    looks += 1;
                    warn!(stream, "NATS no longer has it");
                }
            }
        }
        error!("NATS has lost what was kept there: this process ends, and makes it anew when it is started again");
    }

    /// One that NATS says it does not have.
    async fn missing_stream(&self) -> Option<String> {
        let names = self.opened.names().clone();
        for name in names {
            let found = self.jetstream.get_stream(&name).await;
            if let Err(error) = found
                && let GetStreamErrorKind::JetStream(error) = error.kind()
                && error.error_code() == ErrorCode::STREAM_NOT_FOUND
            {
                return Some(name);
            }
        }
        None
    }
}
