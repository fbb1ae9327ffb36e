//! Names of fields that lead to another model than the one that is checked and paid for. Knows nothing of where they stand.

use super::cursor::Kind;

/// How names end that stand for further models: who receives them may ask another model than the one that was checked, and
/// is paid for. Sources: <https://openrouter.ai/docs/guides/routing/model-fallbacks>,
/// <https://docs.litellm.ai/docs/proxy/reliability>, <https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerationConfig>
/// (`routingConfig`), <https://learn.microsoft.com/azure/ai-foundry/openai/references/on-your-data> (`embedding_dependency`).
/// So do a preset and an agent, which the provider keeps. Sources: <https://openrouter.ai/docs/guides/features/presets>,
/// <https://docs.mistral.ai/api/endpoint/agents>.
const OTHER_MODELS: [&str; 8] =
    ["model", "models", "modelname", "modelid", "fallbacks", "deploymentname", "routingconfig", "modelselectionconfig"];

/// Why a field that leads to another model is refused.
pub(super) const OTHER_MODEL: &str = "it leads to another model than `model`, which is neither checked nor paid for: ask \
                                      for that model, or for a virtual model with several targets";

/// Whether what has this name, without underscores and case, may be another model. A switch is none.
pub(super) fn names_model(plain: &str, kind: Kind) -> bool {
    // Readers of forms take `model[]` for a list of the name.
    let plain = plain.split('[').next().unwrap_or(plain);
    matches!(kind, Kind::Text | Kind::List | Kind::Object) && OTHER_MODELS.iter().any(|end| plain.ends_with(end))
}
