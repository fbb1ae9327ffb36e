//! The tools and the choice among them. Sources: the reference, `tools`, `tool_choice`;
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>,
//! <https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5#forced-tool-use-is-not-supported>.

use super::models::Facts;
use super::{is_thinking, schema};
use crate::{At, Refused, Verdict};
use std::collections::BTreeSet;

const FIELDS: [&str; 9] = [
    "type",
    "name",
    "description",
    "input_schema",
    "cache_control",
    "strict",
    "defer_loading",
    "allowed_callers",
    "input_examples",
];

/// The keywords that may not stand at the top of a schema.
const NOT_ON_TOP: [&str; 3] = ["oneOf", "allOf", "anyOf"];

/// The longest key of an argument.
const LONGEST_KEY: usize = 64;

pub(super) fn check(root: &At<'_>, facts: &Facts) -> Verdict {
    let tools = root.get("tools").map_or(Ok(Vec::new()), |tools| tools.items())?;
    let mut names = BTreeSet::new();
    for tool in &tools {
        let name = check_tool(tool, facts)?;
        let is_new = name.is_none_or(|name| names.insert(name));
        tool.ensure(is_new, "Tool names must be unique")?;
    }
    let Some(choice) = root.get("tool_choice") else { return Ok(()) };
    choice.ensure(!tools.is_empty(), "tool_choice may only be specified while providing tools")?;
    check_choice(&choice, &names, root, facts)
}

/// Gives its name.
fn check_tool<'a>(tool: &At<'a>, facts: &Facts) -> Result<Option<&'a str>, Refused> {
    let kind = tool.get("type").map_or(Ok("custom"), |kind| kind.text())?;
    if kind != "custom" {
        return tool.get("name").map(|name| name.text()).transpose();
    }
    tool.only(&[&FIELDS[..], &["eager_input_streaming"]].concat())?;
    let name = tool.need("name")?.name(1..=128, "_-")?;
    if let Some(description) = tool.get("description") {
        description.text()?;
    }
    let input = tool.need("input_schema")?;
    input.need("type")?.word(&["object"])?;
    check_input(&input)?;
    if tool.get("strict").map_or(Ok(false), |strict| strict.flag())? {
        tool.ensure(facts.schemas, "This model does not support strict tools")?;
        schema::check(&input)?;
    }
    Ok(Some(name))
}

/// Words of older drafts of JSON Schema.
fn check_draft(schema: &At<'_>) -> Verdict {
    let why = "JSON schema is invalid. It must match JSON Schema draft 2020-12";
    let Ok(fields) = schema.fields() else { return Ok(()) };
    for (name, field) in fields {
        let is_old = match name {
            "exclusiveMinimum" | "exclusiveMaximum" => field.value().is_boolean(),
            "items" => field.value().is_array(),
            "required" => !field.value().is_array(),
            _ => false,
        };
        field.ensure(!is_old, why)?;
        match name {
            "properties" | "$defs" => field.fields()?.iter().try_for_each(|(_, inner)| check_draft(inner))?,
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => field.items()?.iter().try_for_each(check_draft)?,
            "items" | "additionalProperties" => check_draft(&field)?,
            _ => {}
        }
    }
    Ok(())
}

/// What may not stand in the schema of a tool's arguments.
pub(crate) fn check_input(input: &At<'_>) -> Verdict {
    check_draft(input)?;
    for keyword in NOT_ON_TOP {
        let why = "input_schema does not support oneOf, allOf, or anyOf at the top level";
        input.ensure(input.get(keyword).is_none(), why)?;
    }
    if let Some(properties) = input.get("properties") {
        for (key, property) in properties.fields()? {
            let is_right = (1..=LONGEST_KEY).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
            property.ensure(is_right, "Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'")?;
        }
    }
    Ok(())
}

fn check_choice(choice: &At<'_>, names: &BTreeSet<&str>, root: &At<'_>, facts: &Facts) -> Verdict {
    let kind = choice.need("type")?.word(&["auto", "any", "tool", "none"])?;
    match kind {
        "none" => choice.only(&["type"])?,
        "tool" => {
            choice.only(&["type", "name", "disable_parallel_tool_use"])?;
            let name = choice.need("name")?;
            name.ensure(names.contains(name.text()?), "Tool not found in provided tools")?;
        }
        _ => choice.only(&["type", "disable_parallel_tool_use"])?,
    }
    if kind == "any" || kind == "tool" {
        choice.ensure(facts.forced, "Forced tool use is not supported for this model")?;
        choice.ensure(!is_thinking(root), "Thinking may not be enabled when tool_choice forces tool use")?;
    }
    Ok(())
}
