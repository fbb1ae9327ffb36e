//! Whose requests and answers are kept, how much of each, and what is masked in them: section `[bodies]`. Knows nothing of where
//! they are kept.

use penstock_runtime::config::{Document, Section};
use penstock_schemas::percent::parse_percent;
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// How much of a request and of an answer is kept unless something else is set, and at the most, in bytes.
const LIMIT: (usize, usize) = (64 << 10, 1 << 20);

/// Rules, and patterns of the operator's, at the most.
const RULES: usize = 1_000;
const PATTERNS: usize = 64;

/// The most that a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// What stands in the place of what is masked; of a secret that is known by its name, the name stays.
const MASK: &str = "[masked]";
const MASK_BEHIND_NAME: &str = "${name}[masked]";

/// Secrets, by the forms that their makers give them; masked always. Sources: the key formats of OpenAI and Anthropic (`sk-`),
/// Stripe-like (`_live_`), Google (`AIza`), AWS (`AKIA`, `ASIA`), GitHub (`gh?_`, `github_pat_`), Slack (`xox?-`), ours, JSON web
/// tokens, PEM keys, `Bearer` credentials, the password in an address, and what stands behind a name such as `client_secret`.
const SECRETS: [&str; 12] = [
    r"\b(?:psk|pak|psa|pds)_[A-Za-z0-9_-]{12,}",
    r"\bsk-[A-Za-z0-9_-]{12,}",
    r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{12,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    r"(?P<name>(?i:\bbearer\s+))(?:[A-Za-z0-9._~+/=-]|\\/){12,}",
    r"(?P<name>[a-z]://[^/\s:@\x22\\]{1,256}:)[^/\s@\x22\\]{1,256}@",
    r"(?P<name>(?i:password|passwd|secret|api_?-?key|access_?key|(?:access|refresh|auth|id)_?token)[\x22'\\]{0,4}\s{0,4}[:=]\s{0,4}[\x22'\\]{0,4})[^\s\x22'\\,;&}\[]{6,}",
];

/// What `[bodies]` says.
#[derive(Clone, Debug)]
pub struct BodyPolicy {
    rules: Vec<BodyRule>,
    /// How much of a request and of an answer is kept, in bytes.
    pub limit: usize,
    /// Each with what takes the place of what it finds.
    masks: Vec<(Regex, &'static str)>,
}

/// Of whose requests which share is kept: of all that the rule names, the request has to be.
#[derive(Clone, Debug)]
pub(super) struct BodyRule {
    pub(super) project: Option<String>,
    pub(super) key: Option<String>,
    pub(super) model: Option<String>,
    pub(super) share: f64,
}

impl BodyRule {
    /// Reads the rules under a key.
    pub(super) fn read_all(section: &mut Section, key: &str) -> Vec<Self> {
        let mut rules = Vec::new();
        for mut entry in section.entries(key) {
            let share = entry.or("sample", "100%".to_owned());
            let rule = Self {
                project: entry.get("project"),
                key: entry.get("key"),
                model: entry.get("model"),
                share: parse_percent(&share).unwrap_or_else(|| {
                    entry.mistake("sample", "must be a percentage from 0 to 100, such as \"1%\"");
                    0.0
                }),
            };
            if rule.project.is_none() && rule.key.is_none() && rule.model.is_none() {
                entry.mistake("project", "name a project, a key or a model: it is for nothing else");
            }
            rules.push(rule);
        }
        if rules.len() > RULES {
            section.mistake(key, "at most 1000 rules");
        }
        rules
    }

    /// Whether it names such a request.
    pub(super) fn is_of(&self, project: &str, key: &str, model: &str) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.project, project) && is(&self.key, key) && is(&self.model, model)
    }
}

/// The share that the first rule says which names such requests; 0 where none does.
pub(super) fn share(rules: &[BodyRule], project: &str, key: &str, model: &str) -> f64 {
    rules.iter().find(|rule| rule.is_of(project, key, model)).map_or(0.0, |rule| rule.share)
}

