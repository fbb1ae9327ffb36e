//! The one check of which models a caller may use: its key's list and its project's. Whatever plans a call, and whatever
//! gives an answer that was kept, wants an [`Allowed`], and only this file makes one. Knows no strategy and no budget.

use crate::models::{Models, Named};
use crate::refusal::Refusal;
use crate::state::Shared;
use penstock_schemas::directory::Directory;
use penstock_schemas::key::{VirtualKey, may_use};
use penstock_schemas::name::Target;

/// That a caller may use a model, as its key and its project stand now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed(());

/// Checks a name, and the targets that it stands for. A name is allowed that a pattern matches, and a name all of whose
/// targets are matched.
pub(crate) fn check(
    key: &VirtualKey,
    directory: &Directory,
    name: &str,
    targets: &[&Target],
) -> Result<Allowed, Refusal> {
    let project = directory.projects.get(key.project.as_str()).map_or(&[][..], |project| &project.models);
    for (who, patterns) in [("key", &key.models[..]), ("project", project)] {
        let is_matched = |target: &&Target| may_use(patterns, &target.to_string());
        let are_all_matched = || !targets.is_empty() && targets.iter().all(is_matched);
        if !may_use(patterns, name) && !are_all_matched() {
            let of = if who == "key" { key.id.as_str() } else { key.project.as_str() };
            return Err(Refusal::ModelForbidden { who: format!("the {who} {of}"), model: name.to_owned() });
        }
    }
    Ok(Allowed(()))
}

/// Checks a name with whatever it stands for now: one that is looked up, or that was asked for some time ago, for the answer
/// that was kept.
pub(crate) fn check_name(key: &VirtualKey, name: &str, ingress: &Shared) -> Result<Allowed, Refusal> {
    let targets = targets(&ingress.models, name);
    check(key, &ingress.keys.directory(), name, &targets.iter().collect::<Vec<_>>())
}

fn targets(models: &Models, name: &str) -> Vec<Target> {
    match models.find(name) {
        Named::Own(model) => model.targets().cloned().collect(),
        Named::Target(target) => vec![target],
        Named::Ambiguous(_) | Named::Unknown(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::kind::Project;

    #[test]
    fn a_model_is_allowed_by_the_key_and_by_the_project() {
        let key = |models: &[&str]| -> VirtualKey {
            let json =
                serde_json::json!({ "id": "k", "prefix": "psk_", "project": "p", "models": models, "created_at": 0 });
            serde_json::from_value(json).unwrap()
        };
        let directory = |models: &[&str]| {
            let models = models.iter().map(|model| (*model).to_owned()).collect();
            let project = Project { name: "p".to_owned(), models, ..Project::default() };
            Directory { projects: [("p".to_owned(), project)].into(), ..Directory::default() }
        };
        let targets = ["alpha/m", "beta/m"].map(|target| Target::parse(target).unwrap());
        for (of_key, of_project, name, targets, is_allowed) in [
            (&[][..], &[][..], "chat", &targets[..], true),
            (&["chat"], &[], "chat", &targets, true),
            (&["alpha/*", "beta/*"], &[], "chat", &targets, true),
            (&["alpha/*"], &[], "chat", &targets, false),
            (&["chat"], &["alpha/*"], "chat", &targets, false),
            (&[], &["alpha/*"], "alpha/m", &targets[..1], true),
            (&["beta/*"], &["alpha/*"], "alpha/m", &targets[..1], false),
            // What a name stood for is not known any more.
            (&["alpha/*"], &[], "gone", &[], false),
            (&["gone"], &[], "gone", &[], true),
        ] {
            let targets: Vec<&Target> = targets.iter().collect();
            let checked = check(&key(of_key), &directory(of_project), name, &targets);
            assert_eq!(checked.is_ok(), is_allowed, "{of_key:?} {of_project:?} {name}");
        }
    }
}
