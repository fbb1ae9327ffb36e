//! The tools and the choice among them. Sources: <https://ai.google.dev/api/caching#Tool>,
//! <https://ai.google.dev/api/caching#FunctionDeclaration>, <https://ai.google.dev/api/caching#FunctionCallingConfig>.

use super::check_schema;
use crate::{At, Verdict};
use std::collections::BTreeSet;

/// The longest name of a function. Source: the reference, `FunctionDeclaration.name`.
const LONGEST_NAME: usize = 64;

const KINDS: [&str; 9] = [
    "functionDeclarations",
    "googleSearch",
    "googleSearchRetrieval",
    "codeExecution",
    "urlContext",
    "googleMaps",
    "fileSearch",
    "computerUse",
    "enterpriseWebSearch",
];

/// A name of letters, digits, underscores, dots, colons and dashes, that begins with a letter or an underscore.
pub(super) fn check_name(name: &At<'_>) -> Verdict {
    let text = name.name(1..=LONGEST_NAME, "_.:-")?;
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    name.ensure(starts, "Invalid function name. Must start with a letter or an underscore.")
}

pub(super) fn check(root: &At<'_>) -> Verdict {
    let mut names = BTreeSet::new();
    for tool in root.get("tools").map_or(Ok(Vec::new()), |tools| tools.items())? {
        tool.only(&KINDS)?;
        tool.ensure(!tool.object()?.is_empty(), "a tool must hold something")?;
        let Some(declarations) = tool.get("functionDeclarations") else { continue };
        declarations.ensure(!declarations.items()?.is_empty(), "it must not be empty")?;
        for function in declarations.items()? {
            let name = check_function(&function)?;
            function.ensure(names.insert(name), "Duplicate function declaration found")?;
        }
    }
    let Some(config) = root.get("toolConfig").and_then(|config| config.get("functionCallingConfig")) else {
        return Ok(());
    };
    config.ensure(!names.is_empty(), "Function calling config is set without function_declarations.")?;
    config.only(&["mode", "allowedFunctionNames"])?;
    let mode = config.need("mode")?.word(&["AUTO", "ANY", "NONE", "VALIDATED"])?;
    let Some(allowed) = config.get("allowedFunctionNames") else { return Ok(()) };
    let why = "Allowed function names should be set only when function calling mode is ANY or VALIDATED.";
    allowed.ensure(mode == "ANY" || mode == "VALIDATED", why)?;
    allowed.ensure(!allowed.items()?.is_empty(), "it must not be empty")?;
    for name in allowed.items()? {
        name.ensure(names.contains(name.text()?), "it is not among the declared functions")?;
    }
    Ok(())
}

fn check_function<'a>(function: &At<'a>) -> Result<&'a str, crate::Refused> {
    function.only(&[
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    ])?;
    let name = function.need("name")?;
    check_name(&name)?;
    if let Some(description) = function.get("description") {
        description.text()?;
    }
    if let Some(schema) = function.get("parametersJsonSchema") {
        let both = "parameters and parameters_json_schema are mutually exclusive";
        schema.ensure(function.get("parameters").is_none(), both)?;
        schema.need("type")?.word(&["object"])?;
        check_schema(&schema, None)?;
    }
    name.text()
}
