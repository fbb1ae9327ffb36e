//! An issuer whose tokens work as keys: section `[[oidc]]`, and what its claims stand for. Knows nothing of signatures.

use super::token::{BadToken, Claims};
use penstock_runtime::config::{Document, Section};
use penstock_schemas::UnixMicros;
use penstock_schemas::hex;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::Role;
use penstock_schemas::name::{KeyId, ProjectId};
use reqwest::Url;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;

/// One trusted issuer.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// One of the `aud` of its tokens.
    pub audience: String,
    /// Where its keys are; `None`: where its own configuration says.
    pub jwks_url: Option<String>,
    /// The project of tokens that name none; without it, they must.
    pub project: Option<ProjectId>,
    /// The claim that names the project.
    pub project_claim: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that names roles for the admin API.
    pub role_claim: Option<String>,
    /// Which values of that claim stand for which role.
    pub roles: BTreeMap<Role, Vec<String>>,
    /// The models of every token. Empty: all.
    pub models: Vec<String>,
    /// The claim that lists models.
    pub models_claim: Option<String>,
    /// Tags, by name, and the claims that hold their values.
    pub tags: BTreeMap<String, String>,
}

/// What a token lets its bearer manage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRole {
    /// The name for the audit.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// With which project, unless it may with all.
    pub project: ProjectId,
}

impl IssuerConfig {
    /// Reads all sections.
    pub(crate) fn read_all(document: &mut Document) -> Vec<Self> {
        document.entries("oidc").iter_mut().filter_map(Self::read).collect()
    }

    fn read(section: &mut Section) -> Option<Self> {
        let mut needed = |key: &str| {
            let text: Option<String> = section.get(key);
            if text.as_ref().is_none_or(String::is_empty) {
                section.mistake(key, "is missing");
            }
            text
        };
        let (issuer, audience) = (needed("issuer"), needed("audience"));
        let jwks_url: Option<String> = section.get("jwks_url");
        for (key, url) in [("issuer", &issuer), ("jwks_url", &jwks_url)] {
            if url.as_ref().is_some_and(|url| !is_safe(url)) {
                section.mistake(key, "must begin with https:// (http:// is for this machine alone)");
            }
        }
        let project: Option<String> = section.get("project");
        let project = project.and_then(|name| {
            ProjectId::parse(name).map_err(|error| section.mistake("project", &error.to_string())).ok()
        });
        let role_claim = section.get("role_claim");
        let roles: BTreeMap<Role, Vec<String>> = section.get("roles").unwrap_or_default();
        if role_claim.is_none() && !roles.is_empty() {
            section.mistake("roles", "need role_claim: the claim that holds them");
        }
        let project_claim: Option<String> = section.get("project_claim");
        let project = project.or_else(|| project_claim.is_none().then(ProjectId::default_project));
        Some(Self {
            project,
            project_claim,
            user_claim: section.or("user_claim", "sub".to_owned()),
            role_claim,
            roles,
            models: section.get("models").unwrap_or_default(),
            models_claim: section.get("models_claim"),
            tags: section.get("tags").unwrap_or_default(),
            jwks_url,
            issuer: issuer?,
            audience: audience?,
        })
    }

    /// The key that a token stands for.
    ///
    /// # Errors
    /// When a claim that is needed is missing.
    pub(super) fn key(&self, claims: &Claims) -> Result<VirtualKey, BadToken> {
        let missing = |claim: &str| BadToken::Claim(claim.to_owned());
        let subject = claims.text("sub").ok_or_else(|| missing("sub"))?;
        let user = claims.text(&self.user_claim).ok_or_else(|| missing(&self.user_claim))?;
        let models = match &self.models_claim {
            None => self.models.clone(),
            Some(claim) => {
                let named: Vec<String> = claims.texts(claim).map(ToOwned::to_owned).collect();
                // No model at all would mean: every model.
                if named.is_empty() {
                    return Err(missing(claim));
                }
                named
            }
        };
        let tag =
            |(tag, claim): (&String, &String)| Some((tag.clone(), claims.text(claim)?.chars().take(256).collect()));
        let id = hex::write(digest(&SHA256, format!("{}\n{subject}", self.issuer).as_bytes()).as_ref());
        Ok(VirtualKey {
            id: KeyId::parse(format!("oidc_{}", &id[..16])).expect("hexadecimal digits are a name"),
            sha256: String::new(),
            prefix: String::new(),
            secrets: Vec::new(),
            project: self.project(claims)?,
            user: Some(user.chars().take(256).collect()),
            name: None,
            models,
            tags: self.tags.iter().filter_map(tag).collect(),
            created_at: UnixMicros(0),
            expires_at: claims.expires_at(),
            disabled: false,
            budgets: Vec::new(),
            generations: BTreeMap::new(),
            rates: None,
            cache: None,
            addresses: Vec::new(),
        })
    }

    fn project(&self, claims: &Claims) -> Result<ProjectId, BadToken> {
        let named = self.project_claim.as_ref().filter(|claim| claims.has(claim) || self.project.is_none());
        match (named, &self.project) {
            (Some(claim), _) => {
                let name = claims.text(claim).and_then(|name| ProjectId::parse(name).ok());
                name.ok_or_else(|| BadToken::Claim(claim.clone()))
            }
            (None, Some(project)) => Ok(project.clone()),
            (None, None) => Ok(ProjectId::default_project()),
        }
    }

