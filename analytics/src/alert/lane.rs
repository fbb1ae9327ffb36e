//! Lanes: each webhook has its own few slots and its own queue, so that one that does not answer holds up only its own posts.
//! Knows nothing of what is posted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Posts to one webhook at once: few, since a burst of alerts must not become a burst of connections to its receiver.
const AT_ONCE: usize = 4;

/// Posts to one webhook that this process has in its hands, those under way included. More wait in NATS.
const IN_HAND: usize = 256;

/// The longest wait for a slot. With the time of a post it stays well below the 60 s after which NATS gives work to another.
const WAIT: Duration = Duration::from_secs(20);

/// The lanes of one process, by webhook.
#[derive(Default)]
pub(super) struct Lanes(HashMap<String, Sides>);

struct Sides {
    room: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// A place in a webhook's lane.
pub(super) struct Lane {
    slots: Arc<Semaphore>,
    _room: OwnedSemaphorePermit,
}

/// Whether it is a post's turn.
pub(super) enum Turn {
    /// It is, as long as the slot is held.
    Now(OwnedSemaphorePermit),
    /// Others have held all slots for too long.
    Later,
}

impl Lanes {
    /// A place in this webhook's lane, when it has one.
    pub(super) fn enter(&mut self, webhook: &str) -> Option<Lane> {
        if !self.0.contains_key(webhook) {
            // Webhooks come and go: lanes that are empty are made anew when they are needed.
            self.0.retain(|_, sides| sides.room.available_permits() < IN_HAND);
            let sides = Sides { room: Arc::new(Semaphore::new(IN_HAND)), slots: Arc::new(Semaphore::new(AT_ONCE)) };
            self.0.insert(webhook.to_owned(), sides);
        }
        let sides = self.0.get(webhook)?;
        let room = sides.room.clone().try_acquire_owned().ok()?;
        Some(Lane { slots: sides.slots.clone(), _room: room })
    }
}

impl Lane {
    /// Waits for a slot, first come first served.
    pub(super) async fn turn(&self) -> Turn {
        match timeout(WAIT, self.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Turn::Now(slot),
            Ok(Err(_)) | Err(_) => Turn::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_webhook_that_holds_all_its_slots_leaves_others_theirs() {
        let mut lanes = Lanes::default();
        let hanging: Vec<Lane> = std::iter::from_fn(|| lanes.enter("hanging")).collect();
        assert_eq!(hanging.len(), IN_HAND);
        let mut held = Vec::new();
        for lane in &hanging[..AT_ONCE] {
            let Turn::Now(slot) = lane.turn().await else { panic!("a slot is free") };
            held.push(slot);
        }
        assert!(matches!(hanging[AT_ONCE].turn().await, Turn::Later));
        let good = lanes.enter("good").expect("it has a lane of its own");
        assert!(matches!(good.turn().await, Turn::Now(_)));
        drop(held);
        assert!(matches!(hanging[AT_ONCE].turn().await, Turn::Now(_)));
        drop(hanging);
        assert!(lanes.enter("hanging").is_some());
    }
}
