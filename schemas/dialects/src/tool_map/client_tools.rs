//! The tools whose schema Anthropic's models know by heart and whose calls the caller carries out: the shell, the editor of
//! files, the memory. Elsewhere each is a function with the documented input under the same name, so that a call of it is what
//! the caller expects anyway. Sources: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/bash-tool>,
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/text-editor-tool>,
//! <https://platform.claude.com/docs/en/agents-and-tools/tool-use/memory-tool>.

use penstock_schemas::chat::{ChatRequest, Function, Tool};
use serde_json::{Map, Value, json};

/// One of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Bash,
    Editor,
    Memory,
}

impl Known {
    /// The tool of a kind: a name with a day behind it.
    fn of(kind: &str) -> Option<Self> {
        let (name, day) = kind.rsplit_once('_')?;
        if day.len() != 8 || !day.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(match name {
            "bash" => Self::Bash,
            "text_editor" => Self::Editor,
            "memory" => Self::Memory,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Editor => "str_replace_based_edit_tool",
            Self::Memory => "memory",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Bash => "Runs a command in a bash shell that stays open between calls.",
            Self::Editor => {
                "Views, creates and edits text files. `str_replace` replaces `old_str`, which must occur exactly once, by \
                 `new_str`; `insert` puts a text behind the line `insert_line`."
            }
            Self::Memory => {
                "Keeps notes in files under /memories, which last beyond this conversation. View the directory before \
                 anything else."
            }
        }
    }

    fn parameters(self) -> Value {
        let text = |description: &str| json!({ "type": "string", "description": description });
        let commands = |all: &[&str]| json!({ "type": "string", "enum": all });
        let mut properties = Map::new();
        if self == Self::Bash {
            properties.insert("command".to_owned(), text("The command. Not needed with `restart`."));
            properties.insert(
                "restart".to_owned(),
                json!({ "type": "boolean", "description": "Whether to restart the shell." }),
            );
            return json!({ "type": "object", "properties": properties });
        }
        let all: &[&str] = match self {
            Self::Memory => &["view", "create", "str_replace", "insert", "delete", "rename"],
            Self::Bash | Self::Editor => &["view", "create", "str_replace", "insert"],
        };
        let range = json!({ "type": "array", "items": { "type": "integer" },
            "description": "For `view` of a file: the first and the last line, from 1; -1 is the end." });
        let place =
            json!({ "type": "integer", "description": "For `insert`: the line behind which, 0 for the beginning." });
        let mut members = vec![
            ("command", commands(all)),
            ("path", text("The file or directory.")),
            ("view_range", range),
            ("file_text", text("For `create`: the content.")),
            ("old_str", text("For `str_replace`: what is there.")),
            ("new_str", text("For `str_replace`: what is to be there.")),
            ("insert_line", place),
            ("insert_text", text("For `insert`: the text.")),
        ];
        if self == Self::Memory {
            members.push(("old_path", text("For `rename`: the path now.")));
            members.push(("new_path", text("For `rename`: the path then.")));
        }
        properties.extend(members.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
        let required = if self == Self::Memory { json!(["command"]) } else { json!(["command", "path"]) };
        json!({ "type": "object", "properties": properties, "required": required })
    }
}

/// Whether a tool is one of them.
pub(super) fn is_one(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| Known::of(kind).is_some())
}

/// Writes those of a request as functions.
pub(super) fn fit(request: &mut ChatRequest) {
    for tool in request.tools.iter_mut().flatten() {
        let Some(known) = Known::of(&tool.kind) else { continue };
        let name = tool.extra.get("name").and_then(Value::as_str).unwrap_or(known.name()).to_owned();
        let function = Function {
            name,
            description: Some(known.description().to_owned()),
            parameters: Some(known.parameters()),
            ..Function::default()
        };
        let cache_control = tool.cache_control.take();
        *tool = Tool { kind: "function".to_owned(), function: Some(function), cache_control, extra: Map::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{FormatSettings, ProviderFormat, ToolRule};

    #[test]
    fn claudes_shell_editor_and_memory_are_functions_of_the_same_name_elsewhere() {
        let tools = json!([{"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 100},
            {"type": "text_editor_20250124", "name": "str_replace_editor"},
            {"type": "memory_20250818", "name": "memory", "cache_control": {"type": "ephemeral"}},
            {"type": "code_execution_20250825", "name": "code_execution"}]);
        let request = json!({"model": "m", "messages": [], "tools": tools});
        let body = request.to_string().into();
        let (sent, _) = super::super::fit(&body, &ToolRule::FUNCTIONS).unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        let names: Vec<&Value> = (0..4).map(|at| &sent["tools"][at]["function"]["name"]).collect();
        assert_eq!(names, ["bash", "str_replace_based_edit_tool", "str_replace_editor", "memory"]);
        assert_eq!(sent["tools"][0]["function"]["parameters"]["properties"]["command"]["type"], "string");
        assert_eq!(sent["tools"][1]["function"]["parameters"]["required"], json!(["command", "path"]));
        let commands = sent["tools"][3]["function"]["parameters"]["properties"]["command"]["enum"].as_array().unwrap();
        assert!(commands.contains(&json!("rename")), "{commands:?}");
        assert_eq!(sent["tools"][3]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(sent["tools"][4], tools[4], "what the provider itself would run stays, to be refused by name");
        let own = crate::anthropic::provider::Anthropic.tools(&FormatSettings::default());
        assert!(super::super::fit(&body, &own).is_none());
    }
}
