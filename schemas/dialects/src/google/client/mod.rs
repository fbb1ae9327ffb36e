//! Google's Gemini API as a client speaks it. Only what the pipeline must know is read; the body's bytes travel on
//! untouched to a provider that speaks it too. Names are in camelCase or snake_case, as protobuf's JSON allows.
//! Source: <https://ai.google.dev/api/generate-content>.

mod base64;
mod contents;
mod embed;
pub mod error;
mod object;
mod path;
mod request;
mod schema;
mod seal;
mod stream;
#[cfg(test)]
mod tests;
mod turn;
mod whole;

pub use path::{is_path, read as read_path};
pub(crate) use seal::holds_seal;

use crate::client::{ClientRequest, Endpoint, Writer, WrongRequest};
use bytes::Bytes;
use object::Object;
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::name::RequestId;

/// Reads the head of a request, whose path has said the most of it.
pub(crate) fn read(endpoint: Endpoint, body: Bytes) -> Result<ClientRequest, WrongRequest> {
    let mut object = Object::of_body(&body)?;
    match endpoint.operation {
        Operation::Embeddings if object.has("requests") => drop(embed::requests(&mut object)?),
        Operation::Embeddings => object.needs("content")?,
        Operation::CountTokens if object.has("generate_content_request") => {}
        _ => {
            object.needs("contents")?;
            if object.list("contents")?.is_empty() {
                return Err(object.wrong("contents", "it must hold at least one content"));
            }
        }
    }
    let extent = crate::client::fields::measure(endpoint.dialect, endpoint.operation, &body);
    let extent = extent.map_err(|refusal| match refusal {
        WrongRequest::WrongPart { place, why } => WrongRequest::WrongPart { place: object::camel(&place), why },
        other => other,
    })?;
    Ok(ClientRequest {
        dialect: endpoint.dialect,
        operation: endpoint.operation,
        model: endpoint.model.unwrap_or_default(),
        user: None,
        delivery: endpoint.delivery.unwrap_or(Delivery::Whole),
        body,
        content_type: None,
        extent,
        purpose: endpoint.purpose,
    })
}

/// The request in its agnostic form.
pub(crate) fn agnostic(asked: &ClientRequest) -> Result<Bytes, WrongRequest> {
    match asked.operation {
        Operation::Embeddings => embed::agnostic(asked),
        _ => request::agnostic(asked),
    }
}

/// What turns an agnostic answer into Google's.
pub(crate) fn writer(asked: &ClientRequest, id: RequestId) -> Box<dyn Writer> {
    match asked.operation {
        Operation::Embeddings => Box::new(embed::Embedded::of(asked)),
        Operation::CountTokens => Box::new(whole::Counted),
        _ => Box::new(stream::Google::new(id, asked.model.clone())),
    }
}
