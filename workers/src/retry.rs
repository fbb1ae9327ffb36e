//! What to do after a refused attempt: a pure function over what is known, tested as a table. Knows no clock, no bus and
//! no provider.

use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Traffic;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::plan::Link;
use std::sync::Mutex;
use std::time::Duration;

/// The first wait before a repetition, and the longest that we choose by ourselves.
pub(crate) const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// The longest wait for a provider's limit when other links are there to be asked instead, and the longest of a batch's call.
const IMPATIENT: Duration = Duration::from_secs(1);

/// How patient a link is.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Attempts after the first.
    pub retries: u32,
    /// The failures that move on to the next link; `None`: those that another provider may not have.
    pub on: Option<Vec<FailureKind>>,
    /// The longest wait that is better than going on.
    pub patience: Duration,
    /// Whether other links follow.
    pub is_last: IsLast,
    /// Whether a caller waits.
    pub traffic: Traffic,
}

impl Policy {
    /// The policy of a link; a link that is not the last need not wait long, and a call of a batch waits where it came from.
    pub(crate) fn of(link: &Link, retries: u32, is_last: IsLast, traffic: Traffic) -> Self {
        let patience = match (is_last, traffic) {
            (IsLast::Yes, Traffic::Sync) => WAITS.1,
            (IsLast::No, _) | (_, Traffic::Batch) => IMPATIENT,
        };
        Self { retries: link.retries.unwrap_or(retries), on: link.on.clone(), patience, is_last, traffic }
    }

    /// The longest wait between two attempts.
    fn longest_wait(&self) -> Duration {
        match self.traffic {
            Traffic::Sync => WAITS.1,
            Traffic::Batch => IMPATIENT,
        }
    }

    /// What happens when this link is not tried again.
    pub(crate) fn move_on(&self, kind: FailureKind) -> Decision {
        match &self.on {
            Some(kinds) if kinds.contains(&kind) => Decision::Next,
            Some(_) => Decision::Stop,
            // It has time, and a target may be chosen for its price: the batch waits until the provider takes it.
            None if self.traffic == Traffic::Batch && is_for_now(kind) => Decision::Stop,
            None if elsewhere_may_differ(kind) => Decision::Next,
            None => Decision::Stop,
        }
    }
}

/// The budgets of both kinds of traffic: a batch that is refused again and again leaves sync calls their retries.
#[derive(Debug, Default)]
pub(crate) struct RetryBudgets {
    sync: Mutex<RetryBudget>,
    batch: Mutex<RetryBudget>,
}

impl RetryBudgets {
    /// The budget of one kind.
    pub(crate) fn of(&self, traffic: Traffic) -> &Mutex<RetryBudget> {
        match traffic {
            Traffic::Sync => &self.sync,
            Traffic::Batch => &self.batch,
        }
    }
}

/// Whether other links follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsLast {
    /// None.
    Yes,
    /// Some.
    No,
}

/// Retries as a share of traffic, so that a provider in trouble is not given more of it: one retry for every ten calls,
/// and a few for quiet times. Source of the idea: <https://sre.google/sre-book/handling-overload/>.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// In tenths of a retry.
    tenths: u64,
    refilled: UnixMicros,
}

/// What a budget holds at most, in retries; what it starts with; and what each second adds whatever the traffic is.
const BUDGET: (u64, u64, u64) = (50, 10, 1);

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tenths: BUDGET.1 * 10, refilled: UnixMicros(0) }
    }
}

impl RetryBudget {
    /// A call that is no retry.
    pub(crate) fn earn(&mut self) {
        self.tenths = (self.tenths + 1).min(BUDGET.0 * 10);
    }

    /// Whether one more retry is within the budget; if so, it is taken out of it.
    pub(crate) fn spend(&mut self, now: UnixMicros) -> bool {
        let seconds = now.since(self.refilled).as_secs();
        if self.refilled == UnixMicros(0) {
            self.refilled = now;
        } else if seconds > 0 {
            self.tenths = (self.tenths + seconds.min(60) * BUDGET.2 * 10).min(BUDGET.0 * 10);
            self.refilled = now;
        }
        let is_within = self.tenths >= 10;
        self.tenths -= if is_within { 10 } else { 0 };
        is_within
    }
}

/// What has happened at this link so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    /// Attempts that were made here.
    pub attempts: u32,
    /// The wait that the schedule has drawn for the next one.
    pub drawn: Duration,
    /// When the caller stops waiting.
    pub deadline: UnixMicros,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try this link again after this wait.
    Again(Duration),
    /// Pass the call on to the next link.
    Next,
    /// Give up: no other link could do better, or the time is over.
    Stop,
}

/// Decides after an attempt that failed before anything reached the client. A broken attempt, of which something did, is
/// not accepted here: falling back after the first token cannot be written by accident.
pub(crate) fn decide(policy: &Policy, history: History, refused: &Failure, now: UnixMicros) -> Decision {
    if now >= history.deadline {
        return Decision::Stop;
    }
    let move_on = policy.move_on(refused.kind);
    if history.attempts > policy.retries || !same_may_differ(refused.kind) {
        return move_on;
    }
    // What the provider asks for is a floor. A wait that the caller cannot afford is no wait.
    let asked = refused.retry_after().unwrap_or_default();
    let wait = history.drawn.max(asked);
    let is_worth_it = now.after(wait) < history.deadline && (asked <= policy.patience || move_on == Decision::Stop);
    if is_worth_it && wait <= policy.longest_wait() { Decision::Again(wait) } else { move_on }
}

