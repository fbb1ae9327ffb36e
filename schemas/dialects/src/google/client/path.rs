//! What a path asks for: `/v1beta/models/{model}:{method}`. The model may hold slashes, raw or encoded, and colons.

use crate::client::Endpoint;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};

/// The endpoint behind `models/`; `None` when there is no such method.
pub fn read(rest: &str) -> Option<Endpoint> {
    let (model, method) = rest.rsplit_once(':')?;
    let (operation, delivery) = method_of(method)?;
    // Some clients put `models/` before a name that has it already.
    let model = model.strip_prefix("models/").unwrap_or(model);
    (!model.is_empty()).then(|| Endpoint {
        model: Some(model.to_owned()),
        delivery: Some(delivery),
        ..Endpoint::new(Dialect::Google, operation)
    })
}

/// Whether a path is one of this dialect, so that an error about it is too.
pub fn is_path(path: &str) -> bool {
    let is_method = |rest: &str| rest.rsplit_once(':').is_some_and(|(_, method)| method_of(method).is_some());
    path.starts_with("/v1beta/")
        || path.starts_with("/upload/")
        || path.strip_prefix("/v1/models/").is_some_and(is_method)
}

fn method_of(method: &str) -> Option<(Operation, Delivery)> {
    Some(match method {
        "generateContent" => (Operation::Chat, Delivery::Whole),
        "streamGenerateContent" => (Operation::Chat, Delivery::StreamWithUsage),
        "embedContent" | "batchEmbedContents" => (Operation::Embeddings, Delivery::Whole),
        "countTokens" => (Operation::CountTokens, Delivery::Whole),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_hold_slashes_and_colons() {
        for (rest, model) in [
            ("gemini-2.5-flash:generateContent", Some("gemini-2.5-flash")),
            ("openai/gpt-4o:streamGenerateContent", Some("openai/gpt-4o")),
            ("models/ollama/llama3:8b:countTokens", Some("ollama/llama3:8b")),
            ("gemini:predict", None),
            ("gemini", None),
            (":generateContent", None),
        ] {
            assert_eq!(read(rest).and_then(|endpoint| endpoint.model).as_deref(), model, "{rest}");
        }
        assert!(is_path("/v1beta/x") && is_path("/upload/v1beta/files") && is_path("/v1/models/a/b:countTokens"));
        assert!(!is_path("/v1/models/a:b") && !is_path("/v1/chat/completions"));
    }
}
