//! ClickHouse's tokens: words, quoted names, texts, marks; comments and spaces are skipped. Knows no grammar.
//!
//! It follows the engine's own Lexer.cpp, since a text that the two read differently could hide a word from us. What is
//! rare and easy to read differently (heredocs, typographic quotes, a bare backslash) is refused instead of understood.

/// One token, and where it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a [u8],
    pub(crate) start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword, an unquoted name or a number.
    Word,
    /// `name` or "name", quotes included.
    Name,
    /// 'text', quotes included.
    Text,
    /// Any other single character.
    Mark,
    /// Not to be understood: a heredoc, a typographic quote, an unfinished quote or comment.
    Unclear,
}

impl Token<'_> {
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    pub(crate) fn is_mark(&self, mark: u8) -> bool {
        self.kind == Kind::Mark && self.text == [mark]
    }

    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The tokens of `text`, from its start.
pub(crate) fn tokens(text: &[u8]) -> Tokens<'_> {
    Tokens { text, at: 0 }
}

pub(crate) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (kind, start, end) = loop {
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            match first(rest) {
                (None, length) => self.at += length,
                (Some(kind), length) => break (kind, self.at, self.at + length),
            }
        };
        self.at = end;
        Some(Token { kind, text: &self.text[start..end], start })
    }
}

/// The kind (`None`: space or comment) and length of the token that `rest`, which is not empty, begins with.
fn first(rest: &[u8]) -> (Option<Kind>, usize) {
    match (rest[0], rest.get(1)) {
        (b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b, _) => (None, 1),
        (b'-', Some(b'-')) | (b'/', Some(b'/')) | (b'#', Some(b' ' | b'!')) => {
            (None, memchr::memchr(b'\n', rest).unwrap_or(rest.len()))
        }
        (b'/', Some(b'*')) => comment(rest).map_or((Some(Kind::Unclear), rest.len()), |length| (None, length)),
        (b'\'', _) => quoted(rest, Kind::Text),
        (b'"' | b'`', _) => quoted(rest, Kind::Name),
        (byte, _) if is_word(byte) => {
            let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
            (Some(Kind::Word), length)
        }
        (b'\\' | b'$' | 0x80.., _) => (Some(Kind::Unclear), 1),
        _ => (Some(Kind::Mark), 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A doubled quote and a backslash both keep the quote open.
fn quoted(rest: &[u8], kind: Kind) -> (Option<Kind>, usize) {
    let quote = rest[0];
    let mut at = 1;
    while let Some(found) = rest.get(at..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) {
        at += found;
        if rest[at] == b'\\' || rest.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return (Some(kind), at + 1);
        }
    }
    (Some(Kind::Unclear), rest.len())
}

/// The length of a comment, which may hold others; `None` if it does not end.
fn comment(rest: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (2, 1);
    while at + 2 <= rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Kind, &str)> {
        tokens(text.as_bytes()).map(|token| (token.kind, std::str::from_utf8(token.text).expect("ASCII"))).collect()
    }

    #[test]
    fn comments_and_spaces_are_skipped() {
        for text in ["a b", "a--x\nb", "a // ' \n b", "a # x\nb", "a #!x\nb", "a/* ' */b", "a /* /* ' */ ' */ b"] {
            assert_eq!(read(text), [(Kind::Word, "a"), (Kind::Word, "b")], "{text}");
        }
    }

    #[test]
    fn quotes_end_where_the_engine_ends_them() {
        assert_eq!(read("'a''b' c"), [(Kind::Text, "'a''b'"), (Kind::Word, "c")]);
        assert_eq!(read(r"'a\'b' c"), [(Kind::Text, r"'a\'b'"), (Kind::Word, "c")]);
        assert_eq!(read(r"'a\\' c"), [(Kind::Text, r"'a\\'"), (Kind::Word, "c")]);
        assert_eq!(read("`a``b`\"c\""), [(Kind::Name, "`a``b`"), (Kind::Name, "\"c\"")]);
        assert_eq!(read("'a"), [(Kind::Unclear, "'a")]);
        assert_eq!(read("'a\\"), [(Kind::Unclear, "'a\\")]);
        assert_eq!(read("/* a"), [(Kind::Unclear, "/* a")]);
        assert_eq!(read("$$a$$")[0], (Kind::Unclear, "$"));
    }
}
