//! Azure OpenAI: OpenAI's requests and answers at addresses of its own. With an `api_version`, deployments have addresses
//! of their own; without one, it is the v1 API, which names the deployment in the request as OpenAI does. Knows nothing of
//! what is in the requests.
//! Sources: <https://learn.microsoft.com/azure/ai-services/openai/reference>,
//! <https://learn.microsoft.com/azure/ai-services/openai/api-version-lifecycle>.

mod responses;

pub use responses::AzureResponses;

use super::{Adapter, Outgoing};
use bytes::Bytes;
use http::HeaderName;
use penstock_dialects::openai::provider::Openai;
use penstock_dialects::provider::{
    FormatRequest, FormatSettings, ProviderFormat, Quirk, RequestPath, Spelled, StreamReader, ToolRule, Wanted, Whole,
};
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::Failure;

/// Azure OpenAI.
#[derive(Debug)]
pub struct Azure;

impl ProviderFormat for Azure {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        let mut settings = ask.settings.clone();
        settings.quirks.extend(quirks(ask.settings.api_version.as_deref()));
        let spelled = Openai.spell(&FormatRequest { settings: &settings, ..*ask })?;
        let path = match &ask.settings.api_version {
            None => RequestPath::fixed("openai/v1").join(&spelled.path),
            Some(version) => {
                let deployment = RequestPath::fixed("openai/deployments").step(ask.model.as_str())?;
                deployment.join(&spelled.path).with_query("api-version", version)
            }
        };
        Ok(Spelled { path, ..spelled })
    }

    fn takes_document_urls(&self) -> bool {
        Openai.takes_document_urls()
    }

    fn most_inputs(&self) -> Option<u32> {
        Openai.most_inputs()
    }

    fn takes_chats(&self) -> bool {
        true
    }

    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule { free_text: true, allowed_tools: true, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        Openai.read_whole(wanted, body)
    }

    /// The first chunk tells what the content filter makes of the prompt, and holds no choice: it waits for the content.
    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Openai.stream(wanted)
    }
}

/// The first version that knows `stream_options`, `max_completion_tokens` and `parallel_tool_calls`; earlier ones refuse them.
/// Sources: <https://learn.microsoft.com/azure/ai-services/openai/whats-new>,
/// <https://github.com/openai/openai-python/issues/1469>, <https://github.com/Azure/azure-sdk-for-net/issues/45719>.
const NEWER: &str = "2024-09-01";

/// In what this version of the API differs from a copy of OpenAI.
fn quirks(api_version: Option<&str>) -> &'static [Quirk] {
    match api_version {
        Some(version) if version < NEWER => {
            &[Quirk::CustomTools, Quirk::NoStreamOptions, Quirk::NoParallelToolCalls, Quirk::MaxTokens]
        }
        _ => &[Quirk::CustomTools, Quirk::MaxCompletionTokens],
    }
}

impl Adapter for Azure {
    /// A key of the resource, or a token of Entra ID, which is a JWT.
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &FormatSettings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        if key.starts_with("eyJ") {
            return request.bearer(key);
        }
        request.secret(HeaderName::from_static("api-key"), key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use penstock_dialects::provider::Form;
    use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
    use penstock_schemas::name::ModelId;

    fn path(version: Option<&str>, operation: Operation) -> String {
        let settings = FormatSettings { api_version: version.map(str::to_owned), ..FormatSettings::default() };
        let spelled = Azure.spell(&FormatRequest {
            wanted: Wanted { operation, form: Form::Own, delivery: Delivery::Whole },
            body: &Bytes::from_static(b"{}"),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("my/gpt").unwrap(),
            card: None,
            settings: &settings,
            unsupported: Unsupported::Refuse,
        });
        spelled.unwrap().path.to_string()
    }

    #[test]
    fn a_version_decides_on_the_address() {
        assert_eq!(path(None, Operation::Chat), "openai/v1/chat/completions");
        let version = Some("2025-04-01-preview");
        let expected = "openai/deployments/my%2Fgpt/chat/completions?api-version=2025-04-01-preview";
        assert_eq!(path(version, Operation::Chat), expected);
        assert!(path(version, Operation::Embeddings).starts_with("openai/deployments/my%2Fgpt/embeddings?"));
    }

    #[test]
    fn responses_have_an_address_without_a_deployment() {
        for (version, expected) in [
            (None, "openai/v1/responses"),
            (Some("2025-04-01-preview"), "openai/responses?api-version=2025-04-01-preview"),
        ] {
            let settings = FormatSettings { api_version: version.map(str::to_owned), ..FormatSettings::default() };
            let wanted = Wanted { operation: Operation::Chat, form: Form::Own, delivery: Delivery::Whole };
            let spelled = AzureResponses.spell(&FormatRequest {
                wanted,
                body: &Bytes::from_static(b"{}"),
                content_type: None,
                headers: &std::collections::BTreeMap::new(),
                model: &ModelId::parse("my/gpt").unwrap(),
                card: None,
                settings: &settings,
                unsupported: Unsupported::Refuse,
            });
            assert_eq!(spelled.unwrap().path.as_str(), expected);
        }
    }

    #[test]
    fn a_key_and_a_token_travel_apart() {
        for (key, header, value) in [("k3y", "api-key", "k3y"), ("eyJ0eXAi", "authorization", "Bearer eyJ0eXAi")] {
            let mut request = Outgoing { url: String::new(), headers: HeaderMap::new(), body: Bytes::new() };
            Azure.authorize(&mut request, key, &FormatSettings::default(), UnixMicros(0)).unwrap();
            assert_eq!(request.headers[header], value);
            assert!(request.headers.len() == 1 && request.headers[header].is_sensitive());
        }
    }
}
