//! Amazon Bedrock as a provider: signed requests, and errors whose name stands in a header. Its format is
//! [`penstock_dialects::bedrock`].

mod sign;

use super::refusal::refuse_by;
use super::{Adapter, ErrorResponse, Outgoing};
use penstock_dialects::bedrock::{Bedrock, errors};
use penstock_dialects::errors::{kind, tidy};
use penstock_dialects::overflow;
use penstock_dialects::provider::FormatSettings;
use penstock_dialects::strike::strike;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

impl Adapter for Bedrock {
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        settings: &FormatSettings,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        sign::authorize(request, key, settings.region.as_deref(), now)
    }

    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        refuse(refusal)
    }
}

/// Why Bedrock refused. The exception's name is in a header, or in the body when something in between answers.
fn refuse(refusal: &ErrorResponse<'_>) -> Failure {
    let body: Option<Value> = serde_json::from_slice(refusal.body).ok();
    let header = refusal.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let within = body.as_ref().and_then(|body| body.get("__type").or_else(|| body.get("code"))?.as_str());
    let name = header.or(within).map(bare).filter(|name| !name.is_empty());
    let mut failure = refuse_by(refusal, kind);
    let kind = match (name.and_then(errors::kind), refusal.status) {
        (Some(kind), _) => overflow::refine(kind, &failure.message),
        (None, 424) => FailureKind::ServerError, // the model failed, not the caller
        (None, _) => failure.kind,
    };
    if kind == FailureKind::ProviderAuth && failure.kind != kind {
        failure.message = format!("{} refused the key ({})", refusal.provider, refusal.status);
    }
    failure.kind = kind;
    failure.provider_code = name.map(|name| strike(&tidy(name), refusal.key)).or(failure.provider_code);
    failure
}

/// `com.amazon.coral.service#AccessDeniedException:http://internal.amazon.com/…` → `AccessDeniedException`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use penstock_schemas::UnixMicros;
    use penstock_schemas::name::ProviderId;

    #[test]
    fn an_exceptions_name_never_tells_the_key() {
        let provider = ProviderId::parse("bedrock").unwrap();
        let mut named = HeaderMap::new();
        named.insert("x-amzn-errortype", HeaderValue::from_static("Odd, golden-key-of-ours"));
        for (headers, body) in [(named, &b"{}"[..]), (HeaderMap::new(), br#"{"__type":"Odd, golden-key-of-ours"}"#)] {
            let key = Some("golden-key-of-ours");
            let refusal =
                ErrorResponse { provider: &provider, key, status: 424, headers: &headers, body, now: UnixMicros(0) };
            assert_eq!(refuse(&refusal).provider_code.as_deref(), Some("Odd, ***"));
        }
    }
}
