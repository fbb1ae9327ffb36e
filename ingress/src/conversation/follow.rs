//! A kept response as a stream: what there is of it at once, and the rest when it is finished. Knows nothing of who makes it.

use super::shelf::Shelf;
use crate::http::reply;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use penstock_dialects::responses::client::replay::{ReplayedEvents, is_under_way};
use penstock_runtime::{clock, heavy};
use penstock_schemas::name::RequestId;
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::sleep;

/// How soon it is seen that a response is finished.
const LOOK: Duration = Duration::from_millis(500);

/// After so many looks without news a comment keeps the connection alive.
const ALIVE: u32 = 30;

/// A response that is being read.
struct Following {
    shelf: Shelf,
    id: String,
    /// The number of the next event.
    next: usize,
    is_over: bool,
}

/// The stream of a response from this event on. Whoever keeps it decides how long a response can be under way: one whose worker
/// is gone counts as failed.
pub(crate) fn follow(shelf: Shelf, id: String, next: usize, request: RequestId) -> Response {
    let following = Following { shelf, id, next, is_over: false };
    let events = stream::unfold(following, |mut following| async move {
        let bytes = following.more().await?;
        Some((Ok::<_, Infallible>(bytes), following))
    });
    reply::events(Body::from_stream(events), request)
}

impl Following {
    async fn more(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        for _ in 0..ALIVE {
            // A response that was forgotten, or a store that does not answer, ends the stream without a last event.
            let shelf = self.shelf.for_one();
            let (kept, _) = shelf.get(&self.id, "response_id", clock::now()).await.ok()?;
            let text = kept.response.get();
            let _values = shelf.hold_values(text).ok()?;
            let replayed = heavy(text.len(), || {
                let response: Value = serde_json::from_str(text).ok()?;
                let events = ReplayedEvents::of(&response);
                Some((is_under_way(&response), events.from(self.next), events.count()))
            });
            let (is_under_way, bytes, count) = replayed.await?;
            (self.is_over, self.next) = (!is_under_way, self.next.max(count));
            if !bytes.is_empty() || self.is_over {
                return Some(bytes.into());
            }
            sleep(LOOK).await;
        }
        Some(Bytes::from_static(b": in progress\n\n"))
    }
}