    /// The highest role that the token's claim names.
    pub(super) fn role(&self, claims: &Claims) -> Result<Option<TokenRole>, BadToken> {
        let Some(claim) = &self.role_claim else { return Ok(None) };
        let has = |role: &Role| {
            let words = self.roles.get(role);
            claims.texts(claim).any(|value| match words {
                Some(words) => words.iter().any(|word| word == value),
                None => self.roles.is_empty() && value == role.as_str(),
            })
        };
        let Some(role) = [Role::Admin, Role::Owner, Role::Viewer].into_iter().find(has) else { return Ok(None) };
        let name = claims.text(&self.user_claim).ok_or_else(|| BadToken::Claim(self.user_claim.clone()))?;
        Ok(Some(TokenRole { name: name.chars().take(256).collect(), role, project: self.project(claims)? }))
    }
}

/// Keys that came over a network in the clear could be anybody's.
pub(super) fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let has_login = !url.username().is_empty() || url.password().is_some();
    !has_login && (url.scheme() == "https" || (url.scheme() == "http" && is_local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_runtime::config::Mistakes;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<IssuerConfig>, Vec<String>> {
        let mut document = Document::read("p.toml", text, []).unwrap();
        let issuers = IssuerConfig::read_all(&mut document);
        document.finish().map(|()| issuers).map_err(|Mistakes(mistakes)| mistakes)
    }

    fn one(more: &str) -> IssuerConfig {
        let text = format!("[[oidc]]\nissuer = \"https://i.test\"\naudience = \"penstock\"\n{more}");
        read(&text).unwrap().pop().unwrap()
    }

    fn claims(value: &serde_json::Value) -> Claims {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn claims_say_who_asks_and_for_what() {
        let issuer = one(
            "project_claim = \"team\"\nuser_claim = \"email\"\nmodels_claim = \"models\"\ntags = { site = \"office\" }",
        );
        let full =
            json!({ "sub": "1", "team": "search", "email": "ann@x", "models": "openai/* chat", "office": "Bern" });
        let key = issuer.key(&claims(&full)).unwrap();
        assert_eq!((key.project.as_str(), key.user.as_deref()), ("search", Some("ann@x")));
        assert_eq!((key.models, key.tags["site"].as_str()), (vec!["openai/*".to_owned(), "chat".to_owned()], "Bern"));
        for (claim, value) in [
            ("team", json!(null)),
            ("team", json!("No Project")),
            ("email", json!(null)),
            ("models", json!([])),
            ("sub", json!(7)),
        ] {
            let mut lacking = full.clone();
            lacking[claim] = value;
            assert_eq!(issuer.key(&claims(&lacking)).unwrap_err(), BadToken::Claim(claim.to_owned()));
        }
        let fixed = one("project = \"web\"\nproject_claim = \"team\"\nmodels = [\"chat\"]");
        let key = fixed.key(&claims(&json!({ "sub": "1" }))).unwrap();
        assert_eq!(
            (key.project.as_str(), key.user.as_deref(), &key.models[..]),
            ("web", Some("1"), &["chat".to_owned()][..])
        );
        assert_eq!(fixed.key(&claims(&full)).unwrap().project.as_str(), "search");
        assert_eq!(one("").key(&claims(&json!({ "sub": "1" }))).unwrap().project.as_str(), "default");
    }

    #[test]
    fn the_highest_role_counts() {
        let issuer = one("role_claim = \"groups\"\nroles = { admin = [\"ops\"], viewer = [\"all\", \"staff\"] }");
        let role = |groups: serde_json::Value| {
            let found = issuer.role(&claims(&json!({ "sub": "ann", "groups": groups }))).unwrap();
            found.map(|found| found.role)
        };
        assert_eq!(role(json!(["staff", "ops"])), Some(Role::Admin));
        assert_eq!(role(json!("staff")), Some(Role::Viewer));
        assert_eq!(role(json!(["owner", "admin"])), None, "only the words that are mapped");
        let plain = one("role_claim = \"role\"");
        let owner = plain.role(&claims(&json!({ "sub": "ann", "role": "owner" }))).unwrap().unwrap();
        assert_eq!((owner.role, owner.name.as_str(), owner.project.as_str()), (Role::Owner, "ann", "default"));
        assert_eq!(one("").role(&claims(&json!({ "sub": "ann", "role": "admin" }))), Ok(None));
    }

    #[test]
    fn mistakes_are_told() {
        let found = read("[[oidc]]\nissuer = \"http://i.test\"\nroles = { admin = [\"a\"] }\n").unwrap_err();
        let starts = [
            "p.toml: oidc[0].audience: is missing",
            "p.toml: oidc[0].issuer: must begin with https",
            "p.toml: oidc[0].roles: need role_claim",
        ];
        assert_eq!(found.len(), starts.len(), "{found:?}");
        assert!(found.iter().zip(starts).all(|(found, start)| found.starts_with(start)), "{found:?}");
        for (url, safe) in [
            ("http://127.0.0.1:80/a", true),
            ("http://localhost.evil.test", false),
            ("http://localhost", true),
            ("http://127.0.0.1:80@evil.test/", false),
            ("http://10.0.0.1/", false),
            ("https://me:word@i.test/", false),
            ("https://i.test/", true),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_safe(url), safe, "{url}");
        }
    }
}
