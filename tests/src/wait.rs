//! Waiting for an event, never for a time: asks again and again until it is there, and says what it waited for when it
//! never comes.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest wait for anything. Nothing takes so long; a machine that is busy with other things may.
pub const LONG: Duration = Duration::from_secs(30);

/// Waits until `look` sees it.
///
/// # Panics
/// When it has not come after [`LONG`]: `what` is what was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < LONG, "waited {LONG:?} in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
