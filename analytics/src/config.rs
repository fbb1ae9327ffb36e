//! The settings of the analytics role: sections `[clickhouse]` and `[analytics]`. Knows nothing of what they do.

use crate::address::{Address, Database};
use crate::alert::runaway::Runaway;
use crate::traces::TraceExport;
use penstock_runtime::config::{Document, Section};
use penstock_schemas::money::Picodollars;
use penstock_schemas::percent::parse_percent;
use std::net::SocketAddr;

/// Days in a retention at the most: a century.
const LONGEST: u32 = 36_500;

/// Where ClickHouse is, and how long it keeps the ledger.
#[derive(Clone, Debug)]
pub struct AnalyticsConfig {
    /// Absent under `up`, which starts the embedded one and puts its address here.
    pub clickhouse: Option<Address>,
    /// The database that holds all tables; made when it is missing.
    pub database: Database,
    /// How long rows are kept.
    pub retention: Retention,
    /// How long bodies are kept that the ingress has kept.
    pub body_retention: Retention,
    /// From when on a session ran away.
    pub runaway: Runaway,
    /// The most days, as a part of 1, that may have a false alarm of drift; 0: drift raises no alert.
    pub drift_alarms: f64,
    /// Where an analytics process that runs by itself tells its metrics; absent: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Which traces are exported, and how; `None`: none.
    pub traces: Option<TraceExport>,
}

/// How long rows of the ledger are kept, counted from the start of the attempt or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Off,
    /// This many days; then ClickHouse removes them in its own time.
    Days(u32),
}

impl AnalyticsConfig {
    /// Reads sections `[clickhouse]` and `[analytics]`.
    pub fn read(document: &mut Document) -> Self {
        let mut section = document.section("clickhouse");
        let url: Option<String> = section.get("url");
        let (user, password) = (section.get("user"), section.secret("password"));
        let clickhouse = url.and_then(|url| {
            let address = Address::parse(&url).map(|address| address.with_login(user, password));
            address.map_err(|error| section.mistake("url", &error.to_string())).ok()
        });
        let name = section.or("database", "penstock".to_owned());
        let database = Database::parse(&name).unwrap_or_else(|error| {
            section.mistake("database", &error.to_string());
            Database::parse("penstock").expect("penstock is a name")
        });
        let database = match section.get::<String>("cluster") {
            None => database,
            Some(cluster) => database.clone().on_cluster(&cluster).unwrap_or_else(|error| {
                section.mistake("cluster", &error.to_string());
                database
            }),
        };
        let mut section = document.section("analytics");
        let retention = read_retention(&mut section, "off");
        let runaway = read_runaway(&mut section);
        let drift_alarms = read_drift(document);
        let body_retention = read_retention(&mut document.part("bodies", &["retention"]), "30d");
        let traces = Some(TraceExport::read(document));
        Self {
            clickhouse,
            database,
            retention,
            body_retention,
            runaway,
            drift_alarms,
            metrics: section.get("metrics"),
            traces,
        }
    }
}

fn read_drift(document: &mut Document) -> f64 {
    let mut section = document.section("drift");
    let text = section.or("false_alarms", "1%".to_owned());
    parse_percent(&text).filter(|rate| *rate <= 0.1).unwrap_or_else(|| {
        section.mistake("false_alarms", &format!("`{text}` is no percentage from 0% to 10%"));
        0.0
    })
}

fn read_runaway(section: &mut Section) -> Runaway {
    let requests = section.or("session_requests", 300_u64);
    let text = section.or("session_usd", "10".to_owned());
    let spent = Picodollars::parse(&text).unwrap_or_else(|_| {
        section.mistake("session_usd", &format!("`{text}` is no sum in dollars, such as \"10\""));
        Picodollars(0)
    });
    Runaway { requests, spent }
}

fn read_retention(section: &mut Section, usual: &str) -> Retention {
    let text = section.or("retention", usual.to_owned());
    Retention::parse(&text).unwrap_or_else(|| {
        section.mistake("retention", &format!("`{text}` is neither \"off\" nor a number of days, such as \"400d\""));
        Retention::Off
    })
}

impl Retention {
    fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        let days = text.strip_suffix('d')?.parse().ok()?;
        (1..=LONGEST).contains(&days).then_some(Self::Days(days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_runtime::config::Mistakes;

    fn read(text: &str) -> (AnalyticsConfig, Result<(), Mistakes>) {
        let mut document = Document::read("p.toml", text, []).unwrap();
        let config = AnalyticsConfig::read(&mut document);
        (config, document.finish())
    }

    #[test]
    fn every_key_has_a_default() {
        let (config, mistakes) = read("");
        assert_eq!(mistakes, Ok(()));
        assert_eq!((config.clickhouse, config.database.as_str(), config.retention), (None, "penstock", Retention::Off));
    }

    #[test]
    fn each_wrong_value_is_reported_with_its_key() {
        let (_, mistakes) =
            read("[clickhouse]\nurl = \"ch:8123\"\ndatabase = \"a-b\"\n[analytics]\nretention = \"1 year\"");
        let Mistakes(mistakes) = mistakes.unwrap_err();
        for (mistake, key) in mistakes.iter().zip(["clickhouse.url", "clickhouse.database", "analytics.retention"]) {
            assert!(mistake.starts_with(&format!("p.toml: {key}: ")), "{mistake}");
        }
        assert_eq!(mistakes.len(), 3);
    }

    #[test]
    fn a_retention_is_a_number_of_days() {
        assert_eq!(Retention::parse("400d"), Some(Retention::Days(400)));
        for bad in ["", "0d", "400", "d", "-1d", "99999d", "OFF"] {
            assert_eq!(Retention::parse(bad), None, "{bad:?}");
        }
    }
}
