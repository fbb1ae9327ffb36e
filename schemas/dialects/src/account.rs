//! Whether a provider says that the operator's account with it cannot be charged: out of credits, unpaid, suspended. Most
//! say 402, which needs no reading; some say 400 as of a bad request, and a caller can mend nothing about it, while another
//! target can serve. Knows nothing of who asked.

use penstock_schemas::failure::FailureKind;

/// The code that stands for it in our own failures: a key whose money is spent is set aside by it.
pub const EXHAUSTED: &str = "insufficient_quota";

/// Codes and types that stand for it, in small letters.
const WORDS: [&str; 14] = [
    // OpenAI: <https://platform.openai.com/docs/guides/error-codes>.
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    // Anthropic: <https://platform.claude.com/docs/en/api/errors>.
    "billing_error",
    // Groq.
    "organization_restricted",
    // Alibaba: <https://help.aliyun.com/zh/model-studio/error-code>.
    "arrearage",
    // Volcengine: <https://www.volcengine.com/docs/82379/1299023>.
    "accountoverdueerror",
    // DeepSeek, Moonshot, OpenRouter, Vercel and others.
    "insufficient_balance",
    "insufficientbalance",
    "insufficient balance",
    "insufficient_credits",
    "insufficient_funds",
    "exceeded_current_quota_error",
    "customer_verification_required",
];

/// How such messages begin and end, in small letters, where no code tells. Both count: a provider that quotes a caller's words
/// in an error puts its own before or behind them, and a caller must not be able to have the operator's key set aside.
const SENTENCES: [(&str, &str); 2] = [
    // Anthropic's is an `invalid_request_error` as any other.
    ("your credit balance is too low to access the ", "to upgrade or purchase credits."),
    // Z.ai: <https://docs.z.ai/api-reference/api-code>.
    ("insufficient balance or no resource package", "please recharge."),
];

/// The kind, told more closely by the words of an error, which are its code and type, and by its message. Only what is about
/// the request itself, or of no certain kind, is doubted.
pub(crate) fn refine<'a>(kind: FailureKind, words: impl Iterator<Item = &'a str>, message: &str) -> FailureKind {
    let is_open = matches!(
        kind,
        FailureKind::BadRequest | FailureKind::Unprocessable | FailureKind::Broken | FailureKind::ServerError
    );
    if is_open && is_unpaid(words, message) { FailureKind::ProviderAuth } else { kind }
}

/// Whether the error says so.
pub(crate) fn is_unpaid<'a>(mut words: impl Iterator<Item = &'a str>, message: &str) -> bool {
    let message = message.trim().to_lowercase();
    words.any(|word| WORDS.contains(&word.to_lowercase().as_str()))
        || SENTENCES.iter().any(|(begin, end)| message.starts_with(begin) && message.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refined(kind: FailureKind, code: &str, message: &str) -> FailureKind {
        refine(kind, std::iter::once(code), message)
    }

    #[test]
    fn an_account_that_cannot_be_charged_is_told_in_each_providers_words() {
        for (code, message) in [
            (
                "",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
            ),
            ("billing_hard_limit_reached", "Billing hard limit has been reached"),
            ("Arrearage", "Access denied, please make sure your account is in good standing."),
            ("organization_restricted", "Organization has been restricted."),
            ("1113", "Insufficient balance or no resource package. Please recharge."),
        ] {
            assert_eq!(refined(FailureKind::BadRequest, code, message), FailureKind::ProviderAuth, "{message}");
        }
    }

    #[test]
    fn a_bad_request_and_a_rate_stay_what_they_are() {
        for (kind, code, message) in [
            (FailureKind::BadRequest, "invalid_value", "`balance` is not a number"),
            (FailureKind::BadRequest, "", "messages: the credit card number is not allowed"),
            // A caller's own words, as providers quote them.
            (
                FailureKind::BadRequest,
                "",
                "Invalid value: 'insufficient balance or no resource package, please recharge.'",
            ),
            (
                FailureKind::BadRequest,
                "",
                "Insufficient balance or no resource package, please recharge.: Extra inputs are not permitted",
            ),
            (FailureKind::RateLimited, "", "Insufficient balance"),
            (FailureKind::ContextTooLong, "arrearage", ""),
        ] {
            assert_eq!(refined(kind, code, message), kind, "{message}");
        }
    }
}
