//! A request as the pipeline reads it, for tests that follow its bytes to a provider: no role uses it. Knows dialects, and
//! nothing of who asks.

use bytes::Bytes;
use penstock_dialects::client::Endpoint;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::extent::Extent;

/// What becomes of a request at the door.
pub struct Reading {
    /// In its agnostic form; `None` where it has none.
    pub agnostic: Option<Bytes>,
    /// What of it shapes its cost.
    pub extent: Extent,
}

/// Reads a request of this dialect, whose path or body names `model`.
///
/// # Errors
/// What the caller would be told, when it is refused.
pub fn read(
    dialect: Dialect,
    operation: Operation,
    body: &Bytes,
    content_type: Option<&str>,
) -> Result<Reading, String> {
    let of_path = dialect == Dialect::Google;
    let endpoint = Endpoint {
        model: of_path.then(|| "m".to_owned()),
        delivery: of_path.then_some(Delivery::Whole),
        ..Endpoint::new(dialect, operation)
    };
    let asked =
        endpoint.read(body.clone(), content_type.map(ToOwned::to_owned)).map_err(|refusal| refusal.to_string())?;
    Ok(Reading { agnostic: asked.agnostic().ok(), extent: asked.extent })
}
