//! Parameters of a header's value: `; name="file"; filename*=UTF-8''a%20b`. Knows nothing of which there may be.

/// What `UTF-8''a%20b` stands for (RFC 8187); anything else stands for itself.
pub(super) fn decoded(value: &str) -> String {
    let Some(text) = value.splitn(3, '\'').nth(2) else { return value.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parameter of a header's value: `b` of `a/b; boundary=b`, quoted or not.
pub(super) fn parameter(value: &str, wanted: &str) -> Option<String> {
    named(value, wanted).next()
}

/// All parameters of this name.
pub(super) fn named<'a>(value: &'a str, wanted: &'a str) -> impl Iterator<Item = String> {
    parameters(value).filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, text)| text)
}

fn parameters(value: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = value.split_once(';').map(|(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, after) = rest?.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim_end();
        let after = after.trim_start();
        let (text, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        rest = Some(left);
        Some((name, text))
    })
}

/// What stands before the closing quote, and what behind it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            // Browsers send a file's path with plain backslashes: only a quote or a backslash can be escaped.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    None
}
