//! Waiting for an event, never for a time: asks again and again until it is there, and says what it waited for when it
//! never comes.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest wait for anything. Nothing takes so long; a machine that is busy with other things may.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until `look` sees it.
///
/// # Panics
/// When it has not come after [`LONG`]: `what` is what was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    until_right(what, async || look().await.ok_or_else(String::new)).await
}

/// Waits until `look` finds all right; what it last found wrong is told when that never comes.
///
/// # Panics
/// When it has not come after [`LONG`].
pub async fn until_right<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(wrong) => assert!(begun.elapsed() < LONG, "waited {LONG:?} in vain for {what}. {wrong}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}
