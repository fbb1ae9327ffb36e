//! Requests above NATS's payload limit: kept in the object store while the call lasts, and claimed by name.

use super::{Bus, BusError, failed};
use bytes::Bytes;
use penstock_schemas::envelope::Body;
use penstock_schemas::name::RequestId;
use tokio::io::AsyncReadExt;

/// What the header of a call may take of NATS's payload limit, in bytes.
const HEADER_ROOM: usize = 64 * 1024;

impl Bus {
    /// Where the body of a request travels: behind its header, or in the object store when it is too large for that.
    ///
    /// # Errors
    /// When the object store does not take it.
    pub async fn place_body(&self, request: RequestId, body: &Bytes) -> Result<Body, BusError> {
        if body.len() + HEADER_ROOM <= self.client.max_payload() {
            return Ok(Body::Inline);
        }
        let name = request.to_string();
        let store = self.object_store(&self.subjects.bodies_bucket()).await?;
        store.put(name.as_str(), &mut body.as_ref()).await.map_err(failed("store a large request"))?;
        Ok(Body::Stored(name))
    }

    /// The body of a request that was placed so; `inline` is what came behind the header.
    ///
    /// # Errors
    /// When the object store does not give it.
    pub async fn fetch_body(&self, body: &Body, inline: Bytes) -> Result<Bytes, BusError> {
        let Body::Stored(name) = body else { return Ok(inline) };
        let store = self.object_store(&self.subjects.bodies_bucket()).await?;
        let mut object = store.get(name).await.map_err(failed("fetch a large request"))?;
        let mut bytes = Vec::with_capacity(object.info().size);
        object.read_to_end(&mut bytes).await.map_err(failed("fetch a large request"))?;
        Ok(bytes.into())
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
