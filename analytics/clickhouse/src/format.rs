//! Result formats: which of them can be sent in pieces, and what they are called in a header. Knows no statements.
//!
//! The engine formats each chunk of a streamed result as a document of its own. That is right for formats that are rows
//! and nothing else; for the binary formats with a header, the repeated headers are taken off; all others are made whole
//! in memory first (within the statement's cap), since two JSON documents in a row are no JSON document.

use bytes::Bytes;

/// How a format's chunks make a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Rows only: one after the other.
    Rows,
    /// Rows after a header of names, and of types too.
    Headed { types: bool },
    /// Only the whole is a document.
    Whole,
}

const ROWS: [&str; 11] = [
    "RowBinary",
    "Native",
    "TabSeparated",
    "TSV",
    "TabSeparatedRaw",
    "TSVRaw",
    "CSV",
    "TSKV",
    "MsgPack",
    "LineAsString",
    "Null",
];
/// Rows too, unless `output_format_json_array_of_rows` makes them an array.
const JSON_ROWS: [&str; 7] = [
    "JSONEachRow",
    "JSONLines",
    "JSONL",
    "NDJSON",
    "JSONCompactEachRow",
    "JSONStringsEachRow",
    "JSONCompactStringsEachRow",
];
pub(crate) const JSON_ARRAY: &str = "output_format_json_array_of_rows";

/// `json_may_be_an_array`: the setting `JSON_ARRAY` may be in force.
pub(crate) fn pieces(format: &str, json_may_be_an_array: impl FnOnce() -> bool) -> Pieces {
    let among = |formats: &[&str]| formats.iter().any(|name| name.eq_ignore_ascii_case(format));
    match format {
        _ if among(&ROWS) => Pieces::Rows,
        _ if among(&JSON_ROWS) && !json_may_be_an_array() => Pieces::Rows,
        _ if among(&["RowBinaryWithNames"]) => Pieces::Headed { types: false },
        _ if among(&["RowBinaryWithNamesAndTypes"]) => Pieces::Headed { types: true },
        _ => Pieces::Whole,
    }
}

/// Takes the header off every chunk but the first.
pub(crate) struct Header {
    pieces: Pieces,
    seen: Option<Bytes>,
}

impl Header {
    pub(crate) fn of(pieces: Pieces) -> Header {
        Header { pieces, seen: None }
    }

    /// What of this chunk belongs into the result. `None`: it begins otherwise than the first one did.
    pub(crate) fn strip(&mut self, chunk: Bytes) -> Option<Bytes> {
        match (self.pieces, &self.seen) {
            (Pieces::Rows | Pieces::Whole, _) => Some(chunk),
            (Pieces::Headed { .. }, Some(header)) => chunk.starts_with(header).then(|| chunk.slice(header.len()..)),
            (Pieces::Headed { types }, None) => {
                let length = header_length(&chunk, types)?;
                self.seen = Some(chunk.slice(..length));
                Some(chunk)
            }
        }
    }
}

/// A count of columns, their names, their types; each text after its length.
fn header_length(chunk: &[u8], types: bool) -> Option<usize> {
    let (columns, mut at) = number(chunk)?;
    for _ in 0..columns * if types { 2 } else { 1 } {
        let (length, read) = number(chunk.get(at..)?)?;
        at = at.checked_add(read)?.checked_add(length)?;
    }
    (at <= chunk.len()).then_some(at)
}

/// An unsigned LEB128, and its length.
fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let last = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=last].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, last + 1))
}

pub(crate) fn content_type(format: &str) -> &'static str {
    let starts = |prefix: &str| format.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    match format {
        _ if starts("JSONEachRow") || starts("JSONCompactEachRow") || starts("NDJSON") || starts("JSONL") => {
            "application/x-ndjson; charset=UTF-8"
        }
        _ if starts("JSON") => "application/json; charset=UTF-8",
        _ if starts("CSV") => "text/csv; charset=UTF-8",
        _ if starts("TabSeparated") || starts("TSV") => "text/tab-separated-values; charset=UTF-8",
        _ if starts("RowBinary") || starts("Native") || starts("Parquet") || starts("Arrow") => {
            "application/octet-stream"
        }
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_rows_is_sent_in_pieces() {
        for (format, expected) in [
            ("rowbinary", Pieces::Rows),
            ("JSONEachRow", Pieces::Rows),
            ("RowBinaryWithNamesAndTypes", Pieces::Headed { types: true }),
            ("JSON", Pieces::Whole),
            ("CSVWithNames", Pieces::Whole),
            ("Parquet", Pieces::Whole),
        ] {
            assert_eq!(pieces(format, || false), expected, "{format}");
        }
        assert_eq!(pieces("JSONEachRow", || true), Pieces::Whole);
        assert_eq!(pieces("CSV", || true), Pieces::Rows);
    }

    #[test]
    fn a_repeated_header_is_taken_off() {
        let name = "n".repeat(200);
        let text = |text: &str| [&[0xc8, 0x01][..], text.as_bytes()].concat();
        let header = [&[1][..], &text(&name), &[5], b"UInt8"].concat();
        let mut stripping = Header::of(Pieces::Headed { types: true });
        let chunk = |row: u8| Bytes::from([header.as_slice(), &[row]].concat());
        assert_eq!(stripping.strip(chunk(7)).expect("a header"), chunk(7));
        assert_eq!(stripping.strip(chunk(8)).expect("the same header"), &[8][..]);
        assert_eq!(stripping.strip(Bytes::from_static(b"\x01\x01x")), None);
        assert_eq!(Header::of(Pieces::Headed { types: true }).strip(Bytes::from_static(b"\x01\x01")), None);
    }
}
