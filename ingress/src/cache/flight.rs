//! Identical requests that are under way at once: the first asks, and the others share its answer from the beginning. The reader
//! that needs the next piece fetches it for all, so that no reader waits for a slower one, and the call goes on while one of
//! them is left. Knows nothing of what makes requests identical, nor of what is in an answer.

use super::key::CacheKey;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use penstock_runtime::bus::MOST_CACHED;
use penstock_runtime::clock;
use penstock_runtime::memory::Reserved;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Ended, Head, Payload};
use penstock_schemas::name::RequestId;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Mutex as Turn, watch};
use tokio::time::timeout;

/// Where the pieces of one call come from.
pub(crate) trait Pieces: Send {
    /// The next piece. What is dropped while it waits has taken nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Payload, Failure>>;

    /// That so many bytes of content were taken.
    fn consumed(&mut self, bytes: usize);
}

/// What is done with all pieces of a stream that is complete.
pub(crate) type Finish = Box<dyn FnOnce(&[Bytes], &Ended) + Send>;

/// What is under way, by what is asked and how the answer is wanted. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Place, Weak<Flight>>>>);

type Place = (CacheKey, Delivery);

/// One answer under way.
struct Flight {
    flights: Flights,
    place: Place,
    /// The request that asks.
    leader: RequestId,
    phase: watch::Sender<Phase>,
    log: Mutex<Log>,
    /// Who has the turn to fetch the next piece of a stream; `None`: there is none.
    pieces: Turn<Option<Box<dyn Pieces>>>,
}

/// How far it is.
#[derive(Clone)]
enum Phase {
    Asked,
    /// A stream has begun.
    Begun(Box<Head>),
    /// The answer came whole.
    Whole(Box<Ended>, Bytes),
    /// There is no answer.
    Gone(Absent),
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Whoever asked went away: another asks in its place.
    Left,
    /// It was asked in vain, or its answer is not for others: each asks for itself.
    NotShared,
}

/// What has come of a stream.
struct Log {
    /// From the first that is still here on.
    pieces: VecDeque<Bytes>,
    /// How many came before that.
    gone: usize,
    bytes: usize,
    readers: usize,
    /// Whether a newcomer can have all of it, and it can be kept.
    is_whole: bool,
    end: Option<Result<(Box<Ended>, Bytes), Failure>>,
    memory: Reserved,
    finish: Option<Finish>,
    /// What is to be held as long as the call lasts.
    _held: Box<dyn Any + Send>,
}

/// A request's part in an answer under way.
pub(crate) enum FlightRole {
    /// It is the first, and asks.
    Lead(Lead),
    /// It waits for the first.
    Follow(Follower),
}

/// The first. When it is dropped before it has an answer, another takes its place.
pub(crate) struct Lead(Arc<Flight>);

/// One that waits.
pub(crate) struct Follower(Arc<Flight>);

/// What a follower gets.
pub(crate) enum SharedAnswer {
    /// All of it.
    Whole(Box<Ended>, Bytes),
    /// A stream, from its beginning.
    Stream(Box<Head>, Reader),
    /// Nothing.
    None(Absent),
}

/// Reads a shared stream from its beginning.
pub(crate) struct Reader {
    flight: Arc<Flight>,
    at: usize,
    deadline: UnixMicros,
}

impl Flights {
    /// The part of a request that is the first, or comes while the first is under way. `memory` grows with what is shared.
    pub(crate) fn join(&self, place: Place, request: RequestId, memory: Reserved) -> FlightRole {
        // Outlives the lock, which its end takes too.
        let known;
        let mut all = self.all();
        known = all.get(&place).and_then(Weak::upgrade);
        if let Some(flight) = known.as_ref().filter(|flight| flight.is_open()) {
            return FlightRole::Follow(Follower(flight.clone()));
        }
        let flight = self.flight(place, request, Log::new(memory));
        all.insert(place, Arc::downgrade(&flight));
        FlightRole::Lead(Lead(flight))
    }

