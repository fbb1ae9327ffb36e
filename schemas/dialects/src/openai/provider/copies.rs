//! What a copy of OpenAI would refuse or overlook of what OpenAI takes, changed in the caller's own bytes. Everything else
//! stays as it came.

use crate::json::{Edit, Fields};
use crate::provider::{FormatSettings, Quirk};
use crate::sampling;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The request as this copy takes it; `None` when it needs no change.
pub(super) fn fit(request: &str, operation: Operation, settings: &FormatSettings) -> Result<Option<String>, Failure> {
    if settings.quirks.is_empty() {
        return Ok(None);
    }
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        Fields::read(request)?.into_iter().map(|(name, value)| (name, value.get().into())).collect();
    let mut is_changed = false;
    for quirk in &settings.quirks {
        is_changed |= match quirk {
            Quirk::MaxTokens => rename_limit(&mut fields),
            // Completions know the older name alone.
            Quirk::MaxCompletionTokens if operation == Operation::Chat => leave_older_limit(&mut fields),
            Quirk::NoStreamOptions => remove(&mut fields, |name, _| name == "stream_options"),
            Quirk::NoParallelToolCalls => {
                remove(&mut fields, |name, value| name == "parallel_tool_calls" && value != "false")
            }
            Quirk::NoDeveloperRole => change_roles(&mut fields),
            _ => false,
        };
    }
    Ok(is_changed.then(|| write(&fields)))
}

/// The request as a model of OpenAI's own takes it that thinks: with the newer name of the limit, and without sampling of the
/// caller's, which is named in `dropped`; `None` when it needs no change.
pub(super) fn fit_thinker(request: &str, model: &str, dropped: &mut Vec<String>) -> Result<Option<String>, Failure> {
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        Fields::read(request)?.into_iter().map(|(name, value)| (name, value.get().into())).collect();
    let is_null = |value: &str| value == "null";
    let has_newer = fields.iter().any(|(name, value)| name == "max_completion_tokens" && !is_null(value));
    let mut is_changed = remove(&mut fields, |name, value| name == "max_tokens" && (has_newer || is_null(value)));
    for (name, _) in fields.iter_mut().filter(|(name, _)| name == "max_tokens") {
        *name = "max_completion_tokens".into();
        is_changed = true;
    }
    if is_changed && !has_newer {
        remove(&mut fields, |name, value| name == "max_completion_tokens" && is_null(value));
    }
    let effort = fields.iter().rfind(|(name, _)| name == "reasoning_effort").map(|(_, value)| value.trim_matches('"'));
    if sampling::is_fixed(model, effort.filter(|effort| !is_null(effort))) {
        for fixed in sampling::FIXED {
            let is_other = |value: &str| serde_json::from_str(value).is_ok_and(|value| !sampling::is_default(&value));
            if remove(&mut fields, |name, value| name == fixed && is_other(value)) {
                dropped.push(fixed.to_owned());
                is_changed = true;
            }
        }
    }
    Ok(is_changed.then(|| write(&fields)))
}

type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

fn remove(fields: &mut Vec<Field<'_>>, is_unwanted: impl Fn(&str, &str) -> bool) -> bool {
    let before = fields.len();
    fields.retain(|(name, value)| !is_unwanted(name, value));
    fields.len() < before
}

/// OpenAI refuses a request that names both. Source: <https://github.com/smallmain/vscode-unify-chat-provider/issues/279>.
fn leave_older_limit(fields: &mut Vec<Field<'_>>) -> bool {
    let has_newer = fields.iter().any(|(name, value)| name == "max_completion_tokens" && value != "null");
    has_newer && remove(fields, |name, _| name == "max_tokens")
}

/// The newer name counts where both stand.
fn rename_limit(fields: &mut Vec<Field<'_>>) -> bool {
    let newer = |(name, value): &Field<'_>| name == "max_completion_tokens" && value != "null";
    if !fields.iter().any(newer) {
        return false;
    }
    fields.retain(|(name, _)| name != "max_tokens");
    for (name, _) in fields.iter_mut().filter(|(name, _)| name == "max_completion_tokens") {
        *name = "max_tokens".into();
    }
    true
}

