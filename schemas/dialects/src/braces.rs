//! Whether the arguments of a call are complete, as they come piece by piece: their braces are closed. Knows no dialect.

/// The braces of one call's arguments so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Braces {
    has_begun: bool,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Braces {
    /// Takes the next piece.
    pub(crate) fn note(&mut self, arguments: &str) {
        arguments.bytes().for_each(|byte| self.take(byte));
    }

    fn take(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_text => self.is_escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' if !self.in_text => {
                self.depth += 1;
                self.has_begun = true;
            }
            b'}' if !self.in_text => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Where in this piece arguments end behind which others begin, at most so many places.
    pub(crate) fn ends(mut self, piece: &str, most: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut last = None;
        for (at, byte) in piece.bytes().enumerate() {
            if let Some(end) = last {
                match byte {
                    b'{' if ends.len() < most => {
                        ends.push(end);
                        self = Self::default();
                        last = None;
                    }
                    byte if byte.is_ascii_whitespace() => {}
                    _ => last = None,
                }
            }
            self.take(byte);
            if byte == b'}' && self.are_closed() {
                last = Some(at + 1);
            }
        }
        ends
    }

    /// Whether there is nothing to come.
    pub(crate) fn are_closed(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}
