//! Where calls wait while every worker of their provider is busy: bounded, fair between projects, shed by deadline.
//! Projects take turns, each turn worth the same amount of work (deficit round robin), so a noisy one delays itself
//! first. Source: M. Shreedhar, G. Varghese, "Efficient fair queueing using deficit round robin", 1996.

use penstock_schemas::load::WaitingCalls;
use penstock_schemas::name::{ProjectId, ProviderId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// What one turn of a project is worth, in the unit of [`QueuedCall::cost`].
const TURN: u64 = 8 * 1024;

/// All queues of this ingress. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Queues(Arc<Shared>);

struct Shared {
    /// Calls that may wait for one provider.
    limit: usize,
    providers: Mutex<HashMap<ProviderId, Queue>>,
}

#[derive(Default)]
struct Queue {
    projects: HashMap<ProjectId, Waiting>,
    /// Whose turn it is, and then whose.
    round: VecDeque<ProjectId>,
    length: usize,
    /// Since when those wait who are being let in right now.
    let_in: Vec<Instant>,
    /// How many that may be: few, so that the order holds.
    at_once: usize,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<Waiter>,
    deficit: u64,
}

struct Waiter {
    cost: u64,
    since: Instant,
    turn: oneshot::Sender<Turn>,
}

/// A call that wants in.
pub(crate) struct QueuedCall<'a> {
    /// Whose pools are full.
    pub(crate) provider: &'a ProviderId,
    /// Who pays.
    pub(crate) project: &'a ProjectId,
    /// About how much work the call is: the bytes of its request, and something for the answer.
    pub(crate) cost: u64,
    /// How many may be let in at once; one at least.
    pub(crate) at_once: usize,
}

/// The right to be one of the next that pools take; given on when it is dropped.
pub(crate) struct Turn {
    queues: Queues,
    provider: ProviderId,
    since: Instant,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The queue is full, and nobody has more calls in it than this project.
    Queue,
    /// Another project needed the place more.
    Displaced,
}

impl Queues {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, providers: Mutex::default() }))
    }

    fn providers(&self) -> MutexGuard<'_, HashMap<ProviderId, Queue>> {
        self.0.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait for a provider.
    pub(crate) fn length(&self, provider: &ProviderId) -> usize {
        self.providers().get(provider).map_or(0, |queue| queue.length + queue.let_in.len())
    }

    /// The same of all providers for which some wait.
    pub(crate) fn lengths(&self) -> Vec<(ProviderId, usize)> {
        self.providers().iter().map(|(provider, queue)| (provider.clone(), queue.length)).collect()
    }

    /// What waits, for all providers, and for how long.
    pub(crate) fn waiting(&self, now: Instant) -> Vec<WaitingCalls> {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let millis = |since: Instant| u32::try_from(now.duration_since(since).as_millis()).unwrap_or(u32::MAX);
        let providers = self.providers();
        let waiting = providers.iter().map(|(provider, queue)| WaitingCalls {
            provider: provider.clone(),
            calls: small(queue.length + queue.let_in.len()),
            longest_ms: queue.longest().map_or(0, millis),
        });
        waiting.collect()
    }

    /// Waits for the call's turn. Giving up the wait gives up the place.
    pub(crate) async fn turn(&self, place: QueuedCall<'_>) -> Result<Turn, Full> {
        let turn = self.enter(&place)?;
        turn.await.map_err(|_| Full::Displaced)
    }

    fn enter(&self, place: &QueuedCall<'_>) -> Result<oneshot::Receiver<Turn>, Full> {
        let (give, turn) = oneshot::channel();
        let mut providers = self.providers();
        let queue = providers.entry(place.provider.clone()).or_default();
        if queue.length >= self.0.limit {
            queue.displace(place.project)?;
        }
        queue.at_once = place.at_once.max(1);
        queue.push(place.project, Waiter { cost: place.cost, since: Instant::now(), turn: give });
        drop(providers);
        self.go_on(place.provider);
        Ok(turn)
    }

    /// Lets the next ones in, unless as many are being let in as may be.
    fn go_on(&self, provider: &ProviderId) {
        while let Some((waiter, turn)) = self.next(provider) {
            // Who has given up drops the turn, and so hands it on.
            drop(waiter.turn.send(turn));
        }
    }

    fn next(&self, provider: &ProviderId) -> Option<(Waiter, Turn)> {
        let mut providers = self.providers();
        let queue = providers.get_mut(provider).filter(|queue| queue.let_in.len() < queue.at_once)?;
        let Some(waiter) = queue.pop() else {
            if queue.let_in.is_empty() {
                providers.remove(provider);
            }
            return None;
        };
        let since = waiter.since;
        queue.let_in.push(since);
        Some((waiter, Turn { queues: self.clone(), provider: provider.clone(), since }))
    }
}

impl Queue {
    /// Since when the one waits that waits longest.
    fn longest(&self) -> Option<Instant> {
        let first = self.projects.values().filter_map(|waiting| waiting.calls.front()).map(|waiter| waiter.since);
        first.chain(self.let_in.iter().copied()).min()
    }

