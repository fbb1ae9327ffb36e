//! Anthropic as a provider: its key's header and its batches. Its format is [`penstock_dialects::anthropic`].

mod batch;

use super::{Adapter, Outgoing};
use http::HeaderName;
use penstock_dialects::anthropic::provider::Anthropic;
use penstock_dialects::provider::FormatSettings;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::Failure;

pub(super) use batch::AnthropicBatch;

impl Adapter for Anthropic {
    /// Source: <https://platform.claude.com/docs/en/api/overview#authentication>.
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &FormatSettings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        request.secret(HeaderName::from_static("x-api-key"), key)
    }

    fn listing(&self) -> Option<&'static str> {
        Some("v1/models")
    }
}
