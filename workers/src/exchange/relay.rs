//! The streamed half of an attempt: events as they come, in as few frames as possible and without delaying one. Nothing
//! goes out before the first content, so a stream that fails at its start can still be had from elsewhere.

use super::fill::Fill;
use super::meter::Meter;
use super::report::{Report, Stop};
use super::stamp::Stamp;
use super::{Exchange, MEMORY_FULL, Step};
use crate::cost::counted;
use crate::sink::FrameSink;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use penstock_dialects::framing::Cutter;
use penstock_dialects::provider::{Observed, Step as Verdict, StreamReader};
use penstock_dialects::{answers, tool_map};
use penstock_runtime::bus::Pending;
use penstock_runtime::memory::Reserved;
use penstock_runtime::{HEAVY, heavy};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Head, Payload};
use penstock_schemas::sse::{self, EVENT_BYTES};
use penstock_schemas::usage::Usage;
use reqwest::Response;
use std::mem;
use std::pin::Pin;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

/// The most that waits for the first content, in bytes: as much as one event. A provider may send events without content for
/// as long as its first token may take, and as fast as it can.
const HELD_BYTES: usize = EVENT_BYTES;

/// What is worked off at once, in bytes.
const PIECE: usize = 32 * 1024;

/// What of a stream may wait here without a place of its own, in bytes.
const USUAL: usize = 128 * 1024;

/// Content that is sent without looking for more.
const FULL: usize = 16 * 1024;

/// How long a provider may keep its connection after its last word; then it is closed instead of used again.
const AFTERMATH: Duration = Duration::from_millis(100);

/// How long the first content waits for the count of its request, which began with the call: the vocabulary may just be loaded.
const COUNTED: Duration = Duration::from_secs(1);

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

struct Relay<'a> {
    exchange: &'a Exchange<'a>,
    chunks: Chunks,
    cutter: Cutter,
    reader: Box<dyn StreamReader>,
    stamp: Option<Stamp>,
    fill: Option<Fill>,
    meter: Option<Box<Meter>>,
    /// Ready to go out, or waiting for the first content.
    out: BytesMut,
    /// The attempt's entry in the ledger, until the first content.
    start: Option<Pending>,
    has_content: bool,
    /// What the provider claims so far to have used, and what it claimed last.
    claim: Option<Usage>,
    last_claim: Option<Usage>,
    /// Whether it has said of itself all that it will.
    is_observed: bool,
    /// What an unusually long event takes of the process's memory.
    memory: Reserved,
}

/// Passes a stream on to the client.
pub(super) async fn relay(
    exchange: &Exchange<'_>,
    response: Response,
    start: Pending,
    sink: &mut impl FrameSink,
    report: &mut Report,
) -> Step<()> {
    let mut relay = Relay {
        exchange,
        chunks: Box::pin(response.bytes_stream()),
        cutter: exchange.adapter.framing().cutter(EVENT_BYTES),
        reader: tool_map::reader(answers::reader(exchange.adapter, exchange.wanted), report.tools.clone()),
        stamp: exchange.stamp(&Observed::default()),
        fill: exchange.fill(),
        meter: exchange.meter().map(Box::new),
        out: BytesMut::new(),
        start: Some(start),
        has_content: false,
        claim: None,
        last_claim: None,
        is_observed: false,
        memory: exchange.memory.none(),
    };
    let result = relay.run(sink, report).await;
    if !relay.is_observed {
        relay.observe(report);
        if relay.has_content {
            report.sent.push(&relay.out); // it was said, though it does not go out
        }
    }
    result
}

