//! The vector of what a request asks, made at most once: for the stages that compare requests by their meaning. Knows nothing
//! of what they make of it.

use crate::embedding::{Embedding, EmbeddingCall};
use crate::request::Request;
use crate::state::Shared;
use penstock_schemas::name::Target;

/// The vector of this text by this model (`None`: the built-in one), which is being made from now on, unless an earlier stage has begun with it. The
/// project pays for it where the model costs something.
pub(crate) fn embed(request: &mut Request, model: Option<&Target>, text: &str, ingress: &Shared) -> Embedding {
    if let Some(embedding) = request.embedding.as_ref().filter(|embedding| embedding.is_of(model, text)) {
        return embedding.clone();
    }
    let call = EmbeddingCall {
        request_id: request.id,
        caller: &request.caller,
        session: request.session.as_ref().map(|session| session.id.as_str()),
        key: Some(&request.key),
        trace: request.trace.as_deref(),
        rules: ingress.rules(),
    };
    request.embedding.insert(ingress.embedder.begin(&call, model, text)).clone()
}
