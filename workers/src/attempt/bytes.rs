//! The half of an attempt that passes bytes on as they come: audio. Knows nothing of what they mean; nothing goes out
//! before the first of them.

use super::{Attempt, Call, Report, Step, refused};
use crate::cost::counted;
use bytes::Bytes;
use penstock_runtime::bus::{Pending, Replies};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::frame::Payload;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

/// Passes the answer's body on to the client.
pub(super) async fn pass_on(
    call: &Call<'_>,
    mut response: Response,
    start: Pending,
    replies: &mut Replies,
    report: &mut Report,
) -> Step<()> {
    let first = next(call, &mut response, call.first_token_by(), replies).await?;
    let first = first.ok_or_else(|| refused(FailureKind::Broken, "the provider's answer is empty"))?;
    report.first_token = Some(call.began.elapsed());
    report.counted = counted(call.wanted.operation, call.body);
    call.wait_for_ledger(start, replies).await?;
    call.send(replies, Payload::Chunk(Some(call.head(report)), first)).await.map_err(begun)?;
    loop {
        let until = (Instant::now() + call.clocks.idle).min(call.total_by());
        match next(call, &mut response, until, replies).await.map_err(begun)? {
            Some(bytes) => call.send(replies, Payload::Chunk(None, bytes)).await.map_err(begun)?,
            None => {
                return call
                    .send(replies, Payload::End(Box::new(call.ended(None, report)), Bytes::new()))
                    .await
                    .map_err(begun);
            }
        }
    }
}

/// The next bytes that are any.
async fn next(call: &Call<'_>, response: &mut Response, until: Instant, replies: &mut Replies) -> Step<Option<Bytes>> {
    loop {
        let read = replies.wait(timeout_at(until, response.chunk())).await.ok_or(Attempt::Cancelled)?;
        let read = read.map_err(|_| call.late("stopped answering"))?;
        let broke = |_| refused(FailureKind::Broken, format!("{} broke its answer off", call.provider.id));
        match read.map_err(broke)? {
            Some(bytes) if bytes.is_empty() => {}
            read => return Ok(read),
        }
    }
}

/// After the first bytes, nothing can be had from elsewhere.
fn begun(attempt: Attempt) -> Attempt {
    match attempt {
        Attempt::Refused(failure) => Attempt::Broken(failure),
        other => other,
    }
}