impl BodyPolicy {
    pub(super) fn read(document: &mut Document) -> Self {
        let mut section = document.part("bodies", &["keep", "limit", "mask"]);
        let limit = section.size("limit").unwrap_or(LIMIT.0);
        if limit > LIMIT.1 {
            section.mistake("limit", "must be at most 1MB");
        }
        let rules = BodyRule::read_all(&mut section, "keep");
        let wanted: Vec<String> = section.or("mask", Vec::new());
        if wanted.len() > PATTERNS {
            section.mistake("mask", "at most 64 patterns");
        }
        let own = |pattern: &&str| Regex::new(pattern).expect("our own patterns are right: a test compiles them");
        let mut masks: Vec<(Regex, &str)> = SECRETS.iter().map(|pattern| (own(pattern), MASK_BEHIND_NAME)).collect();
        for pattern in wanted.iter().take(PATTERNS) {
            match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
                Ok(mask) => masks.push((mask, MASK)),
                Err(error) => section.mistake("mask", &format!("`{pattern}`: {error}")),
            }
        }
        Self { rules, limit: limit.min(LIMIT.1), masks }
    }

    /// The share of such requests whose bodies are kept, by the first rule that names them; 0 where none does.
    pub(crate) fn share(&self, project: &str, key: &str, model: &str) -> f64 {
        share(&self.rules, project, key, model)
    }

    /// The text without secrets.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, (mask, instead)| match mask.replace_all(&text, *instead) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => masked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_runtime::config::Mistakes;

    fn read(text: &str) -> (BodyPolicy, Result<(), Mistakes>) {
        let mut document = Document::read("p.toml", text, []).unwrap();
        let policy = BodyPolicy::read(&mut document);
        (policy, document.finish())
    }

    #[test]
    fn bodies_are_kept_of_what_the_first_rule_names_and_of_nothing_else() {
        let (policy, mistakes) = read(
            "[bodies]\nkeep = [{ project = \"search\", key = \"ci\", sample = \"0%\" }, { project = \"search\", sample = \
             \"10%\" }, { model = \"chat\" }]",
        );
        assert_eq!(mistakes, Ok(()));
        assert_eq!(policy.share("search", "ci", "chat").to_string(), "0");
        assert_eq!(policy.share("search", "web", "chat").to_string(), "0.1");
        assert_eq!(policy.share("other", "web", "chat").to_string(), "1");
        assert_eq!(policy.share("other", "web", "x").to_string(), "0");
        assert_eq!(read("").0.share("a", "b", "c").to_string(), "0");
    }

    #[test]
    fn secrets_are_masked_always_and_other_patterns_where_they_are_set() {
        let (policy, mistakes) = read("[bodies]\nmask = [\"[0-9]{3}-[0-9]{4}\"]");
        assert_eq!(mistakes, Ok(()));
        for secret in [
            "psk_0123456789abcdef0123",
            "sk-proj-0123456789abcdef",
            "sk_live_0123456789abcdef",
            "AIzaSyA0123456789012345678901234567890",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_012345678901234567890123456789012345",
            "xoxb-0123456789-abc",
            "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMIIE",
            "555-1234",
        ] {
            assert_eq!(policy.mask(&format!("a {secret}")), "a [masked]", "{secret}");
        }
        for (text, masked) in [
            ("Authorization: Bearer 0123456789ab\\/cdef", "Authorization: Bearer [masked]"),
            ("postgres://app:hunter2@db/x", "postgres://app:[masked]db/x"),
            (r#"{"client_secret": "s3cr3t-value", "n": 1}"#, r#"{"client_secret": "[masked]", "n": 1}"#),
            (r#"{\"password\":\"hunter22\"}"#, r#"{\"password\":\"[masked]\"}"#),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=[masked]"),
            ("nothing to see: sk-1, déjà vu, the secret of it", "nothing to see: sk-1, déjà vu, the secret of it"),
            (r#"{"max_tokens":100000,"token":"understanding"}"#, r#"{"max_tokens":100000,"token":"understanding"}"#),
        ] {
            assert_eq!(policy.mask(text), masked);
        }
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_place() {
        let (_, mistakes) = read("[bodies]\nlimit = \"2MB\"\nmask = [\"(\"]\nkeep = [{ sample = \"2\" }]");
        let Mistakes(mistakes) = mistakes.unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }
}
