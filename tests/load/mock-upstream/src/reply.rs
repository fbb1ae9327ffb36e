//! The bodies of replies: a whole one, or a stream of chunks. Knows what is sent and when, not why.

use crate::knobs::Knobs;
use crate::{InFlight, STREAMS_DONE, STREAMS_DROPPED};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use precise::Timer;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

const LAST: &str = "data: {\"id\":\"chatcmpl-mock0001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"id\":\"chatcmpl-mock0001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":50,\"total_tokens\":62}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// The content chunks, t0, t1 ...: made once, so that a stream costs no formatting. Longer streams begin again.
static CHUNKS: LazyLock<Vec<Bytes>> = LazyLock::new(|| (0..4096).map(chunk).collect());

fn chunk(index: usize) -> Bytes {
    let text = format!(
        "data: {{\"id\":\"chatcmpl-mock0001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock-model\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"t{index} \"}},\"finish_reason\":null}}]}}\n\n"
    );
    text.into()
}

/// A reply's body.
pub(crate) enum Reply {
    Whole(Option<Bytes>),
    Stream(Stream),
}

/// A streamed reply: its content chunks, then the last one, the usage where it was asked for, and `[DONE]`.
pub(crate) struct Stream {
    knobs: Knobs,
    with_usage: bool,
    next: Next,
    /// Set, with when to send the next chunk.
    timer: Option<Timer>,
    is_waiting: bool,
    _in_flight: InFlight,
}

#[derive(Clone, Copy)]
enum Next {
    Content(u64),
    Last,
    Usage,
    Done,
    Nothing,
}

impl Stream {
    pub(crate) fn new(knobs: Knobs, with_usage: bool, in_flight: InFlight) -> Self {
        let next = if knobs.chunks == 0 { Next::Last } else { Next::Content(0) };
        Self { knobs, with_usage, next, timer: None, is_waiting: false, _in_flight: in_flight }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        let (chunk, next) = match self.next {
            Next::Content(index) if self.knobs.abort_after > 0 && index >= self.knobs.abort_after => {
                return Poll::Ready(Some(Err(std::io::Error::other("broken off, as asked"))));
            }
            Next::Content(index) => {
                ready!(self.poll_delay(context, index));
                let is_last = index + 1 == self.knobs.chunks;
                let chunk = CHUNKS[index as usize % CHUNKS.len()].clone();
                (chunk, if is_last { Next::Last } else { Next::Content(index + 1) })
            }
            Next::Last => (Bytes::from_static(LAST.as_bytes()), if self.with_usage { Next::Usage } else { Next::Done }),
            Next::Usage => (Bytes::from_static(USAGE.as_bytes()), Next::Done),
            Next::Done => (Bytes::from_static(DONE.as_bytes()), Next::Nothing),
            Next::Nothing => return Poll::Ready(None),
        };
        self.next = next;
        Poll::Ready(Some(Ok(chunk)))
    }

    fn poll_delay(&mut self, context: &mut Context<'_>, index: u64) -> Poll<()> {
        if self.knobs.delay_us == 0 || index == 0 {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(Timer::new);
        if !self.is_waiting {
            timer.set(Duration::from_micros(self.knobs.delay_us));
            self.is_waiting = true;
        }
        ready!(timer.poll_fired(context));
        self.is_waiting = false;
        Poll::Ready(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let count = if matches!(self.next, Next::Nothing) { &STREAMS_DONE } else { &STREAMS_DROPPED };
        count.fetch_add(1, Relaxed);
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Stream(stream) => stream.poll_next(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_none(),
            Self::Stream(stream) => matches!(stream.next, Next::Nothing),
        }
    }
}
