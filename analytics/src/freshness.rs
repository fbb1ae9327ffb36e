//! How long the ledger's reader collects events before it inserts them: shortly after a question, longer without one. An insert
//! costs ClickHouse the same for one row as for a thousand. Knows nothing of events.

#[cfg(doc)]
use penstock_runtime::bus::UsageReader;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// The wait within [`ATTENTION`] after a question, and for the first event after [`QUIET`].
const READ: Duration = Duration::from_millis(400);

/// The wait otherwise. Less than half of what the ledger waits for an acknowledgement ([`UsageReader::ACK_WAIT`]).
const UNREAD: Duration = Duration::from_secs(5);

/// How long after a question more questions are expected.
const ATTENTION: Duration = Duration::from_secs(30);

/// After this long without an event, the next one is probably a test call whose row is looked for.
const QUIET: Duration = Duration::from_secs(5);

/// Longest that a question waits for what is under way.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// Shared by the reader of the ledger and those who answer questions. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Freshness(Arc<watch::Sender<Known>>);

#[derive(Clone, Copy, Default)]
struct Known {
    /// The time of the last question.
    asked: Option<Instant>,
    /// How often what is under way was to be inserted at once.
    hurried: u64,
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
    /// Somebody reads the ledger: rows are inserted sooner for [`ATTENTION`]. Then the same as [`Freshness::catch_up`].
    pub(crate) async fn ask(&self) {
        self.0.send_modify(|known| known.asked = Some(Instant::now()));
        self.catch_up().await;
    }

    /// Collected events are inserted now. Waits until they are, at most [`CAUGHT_UP`].
    pub(crate) async fn catch_up(&self) {
        self.0.send_modify(|known| known.hurried += 1);
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

    /// Waits until events are to be inserted at once.
    pub(crate) async fn hurried(&self) {
        let mut known = self.0.subscribe();
        let before = known.borrow_and_update().hurried;
        // The sender lives as long as this does.
        let _ = known.wait_for(|known| known.hurried != before).await;
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
        freshness.carried();
        freshness.catch_up().await;
        assert_eq!(freshness.begin(), UNREAD, "questions of this role itself do not count as readers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_ends_the_wait_and_is_answered_when_what_was_under_way_has_arrived() {
        let freshness = Freshness::default();
        freshness.begin();
        let reader = async {
            freshness.hurried().await;
            freshness.carried();
        };
        let begun = Instant::now();
        tokio::join!(reader, freshness.ask());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        freshness.begin();
        // Nobody carries it: the question is answered all the same.
        freshness.ask().await;
        assert_eq!(begun.elapsed(), CAUGHT_UP);
        let mut again = pin!(freshness.hurried());
        assert!(timeout(UNREAD, &mut again).await.is_err(), "an old question is not asked again");
    }
}
