//! The turns and their parts. Sources: <https://ai.google.dev/api/caching#Content>, <https://ai.google.dev/api/caching#Part>,
//! <https://ai.google.dev/gemini-api/docs/function-calling>, <https://ai.google.dev/gemini-api/docs/thought-signatures>.

use super::models::Facts;
use super::tools::check_name;
use crate::{At, Verdict, media_type};
use serde_json::Value;

/// What a part holds: one of these.
const DATA: [&str; 7] =
    ["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"];

/// Sources: <https://ai.google.dev/gemini-api/docs/image-understanding#supported-formats>,
/// <https://ai.google.dev/gemini-api/docs/document-processing>, <https://ai.google.dev/gemini-api/docs/audio#supported-formats>.
const IMAGES: [&str; 6] = ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/gif"];

pub(super) fn check(root: &At<'_>, facts: &Facts) -> Verdict {
    let contents = root.need("contents")?;
    let turns = contents.items()?;
    contents.ensure(!turns.is_empty(), "contents is not specified")?;
    let mut before: Option<&At<'_>> = None;
    for turn in &turns {
        check_turn(turn, before, facts)?;
        before = Some(turn);
    }
    let is_open = turns.last().is_some_and(|last| count(last, "functionCall") > 0);
    contents.ensure(!is_open, "a function call must be followed by its response")
}

fn count(turn: &At<'_>, kind: &str) -> usize {
    let parts = turn.value()["parts"].as_array();
    parts.map_or(0, |parts| parts.iter().filter(|part| part.get(kind).is_some()).count())
}

fn check_turn(turn: &At<'_>, before: Option<&At<'_>>, facts: &Facts) -> Verdict {
    turn.only(&["role", "parts"])?;
    let role = turn.need("role")?.word(&["user", "model"])?;
    let parts = turn.need("parts")?;
    parts.ensure(!parts.items()?.is_empty(), "contents.parts must not be empty.")?;
    for part in parts.items()? {
        check_part(&part, role, facts)?;
    }
    let (calls, results) = (count(turn, "functionCall"), count(turn, "functionResponse"));
    let called = before.map_or(0, |before| count(before, "functionCall"));
    let why = "Please ensure that the number of function response parts is equal to the number of function call parts of \
               the function call turn.";
    turn.ensure(results == called, why)?;
    if calls > 0 {
        let why = "Please ensure that function call turn comes immediately after a user turn or after a function \
                   response turn.";
        turn.ensure(before.is_some_and(|before| before.value()["role"] == "user"), why)?;
        let first = parts.items()?.into_iter().find(|part| part.get("functionCall").is_some());
        let is_signed = first.is_some_and(|part| part.get("thoughtSignature").is_some());
        turn.ensure(is_signed || !facts.signed, "Function call is missing a thought_signature in functionCall parts.")?;
    }
    Ok(())
}

fn check_part(part: &At<'_>, role: &str, facts: &Facts) -> Verdict {
    part.only(&[&DATA[..], &["thought", "thoughtSignature", "videoMetadata", "mediaResolution"]].concat())?;
    let held: Vec<&str> = DATA.into_iter().filter(|name| part.get(name).is_some()).collect();
    part.ensure(held.len() == 1, "required oneof field 'data' must have one initialized field")?;
    let data = part.need(held[0])?;
    match held[0] {
        "text" => {
            let is_signed = part.get("thoughtSignature").is_some();
            data.ensure(!data.text()?.is_empty() || is_signed, "it must have a text parameter")
        }
        "inlineData" => check_blob(&data),
        "fileData" => data.need("fileUri")?.text().map(drop),
        "functionCall" => {
            part.ensure(role == "model", "a function call is the model's")?;
            data.only(&["id", "name", "args"])?;
            check_name(&data.need("name")?)?;
            data.get("args").map_or(Ok(()), |args| args.object().map(drop))
        }
        "functionResponse" => {
            part.ensure(role == "user", "a function response is the user's")?;
            check_result(&data, facts)
        }
        _ => Ok(()),
    }
}

fn check_blob(blob: &At<'_>) -> Verdict {
    blob.only(&["mimeType", "data", "displayName"])?;
    let kind = blob.need("mimeType")?;
    let named = kind.text()?;
    let data = blob.need("data")?;
    data.ensure(!data.text()?.is_empty(), "it must not be empty")?;
    let found = media_type(data.text()?).map_err(|_| data.refused("Base64 decoding failed"))?;
    let (family, _) = named.split_once('/').ok_or_else(|| kind.refused("Unsupported MIME type"))?;
    match family {
        "image" => {
            kind.ensure(IMAGES.contains(&named), &format!("Unsupported MIME type: {named}"))?;
            data.ensure(found.is_none_or(|found| found == named), "Unable to process input image")
        }
        "text" | "audio" | "video" => Ok(()),
        _ => {
            kind.ensure(named == "application/pdf", &format!("Unsupported MIME type: {named}"))?;
            data.ensure(found.is_none_or(|found| found == "application/pdf"), "The document has no pages.")
        }
    }
}

fn check_result(result: &At<'_>, facts: &Facts) -> Verdict {
    result.only(&["id", "name", "response", "parts", "willContinue", "scheduling"])?;
    check_name(&result.need("name")?)?;
    let response = result.need("response")?;
    response.object()?;
    if let Some(parts) = result.get("parts") {
        parts.ensure(facts.parts_in_results, "Multimodal function response is not supported for this model")?;
        for part in parts.items()? {
            part.only(&["inlineData", "fileData"])?;
            part.get("inlineData").map_or(Ok(()), |blob| check_blob(&blob))?;
        }
    }
    // A reference names one of the parts. Source: <https://ai.google.dev/gemini-api/docs/function-calling#multimodal>.
    response
        .ensure(!facts.parts_in_results || !has_reference(response.value()), "the $ref names no part of the response")
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(has_reference),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
