//! A webhook, as people write it: where alerts are posted to. Knows nothing of how they are posted.

use super::{Description, Kind, Managed};
use crate::alert::AlertKind;
use crate::budget::check_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where alerts are posted to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Its name: 1 to 64 of `a-z 0-9 _ -`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// The address: `http://…` or `https://…`. May be in a private network.
    pub url: String,
    /// What the posts are signed with: `env:NAME`, `file:PATH` or `credential:NAME`, read by the analytics role.
    pub secret: String,
    /// Which kinds of alerts; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<AlertKind>,
}

impl Webhook {
    /// Whether it is told alerts of this kind.
    pub fn wants(&self, kind: AlertKind) -> bool {
        self.events.is_empty() || self.events.contains(&kind)
    }
}

impl Managed for Webhook {
    type Shown = Self;

    const DESCRIPTION: Description = Description {
        columns: &["name", "url", "events"],
        ..Description::plain(Kind::Webhook, "Where alerts are posted to")
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = check_name(&self.name);
        let host = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        match host {
            Some(host) if host.starts_with(['/', '?', '#', ':']) || host.is_empty() => {
                mistakes.push(("url", format!("`{}` names no host", self.url)));
            }
            Some(host) if host.split(['/', '?', '#']).next().unwrap_or_default().contains('@') => {
                mistakes.push(("url", "must hold no user and password".to_owned()));
            }
            Some(_) if self.url.len() > 2048 || self.url.contains(is_odd) => {
                mistakes.push(("url", "must be at most 2048 bytes, without spaces".to_owned()));
            }
            Some(_) => {}
            None => mistakes.push(("url", "must begin with http:// or https://".to_owned())),
        }
        let (kind, name) = self.secret.split_once(':').unwrap_or_default();
        if !matches!(kind, "env" | "file" | "credential") || name.is_empty() {
            let why = "must be env:NAME, file:PATH or credential:NAME: secrets are never stored in the clear";
            mistakes.push(("secret", why.to_owned()));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_webhook_says_all_that_is_wrong() {
        for (name, url, secret, fields) in [
            ("ops", "http://10.0.0.1:8080/x?y", "env:HOOK", &[][..]),
            ("ops", "https://hooks.example", "file:/run/secret", &[]),
            ("Ops", "ftp://x", "s3cret", &["name", "url", "secret"]),
            ("ops", "https://", "env:", &["url", "secret"]),
            ("ops", "https://me:pw@x/", "env:A", &["url"]),
            ("ops", "https://x/a b", "env:A", &["url"]),
        ] {
            let webhook = Webhook { name: name.into(), url: url.into(), secret: secret.into(), events: Vec::new() };
            let found: Vec<_> = webhook.mistakes().into_iter().map(|(field, _)| field).collect();
            assert_eq!(found, fields, "{url}");
        }
    }
}
