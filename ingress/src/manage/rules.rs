//! What is right by itself and wrong, or of no use, beside everything else: names that nobody has, patterns that match
//! nothing. Pure: looks at what it is given.

use crate::models::{Models, Named};
use penstock_schemas::UnixMicros;
use penstock_schemas::budget::{OnExceed, Scope};
use penstock_schemas::directory::Directory;
use penstock_schemas::key::VirtualKey;
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
        let budgets = match object {
            Object::Budget(budget) => std::slice::from_ref(budget),
            Object::Key(settings) => &settings.budgets,
            _ => &[],
        };
        let field = if matches!(object, Object::Key(_)) { "budgets" } else { "on_exceed" };
        let downgrades = budgets.iter().filter_map(|budget| match &budget.on_exceed {
            OnExceed::Downgrade(model) => Some(model),
            OnExceed::Reject | OnExceed::Alert => None,
        });
        let wrong = downgrades.filter_map(|model| self.why_not(model));
        wrong.map(|message| Mistake { field: field.to_owned(), message, is_rule: true }).collect()
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
        match object {
            Object::Project(project) => self.patterns(&project.models),
            Object::User(_) | Object::Webhook(_) => Vec::new(),
            Object::Budget(budget) => {
                let mut warnings = self.scope(&budget.scope);
                if budget.limit().1 == 0 {
                    warnings.push("the limit is 0: every request that it matches is refused".to_owned());
                }
                warnings
            }
            Object::Limit(limit) => self.scope(&limit.scope),
            Object::Key(settings) => {
                let mut warnings = self.patterns(&settings.models);
                if settings.expires_at.is_some_and(|until| until <= self.now) {
                    warnings.push("it has expired already".to_owned());
                }
                if self.directory.projects.get(&settings.project).is_some_and(|project| !project.enabled) {
                    warnings.push(format!("the project `{}` is disabled: the key is refused", settings.project));
                }
                warnings
            }
            Object::Admin(settings) => {
                let unknown = settings.projects.iter().filter(|project| !self.is_project(project));
                unknown.map(|project| format!("nothing belongs to a project `{project}` yet")).collect()
            }
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