impl Relay<'_> {
    async fn run(&mut self, sink: &mut impl FrameSink, report: &mut Report) -> Step<()> {
        while !self.reader.is_done() {
            let Some(mut chunk) = self.next_chunk(sink, report).await? else { break };
            // The connection may give a lot at once: it is worked off in pieces, so that little more is held of it.
            while !chunk.is_empty() && !self.reader.is_done() {
                let piece = chunk.split_to(chunk.len().min(PIECE));
                self.hold(piece.len())?;
                self.cutter.push(&piece);
                while let Some(event) = self.cutter.next_event().map_err(|error| broken(error.to_string()))? {
                    self.take(&event, sink).await?;
                }
                if !self.has_content && self.out.len() > HELD_BYTES {
                    return Err(broken(format!("the stream holds no content in its first {HELD_BYTES} bytes")));
                }
                if self.out.len() >= FULL {
                    self.flush(sink, report).await?;
                }
            }
        }
        if let Some(event) = self.cutter.finish().map_err(|error| broken(error.to_string()))? {
            self.take(&event, sink).await?;
        }
        let last = self.reader.finish().map_err(Stop::Failed)?;
        self.put(&last);
        let head = self.begin(sink, report).await?;
        self.observe(report);
        self.is_observed = true;
        report.length += self.out.len() as u64;
        heavy(self.out.len(), || report.sent.push(&self.out)).await;
        // An earlier claim was larger: of a stream's beginning, perhaps.
        let takes_back =
            self.last_claim.is_some_and(|usage| usage.output_total() == 0) && self.claim != self.last_claim;
        let sent = mem::take(&mut report.sent);
        sink.wait(self.exchange.weigh(sent, takes_back, report)).await.ok_or(Stop::Cancelled)?;
        let ended = self.exchange.ended(head, report);
        self.exchange.send(sink, report, Payload::End(Box::new(ended), self.out.split().freeze())).await?;
        self.finish_reading().await;
        Ok(())
    }

    /// What waits here for the end of an event, or for the first content, has its place in the memory, as far as it is more
    /// than every call has.
    fn hold(&mut self, more: usize) -> Step<()> {
        let waiting = self.cutter.waiting() + self.out.len() + more;
        let lacking = waiting.saturating_sub(USUAL).saturating_sub(self.memory.bytes());
        self.memory.grow(lacking).map_err(|_| Stop::Failed(Failure::gateway(FailureKind::Internal, MEMORY_FULL)))
    }

    async fn take(&mut self, event: &sse::Event, sink: &mut impl FrameSink) -> Step<()> {
        if event.raw.len() >= HEAVY {
            // To read it may take longer than the silence after which a worker that nobody knows is given up.
            sink.accept().await;
        }
        let _values = self.exchange.hold_values(&event.raw).await?;
        heavy(event.raw.len(), || self.read(event)).await
    }

    fn read(&mut self, event: &sse::Event) -> Step<()> {
        let verdict = self.reader.read(event).map_err(Stop::Failed)?;
        if self.stamp.is_none() && self.reader.observed().is_translated {
            self.stamp = self.exchange.stamp(self.reader.observed());
        }
        self.note_claim();
        match verdict {
            Verdict::Hold(bytes) => self.put(&bytes),
            Verdict::Content(bytes) => {
                self.has_content = true;
                self.put(&bytes);
            }
            Verdict::Hide => {}
        }
        Ok(())
    }

    /// A stream may claim several times, and the last claim may fall behind the others.
    fn note_claim(&mut self) {
        let Some(claim) = self.reader.observed().usage.filter(|claim| self.last_claim != Some(*claim)) else { return };
        self.claim = Some(self.claim.map_or(claim, |earlier| claim.after(earlier)));
        self.last_claim = Some(claim);
    }

    /// What the stream says of itself.
    fn observe(&mut self, report: &mut Report) {
        self.note_claim();
        report.observed = self.reader.observed().clone();
        report.observed.usage_mismatch |= self.claim != self.last_claim;
        report.observed.usage = self.claim;
    }

    fn put(&mut self, bytes: &[u8]) {
        match (&mut self.stamp, &mut self.fill) {
            (Some(stamp), _) => stamp.put_on(bytes, &mut self.out),
            (None, Some(fill)) => fill.put_on(bytes, &mut self.out),
            (None, None) => self.out.extend_from_slice(bytes),
        }
    }

    /// The next bytes. What is there already comes first; before a wait, everything that is ready goes out.
    async fn next_chunk(&mut self, sink: &mut impl FrameSink, report: &mut Report) -> Step<Option<Bytes>> {
        // One that always has more ready is never waited for: its time is looked at here.
        let last = if self.has_content { self.exchange.total_by() } else { self.exchange.first_token_by() };
        if Instant::now() >= last {
            self.flush(sink, report).await?;
            return Err(self.exchange.late(if self.has_content { "did not end" } else { "sent no content" }));
        }
        if sink.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if !self.has_content {
            // While nothing goes out, the ingress learns by this that its call is held.
            sink.wait(yield_now()).await.ok_or(Stop::Cancelled)?;
        }
        let mut next = self.chunks.next().now_or_never();
        if next.is_none() {
            // The connection's own task may have more in its buffer: let it decode that.
            yield_now().await;
            next = self.chunks.next().now_or_never();
        }
        if next.is_none() {
            self.flush(sink, report).await?;
            let until = if self.has_content {
                (Instant::now() + self.exchange.clocks.idle).min(self.exchange.total_by())
            } else {
                self.exchange.first_token_by()
            };
            let waited = sink.wait(timeout_at(until, self.chunks.next())).await.ok_or(Stop::Cancelled)?;
            next = Some(waited.map_err(|_| self.exchange.late("stopped answering"))?);
        }
        next.flatten().transpose().map_err(|_| broken(format!("{} broke its answer off", self.exchange.provider.id)))
    }

    /// Sends what is ready, if there is content in it.
    async fn flush(&mut self, sink: &mut impl FrameSink, report: &mut Report) -> Step<()> {
        if !self.has_content || self.out.is_empty() {
            return Ok(());
        }
        if let Some(meter) = &mut self.meter {
            meter.pass(&self.out, self.exchange.life, sink).await?;
        }
        let head = self.begin(sink, report).await?;
        heavy(self.out.len(), || report.sent.push(&self.out)).await;
        report.length += self.out.len() as u64;
        self.exchange.send(sink, report, Payload::Chunk(head, self.out.split().freeze())).await
    }

    /// Before the first bytes: waits for the ledger, and gives the head that goes with them.
    async fn begin(&mut self, sink: &mut impl FrameSink, report: &mut Report) -> Step<Option<Head>> {
        let Some(start) = self.start.take() else { return Ok(None) };
        self.exchange.note_images(&self.out, report);
        report.first_token = Some(self.exchange.began.elapsed());
        report.counted = counted(self.exchange.wanted.operation, self.exchange.body);
        if let Some(counting) = report.counting.take() {
            let count = sink.wait(timeout(COUNTED, counting)).await.ok_or(Stop::Cancelled)?;
            report.input_tokens = count.ok().and_then(Result::ok).flatten();
        }
        self.exchange.wait_for_ledger(start, sink).await?;
        report.observed.is_translated = self.reader.observed().is_translated;
        Ok(Some(self.exchange.head(report)))
    }

    /// Reads to the end of the body, so that the connection can be used again.
    async fn finish_reading(&mut self) {
        // A provider that keeps it longer loses its connection, and that is all.
        let _ = timeout(AFTERMATH, async { while let Some(Ok(_)) = self.chunks.next().await {} }).await;
    }
}

fn broken(why: String) -> Stop {
    Stop::Failed(Failure::provider(FailureKind::Broken, why))
}
