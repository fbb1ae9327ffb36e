//! The memory that requests may take, as the operator bounds it: what does not fit is refused at once, so that no load can
//! make the process grow. Counts what may come to be held, not what is.

use crate::refusal::Refusal;
use penstock_schemas::frame::STREAM_CREDIT;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often a request's body may be held at once: as it came, in its agnostic form, on its way to the bus.
const COPIES: usize = 3;

/// What a request takes besides its body, in bytes: what may wait of its answer, and its own small parts.
const ANSWER: usize = STREAM_CREDIT as usize + 32 * 1024;

/// The unit that is counted in, in bytes.
const UNIT: usize = 1024;

/// All of it. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// A part of it that one request holds.
pub(crate) struct Reserved(OwnedSemaphorePermit);

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a request whose body has so many bytes, as far as is known.
    pub(crate) fn reserve(&self, body: usize) -> Result<Reserved, Refusal> {
        let units = units(body * COPIES + ANSWER);
        self.0.clone().try_acquire_many_owned(units).map(Reserved).map_err(|_| full())
    }
}

impl Reserved {
    /// Room for so many more bytes of the body.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        let more = self.0.semaphore().clone().try_acquire_many_owned(units(more * COPIES)).map_err(|_| full())?;
        self.0.merge(more);
        Ok(())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn full() -> Refusal {
    Refusal::NotReady("its memory for requests is in use ([ingress] memory)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_room_again() {
        let room = Room::new(2 * (ANSWER + 3 * UNIT));
        let mut first = room.reserve(UNIT).unwrap();
        assert!(first.grow(ANSWER).is_err());
        let second = room.reserve(UNIT).unwrap();
        assert!(room.reserve(0).is_err());
        drop(second);
        first.grow(UNIT).unwrap();
        assert!(room.reserve(UNIT).is_err());
        drop(first);
        assert!(room.reserve(UNIT).is_ok());
    }
}
