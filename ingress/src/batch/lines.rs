//! Bytes of any length, cut into lines of a limited one. Knows nothing of what a line says.

use bytes::Bytes;
use memchr::memchr;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

/// How much is read at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// The lines of a file that are not blank.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// The longest line, in bytes.
    longest: usize,
    /// Of the last line, from 1; blank ones do not count.
    number: u64,
    /// Where the next line begins, in bytes from the beginning of the file.
    offset: u64,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// All of it.
    Whole(Bytes),
    /// It is longer than a line may be, and was passed over.
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Self {
        Self::behind(reader, longest, (0, 0))
    }

    /// The lines behind this one of a file that is read from this byte on.
    pub(super) fn behind(reader: R, longest: usize, (number, offset): (u64, u64)) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), longest, number, offset }
    }

    /// The number of the last line, and where the next one begins.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.number, self.offset)
    }

    /// The next line that is not blank, and its number.
    pub(super) async fn next(&mut self) -> io::Result<Option<(u64, Text)>> {
        loop {
            let Some((text, bytes)) = next(&mut self.reader, self.longest).await? else { return Ok(None) };
            self.offset += bytes;
            if matches!(&text, Text::Whole(line) if line.iter().all(u8::is_ascii_whitespace)) {
                continue;
            }
            self.number += 1;
            return Ok(Some((self.number, text)));
        }
    }
}

/// The next line, and how many bytes it takes with its end.
async fn next(reader: &mut (impl AsyncBufRead + Unpin), longest: usize) -> io::Result<Option<(Text, u64)>> {
    // In pieces: memory that grows is copied, and a line that is too long would be there three times before that shows.
    let (mut pieces, mut length, mut bytes) = (Vec::<Bytes>::new(), 0, 0);
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            return Ok((bytes > 0).then(|| (finished(&mut pieces, length > longest), bytes)));
        }
        let end = memchr(b'\n', piece);
        let content = &piece[..end.unwrap_or(piece.len())];
        length = length.saturating_add(content.len());
        if length > longest {
            pieces.clear();
        } else {
            pieces.push(Bytes::copy_from_slice(content));
        }
        let used = end.map_or(piece.len(), |at| at + 1);
        reader.consume(used);
        bytes += used as u64;
        if end.is_some() {
            return Ok(Some((finished(&mut pieces, length > longest), bytes)));
        }
    }
}

fn finished(pieces: &mut Vec<Bytes>, is_too_long: bool) -> Text {
    match pieces.len() {
        _ if is_too_long => Text::TooLong,
        1 => Text::Whole(pieces.remove(0)),
        _ => Text::Whole(pieces.concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(text: &str, longest: usize) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::new(text.as_bytes(), longest);
        let mut found = Vec::new();
        while let Some((number, text)) = lines.next().await.unwrap() {
            let text = match text {
                Text::Whole(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Text::TooLong => None,
            };
            found.push((number, text));
        }
        found
    }

    #[tokio::test]
    async fn blank_lines_do_not_count_and_the_last_one_needs_no_end() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        assert_eq!(cut("a\n\n \r\nb\r\nc", 9).await, [line(1, "a"), line(2, "b\r"), line(3, "c")]);
        assert_eq!(cut("", 9).await, []);
        assert_eq!(cut("\n\n", 9).await, []);
    }

    #[tokio::test]
    async fn reading_goes_on_where_it_ended() {
        let text = "a\n\nbc\r\nd";
        let mut lines = Lines::new(text.as_bytes(), 9);
        let mut places = vec![lines.place()];
        while lines.next().await.unwrap().is_some() {
            places.push(lines.place());
        }
        assert_eq!(places, [(0, 0), (1, 2), (2, 7), (3, 8)]);
        for place in places {
            let mut lines = Lines::behind(&text.as_bytes()[usize::try_from(place.1).unwrap()..], 9, place);
            let next = lines.next().await.unwrap().map(|(number, _)| number);
            assert_eq!(next, Some(place.0 + 1).filter(|number| *number <= 3));
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let long = "x".repeat(3 * BUFFER);
        let text = format!("{long}\nb\n{long}");
        assert_eq!(cut(&text, 1000).await, [(1, None), (2, Some("b".to_owned())), (3, None)]);
        assert_eq!(cut(&text, long.len()).await, [(1, Some(long.clone())), (2, Some("b".to_owned())), (3, Some(long))]);
        assert_eq!(cut("12345\n1234\n", 4).await, [(1, None), (2, Some("1234".to_owned()))]);
    }
}
