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
pub(super) struct Keep {
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
    Waiting(Vec<AttemptEnded>),
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
    pub(super) fn attempt(&mut self, ended: Box<AttemptEnded>, now: UnixMicros) -> Option<Piece> {
        ended.start.trace.as_ref()?;
        let id = ended.start.request_id;
        match self.known.get_mut(&id) {
            Some(Known::Decided(is_kept)) => return is_kept.then_some(Piece::Attempt(ended)),
            Some(Known::Waiting(attempts)) if attempts.len() < ATTEMPTS => attempts.push(*ended),
            Some(Known::Waiting(_)) => return self.keeps_attempt(&ended).then_some(Piece::Attempt(ended)),
            None => self.note(id, Known::Waiting(vec![*ended]), now),
        }
        None
    }

    /// A request is over: whether it is kept is decided now, for its attempts too.
    pub(super) fn request(&mut self, request: Box<RequestEvent>, now: UnixMicros) -> Vec<Piece> {
        if request.trace.is_none() {
            return Vec::new();
        }
        let waiting = match self.known.get_mut(&request.request_id) {
            Some(Known::Decided(_)) => return Vec::new(), // the ledger gave its event twice
            Some(Known::Waiting(attempts)) => std::mem::take(attempts),
            None => Vec::new(),
        };
        let is_kept = self.keeps_request(&request) || waiting.iter().any(|ended| self.keeps_attempt(ended));
        self.note(request.request_id, Known::Decided(is_kept), now);
        if !is_kept {
            return Vec::new();
        }
        let attempts = waiting.into_iter().map(|ended| Piece::Attempt(Box::new(ended)));
        std::iter::once(Piece::Request(request)).chain(attempts).collect()
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
                let attempts = attempts.into_iter().filter(|ended| self.keeps_attempt(ended));
                kept.extend(attempts.map(|ended| Piece::Attempt(Box::new(ended))));
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

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::event::{UsageEvent, decode_batch};
    use penstock_schemas::trace::TraceContext;

    const NOW: UnixMicros = UnixMicros(1_795_000_000_000_000);

    /// A request that was served at its first attempt, of a trace that was not drawn.
    fn quiet() -> (Box<AttemptEnded>, Box<RequestEvent>) {
        let golden = include_bytes!("../../../schemas/tests/golden/usage-trace.jsonl");
        let mut events = decode_batch(golden).unwrap().into_iter();
        let (mut ended, mut request) = match (events.nth(1), events.next()) {
            (Some(UsageEvent::AttemptEnded(ended)), Some(UsageEvent::Request(request))) => (ended, request),
            other => panic!("{other:?}"),
        };
        let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        (ended.outcome, ended.failure, request.attempts) = (Outcome::Served, None, 1);
        request.trace = Some(context);
        if let Some(trace) = &mut ended.start.trace {
            trace.context = context;
        }
        (ended, request)
    }

    fn assembly() -> Assembly {
        Assembly::new(Keep { slow: Duration::from_secs(60), expensive: Picodollars::parse("1").unwrap() })
    }

    /// How many pieces of the two are kept, whichever comes first.
    fn kept(change: impl Fn(&mut AttemptEnded, &mut RequestEvent)) -> usize {
        let (mut ended, mut request) = quiet();
        change(&mut ended, &mut request);
        let (mut forwards, mut backwards) = (assembly(), assembly());
        let mut one = usize::from(forwards.attempt(ended.clone(), NOW).is_some());
        one += forwards.request(request.clone(), NOW).len();
        let other = backwards.request(request, NOW).len() + usize::from(backwards.attempt(ended, NOW).is_some());
        assert_eq!(one, other, "the order does not matter");
        one
    }

    #[test]
    fn a_trace_is_kept_whole_when_it_was_drawn_failed_was_slow_or_expensive() {
        assert_eq!(kept(|_, _| {}), 0);
        assert_eq!(
            kept(|_, request| request.trace =
                TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            2
        );
        assert_eq!(kept(|_, request| request.outcome = Outcome::Cancelled), 2);
        assert_eq!(kept(|_, request| request.attempts = 2), 2);
        assert_eq!(kept(|_, request| request.ended_at = request.received_at.after(Duration::from_secs(60))), 2);
        assert_eq!(kept(|_, request| request.cost = Picodollars::parse("1").ok()), 2);
        assert_eq!(kept(|ended, request| (ended.start.trace, request.trace) = (None, None)), 0);
    }

    #[test]
    fn an_attempt_whose_request_never_comes_is_judged_by_itself() {
        let (mut ended, _) = quiet();
        let mut assembly = assembly();
        assert!(assembly.attempt(ended.clone(), NOW).is_none());
        ended.start.request_id = RequestId(ended.start.attempt_id.0);
        ended.outcome = Outcome::Broken;
        assert!(assembly.attempt(ended, NOW).is_none());
        assert_eq!(assembly.sweep(NOW.after(Duration::from_secs(59))).len(), 0);
        assert_eq!(assembly.sweep(NOW.after(WAIT)).len(), 1);
        assert!(assembly.known.is_empty() && assembly.order.is_empty());
    }

    #[test]
    fn an_event_that_comes_twice_is_one_span() {
        let (_, mut request) = quiet();
        request.attempts = 2;
        let mut assembly = assembly();
        assert_eq!((assembly.request(request.clone(), NOW).len(), assembly.request(request, NOW).len()), (1, 0));
    }
}
