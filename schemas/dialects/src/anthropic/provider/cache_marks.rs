//! Marks for the cache in a request of the caller's own, as copies of Anthropic take them: without the age that only Anthropic
//! knows, which its own agents write and strict copies refuse. Knows no copy by its name.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration>,
//! <https://github.com/BYK/loreai/pull/560>.

use crate::json::{Edit, Fields, items};
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;

/// The mark that every copy knows.
const PLAIN: &str = r#"{"type":"ephemeral"}"#;

/// How deep blocks of results stand within blocks.
const DEEPEST: usize = 2;

/// The request with plain marks; `None` when all are.
pub(super) fn without_age(body: &str) -> Result<Option<String>, Failure> {
    if !body.contains("\"ttl\"") {
        return Ok(None);
    }
    let fields = Fields::read(body)?;
    let mut found = Vec::new();
    found.extend(fields.get("cache_control"));
    for list in ["system", "tools"] {
        fields.get(list).into_iter().flat_map(items).for_each(|block| marks(block, DEEPEST, &mut found));
    }
    fields.get("messages").into_iter().flat_map(items).for_each(|message| marks(message, DEEPEST + 1, &mut found));
    let mut edit = Edit::of(body);
    let aged = found.iter().filter(|mark| Fields::read(mark.get()).is_ok_and(|mark| mark.get("ttl").is_some()));
    let mut is_changed = false;
    for mark in aged {
        edit.replace(mark.get(), PLAIN.to_owned());
        is_changed = true;
    }
    Ok(is_changed.then(|| edit.finish()))
}

/// The marks of a block, and of the blocks in its content. What a tool is called with is no content.
fn marks<'a>(block: &'a RawValue, depth: usize, found: &mut Vec<&'a RawValue>) {
    let Ok(fields) = Fields::read(block.get()) else { return };
    found.extend(fields.get("cache_control"));
    if depth > 0 {
        fields.get("content").into_iter().flat_map(items).for_each(|inner| marks(inner, depth - 1, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lose_their_age_and_no_other_byte_changes() {
        let request = |mark: &str| {
            format!(
                r#"{{"system":[ {{"type":"text","text":"\"ttl\"","cache_control":{mark}}}],"tools":[{{"name":"f","cache_control":{mark}}}],
                "messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"text","text":"a","cache_control":{mark}}}]}}]}},
                {{"role":"assistant","content":[{{"type":"tool_use","input":{{"cache_control":{{"ttl":"1h"}},"n":1.50}}}}]}}]}}"#
            )
        };
        let aged = request(r#"{"type": "ephemeral", "ttl": "1h"}"#);
        assert_eq!(without_age(&aged).unwrap(), Some(request(PLAIN)));
        assert_eq!(without_age(&request(PLAIN)).unwrap(), None);
        assert_eq!(without_age(r#"{"system":"\"ttl\"","messages":"x"}"#).unwrap(), None);
    }
}