    fn push(&mut self, project: &ProjectId, waiter: Waiter) {
        let waiting = self.projects.entry(project.clone()).or_default();
        if waiting.calls.is_empty() {
            self.round.push_back(project.clone());
        }
        waiting.calls.push_back(waiter);
        self.length += 1;
    }

    /// The next call: of the first project in the round whose turn is worth it.
    fn pop(&mut self) -> Option<Waiter> {
        loop {
            let project = self.round.front()?.clone();
            let waiting = self.projects.get_mut(&project)?;
            let cost = waiting.calls.front()?.cost;
            if waiting.deficit < cost {
                waiting.deficit += TURN;
                self.round.rotate_left(1);
                continue;
            }
            waiting.deficit -= cost;
            let waiter = waiting.calls.pop_front()?;
            self.length -= 1;
            if waiting.calls.is_empty() {
                self.projects.remove(&project);
                self.round.pop_front();
            }
            return Some(waiter);
        }
    }

    /// Makes room for a call of `project`: the youngest of whoever has most goes, unless that is `project` itself.
    fn displace(&mut self, project: &ProjectId) -> Result<(), Full> {
        let own = self.projects.get(project).map_or(0, |waiting| waiting.calls.len());
        let longest = self.projects.iter_mut().max_by_key(|(_, waiting)| waiting.calls.len()).ok_or(Full::Queue)?;
        if longest.1.calls.len() <= own + 1 {
            return Err(Full::Queue);
        }
        longest.1.calls.pop_back();
        self.length -= 1;
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.queues.providers().get_mut(&self.provider)
            && let Some(at) = queue.let_in.iter().position(|since| *since == self.since)
        {
            queue.let_in.swap_remove(at);
        }
        self.queues.go_on(&self.provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(queues: &Queues, project: &str, cost: u64) -> Result<oneshot::Receiver<Turn>, Full> {
        let (provider, project) = (ProviderId::parse("p").unwrap(), ProjectId::parse(project).unwrap());
        queues.enter(&QueuedCall { provider: &provider, project: &project, cost, at_once: 1 })
    }

    /// The order in which calls that wait for the same pool get their turns.
    fn order(calls: &[(&'static str, u64)]) -> String {
        let queues = Queues::new(100);
        let mut being_let_in = enter(&queues, "x", 1).unwrap();
        let mut waiting: Vec<_> =
            calls.iter().map(|(project, cost)| (*project, enter(&queues, project, *cost).unwrap())).collect();
        let mut turn = Some(being_let_in.try_recv().unwrap());
        let mut order = String::new();
        while turn.take().is_some() {
            let next = waiting.iter_mut().enumerate().find_map(|(at, (_, turn))| Some((at, turn.try_recv().ok()?)));
            turn = next.map(|(at, next)| {
                order.push_str(waiting.remove(at).0);
                next
            });
        }
        assert_eq!(queues.length(&ProviderId::parse("p").unwrap()), 0);
        order
    }

    #[test]
    fn projects_take_turns_and_each_turn_is_worth_the_same() {
        assert_eq!(order(&[("a", TURN), ("a", TURN), ("a", TURN), ("b", TURN), ("c", TURN)]), "abcaa");
        assert_eq!(order(&[("a", 1), ("b", 3 * TURN), ("a", 3 * TURN), ("a", 1), ("c", TURN)]), "acbaa");
    }

    #[test]
    fn so_many_are_let_in_at_once() {
        let queues = Queues::new(100);
        let (provider, project) = (ProviderId::parse("p").unwrap(), ProjectId::parse("a").unwrap());
        let mut calls: Vec<_> = (0..5)
            .map(|_| queues.enter(&QueuedCall { provider: &provider, project: &project, cost: 1, at_once: 3 }).unwrap())
            .collect();
        let mut let_in: Vec<_> = calls.iter_mut().filter_map(|turn| turn.try_recv().ok()).collect();
        assert_eq!((let_in.len(), queues.length(&provider)), (3, 5));
        let_in.pop();
        let_in.extend(calls.iter_mut().filter_map(|turn| turn.try_recv().ok()));
        assert_eq!((let_in.len(), queues.length(&provider)), (3, 4));
        let_in.clear();
        assert!(calls.pop().unwrap().try_recv().is_ok());
        assert_eq!(queues.length(&provider), 0);
    }

    #[test]
    fn who_gives_up_is_passed_over() {
        let queues = Queues::new(100);
        let mut being_let_in = enter(&queues, "x", 1).unwrap();
        drop(enter(&queues, "a", 1).unwrap());
        let mut waiting = enter(&queues, "b", 1).unwrap();
        drop(being_let_in.try_recv().unwrap());
        assert!(waiting.try_recv().is_ok());
    }

    #[test]
    fn a_full_queue_takes_from_whoever_has_most() {
        let queues = Queues::new(3);
        let _being_let_in = enter(&queues, "x", 1).unwrap();
        let _kept: Vec<_> = (0..2).map(|_| enter(&queues, "noisy", 1).unwrap()).collect();
        let mut youngest = enter(&queues, "noisy", 1).unwrap();
        assert_eq!(enter(&queues, "noisy", 1).err(), Some(Full::Queue));
        let _quiet = enter(&queues, "quiet", 1).unwrap();
        assert!(matches!(youngest.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
