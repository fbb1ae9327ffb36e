//! Judges: sections `[[judges]]`. Whose answers a model scores, by which rubric, and who pays for that. Knows nothing of requests.

use super::bodies::BodyRule;
use penstock_runtime::config::{Document, Section};
use penstock_schemas::name::KeyId;
use penstock_schemas::percent::parse_percent;
use penstock_schemas::score::mistake_of_name;
use std::collections::BTreeSet;

/// The longest rubric, in bytes.
const RUBRIC: usize = 16 << 10;

/// Judges at the most.
const MOST: usize = 16;

/// One judge.
#[derive(Clone, Debug)]
pub struct JudgeConfig {
    /// The name of its scores.
    pub name: String,
    /// The model that judges, as a caller would name it.
    pub model: String,
    /// The virtual key that asks and pays.
    pub key: KeyId,
    /// What is good, in the operator's words.
    pub rubric: String,
    /// Whose answers are judged, and which part of them.
    pub(super) of: BodyRule,
}

impl JudgeConfig {
    /// Reads the sections.
    pub(super) fn read_all(document: &mut Document) -> Vec<Self> {
        let mut names = BTreeSet::new();
        let mut entries = document.entries("judges");
        if let Some(section) = entries.get(MOST) {
            section.mistake("", "at most 16 judges");
        }
        let mut judges = Vec::new();
        for section in &mut entries {
            let Some(judge) = Self::read(section) else { continue };
            if !names.insert(judge.name.clone()) {
                section.mistake("name", &format!("`{}` is there twice", judge.name));
            }
            judges.push(judge);
        }
        judges
    }

    fn read(section: &mut Section) -> Option<Self> {
        let mut text = |key: &str| section.get::<String>(key).unwrap_or_default();
        let [name, model, key, rubric] = ["name", "model", "key", "rubric"].map(&mut text);
        let sample = section.or("sample", "1%".to_owned());
        let share = parse_percent(&sample).unwrap_or_else(|| {
            section.mistake("sample", "must be a percentage from 0 to 100, such as \"1%\"");
            0.0
        });
        let of = BodyRule {
            project: section.get("of_project"),
            key: section.get("of_key"),
            model: section.get("of_model"),
            share,
        };
        if let Some(why) = mistake_of_name(&name) {
            section.mistake("name", &why);
        }
        if model.is_empty() || rubric.is_empty() || rubric.len() > RUBRIC {
            section.mistake("rubric", "name the `model` that judges, and a `rubric` of at most 16 KB");
        }
        match KeyId::parse(key) {
            Ok(key) => Some(Self { name, model, key, rubric, of }),
            Err(error) => {
                section.mistake("key", &error.to_string());
                None
            }
        }
    }

    /// The part of such answers that it judges.
    pub(crate) fn share(&self, project: &str, key: &str, model: &str) -> f64 {
        if self.of.is_of(project, key, model) { self.of.share } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_has_a_name_a_model_a_key_and_a_rubric_and_judges_what_it_is_for() {
        let text = "[[judges]]\nname = \"helpful\"\nmodel = \"a/m\"\nkey = \"key_1\"\nrubric = \"good\"\nsample = \"10%\"\nof_project = \"red\"\n";
        let mut document = Document::read("p.toml", text, []).unwrap();
        let judges = JudgeConfig::read_all(&mut document);
        assert_eq!(document.finish(), Ok(()));
        assert_eq!(judges[0].share("red", "k", "m").to_string(), "0.1");
        assert_eq!(judges[0].share("blue", "k", "m").to_string(), "0");
        let mut document =
            Document::read("p.toml", "[[judges]]\nname = \"a b\"\nkey = \"K!\"\nsample = \"2\"", []).unwrap();
        assert!(JudgeConfig::read_all(&mut document).is_empty());
        assert_eq!(document.finish().unwrap_err().0.len(), 4);
    }
}
