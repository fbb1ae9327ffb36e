//! A body that holds a file, while it arrives: no more of it is held than one piece of the socket's, within limits of size and
//! time. Knows nothing of what the bytes are.

use crate::refusal::Refusal;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The slowest that a sender may be once the time of any body is over, in bytes per second: half a gigabyte in two hours.
const SLOWEST: u64 = 64 * 1024;

/// A body on its way.
pub(crate) struct ArrivingBody {
    /// The most that its file may have, in bytes.
    limit: u64,
    /// What it may have besides, in bytes.
    besides: u64,
    /// How long a body may take that is short.
    body_timeout: Duration,
    waited: Duration,
    received: u64,
}

impl ArrivingBody {
    /// A body whose file may have `limit` bytes, and which may have `besides` more.
    pub(crate) fn new((limit, besides): (u64, u64), body_timeout: Duration) -> Self {
        Self { limit, besides, body_timeout, waited: Duration::ZERO, received: 0 }
    }

    /// The most that its file may have, in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off, is too long or too slow.
    pub(crate) async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Refusal> {
        loop {
            let allowed = self.body_timeout + Duration::from_secs(self.received / SLOWEST);
            let begun = Instant::now();
            let frame = timeout(allowed.saturating_sub(self.waited), body.frame()).await;
            let frame = frame.map_err(|_| Refusal::SlowBody(allowed))?;
            self.waited += begun.elapsed();
            let Some(frame) = frame else { return Ok(None) };
            let Ok(bytes) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
            self.received += bytes.len() as u64;
            if self.received > self.limit.saturating_add(self.besides) {
                return Err(Refusal::FileTooLong { limit: self.limit });
            }
            return Ok(Some(bytes));
        }
    }
}
