//! A request as Anthropic spells it. Source: <https://platform.claude.com/docs/en/api/messages/create>.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A request; what is absent is not sent.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    pub(super) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<System>,
    pub(super) messages: Vec<Turn>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) output_config: Map<String, Value>,
    /// `temperature`, `stop_sequences`, `stream`, `metadata`, …
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Request {
    /// Adds a word of the gateway's to the system prompt.
    pub(super) fn tell(&mut self, what: &str) {
        match &mut self.system {
            None => self.system = Some(System::Text(what.to_owned())),
            Some(System::Text(text)) => {
                text.push_str("\n\n");
                text.push_str(what);
            }
            Some(System::Blocks(blocks)) => blocks.push(json!({ "type": "text", "text": what })),
        }
    }
}

/// The system prompt: a text, or blocks where one of them is marked for the cache.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum System {
    Text(String),
    Blocks(Vec<Value>),
}

/// What one side says.
#[derive(Debug, Serialize)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) content: Vec<Block>,
}

/// A block of a turn.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Block {
    Plain(Value),
    Call(Call),
}

impl Block {
    /// Whether it is of this type.
    pub(super) fn is(&self, kind: &str) -> bool {
        match self {
            Self::Plain(block) => block["type"] == kind,
            Self::Call(call) => call.kind == kind,
        }
    }
}

/// A call of a tool.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) name: String,
    /// As the model wrote it, so that no number in it is rounded.
    pub(super) input: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<Value>,
}
