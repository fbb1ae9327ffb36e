//! Turns an answer that is not a success into a failure: what kind, what to tell the caller, how long to wait.

use super::{ErrorResponse, retry_after};
use penstock_dialects::account;
use penstock_dialects::error_details;
use penstock_dialects::errors::{self, ErrorParts};
use penstock_dialects::strike::strike;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// Why the provider refused; `kind_of` knows what the dialect's statuses and codes mean.
pub(crate) fn refuse_by(refusal: &ErrorResponse<'_>, kind_of: impl Fn(u16, &ErrorParts) -> FailureKind) -> Failure {
    let ErrorResponse { provider, status, .. } = refusal;
    let json = serde_json::from_slice::<Value>(refusal.body);
    let parts = json.as_ref().map(ErrorParts::of).unwrap_or_default();
    let kind = errors::refine(kind_of(*status, &parts), &parts);
    let is_unpaid = kind == FailureKind::ProviderAuth && (*status == 402 || errors::is_unpaid(&parts));
    // What comes with a refused key is about the key.
    let details = json.ok().filter(|_| kind != FailureKind::ProviderAuth);
    let details = details.and_then(|json| error_details::of(&json, refusal.key));
    let clean = |text: String| strike(&text, refusal.key);
    let message = match (kind, status, &parts.message) {
        _ if is_unpaid => format!("{provider} refused: its account is not paid up ({status})"),
        // The provider's own words may quote the key, and the caller cannot act on them.
        (FailureKind::ProviderAuth, ..) | (_, 401 | 403, _) => format!("{provider} refused the key ({status})"),
        (_, _, Some(message)) => clean(message.clone()),
        (_, _, None) => clean(format!("{provider} answered {status} {}", describe(refusal.body))),
    };
    Failure {
        retry_after_ms: retry_after::read(*status, refusal.headers, refusal.now)
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        param: parts.param.map(clean),
        provider_code: if is_unpaid { Some(account::EXHAUSTED.to_owned()) } else { parts.code.map(clean) },
        provider_status: Some(*status),
        details,
        ..Failure::provider(kind, message)
    }
}

/// What a body is that holds no message.
fn describe(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        return "without a body".to_owned();
    }
    if text.starts_with('<') {
        return match title(text) {
            Some(title) => format!("with a page: {title}"),
            None => "with a page".to_owned(),
        };
    }
    format!("with: {}", errors::tidy(text))
}

/// The title of an HTML page.
fn title(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower[open..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let words: Vec<&str> = page[start..end].split_whitespace().collect();
    Some(errors::tidy(&words.join(" "))).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use penstock_schemas::UnixMicros;
    use penstock_schemas::name::ProviderId;

    fn refused(status: u16, body: &str) -> Failure {
        let provider = ProviderId::parse("alpha").unwrap();
        let refusal = ErrorResponse {
            provider: &provider,
            key: Some("sk-secret-1234"),
            status,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            now: UnixMicros(0),
        };
        refuse_by(&refusal, errors::kind)
    }

    #[test]
    fn a_body_without_a_message_still_gives_a_readable_one() {
        for (status, body, message) in [
            (502, "", "alpha answered 502 without a body"),
            (500, "upstream connect error", "alpha answered 500 with: upstream connect error"),
            (
                502,
                "<html>\n<head><TITLE class=x>502\n Bad Gateway</TITLE></head>",
                "alpha answered 502 with a page: 502 Bad Gateway",
            ),
            (503, "<html>", "alpha answered 503 with a page"),
            (500, r#"{"title":"t"}"#, r#"alpha answered 500 with: {"title":"t"}"#),
            (302, "", "alpha answered 302 without a body"),
        ] {
            assert_eq!(refused(status, body).message, message);
        }
    }

    #[test]
    fn no_failure_tells_the_key() {
        for (status, message) in [
            (401, "alpha refused the key (401)"),
            (403, "alpha refused the key (403)"),
            (402, "alpha refused: its account is not paid up (402)"),
            (400, "Incorrect API key provided: ***"),
        ] {
            for echo in ["sk-secret-1234", "sk-s***1234.", "(sk-secret-1234)"] {
                let body = serde_json::json!({"error": {"message": format!("Incorrect API key provided: {echo}")}});
                assert_eq!(refused(status, &body.to_string()).message, message);
            }
        }
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-s","code":"invalid_api_key"}}"#;
        assert_eq!(refused(400, body).message, "alpha refused the key (400)");
    }

    #[test]
    fn an_account_that_is_not_paid_up_is_the_operators_to_mend_whatever_the_status() {
        let low = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#;
        for (status, body) in [(402, ""), (400, low), (500, low)] {
            let failure = refused(status, body);
            assert_eq!(failure.kind, FailureKind::ProviderAuth, "{status}");
            assert_eq!(failure.provider_code.as_deref(), Some("insufficient_quota"), "{status}: the key is set aside");
            assert_eq!(failure.message, format!("alpha refused: its account is not paid up ({status})"));
        }
        assert_eq!(refused(400, r#"{"error":{"message":"`n` is too low"}}"#).kind, FailureKind::BadRequest);
    }
}
