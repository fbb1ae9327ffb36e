//! How long events wait for company before they are inserted: shortly while somebody reads, longer while nobody does. An insert
//! costs ClickHouse the same for one row as for a thousand. Knows nothing of events.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long events wait while somebody reads, and after a time without any.
const READ: Duration = Duration::from_millis(400);

/// How long they wait while nobody has asked for [`ATTENTION`].
const UNREAD: Duration = Duration::from_secs(2);

/// After a question more are expected for so long.
const ATTENTION: Duration = Duration::from_secs(30);

/// Without an event for so long, the next one is likely to be looked for.
const QUIET: Duration = Duration::from_secs(5);

/// Longest that a question waits for what is under way.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// Shared by the reader of the ledger and those who answer questions. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Freshness(Arc<watch::Sender<Known>>);

#[derive(Clone, Copy, Default)]
struct Known {
    /// When somebody asked last.
    asked: Option<Instant>,
    /// Whether events are on their way into ClickHouse.
    is_carrying: bool,
    /// When the last ones arrived there.
    carried: Option<Instant>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Known::default())))
    }
}

impl Freshness {
    /// Somebody asks: what is under way is not held back any longer. Waits until it has arrived, but not for ever.
    pub(crate) async fn ask(&self) {
        self.0.send_modify(|known| known.asked = Some(Instant::now()));
        let mut known = self.0.subscribe();
        // A question is answered from what is there, when ClickHouse takes long.
        let _ = timeout(CAUGHT_UP, known.wait_for(|known| !known.is_carrying)).await;
    }

    /// Events have come; how long they may wait for others.
    pub(crate) fn begin(&self) -> Duration {
        self.0.send_modify(|known| known.is_carrying = true);
        let known = *self.0.borrow();
        let is_recent = |at: Option<Instant>, limit| at.is_some_and(|at| at.elapsed() < limit);
        if is_recent(known.asked, ATTENTION) || !is_recent(known.carried, QUIET) { READ } else { UNREAD }
    }

    /// Waits for the next question.
    pub(crate) async fn asked(&self) {
        let mut known = self.0.subscribe();
        let before = known.borrow_and_update().asked;
        // The sender lives as long as this does.
        let _ = known.wait_for(|known| known.asked != before).await;
    }

    /// They are in ClickHouse.
    pub(crate) fn carried(&self) {
        self.0.send_modify(|known| (known.is_carrying, known.carried) = (false, Some(Instant::now())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn events_wait_longer_while_nobody_asks_but_not_the_first_after_a_quiet_time() {
        let freshness = Freshness::default();
        assert_eq!(freshness.begin(), READ);
        freshness.carried();
        assert_eq!(freshness.begin(), UNREAD);
        freshness.carried();
        freshness.ask().await;
        assert_eq!(freshness.begin(), READ);
        freshness.carried();
        advance(ATTENTION).await;
        assert_eq!(freshness.begin(), READ, "the first after a quiet time");
        freshness.carried();
        assert_eq!(freshness.begin(), UNREAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_ends_the_wait_and_is_answered_when_what_was_under_way_has_arrived() {
        let freshness = Freshness::default();
        freshness.begin();
        let reader = async {
            freshness.asked().await;
            freshness.carried();
        };
        let begun = Instant::now();
        tokio::join!(reader, freshness.ask());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        freshness.begin();
        // Nobody carries it: the question is answered all the same.
        freshness.ask().await;
        assert_eq!(begun.elapsed(), CAUGHT_UP);
        let mut again = pin!(freshness.asked());
        assert!(timeout(UNREAD, &mut again).await.is_err(), "an old question is not asked again");
    }
}
