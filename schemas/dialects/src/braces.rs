//! Whether the arguments of a call are complete, as they come piece by piece: their braces are closed. Knows no dialect.

/// The braces of one call's arguments so far.
#[derive(Debug, Default)]
pub(crate) struct Braces {
    has_begun: bool,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Braces {
    /// Takes the next piece.
    pub(crate) fn note(&mut self, arguments: &str) {
        for byte in arguments.bytes() {
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
    }

    /// Whether there is nothing to come.
    pub(crate) fn are_closed(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}
