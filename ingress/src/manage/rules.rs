//! What is right by itself and wrong, or of no use, beside everything else: names that nobody has, patterns that match
//! nothing. Pure: looks at what it is given.

use crate::models::{Models, Named};
use penstock_schemas::UnixMicros;
use penstock_schemas::budget::Scope;
use penstock_schemas::directory::Directory;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::Check;
use penstock_schemas::managed::{Mistake, Object};
use penstock_schemas::name::Target;
use penstock_schemas::pattern::matches;

/// What an object stands beside.
pub(crate) struct Surroundings<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) keys: &'a [VirtualKey],
    pub(crate) models: &'a Models,
    pub(crate) now: UnixMicros,
}

impl Surroundings<'_> {
    /// What makes the object impossible here.
    pub(crate) fn mistakes(&self, object: &Object) -> Vec<Mistake> {
        let wrong = object.checks().into_iter().filter_map(|check| match check {
            Check::Downgrade(field, model) => Some((field, self.why_not(model)?)),
            _ => None,
        });
        wrong.map(|(field, message)| Mistake { field: field.to_owned(), message, is_rule: true }).collect()
    }

    fn why_not(&self, model: &str) -> Option<String> {
        match self.models.find(model) {
            Named::Own(_) | Named::Target(_) => None,
            Named::Ambiguous(_) => Some(format!("several providers have `{model}`: write provider/model")),
            // What cannot be known yet may come: providers are known when their workers run.
            Named::Unknown(_) if Target::parse(model).is_ok() || self.models.is_empty() => None,
            Named::Unknown(near) => {
                let near = if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) };
                Some(format!("the model `{model}` to downgrade to does not exist{near}"))
            }
        }
    }

    /// What is possible, and probably not what was meant.
    pub(crate) fn warnings(&self, object: &Object) -> Vec<String> {
        object.checks().into_iter().flat_map(|check| self.told(check)).collect()
    }

    fn told(&self, check: Check<'_>) -> Vec<String> {
        let one = |is_so: bool, text: &str| if is_so { vec![text.to_owned()] } else { Vec::new() };
        match check {
            Check::Downgrade(..) => Vec::new(),
            Check::Models(patterns) => self.patterns(patterns),
            Check::Scope(scope) => self.scope(scope),
            Check::Projects(projects) => {
                let unknown = projects.iter().filter(|project| !self.is_project(project));
                unknown.map(|project| format!("nothing belongs to a project `{project}` yet")).collect()
            }
            Check::Payer(project) => {
                let is_disabled = self.directory.projects.get(project).is_some_and(|project| !project.enabled);
                one(is_disabled, &format!("the project `{project}` is disabled: the key is refused"))
            }
            Check::Expiry(until) => one(until <= self.now, "it has expired already"),
            Check::Limit(limit) => one(limit == 0, "the limit is 0: every request that it matches is refused"),
        }
    }

    fn scope(&self, scope: &Scope) -> Vec<String> {
        let mut warnings = Vec::new();
        let nothing = |what: &str, text: &str| format!("it matches nothing now: there is no {what} `{text}`");
        if let Some(project) = scope.project.as_ref().filter(|project| !self.is_project(project)) {
            warnings.push(nothing("project", project));
        }
        let is_key = |pattern: &str| self.keys.iter().any(|key| matches(pattern, key.id.as_str()));
        if let Some(key) = scope.key.as_ref().filter(|key| !is_key(key)) {
            warnings.push(nothing("key", key));
        }
        if let Some(provider) = scope.provider.as_ref().filter(|provider| !self.models.has_provider(provider)) {
            warnings.push(nothing("provider", provider));
        }
        if let Some(model) = scope.model.as_ref().filter(|model| !self.models.has_match(model)) {
            warnings.push(nothing("model", model));
        }
        warnings
    }

    fn patterns(&self, patterns: &[String]) -> Vec<String> {
        let unmatched = patterns.iter().filter(|pattern| !self.models.has_match(pattern));
        unmatched.map(|pattern| format!("`{pattern}` matches no model that is known now")).collect()
    }

    fn is_project(&self, pattern: &str) -> bool {
        self.directory.projects.keys().any(|project| matches(pattern, project))
            || self.keys.iter().any(|key| matches(pattern, key.project.as_str()))
    }
}
