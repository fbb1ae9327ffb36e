//! Tools that OpenAI's own models know by heart and the client carries out (a shell, patches, a search for tools), for models
//! that do not: functions of the same name, whose calls come back as the items that the client waits for. Knows nothing of
//! how a call is streamed. Sources: <https://platform.openai.com/docs/guides/tools-local-shell>,
//! <https://platform.openai.com/docs/guides/tools-shell>, <https://platform.openai.com/docs/guides/tools-apply-patch>,
//! <https://platform.openai.com/docs/guides/tools-tool-search>.

use penstock_schemas::chat::Function;
use serde_json::{Map, Value, json};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownTool {
    Search,
    LocalShell,
    Shell,
    Patch,
}

impl KnownTool {
    const ALL: [Self; 4] = [Self::Search, Self::LocalShell, Self::Shell, Self::Patch];

    /// Which of them a tool is; `None` when it is none, or when the provider carries it out.
    pub(super) fn of(tool: &Value) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|known| tool["type"] == known.name())?;
        let is_clients = match known {
            Self::Search => tool["execution"] == "client",
            Self::Shell => !tool["environment"]["type"].as_str().is_some_and(|kind| kind.starts_with("container")),
            Self::LocalShell | Self::Patch => true,
        };
        is_clients.then_some(known)
    }

    /// The name of the tool's type and of the function.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Search => "tool_search",
            Self::LocalShell => "local_shell",
            Self::Shell => "shell",
            Self::Patch => "apply_patch",
        }
    }

    /// The function in the place of the tool.
    pub(super) fn function(self, tool: &Value) -> Function {
        let own = tool["description"].as_str();
        let own_parameters = tool.get("parameters").filter(|parameters| parameters.is_object()).cloned();
        Function {
            name: self.name().to_owned(),
            description: own.or(self.description()).map(str::to_owned),
            parameters: Some(own_parameters.unwrap_or_else(|| self.parameters())),
            ..Function::default()
        }
    }

    fn description(self) -> Option<&'static str> {
        match self {
            Self::Search => None,
            Self::LocalShell => Some("Runs a program on the user's machine and returns what it writes."),
            Self::Shell => Some("Runs commands in a shell on the user's machine and returns what each of them writes."),
            Self::Patch => Some(
                "Creates, changes or deletes a file. `diff` is not needed to delete one. In it a line that stays begins \
                 with a space, one that goes with `-`, one that comes with `+`, and each place that changes begins with \
                 `@@`, with some lines around it; of a new file every line begins with `+`.",
            ),
        }
    }

    fn parameters(self) -> Value {
        let text = json!({ "type": "string" });
        let number = json!({ "type": "integer" });
        let texts = |description: &str| json!({ "type": "array", "items": text, "description": description });
        let (properties, required) = match self {
            Self::Search => (json!({ "query": text }), json!(["query"])),
            Self::LocalShell => (
                json!({ "command": texts("The program and its arguments."), "working_directory": text, "timeout_ms": number }),
                json!(["command"]),
            ),
            Self::Shell => (
                json!({ "commands": texts("The commands, each a line for the shell."), "timeout_ms": number, "max_output_length": number }),
                json!(["commands"]),
            ),
            Self::Patch => (
                json!({ "type": { "type": "string", "enum": ["create_file", "update_file", "delete_file"] }, "path": text, "diff": text }),
                json!(["type", "path"]),
            ),
        };
        json!({ "type": "object", "properties": properties, "required": required })
    }

    /// What the item of a call says, with these arguments.
    pub(super) fn item(self, arguments: &str) -> Map<String, Value> {
        let asked: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
        let with = |mut usual: Value| {
            usual.as_object_mut().into_iter().for_each(|usual| usual.extend(asked.clone()));
            usual
        };
        let (kind, name, value) = match self {
            Self::Search => ("tool_search_call", "arguments", asked.into()),
            Self::LocalShell => {
                let mut action = with(json!({ "type": "exec", "command": [], "env": {} }));
                if let Some(line) = action["command"].as_str() {
                    action["command"] = json!(["bash", "-lc", line]);
                }
                ("local_shell_call", "action", action)
            }
            Self::Shell => {
                let mut action = with(json!({ "commands": [], "timeout_ms": null, "max_output_length": null }));
                if action["commands"].is_string() {
                    action["commands"] = json!([action["commands"].take()]);
                }
                ("shell_call", "action", action)
            }
            Self::Patch => {
                ("apply_patch_call", "operation", with(json!({ "type": "update_file", "path": "", "diff": "" })))
            }
        };
        let mut item = Map::from_iter([("type".to_owned(), kind.into()), (name.to_owned(), value)]);
        if self == Self::Search {
            item.insert("execution".to_owned(), "client".into());
        }
        item
    }
}
