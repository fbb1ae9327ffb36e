//! Models of other makers at Vertex AI, which are spoken to in their makers' words at addresses of their own: Claude, Mistral's,
//! and open models as OpenAI's chats. Google's own are [`crate::google`]'s. Knows no key.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>,
//! <https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/lib/vertex/_client.py>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/maas/call-open-model-apis>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/mistral>.

use crate::anthropic::provider::Anthropic;
use crate::errors::ErrorParts;
use crate::fit::{Fit, wrong};
use crate::json::RawObject;
use crate::mistral::Mistral;
use crate::openai::provider::Openai;
use crate::provider::{
    FormatRequest, FormatSettings, Observed, ProviderFormat, RequestPath, Spelled, StreamReader, ToolRule, Wanted,
    Whole, unsupported,
};
use bytes::Bytes;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};

/// The version of Claude's API there.
const VERSION: &str = "vertex-2023-10-16";

/// What Claude knows at its maker's alone, and an answer means the same without.
/// Source: <https://github.com/Kong/developer.konghq.com/pull/5952>.
const AT_ITS_MAKERS: [&str; 4] = ["context_management", "inference_geo", "service_tier", "speed"];

/// Whose model it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherMaker {
    /// Anthropic's.
    Claude,
    /// Mistral's.
    Mistral,
    /// That of a publisher of open models: `meta/llama-4-scout-17b-16e-instruct-maas`.
    Open,
}

impl OtherMaker {
    /// Whose model a provider of this dialect serves under this name; `None`: it speaks of it as of all others.
    pub fn of(dialect: Dialect, model: &str) -> Option<Self> {
        let steps: Vec<&str> = model.split('/').collect();
        let (publisher, id) = match (dialect, steps.as_slice()) {
            (Dialect::Vertex, [id]) => (None, *id),
            (Dialect::Vertex, [publisher, id] | ["publishers", publisher, "models", id]) => (Some(*publisher), *id),
            _ => return None,
        };
        match publisher {
            None | Some("anthropic") if id.starts_with("claude") => Some(Self::Claude),
            Some("mistralai") => Some(Self::Mistral),
            None if id.starts_with("mistral-") || id.starts_with("codestral-") => Some(Self::Mistral),
            Some(publisher) if steps.len() == 2 && is_publisher(publisher) => Some(Self::Open),
            _ => None,
        }
    }

    fn format(self) -> &'static dyn ProviderFormat {
        match self {
            Self::Claude => &Anthropic,
            Self::Mistral => &Mistral,
            Self::Open => &Openai,
        }
    }
}

/// Whether the first word of a name is a publisher of models, and no resource of the API.
fn is_publisher(word: &str) -> bool {
    let is_name = word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    is_name && !["endpoints", "models", "publishers", "projects", "locations", "operations"].contains(&word)
}

impl ProviderFormat for OtherMaker {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        let spelled = self.format().spell(ask)?;
        match self {
            Self::Claude => of_claude(ask, spelled),
            _ if ask.wanted.operation != Operation::Chat => Err(unsupported("model", "this model only chats")),
            Self::Mistral => of_mistral(ask, spelled),
            Self::Open => Ok(Spelled { path: RequestPath::fixed("endpoints/openapi").join(&spelled.path), ..spelled }),
        }
    }

    /// Claude fetches nothing there.
    fn takes_urls(&self) -> bool {
        *self != Self::Claude
    }

    fn takes_document_urls(&self) -> bool {
        self.takes_urls() && self.format().takes_document_urls()
    }

    fn counts_tokens(&self) -> bool {
        self.format().counts_tokens()
    }

    fn tools(&self, settings: &FormatSettings) -> ToolRule {
        self.format().tools(settings)
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        self.format().read_whole(wanted, body)
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        self.format().observe_failed(body)
    }

    fn answers(&self) -> Option<Dialect> {
        self.format().answers()
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        self.format().stream(wanted)
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        self.format().kind_of_error(status, parts)
    }
}

/// A request for Claude as Vertex AI takes it: the model stands in the path, the version in the body.
fn of_claude(ask: &FormatRequest<'_>, spelled: Spelled) -> Result<Spelled, Failure> {
    let Spelled { mut headers, body, mut dropped, .. } = spelled;
    let mut request = RawObject::read(&body).map_err(|error| wrong("messages", &error.to_string()))?;
    let mut fit = Fit::new(ask.unsupported);
    for name in ["container", "mcp_servers"] {
        if request.get(name).is_some() {
            request.remove(name);
            fit.cannot(name, "Vertex AI serves Claude without it")?;
        }
    }
    for name in AT_ITS_MAKERS.into_iter().filter(|name| request.has(name)).collect::<Vec<_>>() {
        request.remove(name);
        fit.omit(name);
    }
    headers.remove("anthropic-version");
    headers.remove("anthropic-beta"); // previews of what is left out here
    request.set("anthropic_version", &VERSION);
    let models = RequestPath::fixed("publishers/anthropic/models");
    let id = id(ask);
    let path = if ask.wanted.operation == Operation::CountTokens {
        request.set("model", &id);
        models.then("/count-tokens:rawPredict")
    } else {
        request.remove("model");
        models.step(id)?.then(method(ask))
    };
    dropped.extend(fit.dropped());
    Ok(Spelled { path, headers, body: request.to_vec().into(), dropped })
}

