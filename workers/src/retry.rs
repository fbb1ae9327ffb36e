//! What to do after a refused attempt: a pure function over what is known, tested as a table. Knows no clock, no bus and
//! no provider.

use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};
use std::time::Duration;

/// The first wait before a repetition, and the longest that we choose by ourselves.
pub const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// How patient a link is.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Attempts after the first.
    pub retries: u32,
    /// The failures that move on to the next link; `None`: those that another provider may not have.
    pub on: Option<Vec<FailureKind>>,
}

/// What has happened at this link so far.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Attempts that were made here.
    pub attempts: u32,
    /// The wait that the schedule has drawn for the next one.
    pub drawn: Duration,
    /// When the caller stops waiting.
    pub deadline: UnixMicros,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try this link again after this wait.
    Again(Duration),
    /// Pass the call on to the next link.
    Next,
    /// Give up: no other link could do better, or the time is over.
    Stop,
}

/// Decides after an attempt that failed before anything reached the client. A broken attempt, of which something did, is
/// not accepted here: falling back after the first token cannot be written by accident.
pub fn decide(policy: &Policy, history: History, refused: &Failure, now: UnixMicros) -> Decision {
    if now >= history.deadline {
        return Decision::Stop;
    }
    let move_on = match &policy.on {
        Some(kinds) if kinds.contains(&refused.kind) => Decision::Next,
        Some(_) => Decision::Stop,
        None if elsewhere_may_differ(refused.kind) => Decision::Next,
        None => Decision::Stop,
    };
    if history.attempts > policy.retries || !same_may_differ(refused.kind) {
        return move_on;
    }
    // What the provider asks for is a floor. A wait that the caller cannot afford is no wait.
    let wait = history.drawn.max(Duration::from_millis(refused.retry_after_ms.unwrap_or(0)));
    if now.after(wait) < history.deadline && wait <= WAITS.1 { Decision::Again(wait) } else { move_on }
}

/// Whether the same provider may answer the same request better in a moment.
fn same_may_differ(kind: FailureKind) -> bool {
    match kind {
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Broken => true,
        FailureKind::Timeout
        | FailureKind::ProviderAuth
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::BadRequest
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::TooLarge
        | FailureKind::Unprocessable
        | FailureKind::Unsupported
        | FailureKind::NoPool
        | FailureKind::Busy
        | FailureKind::Ledger
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Cancelled
        | FailureKind::Internal => false,
    }
}

/// Whether another provider may answer the same request better.
fn elsewhere_may_differ(kind: FailureKind) -> bool {
    match kind {
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::ServerError
        | FailureKind::Connect
        | FailureKind::Timeout
        | FailureKind::Broken
        | FailureKind::ProviderAuth
        | FailureKind::ContextTooLong
        | FailureKind::ContentRefused
        | FailureKind::NotFound
        | FailureKind::TooLarge
        | FailureKind::Unsupported
        | FailureKind::NoPool
        | FailureKind::Busy => true,
        FailureKind::BadRequest
        | FailureKind::Conflict
        | FailureKind::Unprocessable
        | FailureKind::Ledger
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Cancelled
        | FailureKind::Internal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: UnixMicros = UnixMicros(10_000_000);

    fn decide_at(attempts: u32, kind: FailureKind, retry_after_ms: Option<u64>, now: u64) -> Decision {
        let mut failure = Failure::provider(kind, "");
        failure.retry_after_ms = retry_after_ms;
        let history = History { attempts, drawn: Duration::from_millis(100), deadline: DEADLINE };
        decide(&Policy { retries: 2, on: None }, history, &failure, UnixMicros(now))
    }

    #[test]
    fn decisions() {
        use Decision::{Again, Next, Stop};
        use FailureKind::{BadRequest, Overloaded, RateLimited, Timeout};
        let ms = Duration::from_millis;
        for (attempts, kind, retry_after, now, decision, why) in [
            (1, Overloaded, None, 0, Again(ms(100)), "the schedule's wait"),
            (1, RateLimited, Some(2_000), 0, Again(ms(2_000)), "the provider's wait is a floor"),
            (1, RateLimited, Some(50), 0, Again(ms(100)), "but no ceiling"),
            (1, RateLimited, Some(60_000), 0, Next, "nobody waits a minute"),
            (1, RateLimited, Some(2_000), 9_000_000, Next, "nor past the deadline"),
            (3, Overloaded, None, 0, Next, "two retries are used up"),
            (1, Timeout, None, 0, Next, "a second wait as long is not better"),
            (1, BadRequest, None, 0, Stop, "it is wrong everywhere"),
            (1, Overloaded, None, 10_000_000, Stop, "the time is over"),
        ] {
            assert_eq!(decide_at(attempts, kind, retry_after, now), decision, "{why}");
        }
    }

    #[test]
    fn a_link_may_say_which_failures_move_on() {
        let policy = Policy { retries: 0, on: Some(vec![FailureKind::ContentRefused]) };
        let history = History { attempts: 1, drawn: Duration::ZERO, deadline: DEADLINE };
        let at = |kind| decide(&policy, history, &Failure::provider(kind, ""), UnixMicros(0));
        assert_eq!((at(FailureKind::ContentRefused), at(FailureKind::Overloaded)), (Decision::Next, Decision::Stop));
    }
}
