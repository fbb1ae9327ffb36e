//! The half of an attempt that passes bytes on as they come: audio. Knows nothing of what they mean; nothing goes out
//! before the first of them.

use super::report::{Report, Stop};
use super::{Exchange, Step, failed};
use crate::cost::counted;
use crate::sink::FrameSink;
use bytes::Bytes;
use penstock_runtime::bus::Pending;
use penstock_schemas::failure::FailureKind;
use penstock_schemas::frame::Payload;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

/// Passes the answer's body on to the client.
pub(super) async fn pass_on(
    exchange: &Exchange<'_>,
    mut response: Response,
    start: Pending,
    sink: &mut impl FrameSink,
    report: &mut Report,
) -> Step<()> {
    let first = next(exchange, &mut response, exchange.first_token_by(), sink).await?;
    let first = first.ok_or_else(|| failed(FailureKind::Broken, "the provider's answer is empty"))?;
    report.first_token = Some(exchange.began.elapsed());
    report.counted = counted(exchange.wanted.operation, exchange.body);
    exchange.wait_for_ledger(start, sink).await?;
    let head = exchange.head(report);
    exchange.send(sink, report, Payload::Chunk(Some(head), first)).await?;
    loop {
        let until = (Instant::now() + exchange.clocks.idle).min(exchange.total_by());
        match next(exchange, &mut response, until, sink).await? {
            Some(bytes) => exchange.send(sink, report, Payload::Chunk(None, bytes)).await?,
            None => {
                let ended = exchange.ended(None, report);
                return exchange.send(sink, report, Payload::End(Box::new(ended), Bytes::new())).await;
            }
        }
    }
}

/// The next bytes that are any.
async fn next(
    exchange: &Exchange<'_>,
    response: &mut Response,
    until: Instant,
    sink: &mut impl FrameSink,
) -> Step<Option<Bytes>> {
    loop {
        let read = sink.wait(timeout_at(until, response.chunk())).await.ok_or(Stop::Cancelled)?;
        let read = read.map_err(|_| exchange.late("stopped answering"))?;
        let broke = |_| failed(FailureKind::Broken, format!("{} broke its answer off", exchange.provider.id));
        match read.map_err(broke)? {
            Some(bytes) if bytes.is_empty() => {}
            read => return Ok(read),
        }
    }
}
