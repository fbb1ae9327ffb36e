//! Tool-call ids for providers that allow only some: mapped one to one within a request, and the same way each time, so
//! that a conversation's prompt stays the same and caches hit; and ids that several turns use made unique. Knows no provider.

use penstock_schemas::chat::Message;
use std::collections::{HashMap, HashSet};

/// The characters of a made id.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Gives each id that `is_allowed` refuses another one of `length` letters and digits, in calls and results alike.
pub(crate) fn map(messages: &mut [Message], length: usize, is_allowed: impl Fn(&str) -> bool) {
    let mut made: HashMap<String, String> = HashMap::new();
    let mut taken: HashSet<String> = ids(messages).filter(|id| is_allowed(id)).map(|id| id.clone()).collect();
    for id in ids(messages) {
        if is_allowed(id) {
            continue;
        }
        if let Some(known) = made.get(id.as_str()) {
            id.clone_from(known);
            continue;
        }
        let is_free = |new: &String| !taken.contains(new);
        let new = (0..).map(|salt| make(id, length, salt)).find(is_free).expect("there are endlessly many salts");
        taken.insert(new.clone());
        made.insert(std::mem::replace(id, new.clone()), new);
    }
}

/// The length of an id that stands for one that was used before.
const UNIQUE: usize = 24;

/// Gives a call whose id an earlier message used another one, and its result with it: models that count their calls anew in
/// each turn say `call_0` each time, and providers refuse the second.
pub(crate) fn unique(messages: &mut [Message]) {
    let mut known: HashSet<String> = HashSet::new();
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut round = 0;
    for message in messages {
        if let Some(id) = message.tool_call_id.as_mut() {
            if let Some(new) = renamed.get(id.as_str()) {
                id.clone_from(new);
            }
            continue;
        }
        let calls = message.tool_calls.iter_mut().flatten().filter_map(|call| call.id.as_mut());
        let mut own = HashSet::new();
        renamed.clear();
        round += 1;
        for id in calls {
            if known.contains(id.as_str()) {
                let is_free = |new: &String| !known.contains(new) && !own.contains(new);
                let new = (0..).map(|salt| make(id, UNIQUE, round + (salt << 32))).find(is_free);
                let new = new.expect("there are endlessly many salts");
                renamed.insert(std::mem::replace(id, new.clone()), new);
            }
            own.insert(id.clone());
        }
        known.extend(own);
    }
}

fn ids(messages: &mut [Message]) -> impl Iterator<Item = &mut String> {
    messages.iter_mut().flat_map(|message| {
        let calls = message.tool_calls.iter_mut().flatten().filter_map(|call| call.id.as_mut());
        calls.chain(message.tool_call_id.as_mut())
    })
}

/// FNV-1a, spread over letters and digits.
fn make(id: &str, length: usize, salt: u64) -> String {
    let mut hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut letters = String::with_capacity(length);
    for _ in 0..length {
        letters.push(char::from(LETTERS[usize::try_from(hash % 62).expect("less than 62")]));
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::chat::ToolCall;

    #[test]
    fn ids_that_are_not_allowed_are_mapped_one_to_one_and_the_others_kept() {
        let call = |id: &str| ToolCall { id: Some(id.to_owned()), ..ToolCall::default() };
        let result = |id: &str| Message { tool_call_id: Some(id.to_owned()), ..Message::default() };
        let calls =
            Message { tool_calls: Some(vec![call("toolu_1"), call("toolu_2"), call("abc")]), ..Message::default() };
        let mut messages = [calls, result("toolu_2"), result("toolu_1"), result("abc")];
        let mut again = messages.clone();
        map(&mut messages, 9, |id| id.len() == 3);
        map(&mut again, 9, |id| id.len() == 3);
        assert_eq!(messages, again);
        let ids: Vec<String> = ids(&mut messages).map(|id| id.clone()).collect();
        assert_eq!((&ids[0], &ids[1], &ids[2], &ids[5]), (&ids[4], &ids[3], &"abc".to_owned(), &ids[2]));
        assert!(ids[0] != ids[1] && ids[0].len() == 9 && ids[0].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn an_id_that_an_earlier_turn_used_becomes_another_with_its_result() {
        let call = |id: &str| ToolCall { id: Some(id.to_owned()), ..ToolCall::default() };
        let calls =
            |ids: &[&str]| Message { tool_calls: Some(ids.iter().copied().map(call).collect()), ..Message::default() };
        let result = |id: &str| Message { tool_call_id: Some(id.to_owned()), ..Message::default() };
        let mut messages = [calls(&["a", "b"]), result("a"), result("b"), calls(&["a", "c"]), result("c"), result("a")];
        let mut again = messages.clone();
        unique(&mut messages);
        unique(&mut again);
        assert_eq!(messages, again);
        let ids: Vec<String> = ids(&mut messages).map(|id| id.clone()).collect();
        assert_eq!([&ids[0], &ids[1], &ids[2], &ids[3], &ids[5], &ids[6]], ["a", "b", "a", "b", "c", "c"]);
        assert!(ids[4] == ids[7] && ids[4] != "a");
    }
}
