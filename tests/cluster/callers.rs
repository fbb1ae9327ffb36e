//! Callers as a load balancer serves them: a request whose ingress is gone before it answered goes to another one. Counts what
//! became of each request; knows nothing of what is killed.

use futures_util::future::join_all;
use penstock_tests::{Answer, Ask, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The pause of a caller between two requests: a load that two busy cores bear with all their servers.
const PAUSE: Duration = Duration::from_millis(40);

/// The longest that a caller waits for an answer, in milliseconds.
const PATIENCE: u64 = 28_000;

/// The tag that a small budget is for.
pub(crate) const POOR: &str = "pays=little";

/// Where the ingresses are, as a load balancer knows it. The next one is another each time.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    addresses: RwLock<Vec<String>>,
    next: AtomicUsize,
}

impl Balancer {
    /// The ingress `at` is here from now on; `None` while there is none.
    pub(crate) fn set(&self, at: usize, address: Option<String>) {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() <= at {
            addresses.resize(at + 1, String::new());
        }
        addresses[at] = address.unwrap_or_default();
    }

    /// Where they are now.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().filter(|address| !address.is_empty()).cloned().collect()
    }

    fn pick(&self) -> Option<String> {
        let known = self.addresses();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        known.get(next % known.len().max(1)).cloned()
    }

    /// Sends a request; once more when its ingress is gone before it said anything.
    async fn send(&self, ask: &Ask) -> Option<Answer> {
        for _ in 0..3 {
            let Some(address) = self.pick() else { break };
            let answer = ask.clone().at(&address).try_send().await;
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Requests by what became of them; `right` among it.
    pub(crate) counts: BTreeMap<String, usize>,
    /// The longest time to an answer.
    pub(crate) slowest: Duration,
}

impl Outcomes {
    /// All requests.
    pub(crate) fn all(&self) -> usize {
        self.counts.values().sum()
    }

    /// Those that were answered as they should be, in time.
    pub(crate) fn right(&self) -> usize {
        self.counts.get("right").copied().unwrap_or_default()
    }

    fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// The load of so many callers.
pub(crate) struct Callers<'a> {
    pub(crate) balancer: &'a Balancer,
    pub(crate) sent: &'a AtomicUsize,
    pub(crate) is_over: &'a AtomicBool,
    /// A request for the upstream `alpha`, and the same of one who may spend little.
    asks: [Ask; 2],
}

impl<'a> Callers<'a> {
    pub(crate) fn new(world: &World, balancer: &'a Balancer, sent: &'a AtomicUsize, is_over: &'a AtomicBool) -> Self {
        let ask = world.ask("alpha/m").header("x-penstock-timeout-ms", &PATIENCE.to_string());
        let poor = ask.clone().header("x-penstock-tags", POOR).field("max_tokens", json!(5));
        Self { balancer, sent, is_over, asks: [ask, poor] }
    }

    /// All of them ask until it is over.
    pub(crate) async fn ask(&self, callers: usize) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for own in join_all((0..callers).map(|_| self.one())).await {
            outcomes.add(&own);
        }
        outcomes
    }

    async fn one(&self) -> Outcomes {
        let mut outcomes = Outcomes::default();
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let is_poor = number.is_multiple_of(10);
            let ask = self.asks[usize::from(is_poor)].clone();
            let ask = if number.is_multiple_of(3) { ask.stream() } else { ask };
            let begun = Instant::now();
            let answer = self.balancer.send(&ask).await;
            outcomes.slowest = outcomes.slowest.max(begun.elapsed());
            *outcomes.counts.entry(judge(answer.as_ref(), is_poor)).or_default() += 1;
            sleep(PAUSE).await;
        }
        outcomes
    }
}

/// What an answer is; one whose budget is spent is to be told so.
fn judge(answer: Option<&Answer>, is_poor: bool) -> String {
    match answer {
        Some(answer) if answer.status == 200 && answer.raw().contains("hello") => "right".to_owned(),
        Some(answer) if is_poor && answer.raw().contains("budget_exceeded") => "right".to_owned(),
        Some(answer) if answer.status == 200 => format!("cut: {}", answer.raw()),
        Some(answer) => {
            let caller = if is_poor { "small budget: " } else { "" };
            format!("{caller}{}: {}", answer.error(), answer.message())
        }
        None => "connection lost".to_owned(),
    }
}
