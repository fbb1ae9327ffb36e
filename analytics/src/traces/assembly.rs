//! Which spans are kept: whole traces that were drawn at their beginning, and those whose request failed, was slow or
//! expensive. An attempt waits a while for its request. Pure: knows no exporter and no clock.

use penstock_schemas::UnixMicros;
use penstock_schemas::event::{AttemptEnded, Outcome, RequestEvent};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::RequestId;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long an attempt waits for its request, and a decision for attempts that come behind it: those that are counted after
/// they were cut off take seconds.
const WAIT: Duration = Duration::from_secs(60);

/// Requests that are waited for or remembered at once; beyond it the oldest go, and each attempt is judged by itself.
const REQUESTS: usize = 10_000;

/// Attempts of one request that wait; others are judged by themselves.
const ATTEMPTS: usize = 64;

/// What is exported of a trace whatever was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Requests and attempts that took at least so long.
    pub slow: Duration,
    /// Those that cost at least so much.
    pub expensive: Picodollars,
}

/// A part of a trace that is kept.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// A request with its stages.
    Request(Box<RequestEvent>),
    /// An attempt.
    Attempt(Box<AttemptEnded>),
}

/// What is known of a request.
enum Known {
    /// These attempts wait for it.
    Waiting(Vec<Box<AttemptEnded>>),
    /// Whether it is kept.
    Decided(bool),
}

/// The traces that are being put together.
pub(super) struct Assembly {
    keep: Keep,
    known: HashMap<RequestId, Known>,
    /// In the order in which they came.
    order: VecDeque<(UnixMicros, RequestId)>,
}

impl Assembly {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, known: HashMap::new(), order: VecDeque::new() }
    }

    /// An attempt is over: it goes out with its request, if that is kept.
    pub(super) fn attempt(&mut self, ended: &AttemptEnded, now: UnixMicros) -> Option<Piece> {
        ended.start.trace.as_ref()?;
        let id = ended.start.request_id;
        match self.known.get_mut(&id) {
            Some(Known::Decided(is_kept)) => return is_kept.then(|| Piece::Attempt(Box::new(ended.clone()))),
            Some(Known::Waiting(attempts)) if attempts.len() < ATTEMPTS => attempts.push(Box::new(ended.clone())),
            Some(Known::Waiting(_)) => {
                return self.keeps_attempt(ended).then(|| Piece::Attempt(Box::new(ended.clone())));
            }
            None => self.note(id, Known::Waiting(vec![Box::new(ended.clone())]), now),
        }
        None
    }

    /// A request is over: whether it is kept is decided now, for its attempts too.
    pub(super) fn request(&mut self, request: &RequestEvent, now: UnixMicros) -> Vec<Piece> {
        if request.trace.is_none() {
            return Vec::new();
        }
        let waiting = match self.known.get_mut(&request.request_id) {
            Some(Known::Decided(_)) => return Vec::new(), // the ledger gave its event twice
            Some(Known::Waiting(attempts)) => std::mem::take(attempts),
            None => Vec::new(),
        };
        let is_kept = self.keeps_request(request) || waiting.iter().any(|ended| self.keeps_attempt(ended));
        self.note(request.request_id, Known::Decided(is_kept), now);
        if !is_kept {
            return Vec::new();
        }
        let attempts = waiting.into_iter().map(Piece::Attempt);
        std::iter::once(Piece::Request(Box::new(request.clone()))).chain(attempts).collect()
    }

    /// Forgets what has waited long enough. Attempts whose request never came, because its ingress died, are judged by
    /// themselves.
    pub(super) fn sweep(&mut self, now: UnixMicros) -> Vec<Piece> {
        let mut kept = Vec::new();
        while let Some((at, id)) = self.order.front().copied() {
            if self.order.len() <= REQUESTS && now.since(at) < WAIT {
                break;
            }
            self.order.pop_front();
            if let Some(Known::Waiting(attempts)) = self.known.remove(&id) {
                kept.extend(attempts.into_iter().filter(|ended| self.keeps_attempt(ended)).map(Piece::Attempt));
            }
        }
        kept
    }

    fn note(&mut self, id: RequestId, known: Known, now: UnixMicros) {
        if self.known.insert(id, known).is_none() {
            self.order.push_back((now, id));
        }
    }

    fn keeps_request(&self, request: &RequestEvent) -> bool {
        request.trace.is_some_and(|trace| trace.is_sampled())
            || request.outcome != Outcome::Served
            || request.attempts > 1
            || request.ended_at.since(request.received_at) >= self.keep.slow
            || request.cost.is_some_and(|cost| cost >= self.keep.expensive)
    }

    fn keeps_attempt(&self, ended: &AttemptEnded) -> bool {
        ended.start.trace.as_ref().is_some_and(|trace| trace.context.is_sampled())
            || (ended.outcome != Outcome::Served && ended.failure != Some(FailureKind::Hedge))
            || ended.start.number > 1
            || Duration::from_micros(ended.total_us) >= self.keep.slow
            || ended.cost.is_some_and(|cost| cost >= self.keep.expensive)
    }
}
