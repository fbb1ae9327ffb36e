//! Work on a batch of thousands of events, one by one: now and then other tasks have their turn, so that no request of the same
//! process waits for a whole batch. Knows nothing of events.

use tokio::task::yield_now;

/// Events between two turns: less than a millisecond's work.
const PIECE: usize = 32;

/// Counts them.
#[derive(Default)]
pub(crate) struct EventTurns(usize);

impl EventTurns {
    /// One is done.
    pub(crate) async fn next(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(PIECE) {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn others_have_their_turn_in_the_middle_of_a_batch() {
        let done = AtomicUsize::new(0);
        let batch = async {
            let mut turns = EventTurns::default();
            for at in 0..10 * PIECE {
                done.store(at, Ordering::Relaxed);
                turns.next().await;
            }
        };
        let other = async { done.load(Ordering::Relaxed) };
        let ((), seen) = tokio::join!(batch, other);
        assert_eq!(seen, PIECE - 1);
    }
}
