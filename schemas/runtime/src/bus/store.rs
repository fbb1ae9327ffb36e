//! Requests above NATS's payload limit: kept in the object store while the call lasts, and claimed by name.

use super::{Bus, BusError, failed};
use crate::memory::{Memory, Reserved};
use bytes::Bytes;
use penstock_schemas::envelope::Body;
use penstock_schemas::name::RequestId;
use tokio::io::AsyncReadExt;

/// What the header of a call may take of NATS's payload limit, in bytes.
const HEADER_ROOM: usize = 64 * 1024;

/// How often a request may be held at once where it is worked on: as it came, in the provider's words, and on its way there.
const COPIES: usize = 3;

/// What a call takes besides, in bytes: what may wait of its answer, at the provider's socket and on the bus.
const ANSWER: usize = 896 * 1024;

impl Bus {
    /// Whether the body of a request travels behind its header, and is not stored on the way.
    pub fn is_inline(&self, body: &Bytes) -> bool {
        body.len() + HEADER_ROOM <= self.client.max_payload()
    }

    /// Where the body of a request travels: behind its header, or in the object store when it is too large for that.
    ///
    /// # Errors
    /// When the object store does not take it.
    pub async fn place_body(&self, request: RequestId, body: &Bytes) -> Result<Body, BusError> {
        if self.is_inline(body) {
            return Ok(Body::Inline);
        }
        let name = request.to_string();
        let store = self.object_store(&self.subjects.bodies_bucket()).await?;
        let stored = store.put(name.as_str(), &mut body.as_ref()).await;
        self.noted(&self.subjects.bodies_bucket(), stored).map_err(failed("store a large request"))?;
        Ok(Body::Stored(name))
    }

    /// The body of a request that was placed so, and the memory for it; `inline` is what came behind the header. Without
    /// memory, a stored body stays where it is, and there is nothing of it here.
    ///
    /// # Errors
    /// When the object store does not give it.
    pub async fn fetch_body(
        &self,
        body: &Body,
        inline: Bytes,
        memory: &Memory,
    ) -> Result<(Bytes, Option<Reserved>), BusError> {
        let reserve = |size: usize| memory.reserve(size.saturating_mul(COPIES).saturating_add(ANSWER)).ok();
        let Body::Stored(name) = body else {
            let reserved = reserve(inline.len());
            return Ok((inline, reserved));
        };
        let store = self.object_store(&self.subjects.bodies_bucket()).await?;
        let mut object = store.get(name).await.map_err(failed("fetch a large request"))?;
        let Some(reserved) = reserve(object.info().size) else { return Ok((Bytes::new(), None)) };
        let mut bytes = Vec::with_capacity(object.info().size);
        object.read_to_end(&mut bytes).await.map_err(failed("fetch a large request"))?;
        Ok((bytes.into(), Some(reserved)))
    }

    /// Removes a placed body. One that stays behind is removed by its age.
    ///
    /// # Errors
    /// When the object store does not confirm it.
    pub async fn drop_body(&self, body: &Body) -> Result<(), BusError> {
        let Body::Stored(name) = body else { return Ok(()) };
        let store = self.object_store(&self.subjects.bodies_bucket()).await?;
        store.delete(name).await.map_err(failed("remove a large request"))
    }
}
