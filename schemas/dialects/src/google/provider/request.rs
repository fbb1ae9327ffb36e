//! A chat request as `generateContent` takes it. What the provider cannot express is refused or left out, by name.

use super::contents::{self, Content, Conversation};
use super::resource::path;
use super::thinking::Generation;
use super::{Service, generation, tools};
use crate::fit::{Fit, is_nothing, wrong};
use crate::openai::provider::parts::tell_of_others;
use crate::provider::{FormatRequest, Spelled, json_headers};
use crate::tool_pairs::paired;
use http::{HeaderName, HeaderValue};
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What an answer is the same without.
const WITHOUT_MEANING: [&str; 14] = [
    "truncation",
    "context_management",
    "access_programs",
    "image",
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "prediction",
    "verbosity",
];

/// Google's own fields, which its own clients may bring along.
const OWN: [(&str, &str); 2] = [("safety_settings", "safetySettings"), ("cached_content", "cachedContent")];

/// The tiers that both services have, and where each is asked for one: the Gemini API in the request, Vertex AI in its head.
/// Sources: <https://ai.google.dev/gemini-api/docs/priority-inference>, <https://github.com/theopenco/llmgateway/pull/2549>.
const TIERS: [&str; 2] = ["flex", "priority"];
const TIER: &str = "serviceTier";
const TIER_HEADER: HeaderName = HeaderName::from_static("x-vertex-ai-llm-shared-request-type");

/// The request as Google has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content>,
    contents: Vec<Content>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    generation_config: Map<String, Value>,
    #[serde(flatten)]
    own: Map<String, Value>,
}

/// The request, and where it goes.
pub(super) fn spell(ask: &FormatRequest<'_>, service: Service) -> Result<Spelled, Failure> {
    let (mut request, dropped) = translate(ask)?;
    let mut headers = json_headers(ask.wanted.delivery);
    if service == Service::Vertex {
        let tier = request.take_tier().and_then(|tier| HeaderValue::from_str(tier.as_str()?).ok());
        headers.extend(tier.map(|tier| (TIER_HEADER, tier)));
    }
    let path = if ask.wanted.delivery.is_stream() {
        path(ask, service, ":streamGenerateContent?alt=sse")?
    } else {
        path(ask, service, ":generateContent")?
    };
    let body = serde_json::to_vec(&request).expect("a request has a JSON form").into();
    Ok(Spelled { path, headers, body, dropped })
}

/// The request in Google's words, and what was left out.
pub(super) fn translate(ask: &FormatRequest<'_>) -> Result<(Request, Vec<String>), Failure> {
    let mut request: ChatRequest = read(ask.body)?;
    let model = ask.model.as_str();
    let mut fit = Fit::new(ask.unsupported);
    let tool_list = tools::tools(request.tools.take().unwrap_or_default(), &mut fit)?;
    let choice = request.tool_choice.take();
    let functions = tools::names(&tool_list);
    let tool_config = choice.map(|choice| tools::choice(&choice, &functions, &mut fit)).transpose()?.flatten();
    let messages = tell_of_others(paired(std::mem::take(&mut request.messages), |field| fit.omit(field)));
    let generation = Generation::of(model);
    let format = request.response_format.take_if(|_| !functions.is_empty() && !generation.shapes_beside_tools());
    let generation_config = generation::config(&mut request, model, &mut fit)?;
    let own = leftovers(request, &mut fit)?;
    let mut conversation = contents::conversation(messages, generation.is_signed(), &mut fit)?;
    if let Some(words) = format.as_ref().map(|format| generation::in_words(format, &mut fit)).transpose()?.flatten() {
        conversation.tell(&words);
    }
    let Conversation { system: system_instruction, contents } = conversation;
    let request =
        Request { model: None, system_instruction, contents, tools: tool_list, tool_config, generation_config, own };
    Ok((request, fit.dropped()))
}

