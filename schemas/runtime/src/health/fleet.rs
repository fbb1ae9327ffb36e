//! Who serves what, and what waits for them, over the whole cluster: what scales workers. Knows nothing of targets.

use super::{Health, Heard, Known, SILENT};
use penstock_schemas::UnixMicros;
use penstock_schemas::load::{FleetReport, ProviderLoad, QueueState, WorkerReport};
use penstock_schemas::name::{ProcessId, ProviderId};
use std::collections::{BTreeSet, HashMap};

/// What waits at the ingresses, as each told last, and when that was by our own clock.
pub(super) type Queued = HashMap<ProcessId, (QueueState, UnixMicros)>;

impl Health {
    /// Takes in what an ingress tells of its queues.
    pub fn take_queue(&self, state: QueueState, now: UnixMicros) {
        let mut known = self.known();
        known.queued.retain(|_, (_, at)| now.since(*at) < SILENT);
        if state.waiting.is_empty() {
            known.queued.remove(&state.ingress);
        } else {
            known.queued.insert(state.ingress.clone(), (state, now));
        }
    }

    /// All pools, and what waits for them.
    pub fn fleet(&self, now: UnixMicros) -> FleetReport {
        let known = self.known();
        let mut workers: Vec<WorkerReport> =
            known.pools.keys().flat_map(|provider| known.alive(provider, now)).map(Heard::report).collect();
        workers.sort_by(|one, other| (&one.provider, one.started_at).cmp(&(&other.provider, other.started_at)));
        let waited_for = known.queued.values().flat_map(|(state, _)| &state.waiting).map(|waiting| &waiting.provider);
        let names: BTreeSet<&ProviderId> = known.pools.keys().chain(waited_for).collect();
        let providers: Vec<ProviderLoad> = names.into_iter().map(|name| known.load(name, now)).collect();
        let demand = |load: &ProviderLoad| (load.provider.to_string(), u64::from(load.busy) + u64::from(load.waiting));
        FleetReport { demand: providers.iter().map(demand).collect(), workers, providers }
    }
}

impl Heard {
    fn report(&self) -> WorkerReport {
        let state = &self.state;
        WorkerReport {
            worker: state.worker.clone(),
            provider: state.provider.clone(),
            host: state.host.clone(),
            version: state.version.clone(),
            started_at: state.started_at,
            heard_at: self.at,
            slots: state.slots,
            busy: state.slots.saturating_sub(state.free),
            ended_per_second: state.ended_per_second,
        }
    }
}

impl Known {
    fn load(&self, provider: &ProviderId, now: UnixMicros) -> ProviderLoad {
        let (mut workers, mut slots, mut busy) = (0, 0_u32, 0_u32);
        for report in self.alive(provider, now).map(Heard::report) {
            workers += 1;
            slots = slots.saturating_add(report.slots);
            busy = busy.saturating_add(report.busy);
        }
        let (mut waiting, mut wait_ms) = (0_u32, 0);
        let told = self.queued.values().filter(|(_, at)| now.since(*at) < SILENT);
        for calls in told.flat_map(|(state, _)| &state.waiting).filter(|calls| calls.provider == *provider) {
            waiting = waiting.saturating_add(calls.calls);
            wait_ms = calls.longest_ms.max(wait_ms);
        }
        let busy_share = if slots == 0 { 0.0 } else { f64::from(busy) / f64::from(slots) };
        ProviderLoad { provider: provider.clone(), workers, slots, busy, busy_share, waiting, wait_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::load::WaitingCalls;
    use serde_json::json;
    use std::time::Duration;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);

    fn pool(worker: &str, provider: &str, (slots, free): (u32, u32)) -> penstock_schemas::pool::PoolState {
        let state = json!({ "worker": worker, "provider": provider, "at": 1, "slots": slots, "free": free });
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn the_demand_of_a_provider_is_what_is_under_way_and_what_waits_at_every_ingress() {
        let health = Health::default();
        for (worker, provider, slots) in [("w1", "a", (4, 1)), ("w2", "a", (4, 0)), ("w1", "b", (8, 8))] {
            health.take(pool(worker, provider, slots), NOW);
        }
        let queue = |ingress: &str, provider: &str, calls, longest_ms| QueueState {
            ingress: ProcessId::parse(ingress).unwrap(),
            waiting: vec![WaitingCalls { provider: ProviderId::parse(provider).unwrap(), calls, longest_ms }],
        };
        health.take_queue(queue("i1", "a", 5, 70), NOW);
        health.take_queue(queue("i2", "a", 2, 900), NOW);
        health.take_queue(queue("i2", "gone", 1, 3), NOW.after(Duration::from_millis(1)));
        health.take_queue(queue("i3", "a", 3, 40), NOW);
        let fleet = health.fleet(NOW.after(Duration::from_millis(2)));
        assert_eq!(fleet.demand, [("a".to_owned(), 15), ("b".to_owned(), 0), ("gone".to_owned(), 1)].into());
        let a = &fleet.providers[0];
        assert_eq!((a.workers, a.slots, a.busy, a.waiting, a.wait_ms), (2, 8, 7, 8, 70));
        assert_eq!((fleet.workers.len(), a.busy_share), (3, 0.875));
        // Nothing waits at one of them any more, and the others fall silent.
        health.take_queue(QueueState { waiting: Vec::new(), ..queue("i3", "a", 0, 0) }, NOW);
        assert_eq!(health.fleet(NOW.after(Duration::from_millis(2))).demand["a"], 12);
        let later = health.fleet(NOW.after(SILENT + Duration::from_millis(2)));
        assert!(later.workers.is_empty() && later.demand.values().all(|demand| *demand == 0), "{later:?}");
    }
}
