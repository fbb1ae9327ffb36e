//! An answer in one piece: read within bounds, put into the agnostic form, and sent as one. Knows nothing of streams.

use super::body::read_up_to;
use super::report::{Report, Stop};
use super::{Exchange, Step};
use crate::count::Sent;
use crate::sink::FrameSink;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use penstock_dialects::answers;
use penstock_dialects::google::provider::speech;
use penstock_dialects::provider::{Form, Whole};
use penstock_runtime::bus::Pending;
use penstock_runtime::{HEAVY, heavy};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Payload;
use reqwest::Response;
use tokio::time::timeout_at;

/// The longest whole answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How the images of an agnostic answer begin.
const IMAGES: &[u8] = br#""images":[{"#;

/// Passes an answer on that comes in one piece.
pub(super) async fn forward(
    exchange: &Exchange<'_>,
    response: Response,
    start: Pending,
    sink: &mut impl FrameSink,
    report: &mut Report,
) -> Step<()> {
    let mut memory = exchange.memory.none();
    let read = timeout_at(exchange.total_by(), read_up_to(response, ANSWER_BYTES, &mut memory));
    let body = sink.wait(read).await.ok_or(Stop::Cancelled)?;
    let body = body.map_err(|_| exchange.late("did not finish its answer in time"))?;
    let body = body.map_err(|error| Stop::Failed(error.into_failure(&exchange.provider.id)))?;
    if body.len() >= HEAVY {
        // To read it may take longer than the silence after which a worker that nobody knows is given up.
        sink.accept().await;
    }
    // Within `wait`, so that the ingress knows that its call is held while tokens are counted.
    let bytes = sink.wait(exchange.read_whole(&body, report)).await.ok_or(Stop::Cancelled)?.map_err(Stop::Failed)?;
    report.first_token = Some(exchange.began.elapsed());
    exchange.wait_for_ledger(start, sink).await?;
    let payload = exchange.whole_answer(bytes, report);
    exchange.send(sink, report, payload).await
}

/// JSON without the byte order mark that may stand in front of it.
fn without_mark(body: &Bytes) -> Bytes {
    if body.starts_with(b"\xEF\xBB\xBF{") { body.slice(3..) } else { body.clone() }
}

impl Exchange<'_> {
    /// What the caller gets of a whole answer; the report has what the answer says of itself, counted where it does not.
    ///
    /// # Errors
    /// When it holds an error or no answer, or cannot be understood.
    pub(crate) async fn read_whole(&self, body: &Bytes, report: &mut Report) -> Result<Bytes, Failure> {
        let body = &without_mark(body);
        let _values = self.hold_values(body).await?;
        let whole = heavy(body.len(), || {
            let whole = answers::read_whole(self.adapter, self.wanted, body);
            let whole = whole.inspect_err(|_| report.observed = self.adapter.observe_failed(body))?;
            Ok(self.said_as_asked(whole, report))
        });
        let whole = whole.await?;
        report.observed = whole.observed;
        report.length = whole.bytes.len() as u64;
        self.weigh(Sent::whole(&whole.bytes), false, report).await;
        Ok(heavy(whole.bytes.len(), || self.as_told(whole.bytes, report)).await)
    }

    /// An answer with what it lacks, and with the caller's own names of tools.
    fn as_told(&self, bytes: Bytes, report: &mut Report) -> Bytes {
        let bytes = match &report.tools {
            Some(tools) => tools.whole(&bytes),
            None => bytes,
        };
        self.note_images(&bytes, report);
        let counted = report.counted.and_then(|counted| counted.input);
        let Some(mut stamp) = self.stamp(&report.observed).map(|stamp| stamp.counted(counted)) else {
            return self.fill().map_or_else(|| bytes.clone(), |fill| fill.whole(bytes.clone()));
        };
        let mut stamped = BytesMut::with_capacity(bytes.len() + 128);
        stamp.put_on(&bytes, &mut stamped);
        stamped.freeze()
    }

    /// Speech that the adapter made a file of, in the form that was asked for.
    fn said_as_asked(&self, whole: Whole, report: &mut Report) -> Whole {
        if whole.observed.media_type.is_none() {
            return whole;
        }
        let (bytes, kind) = speech::as_asked(self.body, whole.bytes);
        report.content_type = Some(kind.to_owned());
        Whole { bytes, ..whole }
    }

    /// Notes that an answer shows what its caller's dialect has no place for: Anthropic's answers hold no images.
    pub(super) fn note_images(&self, answer: &[u8], report: &mut Report) {
        let is_told = self.envelope.dialect == Dialect::Anthropic && self.wanted.form == Form::Agnostic;
        if is_told && memmem::find(answer, IMAGES).is_some() {
            report.dropped.push("images".to_owned());
        }
    }

    /// The only frame of an answer in one piece.
    pub(crate) fn whole_answer(&self, bytes: Bytes, report: &Report) -> Payload {
        Payload::End(Box::new(self.ended(Some(self.head(report)), report)), bytes)
    }
}