/// Google's own fields of what nobody has taken; the others are refused or left out.
fn leftovers(request: ChatRequest, fit: &mut Fit) -> Result<Map<String, Value>, Failure> {
    let mut own = Map::new();
    if request.user.is_some() {
        fit.omit("user".to_owned());
    }
    for (name, value) in request.extra {
        let theirs = OWN.iter().find(|(word, theirs)| name == *word || name == *theirs);
        if let Some((_, theirs)) = theirs {
            own.insert((*theirs).to_owned(), value);
        } else if name == "service_tier" && TIERS.iter().any(|tier| value == *tier) {
            own.insert(TIER.to_owned(), value);
        } else if WITHOUT_MEANING.contains(&name.as_str()) {
            fit.omit(name);
        } else if !is_nothing(&name, &value) {
            fit.cannot(&name, "the provider has no such field")?;
        }
    }
    Ok(own)
}

impl Request {
    /// Without the tier, which it returns.
    pub(super) fn take_tier(&mut self) -> Option<Value> {
        self.own.shift_remove(TIER)
    }

    /// With the model's name in it, as a request within a request wants it.
    pub(super) fn of_model(mut self, model: String) -> Self {
        self.model = Some(model);
        self
    }
}

/// Reads a request; a mistake in it is named by its field.
fn read(body: &[u8]) -> Result<ChatRequest, Failure> {
    serde_json::from_slice(body).map_err(|error| match fault(body) {
        Some(field) => wrong(&field, &format!("it cannot be read: {error}")),
        None => Failure::gateway(FailureKind::BadRequest, format!("the request cannot be read: {error}")),
    })
}

/// The field that cannot be read: `messages[1].content`, `tools[0]`, `n`.
fn fault(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let fails = |name: &str, value: &Value| {
        let mut probe = json!({ "model": "", "messages": [] });
        probe[name] = value.clone();
        serde_json::from_value::<ChatRequest>(probe).is_err()
    };
    let (name, value) = value.as_object()?.iter().find(|(name, value)| fails(name, value))?;
    let Some(items) = value.as_array() else { return Some(name.clone()) };
    let Some((at, item)) = items.iter().enumerate().find(|(_, item)| fails(name, &json!([item]))) else {
        return Some(name.clone());
    };
    let inner = item.as_object().into_iter().flatten().find(|(key, inner)| {
        let mut probe = if name == "messages" { json!({ "role": "" }) } else { json!({ "type": "" }) };
        probe[key.as_str()] = (*inner).clone();
        fails(name, &json!([probe]))
    });
    Some(inner.map_or_else(|| format!("{name}[{at}]"), |(key, _)| format!("{name}[{at}].{key}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatSettings, Wanted};
    use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
    use penstock_schemas::name::ModelId;
    use std::collections::BTreeMap;

    /// The tier in the request, the one in its head, and what was left out.
    fn tiers(service: Service, tier: &str) -> (Option<String>, Option<String>, Vec<String>) {
        let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "a" }], "service_tier": tier });
        let settings = FormatSettings { project: Some("p".to_owned()), ..FormatSettings::default() };
        let ask = FormatRequest {
            wanted: Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery: Delivery::Whole },
            body: &request.to_string().into(),
            content_type: None,
            headers: &BTreeMap::new(),
            model: &ModelId::parse("gemini-3.5-flash").unwrap(),
            card: None,
            settings: &settings,
            unsupported: Unsupported::Refuse,
        };
        let spelled = spell(&ask, service).unwrap();
        let body: Value = serde_json::from_slice(&spelled.body).unwrap();
        let header = spelled.headers.get(&TIER_HEADER).map(|value| value.to_str().unwrap().to_owned());
        (body[TIER].as_str().map(str::to_owned), header, spelled.dropped)
    }

    #[test]
    fn a_tier_is_asked_for_where_each_of_googles_services_has_it() {
        let said = |tier: &str| Some(tier.to_owned());
        for tier in ["flex", "priority"] {
            assert_eq!(tiers(Service::Gemini, tier), (said(tier), None, Vec::new()));
            assert_eq!(tiers(Service::Vertex, tier), (None, said(tier), Vec::new()));
        }
        for service in [Service::Gemini, Service::Vertex] {
            for tier in ["auto", "scale"] {
                assert_eq!(tiers(service, tier), (None, None, vec!["service_tier".to_owned()]));
            }
        }
    }
}