    /// The part of a request that nobody joins.
    pub(crate) fn alone(&self, place: Place, request: RequestId, memory: Reserved) -> Lead {
        Lead(self.flight(place, request, Log::new(memory)))
    }

    fn flight(&self, place: Place, leader: RequestId, log: Log) -> Arc<Flight> {
        let (phase, pieces) = (watch::Sender::new(Phase::Asked), Turn::new(None));
        Arc::new(Flight { flights: self.clone(), place, leader, phase, log: Mutex::new(log), pieces })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Place, Weak<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one who comes now can have all of the answer.
    fn is_open(&self) -> bool {
        let log = self.log();
        log.is_whole && log.end.is_none() && !matches!(*self.phase.borrow(), Phase::Gone(_))
    }

    /// From now on, the next one who asks is a first one.
    fn close(&self) {
        let mut all = self.flights.all();
        if all.get(&self.place).is_some_and(|known| std::ptr::eq(known.as_ptr(), self)) {
            all.remove(&self.place);
        }
    }

    /// Notes what came, and gives it to whoever fetched it.
    fn note(&self, came: Result<Payload, Failure>, pieces: &mut Option<Box<dyn Pieces>>) -> Option<Payload> {
        let mut log = self.log();
        let end = match came {
            Ok(Payload::Chunk(_, bytes)) => {
                if let Some(pieces) = pieces {
                    pieces.consumed(bytes.len());
                }
                log.add(&bytes);
                return None;
            }
            Ok(Payload::End(ended, bytes)) => {
                if log.is_whole
                    && let Some(finish) = log.finish.take()
                {
                    let mut all: Vec<Bytes> = log.pieces.iter().cloned().collect();
                    all.push(bytes.clone());
                    finish(&all, &ended);
                }
                Ok((ended, bytes))
            }
            Ok(Payload::Failed(failed)) => Err(failed.failure),
            Ok(
                other @ (Payload::Accepted(_)
                | Payload::Alive
                | Payload::Gone
                | Payload::Declined(_)
                | Payload::Read(_)),
            ) => {
                return Some(other);
            }
            Err(failure) => Err(failure),
        };
        log.end = Some(end);
        log.finish = None;
        drop(log);
        *pieces = None;
        self.close();
        None
    }
}

impl Log {
    fn new(memory: Reserved) -> Self {
        let (pieces, _held) = (VecDeque::new(), Box::new(()));
        Self { pieces, gone: 0, bytes: 0, readers: 0, is_whole: true, end: None, memory, finish: None, _held }
    }

    /// What is longer than an answer that is kept is held only for those who read it already; and what does not fit into the
    /// memory for nobody but who fetches it.
    fn add(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        let is_held = self.memory.grow(bytes.len()).is_ok();
        self.is_whole &= is_held && self.bytes <= MOST_CACHED;
        if !is_held || (!self.is_whole && self.readers <= 1) {
            self.gone += self.pieces.len();
            self.pieces.clear();
        }
        // A copy: what came is a part of what the connection read at once, and would hold all of it.
        self.pieces.push_back(Bytes::copy_from_slice(bytes));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.close();
    }
}

impl Lead {
    /// The answer came whole.
    pub(crate) fn whole(self, ended: &Ended, bytes: &Bytes) {
        self.0.close();
        self.0.phase.send_replace(Phase::Whole(Box::new(ended.clone()), bytes.clone()));
    }

    /// Nobody shares what comes.
    pub(crate) fn alone(self) {
        self.0.close();
        self.0.phase.send_replace(Phase::Gone(Absent::NotShared));
    }

    /// The same for a stream that goes on for its own caller alone.
    pub(crate) fn apart(self, memory: Reserved) -> Self {
        let flight = &self.0;
        let apart = flight.flights.alone(flight.place, flight.leader, memory);
        self.alone();
        apart
    }

