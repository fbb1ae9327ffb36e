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
    /// The names of the tools that were called in the conversation, each once.
    pub(super) fn called(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for block in self.messages.iter().flat_map(|turn| &turn.content) {
            match block {
                Block::Call(call) if !names.contains(&call.name) => names.push(call.name.clone()),
                Block::Call(_) | Block::Plain(_) => {}
            }
        }
        names
    }
}

/// A block or a tool that is marked for the cache.
#[derive(Debug)]
pub(super) enum Mark<'a> {
    Of(&'a mut Map<String, Value>),
    OfCall(&'a mut Option<Value>),
}

fn marked(block: &mut Value) -> Option<Mark<'_>> {
    block.as_object_mut().filter(|block| block.contains_key("cache_control")).map(Mark::Of)
}

impl Mark<'_> {
    /// Takes the mark away.
    pub(super) fn strike(self) {
        match self {
            Self::Of(block) => drop(block.shift_remove("cache_control")),
            Self::OfCall(mark) => *mark = None,
        }
    }
}

impl Request {
    /// What is marked for the cache, in the provider's order. A block within a result is not looked into.
    pub(super) fn marks(&mut self) -> Vec<Mark<'_>> {
        let system = match &mut self.system {
            Some(System::Blocks(blocks)) => blocks.as_mut_slice(),
            Some(System::Text(_)) | None => &mut [],
        };
        let blocks = self.messages.iter_mut().flat_map(|turn| turn.content.iter_mut());
        let mut all: Vec<Mark<'_>> = self.tools.iter_mut().chain(system).filter_map(marked).collect();
        all.extend(blocks.filter_map(|block| match block {
            Block::Plain(block) => marked(block),
            Block::Call(call) => call.cache_control.is_some().then_some(Mark::OfCall(&mut call.cache_control)),
        }));
        all
    }

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
