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

/// What an answer gets where its own head is empty.
#[derive(Debug)]
pub(super) struct Stamp {
    id: String,
    created: u64,
    model: String,
}

impl Stamp {
    /// The stamp of one call.
    pub(super) fn new(id: RequestId, model: &ModelId) -> Self {
        let model = serde_json::to_string(model.as_str()).expect("a text has a JSON form");
        Self { id: format!("chatcmpl-{id}"), created: clock::now().0 / 1_000_000, model }
    }

    /// Writes a whole answer, or events of a stream, with what was empty.
    pub(super) fn put_on(&self, answer: &[u8], out: &mut BytesMut) {
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
        out.extend_from_slice(&json[after..]);
    }

    /// The filled head of an answer and what follows; `None` where there is nothing to fill.
    fn head<'a>(&self, json: &'a [u8]) -> Option<(String, &'a [u8])> {
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
        let id = if id.is_empty() { &self.id } else { id };
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
        let stamp = Stamp { id: "chatcmpl-1".to_owned(), created: 7, model: "\"m/\\\"x\"".to_owned() };
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
        let stream = chunk("", 0, "") + &chunk("msg_1", 0, "claude") + &chunk("r", 5, "m") + "data: [DONE]\n\n";
        let stamped =
            chunk("chatcmpl-1", 7, "m/\"x") + &chunk("msg_1", 7, "claude") + &chunk("r", 5, "m") + "data: [DONE]\n\n";
        assert_eq!(put_on(&stream), stamped);
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
