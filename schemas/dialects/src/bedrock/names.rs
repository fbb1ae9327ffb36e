//! Ids of calls and names of documents, in the characters that Bedrock allows.

use std::collections::{HashMap, HashSet};

/// The longest id of a call.
const LONGEST_ID: usize = 64;

/// Whether a call's id may be so.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html>.
pub(super) fn is_call_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

/// The names of one request's documents, no two alike.
#[derive(Debug, Default)]
pub(super) struct DocumentNames {
    taken: HashSet<String>,
    /// How often each was asked for.
    asked: HashMap<String, usize>,
}

impl DocumentNames {
    /// A name like this one. Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>.
    pub(super) fn get(&mut self, name: Option<&str>) -> String {
        let name = name.unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        let clean: String = stem.chars().map(|c| if is_allowed(c) { c } else { ' ' }).take(100).collect();
        let words: Vec<&str> = clean.split_whitespace().collect();
        let name = if words.is_empty() { "document".to_owned() } else { words.join(" ") };
        let asked = self.asked.entry(name.clone()).or_default();
        loop {
            *asked += 1;
            let free = if *asked == 1 { name.clone() } else { format!("{name} ({asked})") };
            if self.taken.insert(free.clone()) {
                return free;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_names_of_allowed_characters_each_its_own() {
        let mut names = DocumentNames::default();
        let made = [Some("Q3_report  (final).v2.pdf"), None, Some("Q3_report (final).v2.txt"), Some("日本.pdf")]
            .map(|name| names.get(name));
        assert_eq!(made, ["Q3 report (final) v2", "document", "Q3 report (final) v2 (2)", "document (2)"]);
    }

    #[test]
    fn as_many_documents_of_one_name_as_a_request_may_have_each_have_their_own() {
        let mut names = DocumentNames::default();
        assert_eq!(names.get(Some("document (3).txt")), "document (3)");
        let made: HashSet<String> = (0..20_000).map(|_| names.get(None)).collect();
        assert_eq!(made.len(), 20_000);
        assert!(made.contains("document (20001)") && !made.contains("document (3)"));
    }
}
