//! What a provider's answer lacks and an agnostic one has: an id, a time, the model's name. Adapters hold no clock and leave
//! them empty; here they are filled in. Touches nothing else, and no answer that passes as the provider wrote it.

use ::bytes::BytesMut;
use memchr::memmem;
use penstock_runtime::clock;
use penstock_schemas::name::{ModelId, RequestId};

/// How the empty head of an answer begins, as `penstock_schemas::chat` writes it.
const ID: &[u8] = br#"{"id":""#;

/// Its fields behind the id, up to the time.
const KINDS: [&[u8]; 2] =
    [br#"","object":"chat.completion.chunk","created":"#, br#"","object":"chat.completion","created":"#];

/// Its model, where nothing is known of it.
const NO_MODEL: &[u8] = br#","model":"""#;

/// Its model, where it stands near the end, behind all the vectors.
const LAST_MODEL: &[u8] = br#"],"model":"""#;

/// What can follow that: a usage.
const USAGE: usize = 256;

/// The usage behind vectors whose provider has counted nothing.
const NO_COUNT: &[u8] = br#","usage":{"prompt_tokens":0,"total_tokens":0}}"#;

/// What an answer gets where its own head is empty.
#[derive(Debug)]
pub(super) struct Stamp {
    id: String,
    /// Whether a piece got the id: then all that follow have it, whatever the provider calls them.
    is_given: bool,
    /// The tokens that were counted here.
    counted: Option<u64>,
    created: u64,
    model: String,
}

impl Stamp {
    /// The stamp of one call.
    pub(super) fn new(id: RequestId, model: &ModelId) -> Self {
        let model = serde_json::to_string(model.as_str()).expect("a text has a JSON form");
        let (id, created) = (format!("chatcmpl-{id}"), clock::now().0 / 1_000_000);
        Self { id, is_given: false, counted: None, created, model }
    }

    /// With what was counted here, for vectors whose provider has counted nothing.
    pub(super) fn counted(self, tokens: Option<u64>) -> Self {
        Self { counted: tokens, ..self }
    }

    /// Writes a whole answer, or events of a stream, with what was empty.
    pub(super) fn put_on(&mut self, answer: &[u8], out: &mut BytesMut) {
        for line in answer.split_inclusive(|byte| *byte == b'\n') {
            let (before, json) =
                if let Some(json) = line.strip_prefix(b"data: ") { (&line[..6], json) } else { (&line[..0], line) };
            match self.head(json) {
                None if line.first() == Some(&b'{') => self.tail(line, out),
                None => out.extend_from_slice(line),
                Some((head, rest)) => {
                    out.extend_from_slice(before);
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(rest);
                }
            }
        }
    }

    /// Vectors, whose model stands behind them.
    fn tail(&self, json: &[u8], out: &mut BytesMut) {
        let from = json.len().saturating_sub(USAGE);
        let Some(at) = memmem::rfind(&json[from..], LAST_MODEL).map(|at| from + at) else {
            return out.extend_from_slice(json);
        };
        let after = at + LAST_MODEL.len();
        out.extend_from_slice(&json[..after - 2]);
        out.extend_from_slice(self.model.as_bytes());
        match self.counted.filter(|_| &json[after..] == NO_COUNT) {
            None => out.extend_from_slice(&json[after..]),
            Some(tokens) => {
                let usage = format!(",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}");
                out.extend_from_slice(usage.as_bytes());
            }
        }
    }

    /// The filled head of an answer and what follows; `None` where there is nothing to fill.
    fn head<'a>(&mut self, json: &'a [u8]) -> Option<(String, &'a [u8])> {
        let rest = json.strip_prefix(ID)?;
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).filter(|at| rest[*at] == b'"')?;
        let id = std::str::from_utf8(&rest[..at]).ok()?;
        let (kind, rest) = KINDS.iter().find_map(|kind| Some((*kind, rest[at..].strip_prefix(*kind)?)))?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let created: u64 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let rest = &rest[digits..];
        let (model, rest) = match rest.strip_prefix(NO_MODEL) {
            Some(rest) => (format!(",\"model\":{}", self.model), rest),
            None => (String::new(), rest),
        };
        self.is_given |= id.is_empty();
        let id = if self.is_given { &self.id } else { id };
        let created = if created == 0 { self.created } else { created };
        let kind = std::str::from_utf8(kind).ok()?;
        Some((format!("{{\"id\":\"{id}{kind}{created}{model}"), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::chat::{Completion, CompletionChunk};

    fn put_on(answer: &str) -> String {
        let id = "chatcmpl-1".to_owned();
        let model = "\"m/\\\"x\"".to_owned();
        let mut stamp = Stamp { id, is_given: false, counted: Some(3), created: 7, model };
        let mut out = BytesMut::new();
        stamp.put_on(answer.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_is_empty_is_filled_and_what_is_there_is_kept() {
        let empty =
            serde_json::to_string(&Completion { object: "chat.completion".into(), ..Completion::default() }).unwrap();
        assert_eq!(
            put_on(&empty),
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m/\"x","choices":[]}"#
        );
        let chunk = |id: &str, created, model: &str| {
            let object = "chat.completion.chunk".to_owned();
            let chunk =
                CompletionChunk { id: id.into(), created, model: model.into(), object, ..CompletionChunk::default() };
            format!("data: {}\n\n", serde_json::to_string(&chunk).unwrap())
        };
        let stream = chunk("msg_1", 0, "claude") + &chunk("r", 5, "m") + "data: [DONE]\n\n";
        let stamped = chunk("msg_1", 7, "claude") + &chunk("r", 5, "m") + "data: [DONE]\n\n";
        assert_eq!(put_on(&stream), stamped);
        let late = chunk("", 0, "") + &chunk("r", 5, "m");
        let stamped = chunk("chatcmpl-1", 7, "m/\"x") + &chunk("chatcmpl-1", 5, "m");
        assert_eq!(put_on(&late), stamped, "all pieces of an answer have one id");
    }

    #[test]
    fn vectors_get_their_model_behind_them() {
        let list = |model: &str| {
            format!(
                r#"{{"object":"list","data":[{{"embedding":[0.5]}}],"model":{model},"usage":{{"prompt_tokens":1}}}}"#
            )
        };
        assert_eq!(put_on(&list(r#""""#)), list(r#""m/\"x""#));
        assert_eq!(put_on(&list(r#""own""#)), list(r#""own""#));
        let empty = br#"{"data":[],"model":"","usage":{"prompt_tokens":0,"total_tokens":0}}"#;
        let counted = r#"{"data":[],"model":"m/\"x","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        assert_eq!(put_on(std::str::from_utf8(empty).unwrap()), counted);
    }

    #[test]
    fn other_bytes_pass() {
        for answer in [
            "",
            "{",
            r#"{"id":""#,
            r#"{"id":"","object":"list","created":0,"model":""}"#,
            r#"{"id":"\"","object":"chat.completion","created":0}"#,
            ": ping\n\n",
        ] {
            assert_eq!(put_on(answer), answer);
        }
    }
}
