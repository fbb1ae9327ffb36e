//! Where ClickHouse is: its URL, the login taken out of it, and the name of the database. Knows nothing of connections.

use penstock_runtime::Secret;
use percent_encoding::percent_decode_str;
use std::fmt;

/// ClickHouse's HTTP interface. Printed without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    login: Option<(String, Secret)>,
}

/// Why a text is not an address of ClickHouse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http:// or https://, then user:password@ where it wants one, then host:port")]
pub struct BadAddress;

impl Address {
    /// Reads `http[s]://[user[:password]@]host[:port][/path]`; `%40` stands for an `@` in a password.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(BadAddress)?;
        let (user_info, host) = rest.rsplit_once('@').map_or((None, rest), |(info, host)| (Some(info), host));
        let is_host = !host.is_empty() && !host.starts_with([':', '/']) && !host.contains(['?', '#', ' ']);
        if !matches!(scheme, "http" | "https") || !is_host {
            return Err(BadAddress);
        }
        let login = user_info.map(|info| {
            let (user, password) = info.split_once(':').unwrap_or((info, ""));
            (decode(user), Secret::new(decode(password)))
        });
        Ok(Self { url: format!("{scheme}://{host}"), login })
    }

    /// The same with this user, and this password instead of the URL's.
    pub fn with_login(mut self, user: Option<String>, password: Option<Secret>) -> Self {
        let (in_url, of_url) = self.login.take().unzip();
        let (user, password) = (user.or(in_url), password.or(of_url));
        if user.is_some() || password.is_some() {
            let user = user.unwrap_or_else(|| "default".to_owned());
            self.login = Some((user, password.unwrap_or_else(|| Secret::new(""))));
        }
        self
    }

    /// The URL, without user and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// User and password, where the URL has them.
    pub fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn is_name(text: &str) -> bool {
    let allowed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let begins = text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    allowed && begins && text.len() <= 64
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The name of a database: it needs no quotes in SQL. It may be on all servers of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    name: String,
    cluster: Option<String>,
}

/// Why a text is not the name of a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of a-z, A-Z, 0-9 and _, and not begin with a digit")]
pub struct BadDatabase;

impl Database {
    /// The name that `text` spells.
    ///
    /// # Errors
    /// When a character or the length is not allowed.
    pub fn parse(text: &str) -> Result<Self, BadDatabase> {
        if is_name(text) { Ok(Self { name: text.to_owned(), cluster: None }) } else { Err(BadDatabase) }
    }

    /// The same on all servers of this cluster, each with a copy of every table.
    ///
    /// # Errors
    /// When a character or the length of the cluster's name is not allowed.
    pub fn on_cluster(self, cluster: &str) -> Result<Self, BadDatabase> {
        if is_name(cluster) { Ok(Self { cluster: Some(cluster.to_owned()), ..self }) } else { Err(BadDatabase) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The cluster that it is on.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_taken_out_of_the_url() {
        let address = Address::parse("https://me:p%40ss:word@ch.example:8443/path").unwrap();
        assert_eq!(address.to_string(), "https://ch.example:8443/path");
        let (user, password) = address.login().unwrap();
        assert_eq!((user, password.reveal()), ("me", "p@ss:word"));
        assert!(!format!("{address:?}").contains("word"));
        let address = address.with_login(None, Some(Secret::new("other")));
        assert_eq!(address.login().map(|(user, password)| (user, password.reveal())), Some(("me", "other")));
        let address = Address::parse("http://ch:8123").unwrap();
        assert_eq!(address.clone().with_login(None, None).login(), None);
        let address = address.with_login(None, Some(Secret::new("p")));
        assert_eq!(address.login().map(|(user, _)| user), Some("default"));
        assert_eq!(Address::parse("http://127.0.0.1:8123").unwrap().login(), None);
    }

    #[test]
    fn what_is_no_address_or_no_name_is_refused() {
        for bad in
            ["", "127.0.0.1:8123", "tcp://a:9000", "http://", "http://:8123", "http://a?database=b", "http://u:p@"]
        {
            assert_eq!(Address::parse(bad), Err(BadAddress), "{bad:?}");
        }
        for bad in ["", "1a", "a b", "a`b", "a.b", "ü", &"a".repeat(65)] {
            assert_eq!(Database::parse(bad), Err(BadDatabase), "{bad:?}");
        }
    }
}
