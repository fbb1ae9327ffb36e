//! What happens to what a provider cannot express: the request is refused, or the field left out and named. Knows no
//! provider.
//!
//! What changes what the answer means is [`Fit::cannot`]. What does not is [`Fit::omit`], whatever the policy: ids, notes for
//! the provider's own records, and sampling that it lacks or fixes (`temperature`, `top_p`, `top_k`, `seed`), which clients
//! send that nobody told to.

use crate::provider::unsupported;
use penstock_schemas::chat::Message;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The most fields that are named one by one, and the longest name of one in characters: they travel in one header, and
/// clients take headers of 8 to 16 KiB in all.
const MOST_NAMED: usize = 32;
const LONGEST_NAME: usize = 120;

/// The fields of one request that were left out.
#[derive(Debug)]
pub(crate) struct Fit {
    policy: Unsupported,
    dropped: Vec<String>,
}

impl Fit {
    pub(crate) fn new(policy: Unsupported) -> Self {
        Self { policy, dropped: Vec::new() }
    }

    /// A field that changes what the answer means.
    ///
    /// # Errors
    /// When the caller would rather be refused.
    pub(crate) fn cannot(&mut self, field: impl Into<String>, why: &str) -> Result<(), Failure> {
        match self.policy {
            Unsupported::Refuse => Err(unsupported(field, why)),
            Unsupported::Drop => {
                self.omit(field);
                Ok(())
            }
        }
    }

    /// A field without which the answer means the same: always left out, and named.
    pub(crate) fn omit(&mut self, field: impl Into<String>) {
        self.dropped.push(field.into());
    }

    /// The fields that were left out; of very many, the first, and how many more.
    pub(crate) fn dropped(mut self) -> Vec<String> {
        let more = self.dropped.len().saturating_sub(MOST_NAMED);
        self.dropped.truncate(MOST_NAMED);
        for name in &mut self.dropped {
            if let Some((end, _)) = name.char_indices().nth(LONGEST_NAME) {
                name.truncate(end);
            }
        }
        if more > 0 {
            self.dropped.push(format!("and {more} more"));
        }
        self.dropped
    }
}

/// What one dialect's clients send along and no other provider knows, and an answer means the same without: the thresholds of
/// Google's own filters, how closely its models look at images and OpenAI's at those of responses, whether a conversation that
/// is too long is cut, how Anthropic's machines keep one short, and which of OpenAI's programs for trusted users one is in.
pub(crate) const OTHERS_OWN: [&str; 6] =
    ["safety_settings", "media_resolution", "image", "truncation", "context_management", "access_programs"];

/// Whether a field of a chat request says what would be so without it.
pub(crate) fn is_nothing(name: &str, value: &Value) -> bool {
    match name {
        _ if value.is_null() => true,
        "logprobs" => value == false,
        "top_logprobs" | "presence_penalty" | "frequency_penalty" | "min_p" | "top_a" => value.as_f64() == Some(0.0),
        "repetition_penalty" | "typical_p" => value.as_f64() == Some(1.0),
        // Off, as servers of open models have it.
        "top_k" => matches!(value.as_f64(), Some(0.0 | -1.0)),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => *value == json!(["text"]),
        "function_call" => value == "none" || value == "auto",
        _ => false,
    }
}

/// Names what a message says beside its content and calls, which only OpenAI's dialect has.
///
/// # Errors
/// When one of it would change the answer, and the caller would rather be refused.
pub(crate) fn extras(message: &Message, place: &str, fit: &mut Fit) -> Result<(), Failure> {
    for (name, value) in message.extra.iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            // Of answers that are sent back; a tool's name, which its call tells too.
            "annotations" | "reasoning" => {}
            "name" if message.role == "tool" => {}
            // Mistral's SDK always sends it.
            "prefix" if value == false => {}
            "name" => fit.omit(format!("{place}.name")),
            _ => fit.cannot(format!("{place}.{name}"), "the provider has nothing like it")?,
        }
    }
    Ok(())
}

/// That a field of the request is wrong.
pub(crate) fn wrong(field: impl Into<String>, why: &str) -> Failure {
    let field = field.into();
    let mut failure = Failure::gateway(FailureKind::BadRequest, format!("`{field}` is not valid: {why}"));
    failure.param = Some(field);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatRequest, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation};
    use penstock_schemas::name::ModelId;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_left_out_fits_into_a_header_however_much_it_is() {
        let mut fit = Fit::new(Unsupported::Refuse);
        (0..5000).for_each(|at| fit.omit(format!("tools[{at}].{}", "ü".repeat(500))));
        let dropped = fit.dropped();
        assert_eq!((dropped.len(), dropped[32].as_str()), (33, "and 4968 more"));
        assert!(dropped.iter().all(|name| name.chars().count() <= 120));
    }

    #[test]
    fn hints_that_only_openai_knows_stop_no_request_and_are_named_elsewhere() {
        let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "a" }],
            "prompt_cache_options": { "mode": "explicit" }, "access_programs": { "cyber": "standard" },
            "image": { "context_compression": "auto" } });
        for dialect in ["anthropic", "google", "vertex", "bedrock", "mistral", "cohere", "responses", "openai"] {
            let settings = FormatSettings {
                region: Some("r".to_owned()),
                project: Some("p".to_owned()),
                ..FormatSettings::default()
            };
            let (spelled, _) = crate::spell(
                crate::format_of(serde_json::from_value(json!(dialect)).unwrap()),
                &FormatRequest {
                    wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
                    body: &request.to_string().into(),
                    content_type: None,
                    headers: &BTreeMap::new(),
                    model: &ModelId::parse("m").unwrap(),
                    card: None,
                    settings: &settings,
                    unsupported: Unsupported::Refuse,
                },
            )
            .unwrap_or_else(|failure| panic!("{dialect}: {failure}"));
            let sent: Value = serde_json::from_slice(&spelled.body).unwrap();
            for name in ["prompt_cache_options", "access_programs", "image"] {
                let is_named = spelled.dropped.iter().any(|dropped| dropped == name);
                assert_eq!(sent.get(name).is_none(), is_named, "{dialect} {name}");
                assert!(
                    is_named || (name == "prompt_cache_options" && dialect.starts_with(['r', 'o'])),
                    "{dialect} {name}"
                );
            }
        }
    }
}