/// Mistral's: the request names the model without its revision.
fn of_mistral(ask: &FormatRequest<'_>, spelled: Spelled) -> Result<Spelled, Failure> {
    let Spelled { headers, body, mut dropped, .. } = spelled;
    let mut request = RawObject::read(&body).map_err(|error| wrong("messages", &error.to_string()))?;
    request.set("model", &id(ask).split('@').next());
    if request.has("safe_prompt") {
        request.remove("safe_prompt");
        dropped.push("safe_prompt".to_owned());
    }
    let path = RequestPath::fixed("publishers/mistralai/models").step(id(ask))?.then(method(ask));
    Ok(Spelled { path, headers, body: request.to_vec().into(), dropped })
}

fn id<'a>(ask: &FormatRequest<'a>) -> &'a str {
    ask.model.as_str().rsplit('/').next().unwrap_or_default()
}

fn method(ask: &FormatRequest<'_>) -> &'static str {
    if ask.wanted.delivery.is_stream() { ":streamRawPredict" } else { ":rawPredict" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Form;
    use penstock_schemas::envelope::{Delivery, Unsupported};
    use penstock_schemas::name::ModelId;
    use serde_json::{Value, json};

    fn spell(model: &str, wanted: (Operation, Delivery), request: &Value) -> (Spelled, Value) {
        let wanted = Wanted { operation: wanted.0, form: Form::Agnostic, delivery: wanted.1 };
        let maker = OtherMaker::of(Dialect::Vertex, model).expect("it is another maker's");
        let spelled = maker.spell(&FormatRequest {
            wanted,
            body: &request.to_string().into(),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse(model).expect("it is a name"),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        });
        let spelled = spelled.expect("it can be spelt");
        let body = serde_json::from_slice(&spelled.body).expect("it is JSON");
        (spelled, body)
    }

    #[test]
    fn a_model_of_another_maker_is_told_by_its_name() {
        for (model, maker) in [
            ("claude-sonnet-4-5@20250929", Some(OtherMaker::Claude)),
            ("anthropic/claude-opus-5", Some(OtherMaker::Claude)),
            ("publishers/anthropic/models/claude-opus-5", Some(OtherMaker::Claude)),
            ("meta/llama-4-scout-17b-16e-instruct-maas", Some(OtherMaker::Open)),
            ("mistral-medium-3@001", Some(OtherMaker::Mistral)),
            ("mistralai/codestral-2", Some(OtherMaker::Mistral)),
            ("publishers/meta/models/llama-4", None),
            ("endpoints/123", None),
            ("gemini-2.5-flash", None),
        ] {
            assert_eq!(OtherMaker::of(Dialect::Vertex, model), maker, "{model}");
            assert_eq!(OtherMaker::of(Dialect::Google, model), None, "{model}");
        }
    }

    #[test]
    fn claude_is_asked_at_an_address_of_its_own_without_what_its_maker_alone_knows() {
        let request = json!({"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}],
            "context_management": {"edits": []}, "service_tier": "default"});
        for (operation, delivery, expected) in [
            (Operation::Chat, Delivery::Whole, "claude-opus-5:rawPredict"),
            (Operation::Chat, Delivery::Stream, "claude-opus-5:streamRawPredict"),
            (Operation::CountTokens, Delivery::Whole, "count-tokens:rawPredict"),
        ] {
            let (spelled, body) = spell("claude-opus-5", (operation, delivery), &request);
            assert_eq!(spelled.path.as_str(), format!("publishers/anthropic/models/{expected}"));
            assert_eq!(body["anthropic_version"], VERSION);
            assert_eq!(body.get("model").is_some(), operation == Operation::CountTokens, "{body}");
            assert!(body.get("context_management").is_none() && body.get("service_tier").is_none(), "{body}");
            assert!(
                spelled.headers.keys().all(|name| !name.as_str().starts_with("anthropic")),
                "{:?}",
                spelled.headers
            );
        }
    }

    #[test]
    fn an_open_model_is_asked_as_openais_are() {
        let request = json!({"model": "x", "messages": [{"role": "user", "content": "a"}]});
        let (spelled, body) = spell("meta/llama-4-maas", (Operation::Chat, Delivery::Whole), &request);
        assert_eq!(spelled.path.as_str(), "endpoints/openapi/chat/completions");
        assert_eq!(body["model"], "meta/llama-4-maas");
        let (spelled, body) = spell("mistralai/mistral-medium-3@001", (Operation::Chat, Delivery::Whole), &request);
        assert_eq!(spelled.path.as_str(), "publishers/mistralai/models/mistral-medium-3@001:rawPredict");
        assert_eq!(body["model"], "mistral-medium-3");
    }
}
