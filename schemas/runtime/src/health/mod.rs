//! How the pools of the cluster are, by their gossip: who serves a provider, which targets fail, what the providers'
//! limits are. Every process listens; only workers tell. Knows nothing of what a call is for.

mod circuit;
mod fleet;

pub use circuit::Threshold;

use crate::bus::{Bus, BusError};
use crate::clock;
use circuit::{Circuit, TargetOutcomes};
use penstock_schemas::UnixMicros;
use penstock_schemas::name::{ModelId, ProcessId, ProviderId, Target};
use penstock_schemas::plan::Link;
use penstock_schemas::pool::{PoolState, TargetState};
use penstock_schemas::target::{CircuitState, TargetReport};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Silence after which a worker is taken for gone: three of its messages were missed.
const SILENT: Duration = Duration::from_millis(3500);

/// Silence after which a worker is no longer given calls past the queue.
const QUIET: Duration = Duration::from_millis(1500);

/// Circuits that are kept; the cluster has not so many targets, but names come from callers.
const CIRCUITS: usize = 4096;

/// What is known of all pools. Cloning shares it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    pools: BTreeMap<ProviderId, HashMap<ProcessId, Heard>>,
    circuits: HashMap<(Target, Threshold), Circuit>,
    queued: fleet::Queued,
    /// When this process connected to the bus last: it hears every worker from then on. `None` when it does not listen.
    connected_at: Option<UnixMicros>,
}

struct Heard {
    state: PoolState,
    /// By our own clock: those of other machines may differ.
    at: UnixMicros,
}

/// What a provider's pools can take, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Workers that serve it.
    pub workers: u32,
    /// Calls that they take at once.
    pub slots: u32,
    /// Those that are not taken, as far as is known.
    pub free: u32,
    /// Calls of batches that they take at once.
    pub batch_slots: u32,
    /// Calls of batches that they would take now, as far as is known.
    pub batch_free: u32,
    /// Calls that ended within the last second.
    pub ended_per_second: u32,
}

