//! What strict clients cannot read in lists of vectors and of images that copies write, mended: vectors in a list of their own,
//! items without a place, a list without its name, its usage or its time. Regular answers stay as they came, which a look at
//! their bytes tells. Knows nothing of choices.
//! Sources: <https://platform.openai.com/docs/api-reference/embeddings/object>,
//! <https://platform.openai.com/docs/api-reference/images/object>; <https://github.com/abetlen/llama-cpp-python/issues/1588>.

use super::glance::values;
use super::usage::whole_number;
use bytes::Bytes;
use memchr::memmem::{self, Finder};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The end of a list, behind the vectors, where its name and its usage may stand.
const TAIL: usize = 1024;

/// A list of vectors as OpenAI would spell it; `None` when it is spelt so.
pub(super) fn vectors(answer: &[u8]) -> Option<Bytes> {
    if !may_be_odd(answer) {
        return None;
    }
    let theirs: Map<String, Value> = serde_json::from_slice(answer).ok()?;
    let mut list = theirs.clone();
    for (place, item) in list.get_mut("data")?.as_array_mut()?.iter_mut().enumerate() {
        let Value::Object(item) = item else { continue };
        item.insert("object".to_owned(), "embedding".into());
        if !item.get("index").is_some_and(Value::is_u64) {
            item.insert("index".to_owned(), place.into());
        }
        unwrap(item);
    }
    list.insert("object".to_owned(), "list".into());
    let count = |name: &str| theirs.get("usage")?.get(name).and_then(whole_number);
    let total = count("total_tokens").or_else(|| count("prompt_tokens"));
    let prompt = count("prompt_tokens").or(total);
    let mut usage = theirs.get("usage").filter(|usage| usage.is_object()).cloned().unwrap_or_else(|| json!({}));
    usage["prompt_tokens"] = prompt.unwrap_or(0).into();
    usage["total_tokens"] = total.unwrap_or(0).into();
    list.insert("usage".to_owned(), usage);
    if !list.get("model").is_some_and(Value::is_string) {
        // The caller's own name is put into its place.
        list.insert("model".to_owned(), "".into());
    }
    (list != theirs).then(|| Value::Object(list).to_string().into())
}

/// A vector that stands alone in another list.
fn unwrap(item: &mut Map<String, Value>) {
    if let Some(Value::Array(rows)) = item.get_mut("embedding")
        && let [Value::Array(row)] = rows.as_mut_slice()
    {
        *rows = std::mem::take(row);
    }
}

fn may_be_odd(answer: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 5]> =
        LazyLock::new(|| [r#""embedding""#, r#""index""#, r#""object""#, r#""usage""#, r#""model""#].map(Finder::new));
    let [vector, index, object, usage, model] = &*NAMES;
    let ends = [&answer[..answer.len().min(TAIL)], &answer[answer.len().saturating_sub(TAIL)..]];
    let has = |name: &'static Finder<'static>, is: fn(&[u8]) -> bool| ends.iter().any(|end| values(name, end).any(is));
    let is_nested =
        |value: &[u8]| value.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"["));
    !has(index, |value| value.first().is_some_and(u8::is_ascii_digit))
        || !has(object, |value| value.starts_with(b"\"list\""))
        || !has(object, |value| value.starts_with(b"\"embedding\""))
        || !has(usage, |value| value.starts_with(b"{"))
        || !has(model, |value| value.starts_with(b"\""))
        || !ends.iter().any(|end| memmem::find(end, b"\"prompt_tokens\"").is_some())
        || values(vector, ends[0]).any(is_nested)
}

/// A list of images with a time; `None` when it has one.
pub(super) fn images(answer: &[u8]) -> Option<Bytes> {
    let rest = answer.trim_ascii_start().strip_prefix(b"{")?;
    let has_time = memmem::find(answer, b"\"created\"").is_some();
    (!has_time).then(|| [br#"{"created":0,"#, rest].concat().into())
}
