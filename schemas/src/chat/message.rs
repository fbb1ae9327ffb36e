//! One message of a conversation, in requests and in answers. Knows nothing of how a dialect other than OpenAI's spells it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Why the model will not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What an assistant thought, as text to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The same in pieces, with what its issuer needs to take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_details: Option<Vec<ReasoningDetail>>,
    /// What an assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Whether a tool's message tells that the call failed. Anthropic's; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// Anthropic's mark for its prompt cache, on a tool's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Value>,
    /// What we do not know: `name`, `audio`, `annotations`, `function_call`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text alone.
    Text(String),
    /// Text, images, audio, files.
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `text`, `image_url`, `input_audio`, `file`, `refusal`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a text part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// An image, of a part of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<ImageUrl>,
    /// Audio, of a part of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_audio: Option<InputAudio>,
    /// A document, of a part of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePart>,
    /// Anthropic's mark for its prompt cache: `{"type": "ephemeral", "ttl": "1h"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Value>,
    /// What we do not know, and the content of the other kinds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageUrl {
    /// `https://…`, or `data:image/png;base64,…`.
    pub url: String,
    /// `low`, `high`, `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Audio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputAudio {
    /// Base64.
    pub data: String,
    /// `wav`, `mp3`, …
    pub format: String,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilePart {
    /// `data:application/pdf;base64,…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_data: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// A file that the provider keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Where it can be fetched from: of the responses and Anthropic dialects; OpenAI's chat has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_url: Option<String>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A call of a tool; in chunks all but `index` may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Which of several calls a chunk belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Pairs the call with its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionCall>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Name and arguments of a call; in chunks the arguments come in pieces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// JSON as text: never parsed on its way, so that no number in it is rounded. Some clients write the object itself, which
    /// becomes such a text.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "as_text")]
    pub arguments: Option<String>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn as_text<'de, D: Deserializer<'de>>(arguments: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(arguments)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        object @ (Value::Object(_) | Value::Array(_)) => Ok(Some(object.to_string())),
        Value::Bool(_) | Value::Number(_) => Err(D::Error::custom("`arguments` must be a text")),
    }
}

/// A piece of what a model thought. Source: <https://openrouter.ai/docs/use-cases/reasoning-tokens>.
///
/// Kinds: `reasoning.text` (`text`, `signature`), `reasoning.summary` (`summary`), `reasoning.encrypted` (`data`). With
/// an `id` that is also a tool call's, the piece belongs to that call: so Gemini signs its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasoningDetail {
    /// `reasoning.text`, `reasoning.summary`, `reasoning.encrypted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A summary of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What only the issuer can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The issuer's signature of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The issuer's id of the piece, or the id of the tool call that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who issued it and can take it back; nobody else is ever sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Issuer>,
    /// Its place among the pieces; in a stream, pieces of one place are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// What we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Whose models can read an opaque piece of reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Issuer {
    /// Claude, wherever it is served.
    #[serde(rename = "anthropic-claude-v1")]
    Anthropic,
    /// Gemini, wherever it is served.
    #[serde(rename = "google-gemini-v1")]
    Google,
    /// OpenAI's responses.
    #[serde(rename = "openai-responses-v1")]
    Openai,
    /// Somebody else: nobody here takes it back.
    #[serde(rename = "unknown", other)]
    Unknown,
}

impl Issuer {
    /// The issuer whose pieces a model of this name can read, whatever provider serves it. `None`: the name does not tell.
    pub fn of_model(name: &str) -> Option<Self> {
        let known = [("claude", Self::Anthropic), ("gemini", Self::Google)];
        known.into_iter().find(|(word, _)| name.contains(word)).map(|(_, issuer)| issuer)
    }

    /// The word for it in an opaque text, see [`Issuer::seal`].
    fn word(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Openai => "openai",
            Self::Unknown => "unknown",
        }
    }

    /// `opaque` with its issuer written in front, for a client's dialect that has room for one text only.
    pub fn seal(self, opaque: &str) -> String {
        format!("{SEAL}{}.{opaque}", self.word())
    }

    /// What [`Issuer::seal`] was given. `None` when the text was not sealed: it is then of the client's own dialect.
    pub fn unseal(sealed: &str) -> Option<(Self, &str)> {
        let (word, opaque) = sealed.strip_prefix(SEAL)?.split_once('.')?;
        let all = [Self::Anthropic, Self::Google, Self::Openai];
        Some((all.into_iter().find(|issuer| issuer.word() == word).unwrap_or(Self::Unknown), opaque))
    }
}

/// What stands in front of a sealed text. A request that holds it cannot be passed on untouched: the issuer of its own
/// dialect would refuse the foreign text.
pub const SEAL: &str = "psr1.";

impl Content {
    /// All text of it, the parts' joined by nothing.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
        }
    }

    /// It as parts.
    pub fn into_parts(self) -> Vec<Part> {
        match self {
            Self::Text(text) => vec![Part::text(text)],
            Self::Parts(parts) => parts,
        }
    }
}

impl Part {
    /// A part of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: "text".to_owned(), text: Some(text.into()), ..Self::default() }
    }

    /// An image from an address or a data URL.
    pub fn image(url: impl Into<String>) -> Self {
        let image_url = ImageUrl { url: url.into(), ..ImageUrl::default() };
        Self { kind: "image_url".to_owned(), image_url: Some(image_url), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_text_finds_back_to_its_issuer() {
        let sealed = Issuer::Google.seal("a.b==");
        assert_eq!(Issuer::unseal(&sealed), Some((Issuer::Google, "a.b==")));
        assert_eq!(Issuer::unseal("EqQBCg.YIAR"), None);
        assert_eq!(Issuer::unseal("psr1.martian.x"), Some((Issuer::Unknown, "x")));
    }
}
