//! What a caller says of the cache in a request's headers. Knows no key and no entry.

use crate::http::body::header;
use crate::refusal::Refusal;
use axum::http::HeaderMap;
use penstock_dialects::client::WrongRequest;
use std::time::Duration;

const HEADER: &str = "x-penstock-cache";
const NAMESPACE: &str = "x-penstock-cache-namespace";

/// The longest name of a namespace, in bytes.
const LONGEST: usize = 256;

/// How the cache is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Use {
    /// As it is set.
    #[default]
    AsSet,
    /// Nothing is looked up, and nothing kept.
    Off,
    /// The request is asked anew, and the new answer kept.
    Refresh,
    /// What is not there is not asked for.
    Only,
    /// The same request alone, not one like it.
    Exact,
}

/// What the caller says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) using: Use,
    /// The oldest answer that will do.
    pub(super) max_age: Option<Duration>,
    /// Empty: none.
    pub(super) namespace: String,
}

impl Control {
    /// Reads it. Source of the standard header's words: <https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1>.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut control = Self::default();
        for directive in headers.get_all("cache-control").iter().filter_map(|value| value.to_str().ok()) {
            directive.split(',').for_each(|word| control.obey(word.trim()));
        }
        if let Some(value) = headers.get(HEADER) {
            control.using = match value.to_str().unwrap_or_default() {
                "off" => Use::Off,
                "refresh" => Use::Refresh,
                "only" => Use::Only,
                "exact" => Use::Exact,
                _ => {
                    let why = "use `off`, `refresh`, `only` or `exact`".to_owned();
                    return Err(Refusal::Wrong(WrongRequest::WrongHeader { header: HEADER, why }));
                }
            };
        }
        if headers.contains_key(NAMESPACE) {
            let name = header(headers, NAMESPACE).filter(|name| (1..=LONGEST).contains(&name.len()));
            let why = || format!("it must be 1 to {LONGEST} printable ASCII characters");
            let name =
                name.ok_or_else(|| Refusal::Wrong(WrongRequest::WrongHeader { header: NAMESPACE, why: why() }))?;
            name.clone_into(&mut control.namespace);
        }
        Ok(control)
    }

    /// The most careful of several words counts; one that is not known says nothing.
    fn obey(&mut self, directive: &str) {
        let (word, value) = directive.split_once('=').unwrap_or((directive, ""));
        match word.to_ascii_lowercase().as_str() {
            "no-store" => self.using = Use::Off,
            "no-cache" if self.using != Use::Off => self.using = Use::Refresh,
            "only-if-cached" if self.using == Use::AsSet => self.using = Use::Only,
            "max-age" => self.max_age = value.trim_matches('"').parse().ok().map(Duration::from_secs),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Control, Refusal> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, value.parse().unwrap());
        }
        Control::read(&all)
    }

    #[test]
    fn our_own_header_wins_over_the_standard_one() {
        for (headers, using, max_age) in [
            (&[][..], Use::AsSet, None),
            (&[("x-penstock-cache", "only")], Use::Only, None),
            (&[("cache-control", "no-cache")], Use::Refresh, None),
            (&[("cache-control", "no-cache, NO-STORE")], Use::Off, None),
            (&[("cache-control", "no-store"), ("cache-control", "no-cache")], Use::Off, None),
            (&[("cache-control", "max-age=60, only-if-cached, private")], Use::Only, Some(60)),
            (&[("cache-control", "max-age=soon")], Use::AsSet, None),
            (&[("cache-control", "no-store"), ("x-penstock-cache", "exact")], Use::Exact, None),
        ] {
            let control = read(headers).unwrap();
            assert_eq!((control.using, control.max_age), (using, max_age.map(Duration::from_secs)), "{headers:?}");
        }
    }

    #[test]
    fn what_is_not_known_of_our_own_is_refused() {
        for wrong in ["on", "", "OFF", "semantic"] {
            assert!(read(&[("x-penstock-cache", wrong)]).is_err(), "{wrong}");
        }
        for wrong in ["", "é", &"x".repeat(257)] {
            assert!(read(&[("x-penstock-cache-namespace", wrong)]).is_err(), "{wrong}");
        }
        assert_eq!(read(&[("x-penstock-cache-namespace", "a.b/c*>")]).unwrap().namespace, "a.b/c*>");
    }
}