    /// A stream has begun: the leader reads it as all others do. `finish` gets all of it when it is complete, and `held` is
    /// held as long as the call lasts.
    pub(crate) fn stream(self, begun: SharedStart, finish: Finish, held: Box<dyn Any + Send>) -> Reader {
        let SharedStart { head, first, pieces, deadline } = begun;
        let mut log = self.0.log();
        log.add(&first);
        (log.finish, log._held) = (Some(finish), held);
        drop(log);
        *self.0.pieces.try_lock().expect("nobody reads a stream before it has begun") = Some(pieces);
        self.0.phase.send_replace(Phase::Begun(Box::new(head)));
        Reader::new(&self.0, deadline)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let is_asked = matches!(*self.0.phase.borrow(), Phase::Asked);
        if is_asked {
            self.0.close();
            self.0.phase.send_replace(Phase::Gone(Absent::Left));
        }
    }
}

/// A stream that has begun.
pub(crate) struct SharedStart {
    pub(crate) head: Head,
    pub(crate) first: Bytes,
    pub(crate) pieces: Box<dyn Pieces>,
    /// When its reader's time is over.
    pub(crate) deadline: UnixMicros,
}

impl Follower {
    /// The request that asks.
    pub(crate) fn leader(&self) -> RequestId {
        self.0.leader
    }

    /// Waits for the answer, or its beginning, until the deadline.
    pub(crate) async fn wait(self, deadline: UnixMicros) -> Result<SharedAnswer, Failure> {
        let mut phase = self.0.phase.subscribe();
        let has_come = phase.wait_for(|phase| !matches!(phase, Phase::Asked));
        // The flight, which is held here, has the sender.
        let come = timeout(deadline.since(clock::now()), has_come).await.map_err(|_| late())?;
        let come = come.map_or(Phase::Gone(Absent::NotShared), |phase| phase.clone());
        Ok(match come {
            Phase::Begun(head) => SharedAnswer::Stream(head, Reader::new(&self.0, deadline)),
            Phase::Whole(ended, bytes) => SharedAnswer::Whole(ended, bytes),
            Phase::Gone(absent) => SharedAnswer::None(absent),
            Phase::Asked => SharedAnswer::None(Absent::NotShared),
        })
    }
}

impl Reader {
    fn new(flight: &Arc<Flight>, deadline: UnixMicros) -> Self {
        flight.log().readers += 1;
        Self { flight: flight.clone(), at: 0, deadline }
    }

    /// The next piece.
    ///
    /// # Errors
    /// When the answer broke, or the reader's time is over.
    pub(crate) async fn next(&mut self) -> Result<Payload, Failure> {
        let (flight, deadline) = (self.flight.clone(), self.deadline);
        loop {
            if let Some(piece) = self.noted() {
                return piece;
            }
            let fetch = async {
                let mut pieces = flight.pieces.lock().await;
                // Another may have fetched it meanwhile.
                if let Some(piece) = self.noted() {
                    return Some(piece);
                }
                let came = match pieces.as_mut() {
                    Some(pieces) => pieces.next().await,
                    None => Err(over()),
                };
                flight.note(came, &mut pieces).map(Ok)
            };
            let left = deadline.since(clock::now());
            if let Some(piece) = timeout(left, fetch).await.map_err(|_| late())? {
                return piece;
            }
        }
    }

    fn noted(&mut self) -> Option<Result<Payload, Failure>> {
        let log = self.flight.log();
        let Some(at) = self.at.checked_sub(log.gone) else { return Some(Err(no_memory())) };
        if let Some(bytes) = log.pieces.get(at) {
            self.at += 1;
            return Some(Ok(Payload::Chunk(None, bytes.clone())));
        }
        match log.end.as_ref()? {
            Ok((ended, bytes)) => Some(Ok(Payload::End(ended.clone(), bytes.clone()))),
            Err(failure) => Some(Err(failure.clone())),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.flight.log().readers -= 1;
    }
}

fn no_memory() -> Failure {
    Failure::gateway(FailureKind::Internal, "the memory for answers is in use ([ingress] memory)")
}

fn late() -> Failure {
    Failure::gateway(FailureKind::Deadline, "the request's time is over")
}

fn over() -> Failure {
    Failure::gateway(FailureKind::Internal, "an answer was read after its end")
}

#[cfg(test)]
mod tests;
