//! The responses of a session: each is an attempt of its own, paid for and in the ledger before it can begin, and charged by
//! what the provider says at its end, or at its worst case where it never does. Knows nothing of the wire.

use super::super::Call;
use super::super::ledger::End;
use crate::claim::Possible;
use crate::cost::sum_up;
use crate::exchange::{self, Attempt, Clocks, Report};
use crate::sink::FrameSink;
use penstock_dialects::openai::realtime::{DoneStatus, ResponseDone};
use penstock_dialects::provider::Observed;
use penstock_schemas::alert::Alert;
use penstock_schemas::envelope::Operation;
use penstock_schemas::event::{AttemptStarted, UsageEvent};
use penstock_schemas::extent::Extent;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::money::Picodollars;
use penstock_schemas::plan::Link;
use penstock_schemas::reservation::Reservation;
use penstock_schemas::usage::{Usage, UsageSource};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A response that is in the ledger and not over.
pub(super) struct Begun {
    start: AttemptStarted,
    began: Instant,
    first_content: Option<Duration>,
}

/// One that was asked for and has not begun.
pub(super) struct Asked {
    pub(super) event_id: String,
    /// Whether its client does not know that it was asked for.
    pub(super) is_own: bool,
    begun: Begun,
}

/// The responses of one session.
#[derive(Default)]
pub(super) struct Responses {
    asked: VecDeque<Asked>,
    running: Vec<(String, Begun)>,
    sum: Option<Summary>,
    /// From the question to the first content, of the first response that had any.
    pub(super) first_content: Option<Duration>,
    /// The session's model as the provider names it.
    pub(super) model_version: Option<String>,
}

impl Responses {
    /// How many are not over.
    pub(super) fn open(&self) -> usize {
        self.asked.len() + self.running.len()
    }

    /// Whether one is not over after so long.
    pub(super) fn has_older_than(&self, limit: Duration) -> bool {
        let mut all = self.asked.iter().map(|asked| &asked.begun).chain(self.running.iter().map(|(_, begun)| begun));
        all.any(|begun| begun.began.elapsed() > limit)
    }

    /// Those that have begun.
    pub(super) fn running(&self) -> Vec<String> {
        self.running.iter().map(|(id, _)| id.clone()).collect()
    }

    /// A response is asked for from now on.
    pub(super) fn ask(&mut self, event_id: String, is_own: bool, begun: Begun) {
        self.asked.push_back(Asked { event_id, is_own, begun });
    }

    /// The one that was asked for by this event does not begin.
    pub(super) fn refuse(&mut self, event_id: &str) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.event_id == event_id)?;
        self.asked.remove(at)
    }

    /// The provider has begun one. False when none was asked for.
    pub(super) fn begin(&mut self, id: String) -> bool {
        if self.running.iter().any(|(running, _)| *running == id) {
            return true;
        }
        let Some(asked) = self.asked.pop_front() else { return false };
        self.running.push((id, asked.begun));
        true
    }

    /// One runs that nobody asked for.
    pub(super) fn begin_unasked(&mut self, id: String, begun: Begun) {
        self.running.push((id, begun));
    }

    /// Content has come.
    pub(super) fn note_content(&mut self) {
        for (_, begun) in self.running.iter_mut().filter(|(_, begun)| begun.first_content.is_none()) {
            let took = begun.began.elapsed();
            begun.first_content = Some(took);
            self.first_content.get_or_insert(took);
        }
    }

    fn end(&mut self, id: &str) -> Option<Begun> {
        match self.running.iter().position(|(running, _)| running == id) {
            Some(at) => Some(self.running.swap_remove(at).1),
            None => self.asked.pop_front().map(|asked| asked.begun),
        }
    }

    /// All that are not over.
    fn take_open(&mut self) -> Vec<Begun> {
        let asked = self.asked.drain(..).map(|asked| asked.begun);
        asked.chain(self.running.drain(..).map(|(_, begun)| begun)).collect()
    }

    fn add(&mut self, summary: Summary) {
        let cost = |a: Option<Picodollars>, b: Option<Picodollars>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.sum = Some(match self.sum.take() {
            None => summary,
            Some(sum) => Summary {
                usage: sum.usage.plus(summary.usage),
                usage_source: sum.usage_source,
                cost: cost(sum.cost, summary.cost),
            },
        });
    }

    /// What all of them came to.
    pub(super) fn summary(&self) -> Summary {
        let none =
            || Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: Some(Picodollars::ZERO) };
        self.sum.clone().unwrap_or_else(none)
    }
}

