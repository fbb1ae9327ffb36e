//! Who asks for a change, and what that one may see and change. Pure: knows neither HTTP nor where anything is kept.

use super::ManageError;
use penstock_schemas::audit::Way;
use penstock_schemas::kind::Role;
use penstock_schemas::managed::Object;
use penstock_schemas::name::RequestId;

/// Somebody who manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name that the audit shows.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// With which projects; empty: with all.
    pub projects: Vec<String>,
    /// By which way they came.
    pub way: Way,
    /// The request that they sent, where it was one.
    pub request_id: Option<RequestId>,
}

impl Actor {
    /// One who may do everything.
    pub fn admin(name: impl Into<String>, way: Way) -> Self {
        Self { name: name.into(), role: Role::Admin, projects: Vec::new(), way, request_id: None }
    }

    /// Whether they see all projects.
    pub fn sees_all(&self) -> bool {
        self.projects.is_empty() && self.role != Role::Owner
    }

    /// # Errors
    /// When they may not see what concerns everybody.
    pub(crate) fn must_see_all(&self) -> Result<(), ManageError> {
        if self.sees_all() {
            Ok(())
        } else {
            Err(ManageError::Forbidden { needed: "admin, or viewer of all projects".to_owned() })
        }
    }

    /// # Errors
    /// When they may not change what happens in the project: neither as admin, nor as its owner.
    pub(crate) fn must_own(&self, project: &str) -> Result<(), ManageError> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Owner if self.has(project) => Ok(()),
            Role::Owner | Role::Viewer => {
                Err(ManageError::Forbidden { needed: format!("admin, or owner of the project {project}") })
            }
        }
    }

    /// Whether they see an object.
    pub(crate) fn sees(&self, object: &Object) -> bool {
        self.sees_all() || object.project().is_some_and(|project| self.has(project))
    }

    /// # Errors
    /// When they may not see the object.
    pub(crate) fn must_see(&self, object: &Object) -> Result<(), ManageError> {
        if self.sees(object) { Ok(()) } else { Err(ManageError::Forbidden { needed: needed(object) }) }
    }

    /// # Errors
    /// When they may not make the object what it is, or may not remove it.
    pub(crate) fn must_change(&self, object: &Object) -> Result<(), ManageError> {
        let is_theirs = || is_owned(object) && object.project().is_some_and(|project| self.has(project));
        match self.role {
            Role::Admin => Ok(()),
            Role::Owner if is_theirs() => Ok(()),
            Role::Owner | Role::Viewer => Err(ManageError::Forbidden { needed: needed(object) }),
        }
    }

    fn has(&self, project: &str) -> bool {
        self.projects.iter().any(|own| own == project)
    }
}

fn needed(object: &Object) -> String {
    match object.project() {
        Some(project) if is_owned(object) => format!("admin, or owner of the project {project}"),
        _ => "admin".to_owned(),
    }
}

fn is_owned(object: &Object) -> bool {
    object.kind().description().is_some_and(|kind| kind.is_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::kind::Kind;

    fn object(kind: Kind, json: &str) -> Object {
        Object::read(kind, &serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn roles_see_and_change_what_is_theirs() {
        let actor = |role, projects: &[&str]| Actor {
            role,
            projects: projects.iter().map(|project| (*project).to_owned()).collect(),
            ..Actor::admin("x", Way::Api)
        };
        let (admin, owner) = (actor(Role::Admin, &[]), actor(Role::Owner, &["a"]));
        let (all, one) = (actor(Role::Viewer, &[]), actor(Role::Viewer, &["a"]));
        let mine = r#"{"name":"b","match":{"project":"a"},"limit_usd":"1"}"#;
        let wider = r#"{"name":"b","match":{"project":"a*"},"limit_usd":"1"}"#;
        for (object, seen, changed) in [
            (object(Kind::Budget, mine), "admin owner all one", "admin owner"),
            (object(Kind::Budget, wider), "admin all", "admin"),
            (object(Kind::Budget, r#"{"name":"b","limit_usd":"1"}"#), "admin all", "admin"),
            (object(Kind::Key, r#"{"id":"k","project":"a"}"#), "admin owner all one", "admin owner"),
            (object(Kind::Key, r#"{"id":"k","project":"b"}"#), "admin all", "admin"),
            (object(Kind::Project, r#"{"name":"a"}"#), "admin owner all one", "admin"),
            (object(Kind::User, r#"{"name":"ann"}"#), "admin all", "admin"),
            (object(Kind::Admin, r#"{"name":"ann"}"#), "admin all", "admin"),
        ] {
            let actors = [("admin", &admin), ("owner", &owner), ("all", &all), ("one", &one)];
            let who = |may: &dyn Fn(&Actor) -> bool| -> Vec<&str> {
                actors.iter().filter(|(_, actor)| may(actor)).map(|(name, _)| *name).collect()
            };
            assert_eq!(who(&|actor| actor.sees(&object)).join(" "), seen, "{object:?}");
            assert_eq!(who(&|actor| actor.must_change(&object).is_ok()).join(" "), changed, "{object:?}");
        }
    }
}
