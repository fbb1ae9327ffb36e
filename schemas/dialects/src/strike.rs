//! Strikes a provider's key out of what the provider says. Knows nothing of what that is.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

/// A shorter text could stand in a message by chance.
const SHORTEST_KEY: usize = 8;

/// Strikes out the key, and words that providers have half struck out themselves.
pub fn strike(text: &str, key: Option<&str>) -> String {
    let text = match key.filter(|key| key.len() >= SHORTEST_KEY) {
        Some(key) => text.replace(key, "***"),
        None => text.to_owned(),
    };
    let words = text.split(' ').map(|word| if word.contains("***") { "***" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Strikes the key out of an answer, wherever it stands in it.
pub fn strike_bytes(answer: Bytes, key: Option<&str>) -> Bytes {
    let Some(key) = key.filter(|key| key.len() >= SHORTEST_KEY) else { return answer };
    let finder = memmem::Finder::new(key);
    let mut found = finder.find_iter(&answer).peekable();
    if found.peek().is_none() {
        return answer;
    }
    let (mut clean, mut at) = (BytesMut::with_capacity(answer.len()), 0);
    for place in found {
        clean.extend_from_slice(&answer[at..place]);
        clean.extend_from_slice(b"***");
        at = place + key.len();
    }
    clean.extend_from_slice(&answer[at..]);
    clean.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_struck_out_of_bytes_wherever_it_stands() {
        let key = Some("sk-secret-1234");
        let clean = |bytes: &'static str, key| {
            String::from_utf8(strike_bytes(Bytes::from_static(bytes.as_bytes()), key).to_vec()).unwrap()
        };
        assert_eq!(clean("a sk-secret-1234b sk-secret-1234", key), "a ***b ***");
        assert_eq!(clean("sk-secret-123", key), "sk-secret-123");
        assert_eq!(clean("a short one", Some("short")), "a short one");
    }
}
