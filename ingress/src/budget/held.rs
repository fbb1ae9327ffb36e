//! What a request holds of counters while it runs: when it is dropped, it is over here.

use super::keeper::Keeper;
use penstock_schemas::reservation::Reservation;
use tokio::time::Instant;

/// What is set aside for a request. When it is dropped, the request is over here; what was spent is still to be told.
pub(crate) struct Held {
    pub(crate) reservation: Reservation,
    is_sent: bool,
    keeper: Keeper,
}

/// Places that a request takes among those at once; free again when dropped.
pub(crate) struct AtOnce {
    books: Vec<String>,
    keeper: Keeper,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_sent {
            self.keeper.release(&self.reservation);
        } else if let Some(open) = self.keeper.state().open.get_mut(&self.reservation.id) {
            open.over = Some(Instant::now());
        }
    }
}

impl Held {
    pub(super) fn new(reservation: Reservation, keeper: &Keeper) -> Self {
        Self { reservation, is_sent: false, keeper: keeper.clone() }
    }

    /// A worker may get it: from now on it is told, or proven, what becomes of it.
    pub(crate) fn sent(mut self) -> Self {
        self.is_sent = true;
        self
    }
}

impl AtOnce {
    pub(super) fn new(books: Vec<String>, keeper: &Keeper) -> Self {
        Self { books, keeper: keeper.clone() }
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        let mut state = self.keeper.state();
        self.books.iter().for_each(|book| state.settle(book, 1, 0));
        drop(state);
        self.keeper.parts().changed.notify_waiters();
    }
}
