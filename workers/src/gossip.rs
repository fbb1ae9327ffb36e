//! Tells the cluster how this worker's pools are, each second and at once when something changes that others should act
//! on. Decides nothing.

use crate::pool::Pool;
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::pool::PoolState;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Between two messages when nothing changes.
const BEAT: Duration = Duration::from_secs(1);

/// Between a change and its telling: so many failures are one message.
const MOMENT: Duration = Duration::from_millis(50);

/// Tells how a pool is, as long as it takes calls, and that it leaves.
pub(crate) async fn tell(pool: Pool, bus: Bus) {
    while !pool.life.is_stopping() {
        send(&pool, &bus).await;
        tokio::select! {
            // That nothing has changed is no reason to be silent.
            _ = timeout(BEAT, pool.news.urgent()) => sleep(MOMENT).await,
            () = pool.life.stopping() => {}
        }
    }
    send(&pool, &bus).await;
}

/// What this machine calls itself: in a container, its name.
fn host() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}

async fn send(pool: &Pool, bus: &Bus) {
    let now = clock::now();
    let (targets, ended_per_second) = {
        let mut vitals = pool.news.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        (vitals.tell(now), vitals.ended_per_second(now))
    };
    let count = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
    let state = PoolState {
        worker: pool.worker.clone(),
        provider: pool.provider.id.clone(),
        at: now,
        slots: count(pool.provider.concurrency),
        free: count(pool.slots.free()),
        batch_slots: count(pool.slots.most_of_batches()),
        batch_free: count(pool.slots.free_for_batches()),
        ended_per_second,
        leaving: pool.life.is_stopping(),
        started_at: Some(pool.started_at),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        host: host(),
        targets,
        quotas: pool.provider.limits.tell(now),
        resumed: pool.provider.limits.resumed(now),
    };
    if let Err(error) = bus.tell_pool(&state).await {
        warn!(provider = %pool.provider.id, %error, "the pool's state could not be told");
    }
}
