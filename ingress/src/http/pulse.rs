//! How long a connection has been at what it does: waiting for a request, reading its head, or answering; and whether its
//! client reads. Over HTTP/2 it answers several requests at once. Knows nothing else of HTTP, and closes nothing.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// That no write waits for the client.
const FLOWING: u64 = u64::MAX;

/// What a connection is at. Cloning shares it; only its own task changes it.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<State>);

struct State {
    opened: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after the opening.
    since: AtomicU64,
    /// Since when a write waits for the client.
    stalled: AtomicU64,
    /// Requests that are being answered.
    answers: AtomicUsize,
    /// Over HTTP/2, since when each answer waits for its client: it has a window of its own. `None`: HTTP/1.1.
    waiting: Option<Mutex<Vec<Weak<AtomicU64>>>>,
}

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) head: Duration,
    pub(crate) write: Duration,
}

/// What has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// No request came.
    Idle,
    /// A head began and did not end.
    Head,
    /// The client does not read.
    Write,
}

impl Pulse {
    /// Of a connection that answers one request after the other.
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    /// Of one that answers several at once, over HTTP/2.
    pub(crate) fn of_many() -> Self {
        Self::with(Some(Mutex::default()))
    }

    fn with(waiting: Option<Mutex<Vec<Weak<AtomicU64>>>>) -> Self {
        Self(Arc::new(State {
            opened: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(FLOWING),
            answers: AtomicUsize::new(0),
            waiting,
        }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: u8) {
        self.0.phase.store(phase, Relaxed);
        self.0.since.store(self.now(), Relaxed);
    }

    fn has_read(&self) {
        // Over HTTP/2 there is always something to read, and a request begins when its head is whole.
        if self.0.phase.load(Relaxed) == IDLE && self.0.waiting.is_none() {
            self.enter(HEAD);
        }
    }

    fn is_writing<T>(&self, written: Poll<T>) -> Poll<T> {
        match written {
            Poll::Ready(_) => self.0.stalled.store(FLOWING, Relaxed),
            Poll::Pending if self.0.stalled.load(Relaxed) == FLOWING => self.0.stalled.store(self.now(), Relaxed),
            Poll::Pending => {}
        }
        written
    }

    /// A request is here whole; the body that is made from what this gives is the end of its answer.
    pub(crate) fn answering(&self) -> Answering {
        self.0.answers.fetch_add(1, Relaxed);
        self.enter(BUSY);
        let waits_since = Arc::new(AtomicU64::new(FLOWING));
        if let Some(waiting) = &self.0.waiting {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|answer| answer.strong_count() > 0);
            waiting.push(Arc::downgrade(&waits_since));
        }
        Answering { pulse: self.clone(), waits_since }
    }

    /// Whether an answer has waited for its client's window for so long.
    fn has_waiting(&self, lasts: impl Fn(&AtomicU64) -> bool) -> bool {
        let Some(waiting) = &self.0.waiting else { return false };
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = waiting.iter().filter_map(Weak::upgrade);
        answers.any(|since| since.load(Relaxed) != FLOWING && lasts(&since))
    }

    fn late(&self, limits: &Timeouts) -> Option<Late> {
        let now = self.now();
        let lasts = |since: &AtomicU64, limit: Duration| {
            u128::from(now.saturating_sub(since.load(Relaxed))) >= limit.as_millis()
        };
        if self.0.stalled.load(Relaxed) != FLOWING && lasts(&self.0.stalled, limits.write) {
            return Some(Late::Write);
        }
        if self.has_waiting(|since| lasts(since, limits.write)) {
            return Some(Late::Write);
        }
        match self.0.phase.load(Relaxed) {
            IDLE if lasts(&self.0.since, limits.idle) => Some(Late::Idle),
            HEAD if lasts(&self.0.since, limits.head) => Some(Late::Head),
            _ => None,
        }
    }

    /// Waits until something takes too long; noticed up to half of the shortest of the limits late.
    pub(crate) async fn too_long(&self, limits: &Timeouts) -> Late {
        let shortest = limits.idle.min(limits.head).min(limits.write);
        loop {
            sleep(shortest / 2).await;
            if let Some(late) = self.late(limits) {
                return late;
            }
        }
    }
}

/// That a request is being answered; when it is dropped, the connection waits for the next.
pub(crate) struct Answering {
    pulse: Pulse,
    /// Since when the client's window has no room for what comes next.
    waits_since: Arc<AtomicU64>,
}

impl Answering {
    /// The answer's body, which keeps this until its end.
    pub(crate) fn until_the_end_of(self, body: Body) -> AnsweredBody {
        AnsweredBody { body, answering: self }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.pulse.0.answers.fetch_sub(1, Relaxed) == 1 {
            self.pulse.enter(IDLE);
        }
    }
}

/// The body of an answer.
pub(crate) struct AnsweredBody {
    body: Body,
    answering: Answering,
}

impl HttpBody for AnsweredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.answering.waits_since.store(FLOWING, Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            // hyper comes for the next frame when there is room for it.
            self.answering.waits_since.store(self.answering.pulse.now(), Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket whose pulse is felt.
pub(crate) struct Felt<S> {
    pub(crate) stream: S,
    pub(crate) pulse: Pulse,
}

impl<S: AsyncRead + Unpin> AsyncRead for Felt<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.has_read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Felt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.pulse.is_writing(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.pulse.is_writing(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { idle: Duration::from_secs(75), head: Duration::from_secs(10), write: Duration::from_secs(60) };

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_longer_than_its_head_may_take() {
        let pulse = Pulse::new();
        tokio::time::advance(Duration::from_secs(74)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        pulse.has_read();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        let answering = pulse.answering();
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        drop(answering);
        pulse.has_read();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pulse.late(&TIMEOUTS), Some(Late::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_and_a_client_that_does_not_read_are_late_in_the_end() {
        let pulse = Pulse::new();
        assert_eq!(pulse.too_long(&TIMEOUTS).await, Late::Idle);
        let _answering = pulse.answering();
        assert!(pulse.is_writing(Poll::<()>::Pending).is_pending());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        assert!(pulse.is_writing(Poll::Ready(())).is_ready());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        assert!(pulse.is_writing(Poll::<()>::Pending).is_pending());
        assert_eq!(pulse.too_long(&TIMEOUTS).await, Late::Write);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_answers_each_may_wait_for_its_client_and_the_connection_is_idle_when_all_are_over() {
        let pulse = Pulse::of_many();
        let (one, other) = (pulse.answering(), pulse.answering());
        let mut body = one.until_the_end_of(Body::from("x"));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_ready());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pulse.late(&TIMEOUTS), Some(Late::Write));
        drop(body);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None, "the other is still made");
        drop(other);
        pulse.has_read();
        tokio::time::advance(Duration::from_secs(74)).await;
        assert_eq!(pulse.late(&TIMEOUTS), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pulse.late(&TIMEOUTS), Some(Late::Idle));
    }
}
