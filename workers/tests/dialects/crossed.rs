//! Requests crossed from everything that a caller can say (`workers/tests/crossed/features.json`), through the adapters:
//! each is refused by us with the caller's field named, or is accepted by the provider's reference. So a caller never gets a
//! provider's 400 about a field that it did not write.
//!
//! A request takes at most one feature of each group.

use crate::mutate::Dice;
use crate::support::{ask, wanted};
use bytes::Bytes;
use penstock_accepts::{Reference, Request};
use penstock_dialects::provider::{Form, FormatRequest};
use penstock_schemas::envelope::{Delivery, Dialect, Unsupported};
use penstock_schemas::failure::FailureKind;
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::ModelId;
use penstock_workers::catalogue;
use penstock_workers::providers::{self, Adapter};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A dialect, and models of it that differ in what they take; those that the catalogue knows have their card.
struct Row {
    dialect: &'static str,
    /// For these all pairs of features are tried.
    pairs: &'static [&'static str],
    /// For these, and those, requests of many features.
    others: &'static [&'static str],
}

const ANTHROPIC: Row = Row {
    dialect: "anthropic",
    pairs: &["claude-sonnet-4-5", "claude-sonnet-5-5"],
    others: &[
        "claude-opus-4-6",
        "claude-3-5-haiku-20241022",
        "claude-opus-4-5",
        "claude-sonnet-4-6",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-fable-5",
        "claude-fable-5-1",
        "claude-opus-5-5",
        "claude-haiku-5-5",
        "some-copy",
    ],
};

const GOOGLE: Row = Row {
    dialect: "google",
    pairs: &["gemini-2.5-flash", "gemini-3-pro-preview"],
    others: &[
        "gemini-2.0-flash",
        "gemini-2.5-pro",
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash-image",
        "gemini-3-flash-preview",
        "gemini-3.1-pro-preview",
    ],
};

const BEDROCK: Row = Row {
    dialect: "bedrock",
    pairs: &["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-opus-5-5"],
    others: &[
        "anthropic.claude-3-7-sonnet-20250219-v1:0",
        "anthropic.claude-opus-4-6-v1",
        "anthropic.claude-opus-4-7",
        "anthropic.claude-sonnet-5-5",
        "anthropic.claude-haiku-5-5",
        "amazon.nova-lite-v1:0",
        "us.amazon.nova-2-lite-v1:0",
        "openai.gpt-oss-120b-1:0",
        "meta.llama3-3-70b-instruct-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
    ],
};

/// A copy of OpenAI without quirks.
const COPY: Row = Row { dialect: "openai", pairs: &["some-model"], others: &["gpt-5"] };

/// OpenAI itself, by Azure's address.
const OPENAI: Row = Row { dialect: "azure", pairs: &["gpt-5"], others: &["gpt-4o", "some-deployment"] };

const RESPONSES: Row = Row { dialect: "responses", pairs: &["gpt-5"], others: &["gpt-4o"] };

const MISTRAL: Row =
    Row { dialect: "mistral", pairs: &["mistral-large-latest"], others: &["magistral-medium-latest", "some-model"] };

const COHERE: Row =
    Row { dialect: "cohere", pairs: &["command-a-03-2025"], others: &["command-a-reasoning-08-2025", "some-model"] };

/// Requests of many features, for each model.
const AT_ONCE: usize = 250;

/// Sampling that a provider lacks is left out and named, never refused.
const HINTS: [&str; 4] = ["temperature", "top_p", "top_k", "seed"];

/// The most faults that are shown.
const SHOWN: usize = 40;

type Group = Vec<(String, Value)>;

fn features() -> Vec<Group> {
    let all: Map<String, Value> = serde_json::from_str(include_str!("../crossed/features.json")).unwrap();
    let named = |group: &String, (name, fields): (&String, &Value)| (format!("{group}: {name}"), fields.clone());
    (all.iter())
        .map(|(group, features)| features.as_object().unwrap().iter().map(|feature| named(group, feature)).collect())
        .collect()
}

/// A question with these features; a part goes to the first message of the user that has room for it.
fn request(model: &str, features: &[&(String, Value)]) -> Value {
    let mut request = json!({ "model": model, "messages": [{ "role": "user", "content": "Greet me." }] });
    for (_, fields) in features {
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    let Some(part) = request.as_object_mut().unwrap().shift_remove("part") else { return request };
    let messages = request["messages"].as_array_mut().unwrap();
    match messages.iter_mut().find(|message| message["role"] == "user") {
        Some(message) => match &mut message["content"] {
            Value::Array(parts) => parts.push(part),
            content => *content = json!([{ "type": "text", "text": content }, part]),
        },
        None => messages.push(json!({ "role": "user", "content": [part] })),
    }
    request
}

/// What became of a request that is right.
enum Spelt {
    AsItIs,
    Refused,
}

/// A provider's dialect and one of its models.
struct Target<'a> {
    dialect: &'a str,
    adapter: &'static dyn Adapter,
    model: ModelId,
    card: Option<ModelCard>,
}

