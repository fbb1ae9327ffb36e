//! An answer in one piece: read within bounds, put into the agnostic form, and sent as one. Knows nothing of streams.

use super::body::read_up_to;
use super::report::{Report, Stop};
use super::{Exchange, Step};
use crate::count::Sent;
use crate::providers::surrogates;
use crate::sink::FrameSink;
use bytes::BytesMut;
use penstock_runtime::bus::Pending;
use penstock_runtime::heavy;
use penstock_schemas::frame::Payload;
use reqwest::Response;
use tokio::time::timeout_at;

/// The longest whole answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

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
    let whole =
        heavy(body.len(), || surrogates::read_whole(exchange.adapter, exchange.wanted, &body)).map_err(Stop::Failed)?;
    report.observed = whole.observed;
    report.length = whole.bytes.len() as u64;
    exchange.doubt(report);
    report.first_token = Some(exchange.began.elapsed());
    if report.observed.usage.is_none() {
        // Within `wait`, so that the ingress knows that somebody holds its call.
        let count = exchange.count_served(Sent::whole(&whole.bytes), report);
        sink.wait(count).await.ok_or(Stop::Cancelled)?;
    }
    let mut bytes = match &report.tools {
        Some(tools) => tools.whole(&whole.bytes),
        None => whole.bytes,
    };
    if let Some(stamp) = exchange.stamp() {
        let mut stamped = BytesMut::with_capacity(bytes.len() + 128);
        stamp.put_on(&bytes, &mut stamped);
        bytes = stamped.freeze();
    }
    exchange.wait_for_ledger(start, sink).await?;
    let ended = exchange.ended(Some(exchange.head(report)), report);
    exchange.send(sink, report, Payload::End(Box::new(ended), bytes)).await
}
