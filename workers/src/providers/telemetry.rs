//! What providers are called in OpenTelemetry's conventions (`gen_ai.provider.name`). Knows nothing of traces.
//! Source: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-provider-name>, version 1.42.

use penstock_schemas::envelope::Dialect;

/// The providers whose names there are other than here. The rest are called alike, or are not known there.
const NAMES: [(&str, &str); 8] = [
    ("azure", "azure.ai.openai"),
    ("azure_ai", "azure.ai.inference"),
    ("bedrock", "aws.bedrock"),
    ("google", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("vertex", "gcp.vertex_ai"),
    ("watsonx", "ibm.watsonx.ai"),
    ("xai", "x_ai"),
];

/// The name of a provider: by its own name, or by a dialect that only one provider speaks.
pub fn name(provider: &str, dialect: Dialect) -> String {
    let of_dialect = match dialect {
        Dialect::Bedrock => Some("bedrock"),
        Dialect::Vertex => Some("vertex"),
        Dialect::Azure => Some("azure"),
        Dialect::Openai
        | Dialect::Responses
        | Dialect::Anthropic
        | Dialect::Google
        | Dialect::Mistral
        | Dialect::Cohere => None,
    };
    let known = |name: &str| NAMES.iter().find(|(own, _)| *own == name).map(|(_, conventional)| *conventional);
    known(provider).or_else(|| known(of_dialect?)).unwrap_or(provider).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_the_name_of_the_conventions_or_its_own() {
        for (provider, dialect, conventional) in [
            ("openai", Dialect::Openai, "openai"),
            ("anthropic", Dialect::Anthropic, "anthropic"),
            ("google", Dialect::Google, "gcp.gemini"),
            ("mistral", Dialect::Mistral, "mistral_ai"),
            ("house", Dialect::Openai, "house"),
            ("bedrock-eu", Dialect::Bedrock, "aws.bedrock"),
            ("groq", Dialect::Openai, "groq"),
        ] {
            assert_eq!(name(provider, dialect), conventional);
        }
    }
}
