//! What of a request's head goes along to a provider of the caller's own dialect: which previews the caller has switched on.
//! By rule and not by name, since there is a new one each month: headers and parameters called `beta`. Knows no provider.
//! Sources: <https://platform.claude.com/docs/en/api/beta-headers>, <https://platform.openai.com/docs/api-reference/realtime>;
//! Anthropic's own SDKs ask for `/v1/messages?beta=true`.

use crate::client::WrongRequest;
use http::HeaderMap;
use penstock_schemas::envelope::Dialect;
use std::collections::BTreeMap;

/// The longest value of such a header, in bytes: some forty names of previews.
const LONGEST_HEADER: usize = 2048;

/// The longest value of such a parameter, in bytes: `true`, or a date.
const LONGEST_PARAMETER: usize = 64;

/// The parameter that goes along.
const PARAMETER: &str = "beta";

/// The dialect's header for previews.
fn header(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Anthropic => Some("anthropic-beta"),
        Dialect::Openai | Dialect::Responses => Some("openai-beta"),
        _ => None,
    }
}

/// The caller's headers that a provider of the same dialect is to see.
pub fn headers(dialect: Dialect, headers: &HeaderMap) -> BTreeMap<String, String> {
    let value = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    header(dialect).and_then(value).into_iter().collect()
}

/// The parameters of the query that it is to see.
pub fn query(dialect: Dialect, query: Option<&str>) -> BTreeMap<String, String> {
    if header(dialect).is_none() {
        return BTreeMap::new();
    }
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let is_plain = |value: &str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-,".contains(&byte));
    let carried = pairs.filter(|(name, value)| {
        name == PARAMETER && !value.is_empty() && value.len() <= LONGEST_PARAMETER && is_plain(value)
    });
    carried.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Refuses what is too long to go along.
pub fn check(dialect: Dialect, headers: &HeaderMap) -> Result<(), WrongRequest> {
    match header(dialect) {
        Some(header) if headers.get(header).is_some_and(|value| value.len() > LONGEST_HEADER) => {
            let why = format!("it must be at most {LONGEST_HEADER} bytes long");
            Err(WrongRequest::WrongHeader { header, why })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_go_along_and_nothing_else_does() {
        let mut all = HeaderMap::new();
        for name in ["anthropic-beta", "openai-beta", "openai-organization", "cookie", "x-api-key"] {
            all.insert(name, "a-2026-01-01,b".parse().unwrap());
        }
        for (dialect, names) in [
            (Dialect::Anthropic, vec!["anthropic-beta"]),
            (Dialect::Openai, vec!["openai-beta"]),
            (Dialect::Responses, vec!["openai-beta"]),
            (Dialect::Google, vec![]),
        ] {
            assert_eq!(headers(dialect, &all).keys().collect::<Vec<_>>(), names);
        }
        let asked = |query: &str| self::query(Dialect::Anthropic, Some(query)).into_iter().collect::<Vec<_>>();
        assert_eq!(asked("beta=true&key=psk_1&x=y"), [("beta".to_owned(), "true".to_owned())]);
        for other in ["", "beta=", "beta=a%26key=b", "beta=%0d%0a", "alt=sse", &format!("beta={}", "x".repeat(65))] {
            assert_eq!(asked(other), [], "{other}");
        }
        assert!(query(Dialect::Google, Some("beta=true")).is_empty());
        all.insert("anthropic-beta", "x".repeat(2049).parse().unwrap());
        assert!(check(Dialect::Anthropic, &all).is_err() && check(Dialect::Openai, &all).is_ok());
    }
}