/// Whether the provider says that it takes no more just now.
fn is_for_now(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::RateLimited | FailureKind::Overloaded)
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
        | FailureKind::Budget
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Revoked
        | FailureKind::Hedge
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
        | FailureKind::Budget
        | FailureKind::Busy => true,
        FailureKind::BadRequest
        | FailureKind::Conflict
        | FailureKind::Unprocessable
        | FailureKind::Ledger
        | FailureKind::Deadline
        | FailureKind::Lost
        | FailureKind::Revoked
        | FailureKind::Hedge
        | FailureKind::Cancelled
        | FailureKind::Internal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use penstock_schemas::name::Target;

    const DEADLINE: UnixMicros = UnixMicros(10_000_000);

    fn policy(retries: u32, on: Option<Vec<FailureKind>>, is_last: IsLast, traffic: Traffic) -> Policy {
        let link = Link { on, ..Link::to(Target::parse("a/m").unwrap()) };
        Policy::of(&link, retries, is_last, traffic)
    }

    fn sync(retries: u32, on: Option<Vec<FailureKind>>, is_last: IsLast) -> Policy {
        policy(retries, on, is_last, Traffic::Sync)
    }

    fn decide_at(attempts: u32, kind: FailureKind, retry_after_ms: Option<u64>, now: u64) -> Decision {
        let mut failure = Failure::provider(kind, "");
        failure.retry_after_ms = retry_after_ms;
        let history = History { attempts, drawn: Duration::from_millis(100), deadline: DEADLINE };
        decide(&sync(2, None, IsLast::Yes), history, &failure, UnixMicros(now))
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
        let policy = sync(0, Some(vec![FailureKind::ContentRefused]), IsLast::Yes);
        let history = History { attempts: 1, drawn: Duration::ZERO, deadline: DEADLINE };
        let at = |kind| decide(&policy, history, &Failure::provider(kind, ""), UnixMicros(0));
        assert_eq!((at(FailureKind::ContentRefused), at(FailureKind::Overloaded)), (Decision::Next, Decision::Stop));
    }

    #[test]
    fn with_other_links_behind_it_nobody_waits_long_for_a_limit() {
        let policy = sync(2, None, IsLast::No);
        let history = History { attempts: 1, drawn: Duration::from_millis(100), deadline: DEADLINE };
        let mut failure = Failure::provider(FailureKind::RateLimited, "");
        failure.retry_after_ms = Some(900);
        assert_eq!(decide(&policy, history, &failure, UnixMicros(0)), Decision::Again(Duration::from_millis(900)));
        failure.retry_after_ms = Some(1_100);
        assert_eq!(decide(&policy, history, &failure, UnixMicros(0)), Decision::Next);
    }

    #[test]
    fn a_batchs_call_goes_back_where_the_provider_takes_no_more_now() {
        use FailureKind::{Overloaded, RateLimited, ServerError};
        let history = History { attempts: 1, drawn: Duration::from_millis(100), deadline: DEADLINE };
        let of_batch = |on, is_last| policy(2, on, is_last, Traffic::Batch);
        for (policy, kind, retry_after, decision, why) in [
            (of_batch(None, IsLast::Yes), Overloaded, None, Decision::Again(history.drawn), "a short wait is one"),
            (of_batch(None, IsLast::Yes), RateLimited, Some(1_100), Decision::Stop, "a longer one is the batch's"),
            (of_batch(None, IsLast::No), RateLimited, Some(1_100), Decision::Stop, "and no reason for another target"),
            (of_batch(None, IsLast::No), ServerError, Some(1_100), Decision::Next, "another failure is"),
            (of_batch(Some(vec![RateLimited]), IsLast::No), RateLimited, Some(1_100), Decision::Next, "as is the plan"),
        ] {
            let mut failure = Failure::provider(kind, "");
            failure.retry_after_ms = retry_after;
            assert_eq!(decide(&policy, history, &failure, UnixMicros(0)), decision, "{why}");
        }
    }

    #[test]
    fn a_batchs_retries_are_not_those_of_sync_traffic() {
        let budgets = RetryBudgets::default();
        let spend = |traffic| budgets.of(traffic).lock().unwrap().spend(UnixMicros(1));
        assert_eq!((0..100).filter(|_| spend(Traffic::Batch)).count(), 10);
        assert!(spend(Traffic::Sync));
    }

    #[test]
    fn retries_are_a_tenth_of_the_traffic() {
        let (mut budget, now) = (RetryBudget::default(), UnixMicros(1));
        let mut spend = |calls: u32| {
            (0..calls).for_each(|_| budget.earn());
            (0..1000).filter(|_| budget.spend(now)).count()
        };
        assert_eq!([spend(0), spend(100), spend(9), spend(1)], [10, 10, 0, 1]);
        assert!(budget.spend(UnixMicros(1_000_001)) && !budget.spend(UnixMicros(1_000_001)));
    }
}
