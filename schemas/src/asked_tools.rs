//! The tools that an answer asked its caller to use, by name. Knows nothing of what they were called with, nor of formats.

use serde::{Deserialize, Serialize};

/// Names that are kept of one answer; what comes behind them is left out. Answers that ask for more than a few are rare.
pub const MOST_TOOLS: usize = 32;

/// The longest name that is kept, in bytes: no provider takes longer ones (Anthropic: 128). The rest is cut off.
pub const TOOL_NAME_BYTES: usize = 128;

/// Names of tools, each once, in the order in which they were asked for first. A model writes them: what a terminal could
/// obey in them is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskedTools(Vec<String>);

impl AskedTools {
    /// Adds a name, unless it is empty, there already, or one too many.
    pub fn add(&mut self, name: &str) {
        if name.is_empty() || self.0.len() >= MOST_TOOLS {
            return;
        }
        let name = printable(name);
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether no tool was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for AskedTools {
    fn from_iter<T: IntoIterator<Item = &'a str>>(names: T) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.add(name));
        all
    }
}

fn printable(name: &str) -> String {
    let kept = name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= TOOL_NAME_BYTES);
    kept.map(|(_, c)| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_and_neither_their_number_nor_their_length_is_the_models() {
        let few: AskedTools = ["search", "", "read", "search"].into_iter().collect();
        assert_eq!(few.names(), ["search", "read"]);
        let many: Vec<String> = (0..100).map(|number| format!("tool{number}")).collect();
        let many: AskedTools = many.iter().map(String::as_str).collect();
        assert_eq!((many.names().len(), many.names().last().map(String::as_str)), (MOST_TOOLS, Some("tool31")));
        let long: AskedTools = ["ä".repeat(200).as_str(), "a\u{1b}[2Jb\n"].into_iter().collect();
        assert_eq!(long.names(), ["ä".repeat(64), "a\u{fffd}[2Jb\u{fffd}".to_owned()]);
    }
}
