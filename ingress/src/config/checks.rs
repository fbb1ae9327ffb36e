//! Whose answers are checked without a model: section `[checks]`. Knows nothing of what is checked.

use super::bodies::{BodyRule, share};
use penstock_runtime::config::Document;

/// What `[checks]` says.
#[derive(Clone, Debug)]
pub struct CheckPolicy {
    rules: Vec<BodyRule>,
}

impl CheckPolicy {
    pub(super) fn read(document: &mut Document) -> Self {
        Self { rules: BodyRule::read_all(&mut document.section("checks"), "of") }
    }

    /// The share of such requests whose answers are checked, by the first rule that names them; 0 where none does.
    pub(crate) fn share(&self, project: &str, key: &str, model: &str) -> f64 {
        share(&self.rules, project, key, model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked_of_what_the_first_rule_names() {
        let text = "[checks]\nof = [{ project = \"search\", sample = \"10%\" }, { model = \"chat\" }]";
        let mut document = Document::read("p.toml", text, []).unwrap();
        let checks = CheckPolicy::read(&mut document);
        assert_eq!(document.finish(), Ok(()));
        assert_eq!(checks.share("search", "k", "chat").to_string(), "0.1");
        assert_eq!(checks.share("other", "k", "chat").to_string(), "1");
        assert_eq!(checks.share("other", "k", "m").to_string(), "0");
        let mut document = Document::read("p.toml", "[checks]\nof = [{ sample = \"2\" }]", []).unwrap();
        CheckPolicy::read(&mut document);
        assert_eq!(document.finish().unwrap_err().0.len(), 2);
    }
}