impl Health {
    /// Listens as long as the role lives; `also` hears it too.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn follow(bus: &Bus, also: impl Fn(&PoolState) + Send + Sync + 'static) -> Result<Self, BusError> {
        let health = Self::default();
        let known = health.clone();
        let hear = move |state: PoolState| {
            also(&state);
            known.take(state, clock::now());
        };
        bus.hear_pools(hear).await?;
        let (mut connections, known) = (bus.connections(), health.clone());
        bus.life().service("the age of what is known of pools", async move {
            loop {
                known.known().connected_at = Some(clock::now());
                if connections.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(health)
    }

    /// The time until each worker that lives has told of itself since this process connected to the bus. Until then, one that
    /// is not known may be there all the same, with all its slots taken.
    pub fn complete_in(&self, now: UnixMicros) -> Duration {
        self.known().connected_at.map_or(Duration::ZERO, |at| at.after(SILENT).since(now))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a worker tells.
    pub fn take(&self, state: PoolState, now: UnixMicros) {
        let mut known = self.known();
        let workers = known.pools.entry(state.provider.clone()).or_default();
        workers.retain(|_, heard| now.since(heard.at) < SILENT);
        if state.leaving {
            workers.remove(&state.worker);
        } else {
            workers.insert(state.worker.clone(), Heard { state, at: now });
        }
    }

    /// Whether a call may go to a link's target; when half open, only now and then.
    pub fn admits(&self, link: &Link, now: UnixMicros) -> bool {
        let threshold = threshold(link);
        threshold.errors == 0 || self.known().circuit(&link.target, threshold, now).0.admits(now)
    }

    /// Whether nothing speaks against a link's target.
    pub fn is_closed(&self, link: &Link, now: UnixMicros) -> bool {
        let threshold = threshold(link);
        threshold.errors == 0 || self.known().circuit(&link.target, threshold, now).0.report().0 == CircuitState::Closed
    }

    /// A worker that serves the provider and was heard of just now, the one with most room; none of `but`.
    pub fn worker_of(&self, provider: &ProviderId, but: &BTreeSet<ProcessId>, now: UnixMicros) -> Option<ProcessId> {
        let known = self.known();
        let alive = known.alive(provider, now).filter(|heard| now.since(heard.at) < QUIET);
        let others = alive.filter(|heard| !but.contains(&heard.state.worker));
        others
            .max_by_key(|heard| (heard.state.free > 0, heard.at, heard.state.free))
            .map(|heard| heard.state.worker.clone())
    }

    /// Whether one of the workers that serve the provider is like this.
    pub fn has_worker(&self, provider: &ProviderId, now: UnixMicros, is_like: impl Fn(&ProcessId) -> bool) -> bool {
        self.known().alive(provider, now).any(|heard| is_like(&heard.state.worker))
    }

    /// The models of a provider that a few calls are to try again, while nobody calls them.
    pub fn in_doubt(&self, provider: &ProviderId, now: UnixMicros) -> Vec<ModelId> {
        let mut known = self.known();
        let told = known.alive(provider, now).flat_map(|heard| &heard.state.targets).map(|target| &target.model);
        let own = known.circuits.keys().filter(|(target, _)| target.provider == *provider);
        let models: BTreeSet<String> =
            told.chain(own.map(|(target, _)| &target.model)).map(|model| model.as_str().to_owned()).collect();
        let models = models.into_iter().filter_map(|model| ModelId::parse(model).ok());
        models
            .filter(|model| {
                let target = Target { provider: provider.clone(), model: model.clone() };
                let (circuit, seen) = known.circuit(&target, Threshold::default(), now);
                circuit.report().0 == CircuitState::HalfOpen && seen.succeeded == 0 && seen.failed == 0
            })
            .collect()
    }

    /// The one of a provider's workers that does what only one is to do.
    pub fn first_worker(&self, provider: &ProviderId, now: UnixMicros) -> Option<ProcessId> {
        let known = self.known();
        let alive = known.alive(provider, now).filter(|heard| now.since(heard.at) < QUIET);
        alive.map(|heard| &heard.state.worker).min().cloned()
    }

    /// Whether a worker of this provider has fallen silent without a farewell: the queue may still give it calls.
    pub fn has_silent_worker(&self, provider: &ProviderId, now: UnixMicros) -> bool {
        self.known().alive(provider, now).any(|heard| now.since(heard.at) >= QUIET)
    }

    /// What the provider's pools can take together, save those of the workers `but`.
    pub fn capacity(&self, provider: &ProviderId, but: &BTreeSet<ProcessId>, now: UnixMicros) -> Capacity {
        let mut capacity = Capacity::default();
        for heard in self.known().alive(provider, now).filter(|heard| !but.contains(&heard.state.worker)) {
            capacity.workers += 1;
            capacity.slots = capacity.slots.saturating_add(heard.state.slots);
            capacity.free = capacity.free.saturating_add(heard.state.free);
            capacity.batch_slots = capacity.batch_slots.saturating_add(heard.state.batch_slots);
            capacity.batch_free = capacity.batch_free.saturating_add(heard.state.batch_free);
            capacity.ended_per_second = capacity.ended_per_second.saturating_add(heard.state.ended_per_second);
        }
        capacity
    }

    /// The time to the first content that 19 of 20 calls of a target kept lately.
    pub fn first_token_p95(&self, target: &Target, now: UnixMicros) -> Option<Duration> {
        let known = self.known();
        let seen = TargetOutcomes::sum(known.states(target, now), 0, now);
        seen.first_token_p95_ms.map(|millis| Duration::from_millis(u64::from(millis)))
    }

    /// All targets that were called lately, or whose circuit is not closed.
    pub fn report(&self, now: UnixMicros) -> Vec<TargetReport> {
        let mut known = self.known();
        let mut targets: BTreeSet<String> = known.circuits.keys().map(|(target, _)| target.to_string()).collect();
        for (provider, workers) in &known.pools {
            let models = workers.values().flat_map(|heard| &heard.state.targets).map(|target| &target.model);
            targets.extend(models.map(|model| format!("{provider}/{model}")));
        }
        let targets = targets.iter().filter_map(|target| Target::parse(target).ok());
        targets.collect::<Vec<_>>().iter().map(|target| known.report(target, now)).collect()
    }
}

impl Known {
    fn alive(&self, provider: &ProviderId, now: UnixMicros) -> impl Iterator<Item = &Heard> {
        let workers = self.pools.get(provider).into_iter().flat_map(HashMap::values);
        workers.filter(move |heard| now.since(heard.at) < SILENT)
    }

    fn states<'a>(&'a self, target: &'a Target, now: UnixMicros) -> impl Iterator<Item = &'a TargetState> {
        let states = self.alive(&target.provider, now).flat_map(|heard| &heard.state.targets);
        states.filter(move |state| state.model == target.model)
    }

    fn circuit(&mut self, target: &Target, threshold: Threshold, now: UnixMicros) -> (&mut Circuit, TargetOutcomes) {
        let key = (target.clone(), threshold);
        if self.circuits.len() >= CIRCUITS && !self.circuits.contains_key(&key) {
            self.circuits.clear();
        }
        let mut circuit = self.circuits.remove(&key).unwrap_or_else(|| Circuit::new(now));
        let seen = TargetOutcomes::sum(self.states(target, now), circuit.counts_from(), now);
        circuit.update(&seen, threshold, now);
        let circuit = self.circuits.entry(key).or_insert(circuit);
        (circuit, seen)
    }

    /// With the strictest of the thresholds that are in use.
    fn report(&mut self, target: &Target, now: UnixMicros) -> TargetReport {
        let mut thresholds: Vec<Threshold> =
            self.circuits.keys().filter(|(known, _)| known == target).map(|(_, threshold)| *threshold).collect();
        if thresholds.is_empty() {
            thresholds.push(Threshold::default());
        }
        let circuits = thresholds.into_iter().map(|threshold| {
            let (state, since, reason) = self.circuit(target, threshold, now).0.report();
            (state, since, reason.map(str::to_owned))
        });
        let (circuit, since, reason) =
            circuits.max_by_key(|(state, ..)| *state).unwrap_or((CircuitState::Closed, now, None));
        let seen = TargetOutcomes::sum(self.states(target, now), 0, now);
        let (mut workers, mut slots, mut free, mut paused) = (0, 0_u32, 0_u32, None);
        for heard in self.alive(&target.provider, now) {
            workers += 1;
            slots = slots.saturating_add(heard.state.slots);
            free = free.saturating_add(heard.state.free);
            let quotas = heard.state.quotas.iter().filter(|quota| quota.model == target.model);
            paused = quotas.filter_map(|quota| quota.paused_until).filter(|until| *until > now).max().max(paused);
        }
        TargetReport {
            target: target.clone(),
            circuit,
            since,
            reason,
            succeeded: seen.succeeded,
            failed: seen.failed,
            last_failure: seen.failure,
            first_token_p95_ms: seen.first_token_p95_ms,
            paused_until: paused,
            workers,
            slots,
            free,
        }
    }
}

fn threshold(link: &Link) -> Threshold {
    Threshold { errors: link.error_threshold.unwrap_or(Threshold::default().errors), slow_ms: link.slow_ms }
}
