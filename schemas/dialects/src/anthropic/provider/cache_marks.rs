//! Marks for the cache in a request of the caller's own, as copies of Anthropic take them: without the age and the scope that
//! only Anthropic knows, which its own agents write and strict copies refuse. Knows no copy by its name.
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration>,
//! <https://github.com/BYK/loreai/pull/560>, <https://github.com/caozhiyuan/copilot-api/issues/145>.

use crate::fit::Fit;
use crate::json::{Edit, Fields, items};
use penstock_schemas::failure::Failure;
use serde_json::value::RawValue;

/// The mark that every copy knows.
const PLAIN: &str = r#"{"type":"ephemeral"}"#;

/// What they do not know of one.
const ANTHROPICS: [&str; 2] = ["ttl", "scope"];

/// How deep blocks of results stand within blocks.
const DEEPEST: usize = 2;

/// The request with plain marks; `None` when all are.
pub(super) fn plain(body: &str, fit: &mut Fit) -> Result<Option<String>, Failure> {
    if !["\"ttl\"", "\"scope\""].iter().any(|name| body.contains(name)) {
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
    let mut named = [false; ANTHROPICS.len()];
    for mark in found {
        let fields = Fields::of(mark);
        let said = ANTHROPICS.map(|name| fields.get(name).is_some());
        if said.contains(&true) {
            edit.replace(mark.get(), PLAIN.to_owned());
            named = [named[0] || said[0], named[1] || said[1]];
        }
    }
    let names = ANTHROPICS.iter().zip(named).filter(|(_, is_named)| *is_named);
    names.for_each(|(name, _)| fit.omit(format!("cache_control.{name}")));
    Ok(named.contains(&true).then(|| edit.finish()))
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
    use penstock_schemas::envelope::Unsupported;

    #[test]
    fn marks_lose_what_only_anthropic_knows_and_no_other_byte_changes() {
        let request = |mark: &str| {
            format!(
                r#"{{"system":[ {{"type":"text","text":"\"ttl\"","cache_control":{mark}}}],"tools":[{{"name":"f","cache_control":{mark}}}],
                "messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"text","text":"a","cache_control":{mark}}}]}}]}},
                {{"role":"assistant","content":[{{"type":"tool_use","input":{{"cache_control":{{"ttl":"1h"}},"n":1.50}}}}]}}]}}"#
            )
        };
        let plain = |body: &str| {
            let mut fit = Fit::new(Unsupported::Refuse);
            (plain(body, &mut fit).unwrap(), fit.dropped().join(" "))
        };
        let none = || (None, String::new());
        let aged = request(r#"{"type": "ephemeral", "ttl": "1h"}"#);
        assert_eq!(plain(&aged), (Some(request(PLAIN)), "cache_control.ttl".to_owned()));
        let wide = request(r#"{"type": "ephemeral", "scope": "global"}"#);
        assert_eq!(plain(&wide), (Some(request(PLAIN)), "cache_control.scope".to_owned()));
        assert_eq!(plain(&request(PLAIN)), none());
        assert_eq!(plain(r#"{"system":"\"ttl\"","messages":"x"}"#), none());
    }
}