impl Target<'_> {
    /// What is wrong with how this request is spelt or refused.
    fn fault(&self, body: &Value, unsupported: Unsupported) -> Result<Spelt, String> {
        let bytes = Bytes::from(body.to_string());
        let ask = FormatRequest {
            card: self.card.as_ref(),
            unsupported,
            ..ask(&bytes, &self.model, wanted(Form::Agnostic, Delivery::Whole))
        };
        let spelt = match penstock_dialects::spell(self.adapter, &ask) {
            Err(failure) => {
                let field = failure.param.unwrap_or_default();
                let root = field.split(['.', '[']).next().unwrap_or_default();
                if body.get(root).is_none() {
                    return Err(format!("refused without a field of the caller's (`{field}`): {}", failure.message));
                }
                let is_gap = failure.kind == FailureKind::Unsupported;
                if is_gap && HINTS.contains(&root) {
                    return Err(format!("a hint is refused: {}", failure.message));
                }
                if is_gap && unsupported == Unsupported::Drop && !field.starts_with("messages") {
                    return Err(format!("refused even with `drop`: {}", failure.message));
                }
                return Ok(Spelt::Refused);
            }
            Ok((spelt, _)) => spelt,
        };
        let reference = Reference::of_dialect(self.dialect).unwrap();
        let sent = serde_json::from_slice(&spelt.body).unwrap();
        let verdict = reference.check(&Request { path: spelt.path.as_str(), body: &sent });
        verdict.map(|()| Spelt::AsItIs).map_err(|refused| format!("the provider refuses it: {refused}"))
    }
}

fn target(dialect: &'static str, model: &str) -> Target<'static> {
    let model = ModelId::parse(model).unwrap();
    let entry = catalogue::provider(dialect).map(Result::unwrap);
    let card = entry.and_then(|entry| entry.models.into_iter().find(|card| card.model == model));
    let known: Dialect = serde_json::from_value(json!(dialect)).unwrap();
    Target { dialect, adapter: providers::of(known).unwrap(), model, card }
}

/// The faults that were found: each message once, with the fewest features that show it.
#[derive(Default)]
struct Faults(BTreeMap<String, (usize, String)>);

impl Faults {
    fn try_all(&mut self, target: &Target<'_>, features: &[&(String, Value)]) {
        let body = request(target.model.as_str(), features);
        for unsupported in [Unsupported::Refuse, Unsupported::Drop] {
            let fault = match target.fault(&body, unsupported) {
                Ok(Spelt::AsItIs) => break, // `drop` would change nothing
                Ok(Spelt::Refused) => continue,
                Err(fault) => fault,
            };
            let names: Vec<&str> = features.iter().map(|(name, _)| name.as_str()).collect();
            let shown = format!("{} with [{}], {unsupported:?}", target.model.as_str(), names.join("; "));
            let entry = self.0.entry(format!("{}: {fault}", target.dialect));
            let known = entry.or_insert((features.len(), shown.clone()));
            if known.0 > features.len() {
                *known = (features.len(), shown);
            }
        }
    }

    fn none(self) {
        let mut all: Vec<String> =
            self.0.into_iter().map(|(fault, (_, shown))| format!("{fault}\n    {shown}")).collect();
        let count = all.len();
        all.truncate(SHOWN);
        assert!(all.is_empty(), "{count} kinds of faults:\n{}", all.join("\n"));
    }
}

/// All single features and all pairs; and many features at once that look random and are the same on every run.
fn cross(row: &Row) {
    let groups = features();
    let mut faults = Faults::default();
    for model in row.pairs {
        let target = target(row.dialect, model);
        faults.try_all(&target, &[]);
        for (at, group) in groups.iter().enumerate() {
            for one in group {
                faults.try_all(&target, &[one]);
                for other in groups[at + 1..].iter().flatten() {
                    faults.try_all(&target, &[one, other]);
                }
            }
        }
    }
    for model in row.pairs.iter().chain(row.others) {
        let target = target(row.dialect, model);
        let mut dice = Dice::of(model);
        for _ in 0..AT_ONCE {
            let choose = |group| choose(group, &mut dice);
            let chosen: Vec<&(String, Value)> = groups.iter().filter_map(choose).collect();
            faults.try_all(&target, &chosen);
        }
    }
    faults.none();
}

/// One of a group's features, or none of them.
fn choose<'a>(group: &'a Group, dice: &mut Dice) -> Option<&'a (String, Value)> {
    if dice.below(3) == 0 { None } else { group.get(dice.below(group.len())) }
}

#[test]
fn every_request_to_anthropic_is_accepted_or_refused_by_its_field() {
    cross(&ANTHROPIC);
}

#[test]
fn every_request_to_google_is_accepted_or_refused_by_its_field() {
    cross(&GOOGLE);
}

#[test]
fn every_request_to_bedrock_is_accepted_or_refused_by_its_field() {
    cross(&BEDROCK);
}

#[test]
fn every_request_to_openai_is_accepted_or_refused_by_its_field() {
    cross(&OPENAI);
}

#[test]
fn every_request_to_a_copy_of_openai_is_accepted_or_refused_by_its_field() {
    cross(&COPY);
}

#[test]
fn every_request_to_openais_responses_is_accepted_or_refused_by_its_field() {
    cross(&RESPONSES);
}

#[test]
fn every_request_to_mistral_is_accepted_or_refused_by_its_field() {
    cross(&MISTRAL);
}

#[test]
fn every_request_to_cohere_is_accepted_or_refused_by_its_field() {
    cross(&COHERE);
}
