//! The tools and the choice among them.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>.

use super::{Model, thinks};
use crate::anthropic::{check_closed, check_input};
use crate::{At, Verdict};
use std::collections::BTreeSet;

pub(super) fn check(root: &At<'_>, model: Model<'_>) -> Verdict {
    let Some(config) = root.get("toolConfig") else {
        let is_used = |turn: &serde_json::Value| {
            turn["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block.get("toolUse").is_some()))
        };
        let used = root.value()["messages"].as_array().is_some_and(|turns| turns.iter().any(is_used));
        let why = "The toolConfig field must be defined when using toolUse and toolResult content blocks.";
        return root.ensure(!used, why);
    };
    config.only(&["tools", "toolChoice"])?;
    let tools = config.need("tools")?;
    tools.ensure(!tools.items()?.is_empty(), "it must have at least 1 entry")?;
    let mut names = BTreeSet::new();
    for tool in tools.items()? {
        tool.only(&["toolSpec", "cachePoint", "systemTool"])?;
        let Some(spec) = tool.get("toolSpec") else { continue };
        spec.only(&["name", "description", "inputSchema", "strict"])?;
        let name = spec.need("name")?.name(1..=64, "_-")?;
        spec.ensure(names.insert(name), "The tool configuration contains conflicting tools of one name")?;
        if let Some(description) = spec.get("description") {
            description.ensure(!description.text()?.is_empty(), "it must have length at least 1")?;
        }
        let schema = spec.need("inputSchema")?.need("json")?;
        schema.need("type")?.word(&["object"])?;
        if model.claude.is_some() {
            check_input(&schema)?;
        }
        if spec.get("strict").map_or(Ok(false), |strict| strict.flag())? {
            check_closed(&schema)?;
        }
    }
    let Some(choice) = config.get("toolChoice") else { return Ok(()) };
    choice.only(&["auto", "any", "tool"])?;
    choice.ensure(choice.object()?.len() == 1, "it is a union: it holds one member")?;
    if let Some(tool) = choice.get("tool") {
        let name = tool.need("name")?;
        name.ensure(names.contains(name.text()?), "it is none of the tools")?;
    }
    if choice.get("auto").is_none() {
        choice.ensure(model.is_forced(), "This model doesn't support the toolConfig.toolChoice field")?;
        choice.ensure(!thinks(root), "Thinking may not be enabled when tool_choice forces tool use.")?;
    }
    Ok(())
}