impl<S: FrameSink> Call<S> {
    /// Writes into the ledger that a response may begin, and waits until it is there.
    ///
    /// # Errors
    /// When the ledger does not take it in time, or nobody waits any more: then it must not begin, and the ledger has that too.
    pub(super) async fn begin_response(&mut self, link: &Link, clocks: &Clocks) -> Result<Begun, Failure> {
        self.record_ends().await?;
        self.envelope.attempts += 1;
        let start = self.context.start((&self.envelope, &self.body), link, clocks);
        if start.price_id.is_none() {
            self.context.alarm.raise(Alert::unpriced_model(&link.target, start.started_at));
        }
        let journal = self.context.journal.clone();
        let event = UsageEvent::started(&start);
        let writing = timeout(exchange::LEDGER, async move { journal.begin(event).await.acknowledged().await });
        let written = self.sink.wait(writing).await;
        let call_by = self.envelope.reservation.as_ref().and_then(Reservation::call_by);
        let is_late = call_by.is_some_and(|by| penstock_runtime::clock::now() >= by);
        let begun = Begun { start, began: Instant::now(), first_content: None };
        match written {
            Some(Ok(true)) if !is_late => Ok(begun),
            Some(_) => {
                let failure = exchange::ledger_failed();
                self.end_response(begun, Attempt::Refused(failure.clone()), Report::default()).await;
                Err(failure)
            }
            None => {
                self.end_response(begun, Attempt::Cancelled, Report::default()).await;
                Err(Failure::gateway(FailureKind::Cancelled, "the caller went away"))
            }
        }
    }

    /// Writes the end of a response into the ledger, and what it came to into what is set aside.
    async fn end_response(&mut self, begun: Begun, attempt: Attempt, report: Report) {
        let target = begun.start.target.clone();
        let end = End::of(&attempt, begun.began.elapsed(), FailureKind::Cancelled);
        let noted = self.context.note(begun.start, end, report).await;
        self.ends.push(noted.recorded);
        self.spend_on_response(&target, noted.amounts);
    }

    /// The provider does not begin what it was asked for, and says why.
    pub(super) async fn response_refused(&mut self, asked: Asked, failure: Failure) {
        self.end_response(asked.begun, Attempt::Refused(failure), Report::default()).await;
    }

    /// A response is over. What nobody asked for and nobody knows is nothing to be charged.
    pub(super) async fn response_done(&mut self, link: &Link, responses: &mut Responses, done: ResponseDone) {
        let Some(begun) = responses.end(&done.id) else { return };
        let card = self.context.provider.model(&link.target.model);
        let possible = Possible::of(card, Operation::Realtime, &Extent::default());
        // What was said was not for nothing.
        let is_nothing = |usage: &Usage| begun.first_content.is_some() && usage.used().next().is_none();
        let is_claimed = done.usage.is_some_and(|usage| is_nothing(&usage) || !possible.holds(&usage, u64::MAX));
        let believed = done.usage.filter(|_| !is_claimed);
        let mut report = Report {
            observed: Observed {
                usage: believed,
                usage_mismatch: done.usage_mismatch,
                model_version: responses.model_version.clone(),
                provider_request_id: Some(done.id),
                finish_reason: done.word,
                ..Observed::default()
            },
            first_token: begun.first_content,
            has_begun: true,
            was_sent: true,
            status: Some(200),
            ..Report::default()
        };
        if is_claimed {
            report.claimed = done.usage;
            report.counted = done.usage.and_then(|usage| possible.cut(&usage));
        }
        responses.add(sum_up(card, report.observed.usage, report.counted));
        let failed = |kind, message: &str| {
            let mut failure = Failure::provider(kind, message);
            failure.provider_code = done.code;
            failure
        };
        let attempt = match done.status {
            DoneStatus::Complete => Attempt::Served,
            DoneStatus::Cancelled => Attempt::Cancelled,
            // It has done nothing, and says so.
            DoneStatus::Failed if done.usage.is_none() && begun.first_content.is_none() => {
                Attempt::Refused(failed(FailureKind::ServerError, "the provider failed to respond"))
            }
            DoneStatus::Failed => Attempt::Broken(failed(FailureKind::Broken, "the provider broke a response off")),
        };
        self.end_response(begun, attempt, report).await;
    }

    /// The session is over, and nobody says what these came to: they count at their worst case.
    pub(super) async fn responses_lost(&mut self, responses: &mut Responses, is_cancelled: bool) {
        for begun in responses.take_open() {
            let report = Report {
                first_token: begun.first_content,
                has_begun: true,
                was_sent: true,
                status: Some(200),
                ..Report::default()
            };
            let attempt = if is_cancelled {
                Attempt::Cancelled
            } else {
                Attempt::Broken(Failure::provider(FailureKind::Broken, "the session ended before the response did"))
            };
            self.end_response(begun, attempt, report).await;
        }
    }
}
