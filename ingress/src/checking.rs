//! What can be said of an answer without a model: whether it keeps to the shape that was asked for, calls tools that exist,
//! repeats itself, speaks the question's language, was refused, and how long it is. Pure: knows neither whose answers are
//! checked nor where the findings go. What cannot be read is not judged.

mod answer;
mod language;
mod repetition;
mod shape;

use answer::SaidAnswer;
use penstock_dialects::client::ClientRequest;
use penstock_schemas::chat::{ChatRequest, Content, Part, Tool};
use penstock_schemas::envelope::Operation;
use penstock_schemas::score::ScoreValue;
use serde_json::Value;
use shape::ShapeVerdict;

/// The longest request, and the longest answer, that is checked, in bytes: what reading both takes stays in milliseconds.
pub(crate) const CHECKED_BYTES: usize = 256 << 10;

/// One finding: a score, and why it is so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    /// The name of its score.
    pub(crate) name: &'static str,
    pub(crate) value: ScoreValue,
    pub(crate) comment: Option<String>,
}

/// Whether such a request is one whose answers can be checked.
pub(crate) fn is_checkable(asked: &ClientRequest) -> bool {
    asked.operation == Operation::Chat && asked.body.len() <= CHECKED_BYTES
}

/// All that can be said of a complete answer.
pub(crate) fn check(asked: &ClientRequest, answer: &[u8]) -> Vec<Finding> {
    let Some(said) = SaidAnswer::read(asked.dialect, asked.delivery, answer) else { return Vec::new() };
    let mut findings = vec![yes_or_no("refused", said.is_refused, None)];
    if !said.text.is_empty() {
        let characters = said.text.chars().count();
        findings.push(Finding { name: "characters", value: number(characters as f64), comment: None });
    }
    if let Some(share) = repetition::share(&said.text) {
        findings.push(Finding { name: "repeated", value: number((share * 1_000.0).round() / 1_000.0), comment: None });
    }
    let request = asked.agnostic().ok().and_then(|body| serde_json::from_slice::<ChatRequest>(&body).ok());
    let Some(request) = request else { return findings };
    findings.extend(tools(&request, &said));
    findings.extend(shape(&request, &said));
    findings.extend(language(&request, &said));
    findings
}

fn number(value: f64) -> ScoreValue {
    ScoreValue::Number(value)
}

fn yes_or_no(name: &'static str, value: bool, comment: Option<String>) -> Finding {
    Finding { name, value: ScoreValue::Boolean(value), comment }
}

/// Whether all tools that it asks for are among the request's.
fn tools(request: &ChatRequest, said: &SaidAnswer) -> Option<Finding> {
    if said.tools.is_empty() {
        return None;
    }
    let known: Vec<&str> = request.tools.iter().flatten().flat_map(names).collect();
    let unknown = said.tools.names().iter().find(|name| !known.contains(&name.as_str()));
    let comment = unknown.map(|name| format!("the request has no tool `{name}`"));
    Some(yes_or_no("tools_known", unknown.is_none(), comment))
}

/// What a tool can be called as; one that groups others, as each of those.
fn names(tool: &Tool) -> Vec<&str> {
    let mut names: Vec<&str> = tool.function.iter().map(|function| function.name.as_str()).collect();
    names.extend(tool.extra.get("name").and_then(Value::as_str));
    names.extend(tool.extra.get("custom").and_then(|custom| custom.get("name")?.as_str()));
    let grouped = tool.extra.get("tools").and_then(Value::as_array).into_iter().flatten();
    names.extend(grouped.filter_map(|one| one.get("function").unwrap_or(one).get("name")?.as_str()));
    names
}

/// Whether an answer is of the shape that was asked for. A turn that asks for tools is not the answer yet.
fn shape(request: &ChatRequest, said: &SaidAnswer) -> Option<Finding> {
    if !said.tools.is_empty() || said.is_refused {
        return None;
    }
    let wanted = request.response_format.as_ref()?;
    let verdict = match wanted.get("type").and_then(Value::as_str)? {
        "json_object" => shape::of_object(&said.text),
        "json_schema" => shape::of_schema(&said.text, wanted.get("json_schema")?.get("schema")?),
        _ => return None,
    };
    match verdict {
        ShapeVerdict::Kept => Some(yes_or_no("json_valid", true, None)),
        ShapeVerdict::Broken(why) => Some(yes_or_no("json_valid", false, Some(why))),
        ShapeVerdict::Unknown => None,
    }
}

fn text_of(part: &Part) -> Option<&str> {
    part.text.as_deref()
}

/// Whether it is in the language of the last thing that was said to it. Never of JSON that was asked for.
fn language(request: &ChatRequest, said: &SaidAnswer) -> Option<Finding> {
    if request.response_format.as_ref().is_some_and(|format| format["type"] != "text") {
        return None;
    }
    let last = request.messages.iter().rev().find(|message| message.role == "user")?;
    let question = match last.content.as_ref()? {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().filter_map(text_of).collect::<Vec<_>>().join("\n"),
    };
    let (asked, answered) = (language::of(&question)?, language::of(&said.text)?);
    let comment = (asked != answered).then(|| format!("asked in {asked}, answered in {answered}"));
    Some(yes_or_no("language_kept", asked == answered, comment))
}
