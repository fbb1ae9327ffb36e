//! The half of an attempt that passes bytes on as they come: audio. Knows nothing of what they mean; nothing goes out
//! before the first of them.

use super::report::{Report, Stop};
use super::{Exchange, Step, failed};
use crate::cost::counted;
use crate::sink::FrameSink;
use bytes::Bytes;
use penstock_runtime::Secret;
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
    let mut head = Some(exchange.head(report));
    let mut held = Held::new(report.key.as_ref());
    let mut ready = held.pass(first);
    loop {
        if !ready.is_empty() {
            exchange.send(sink, report, Payload::Chunk(head.take(), ready)).await?;
        }
        let until = (Instant::now() + exchange.clocks.idle).min(exchange.total_by());
        match next(exchange, &mut response, until, sink).await? {
            Some(bytes) => ready = held.pass(bytes),
            None => {
                let ended = exchange.ended(head, report);
                return exchange.send(sink, report, Payload::End(Box::new(ended), held.rest())).await;
            }
        }
    }
}

/// What is not passed on yet, since the key that is struck out may begin in it and end in what comes next.
struct Held {
    key: Vec<u8>,
    bytes: Bytes,
}

impl Held {
    fn new(key: Option<&Secret>) -> Self {
        Self { key: key.map(|key| key.reveal().as_bytes().to_vec()).unwrap_or_default(), bytes: Bytes::new() }
    }

    /// Takes the next bytes, and gives what can go out.
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        let mut all = if self.bytes.is_empty() { bytes } else { [self.bytes.as_ref(), bytes.as_ref()].concat().into() };
        let longest = all.len().min(self.key.len().saturating_sub(1));
        let begun = (1..=longest).rev().find(|begun| all.ends_with(&self.key[..*begun])).unwrap_or(0);
        self.bytes = all.split_off(all.len() - begun);
        all
    }

    fn rest(self) -> Bytes {
        self.bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_in_pieces_goes_out_in_one_and_nothing_else_waits_for_it() {
        let key = Secret::new("abcab1234");
        for (pieces, out) in [
            (&["xxabc", "ab1234yy"][..], &["xx", "abcab1234yy", ""][..]),
            (&["a", "b", "c", "ab1234"], &["", "", "", "abcab1234", ""]),
            (&["abcabcab", "1234"], &["abc", "abcab1234", ""]),
            (&["xxabcab12", "xx"], &["xx", "abcab12xx", ""]),
            (&["xx", "yy", "zza"], &["xx", "yy", "zz", "a"]),
        ] {
            let mut held = Held::new(Some(&key));
            let mut found: Vec<Bytes> =
                pieces.iter().map(|piece| held.pass(Bytes::from_static(piece.as_bytes()))).collect();
            found.push(held.rest());
            assert_eq!(found, out, "{pieces:?}");
        }
        assert_eq!(Held::new(None).pass(Bytes::from_static(b"abc")), "abc");
    }
}
