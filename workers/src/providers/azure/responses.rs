//! OpenAI's responses at Azure's addresses, with Azure's keys. Knows nothing of what is in the requests.
//! Source: <https://learn.microsoft.com/azure/ai-services/openai/how-to/responses>.

use super::Azure;
use crate::providers::{Adapter, Outgoing};
use bytes::Bytes;
use penstock_dialects::errors::ErrorParts;
use penstock_dialects::provider::{
    FormatRequest, FormatSettings, ProviderFormat, Quirk, RequestPath, Search, Spelled, StreamReader, ToolRule, Wanted,
    Whole,
};
use penstock_dialects::responses::provider::Responses;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};

/// OpenAI's responses at Azure.
#[derive(Debug)]
pub struct AzureResponses;

impl ProviderFormat for AzureResponses {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        let mut settings = ask.settings.clone();
        settings.quirks.push(Quirk::CustomTools);
        let spelled = Responses.spell(&FormatRequest { settings: &settings, ..*ask })?;
        // The deployment stands in the request, whatever the version.
        let path = match &ask.settings.api_version {
            None => RequestPath::fixed("openai/v1").join(&spelled.path),
            Some(version) => RequestPath::fixed("openai").join(&spelled.path).with_query("api-version", version),
        };
        Ok(Spelled { path, ..spelled })
    }

    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule { free_text: true, allowed_tools: true, search: Search::Openai, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        Responses.read_whole(wanted, body)
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Responses.stream(wanted)
    }

    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        Responses.kind_of_error(status, parts)
    }
}

impl Adapter for AzureResponses {
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        settings: &FormatSettings,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        Azure.authorize(request, key, settings, now)
    }
}
