//! A model among Google's resources: `models/{model}`, or of another publisher or one's own. Knows no method.
//! Sources: <https://ai.google.dev/api/models>, <https://cloud.google.com/vertex-ai/docs/reference/rest>.

use super::Service;
use crate::provider::{FormatRequest, RequestPath, bad_model};
use penstock_schemas::failure::Failure;
use penstock_schemas::name::ModelId;

/// The model's name as a body names it.
pub(super) fn name(ask: &FormatRequest<'_>, service: Service) -> Result<String, Failure> {
    Ok(steps(ask.model.as_str(), service)?.join("/"))
}

/// The path of a method of the model: `:generateContent`.
pub(super) fn path(ask: &FormatRequest<'_>, service: Service, method: &'static str) -> Result<RequestPath, Failure> {
    method_of(ask.model, service, method)
}

/// The same of a model without a request.
///
/// # Errors
/// When no model of the service can have this name.
pub fn method_of(model: &ModelId, service: Service, method: &'static str) -> Result<RequestPath, Failure> {
    Ok(RequestPath::of(steps(model.as_str(), service)?)?.then(method))
}

/// Only a model's own shapes: another one would name something else that the operator's key may touch.
fn steps(model: &str, service: Service) -> Result<Vec<&str>, Failure> {
    let own: Vec<&str> = model.split('/').collect();
    let steps = match (service, own.as_slice()) {
        (Service::Gemini, [id]) => vec!["models", id],
        (Service::Vertex, [id]) => vec!["publishers", "google", "models", id],
        (Service::Gemini, ["tunedModels", _])
        | (Service::Vertex, ["publishers", _, "models", _] | ["endpoints", _]) => own,
        _ => return Err(bad_model(model)),
    };
    // A colon would begin a method.
    let is_id = |step: &&str| step.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte));
    if steps.iter().all(is_id) { Ok(steps) } else { Err(bad_model(model)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_one_of_few_shapes() {
        let shown = |model, service| steps(model, service).map(|steps| steps.join("/")).unwrap_or_default();
        for (model, gemini, vertex) in [
            ("gemini-2.5-flash", "models/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"),
            ("claude-3@default", "models/claude-3@default", "publishers/google/models/claude-3@default"),
            ("tunedModels/mine", "tunedModels/mine", ""),
            ("endpoints/123", "", "endpoints/123"),
            ("publishers/meta/models/llama-4", "", "publishers/meta/models/llama-4"),
            ("publishers/meta", "", ""),
            ("tunedModels/mine/operations", "", ""),
            ("gemini-2.5-flash/operations", "", ""),
            ("gemini-2.5-flash:batchGenerateContent", "", ""),
            ("cachedContents/x", "", ""),
        ] {
            assert_eq!((&*shown(model, Service::Gemini), &*shown(model, Service::Vertex)), (gemini, vertex), "{model}");
        }
    }
}
