//! Strikes a provider's key out of what the provider says. Knows nothing of what that is.

use bytes::{Bytes, BytesMut};
use memchr::{memchr3, memmem};

/// A shorter text could stand in a message by chance.
const SHORTEST_KEY: usize = 8;

/// What stands in the place of a key.
const STRUCK: &[u8] = b"***";

/// Strikes out the key, and words that providers have half struck out themselves.
pub fn strike(text: &str, key: Option<&str>) -> String {
    let text = match key.and_then(|key| without(text.as_bytes(), key)) {
        Some(clean) => String::from_utf8_lossy(&clean).into_owned(),
        None => text.to_owned(),
    };
    let words = text.split(' ').map(|word| if word.contains("***") { "***" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Strikes the key out of a text, and leaves it as it is where it does not stand in it.
pub fn strike_in(text: &mut String, key: Option<&str>) {
    if let Some(clean) = key.and_then(|key| without(text.as_bytes(), key)) {
        *text = String::from_utf8_lossy(&clean).into_owned();
    }
}

/// Strikes the key out of an answer, wherever it stands in it.
pub fn strike_bytes(answer: Bytes, key: Option<&str>) -> Bytes {
    key.and_then(|key| without(&answer, key)).map_or(answer, BytesMut::freeze)
}

/// The text without the key; `None` where it does not stand in it.
fn without(text: &[u8], key: &str) -> Option<BytesMut> {
    if key.len() < SHORTEST_KEY {
        return None;
    }
    // Nobody spells these otherwise.
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'));
    let finder = memmem::Finder::new(key);
    let next = |at: usize| {
        if is_plain { Some((at + finder.find(&text[at..])?, key.len())) } else { next_spelt(text, at, key.as_bytes()) }
    };
    let mut found = Some(next(0)?);
    let (mut clean, mut at) = (BytesMut::with_capacity(text.len()), 0);
    while let Some((place, length)) = found {
        clean.extend_from_slice(&text[at..place]);
        clean.extend_from_slice(STRUCK);
        at = place + length;
        found = next(at);
    }
    clean.extend_from_slice(&text[at..]);
    Some(clean)
}

/// Where the key stands next, however it is spelt, and how long it is there.
fn next_spelt(text: &[u8], mut at: usize, key: &[u8]) -> Option<(usize, usize)> {
    loop {
        at += memchr3(*key.first()?, b'\\', b'%', text.get(at..)?)?;
        let length = key.iter().try_fold(0, |length, byte| Some(length + letter(&text[at + length..], *byte)?));
        if let Some(length) = length {
            return Some((at, length));
        }
        at += 1;
    }
}

/// The length of this letter at the beginning of a text: as it is, as JSON escapes it, or as an address does.
fn letter(text: &[u8], byte: u8) -> Option<usize> {
    let is_hex = |digits: Option<&[u8]>| {
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) == Some(u32::from(byte))
    };
    match text {
        [first, ..] if *first == byte => Some(1),
        [b'\\', b'/', ..] if byte == b'/' => Some(2),
        [b'\\', b'u', rest @ ..] if is_hex(rest.get(..4)) => Some(6),
        [b'%', rest @ ..] if is_hex(rest.get(..2)) => Some(3),
        _ => None,
    }
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

    #[test]
    fn a_key_is_struck_out_however_it_is_spelt() {
        let key = Some("AbC/d+f=g");
        for spelt in [
            "AbC/d+f=g",
            r"AbC\/d+f=g",
            r"AbC/d+f\u003dg",
            r"AbC/d\u002Bf=g",
            r"AbC\/d\u002bf\u003dg",
            "AbC%2Fd%2Bf%3Dg",
            "AbC%2fd%2bf%3dg",
        ] {
            assert_eq!(strike(&format!("bad key: {spelt}"), key), "bad key: ***", "{spelt}");
            assert_eq!(strike_bytes(format!("\"{spelt}\"").into(), key), "\"***\"", "{spelt}");
        }
        for other in ["AbC/d+f=h", r"AbC\/d+f=", "AbC%2Fd%2Bf%3D", r"AbC\u002", "%", "AbC/d+f%3é", ""] {
            assert_eq!(strike(other, key), other);
            assert_eq!(strike_bytes(other.into(), key), other);
            let mut same = other.to_owned();
            strike_in(&mut same, key);
            assert_eq!(same, other);
        }
    }
}
