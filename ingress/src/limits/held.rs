//! What a request holds of counters while it runs: when it is dropped, it is over here.

use super::counters::Counters;
use penstock_schemas::reservation::{LeaseId, Reservation};
use std::sync::Arc;
use tokio::time::Instant;

/// What is set aside for a request. When it is dropped, the request is over here; what was spent is still to be told.
pub(crate) struct Hold {
    pub(crate) reservation: Reservation,
    is_sent: bool,
    counters: Arc<Counters>,
}

/// Places that a request takes among those at once; free again when dropped.
pub(crate) struct Place {
    lease: LeaseId,
    books: Vec<String>,
    counters: Arc<Counters>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_sent {
            self.counters.release(&self.reservation);
        } else if let Some(open) = self.counters.state().open.get_mut(&self.reservation.id) {
            open.over = Some(Instant::now());
        }
    }
}

impl Hold {
    pub(super) fn new(reservation: Reservation, counters: &Arc<Counters>) -> Self {
        Self { reservation, is_sent: false, counters: counters.clone() }
    }

    /// A worker may get it: from now on it is told, or proven, what becomes of it.
    pub(crate) fn sent(mut self) -> Self {
        self.is_sent = true;
        self
    }
}

impl Place {
    pub(super) fn new(lease: LeaseId, books: Vec<String>, counters: &Arc<Counters>) -> Self {
        Self { lease, books, counters: counters.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.counters.state();
        // Under another lease, those are the places of others.
        if state.lease == self.lease {
            self.books.iter().for_each(|book| state.settle(book, 1, 0));
        }
        drop(state);
        self.counters.changed.notify_waiters();
    }
}