fn change_roles(fields: &mut [Field<'_>]) -> bool {
    let mut is_changed = false;
    for (_, messages) in fields.iter_mut().filter(|(name, _)| name == "messages") {
        let text = messages.clone();
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(&text) else { continue };
        let mut edit = Edit::of(&text);
        for message in list {
            let Ok(of_message) = Fields::read(message.get()) else { continue };
            let is_developer = |(name, role): &(&str, &RawValue)| *name == "role" && role.get() == "\"developer\"";
            for (_, role) in of_message.iter().filter(is_developer) {
                edit.replace(role.get(), "\"system\"".to_owned());
                is_changed = true;
            }
        }
        *messages = edit.finish().into();
    }
    is_changed
}

fn write(fields: &[Field<'_>]) -> String {
    let mut out = String::from("{");
    for (name, value) in fields {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::json!(name).to_string());
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_gets_what_it_takes_and_no_other_byte_changes() {
        let of = |request: &str, quirks: &[Quirk]| {
            let settings = FormatSettings { quirks: quirks.to_vec(), ..FormatSettings::default() };
            fit(request, Operation::Chat, &settings).unwrap()
        };
        let all = [Quirk::MaxTokens, Quirk::NoStreamOptions, Quirk::NoDeveloperRole, Quirk::NoParallelToolCalls];
        for (request, sent) in [
            (r#"{"max_completion_tokens":5,"max_tokens":7,"x":1.50}"#, Some(r#"{"max_tokens":5,"x":1.50}"#)),
            (r#"{"max_tokens":7}"#, None),
            (r#"{"stream_options":{"include_usage":true},"model":"m"}"#, Some(r#"{"model":"m"}"#)),
            (r#"{"parallel_tool_calls":false}"#, None),
            (r#"{"parallel_tool_calls":true}"#, Some("{}")),
            (
                r#"{"messages":[ {"role" : "developer","content":"\"role\":\"developer\""},{"role":"user"} ]}"#,
                Some(r#"{"messages":[ {"role" : "system","content":"\"role\":\"developer\""},{"role":"user"} ]}"#),
            ),
            (r#"{"messages":"developer"}"#, None),
        ] {
            assert_eq!(of(request, &all).as_deref(), sent, "{request}");
            assert_eq!(of(request, &[Quirk::TopK]), None);
        }
        for (request, sent) in [
            (r#"{"max_completion_tokens":5,"max_tokens":7,"x":1.50}"#, Some(r#"{"max_completion_tokens":5,"x":1.50}"#)),
            (r#"{"max_completion_tokens":null,"max_tokens":7}"#, None),
        ] {
            assert_eq!(of(request, &[Quirk::MaxCompletionTokens]).as_deref(), sent, "{request}");
        }
        let settings = FormatSettings { quirks: vec![Quirk::MaxCompletionTokens], ..FormatSettings::default() };
        let of_completions = r#"{"max_completion_tokens":5,"max_tokens":7}"#;
        assert_eq!(fit(of_completions, Operation::Completions, &settings).unwrap(), None);
    }

    #[test]
    fn a_model_that_thinks_gets_its_own_name_of_the_limit_and_no_sampling_but_its_own() {
        let fitted = |model: &str, request: &str| {
            let mut dropped = Vec::new();
            let sent = fit_thinker(request, model, &mut dropped).unwrap();
            (sent.unwrap_or_default(), dropped.join(","))
        };
        for (model, request, sent, dropped) in [
            (
                "gpt-5-mini",
                r#"{"model":"m","max_tokens":9,"temperature":0.1,"top_p":1}"#,
                r#"{"model":"m","max_completion_tokens":9,"top_p":1}"#,
                "temperature",
            ),
            ("o3", r#"{"max_tokens":9,"max_completion_tokens":8}"#, r#"{"max_completion_tokens":8}"#, ""),
            ("o3", r#"{"max_tokens":9,"max_completion_tokens":null}"#, r#"{"max_completion_tokens":9}"#, ""),
            ("gpt-5.4", r#"{"temperature":0.1,"reasoning_effort":"none"}"#, "", ""),
            ("gpt-5", r#"{"temperature":1.0,"max_completion_tokens":8}"#, "", ""),
        ] {
            assert_eq!(fitted(model, request), (sent.to_owned(), dropped.to_owned()), "{model} {request}");
        }
    }
}
