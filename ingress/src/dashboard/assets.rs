//! The files of the dashboard, built into this program. Those under `vendor` are of others, as npm has them.

use axum::http::HeaderValue;
use penstock_schemas::hex;
use sha2::{Digest, Sha256};

/// One file.
#[derive(Clone, Copy)]
pub(super) struct Asset {
    name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! asset {
    ($content_type:expr, $name:literal, $place:literal) => {
        Asset { name: $name, content_type: $content_type, bytes: include_bytes!(concat!("../../dashboard/", $place)) }
    };
}

/// The one page; all else is loaded by it.
pub(super) const PAGE: Asset = asset!(HTML, "index.html", "index.html");

const ASSETS: [Asset; 26] = [
    asset!(ICON, "icon.svg", "icon.svg"),
    asset!(STYLE, "style.css", "style.css"),
    asset!(SCRIPT, "app.js", "app.js"),
    asset!(SCRIPT, "api.js", "api.js"),
    asset!(SCRIPT, "parts.js", "parts.js"),
    asset!(SCRIPT, "chart.js", "chart.js"),
    asset!(SCRIPT, "list.js", "list.js"),
    asset!(SCRIPT, "live.js", "live.js"),
    asset!(SCRIPT, "waterfall.js", "waterfall.js"),
    asset!(SCRIPT, "overview.js", "overview.js"),
    asset!(SCRIPT, "sessions.js", "sessions.js"),
    asset!(SCRIPT, "batches.js", "batches.js"),
    asset!(SCRIPT, "cache.js", "cache.js"),
    asset!(SCRIPT, "quality.js", "quality.js"),
    asset!(SCRIPT, "drift.js", "drift.js"),
    asset!(SCRIPT, "experiments.js", "experiments.js"),
    asset!(SCRIPT, "provider_keys.js", "provider_keys.js"),
    asset!(SCRIPT, "spend.js", "spend.js"),
    asset!(SCRIPT, "requests.js", "requests.js"),
    asset!(SCRIPT, "targets.js", "targets.js"),
    asset!(SCRIPT, "objects.js", "objects.js"),
    asset!(SCRIPT, "events.js", "events.js"),
    asset!(SCRIPT, "playground.js", "playground.js"),
    asset!(SCRIPT, "htm-preact.js", "vendor/htm-preact.js"),
    asset!(SCRIPT, "uplot.js", "vendor/uplot.js"),
    asset!(STYLE, "uplot.css", "vendor/uplot.css"),
];

pub(super) fn find(name: &str) -> Option<Asset> {
    ASSETS.into_iter().find(|asset| asset.name == name)
}

impl Asset {
    /// What changes with it.
    pub(super) fn tag(self) -> HeaderValue {
        let hash = hex::write(&Sha256::digest(self.bytes)[..16]);
        HeaderValue::from_str(&format!("\"{hash}\"")).expect("digits are a header value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser loads for its first page, in bytes.
    const LIMIT: usize = 300_000;

    #[test]
    fn all_pages_together_are_small() {
        let bytes: usize = ASSETS.iter().chain([&PAGE]).map(|asset| asset.bytes.len()).sum();
        assert!(bytes < LIMIT, "{bytes}");
    }

    #[test]
    fn what_is_of_others_is_as_they_published_it() {
        // htm 3.1.1 (Apache-2.0) with preact 10 (MIT), uPlot 1.6.32 (MIT): `npm pack`, and the files that it gives.
        for (name, sha256) in [
            ("htm-preact.js", "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"),
            ("uplot.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
            ("uplot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ] {
            assert_eq!(hex::write(&Sha256::digest(find(name).unwrap().bytes)), sha256, "{name}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_that_is_not_here() {
        let page = std::str::from_utf8(PAGE.bytes).unwrap();
        let links: Vec<&str> =
            page.split("/dashboard/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.len() > 3);
        for name in links {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(!page.contains("http:") && !page.contains("https:"));
    }
}
