//! What can be asked about spending, as people ask it on the command line and in the admin API: what was spent, what it would
//! have cost at other prices, where it leads to. Knows none of the answers.

use crate::UnixMicros;
use crate::forecast::{ForecastQuery, ForecastReport};
use crate::spend::{RepriceQuery, RepriceReport, SpendQuery, SpendReport};
use schemars::JsonSchema;
use serde::Serialize;

/// The words of a question; what was not said is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// What to break down by, separated by commas.
    pub by: Option<&'a str>,
    /// From when on.
    pub since: Option<&'a str>,
    /// Until when, exclusive.
    pub until: Option<&'a str>,
    /// `true`: where it leads to.
    pub forecast: Option<&'a str>,
    /// At the prices of which date.
    pub reprice: Option<&'a str>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What was spent?
    Spend(SpendQuery),
    /// What would it have cost?
    Reprice(RepriceQuery),
    /// Where does it lead to?
    Forecast(ForecastQuery),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Answered {
    /// What was spent.
    Spend(SpendReport),
    /// What it would have cost: `reprice`.
    Reprice(RepriceReport),
    /// Where it leads to: `forecast=true`.
    Forecast(ForecastReport),
}

impl Question {
    /// Reads the words.
    ///
    /// # Errors
    /// Says which word is wrong and what it may be.
    pub fn parse(words: Words<'_>, now: UnixMicros) -> Result<Self, String> {
        let Words { by, since, until, forecast, reprice } = words;
        let is_forecast = match forecast {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(format!("`{other}` is not a value of `forecast`: use true or false")),
        };
        if is_forecast && (since.is_some() || until.is_some() || reprice.is_some()) {
            return Err("a forecast is for the cycle that runs: leave out `since`, `until` and `reprice`".to_owned());
        }
        let spend = SpendQuery::parse(by, since, until, now)?;
        Ok(match reprice {
            _ if is_forecast => Self::Forecast(ForecastQuery { by: spend.by, projects: Vec::new() }),
            Some(date) => Self::Reprice(RepriceQuery::parse(spend, date, now)?),
            None => Self::Spend(spend),
        })
    }

    /// Only of these projects; empty: of all.
    #[must_use]
    pub fn of_projects(mut self, projects: &[String]) -> Self {
        let own = match &mut self {
            Self::Spend(query) => &mut query.projects,
            Self::Reprice(query) => &mut query.spend.projects,
            Self::Forecast(query) => &mut query.projects,
        };
        *own = projects.to_vec();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_from_its_words_or_says_which_is_wrong() {
        const NOW: UnixMicros = UnixMicros(1_795_374_000_000_000);
        let none = Words::default();
        for (words, kind) in [
            (none, "Spend("),
            (Words { forecast: Some("false"), ..none }, "Spend("),
            (Words { forecast: Some("true"), by: Some("budget"), ..none }, "Forecast("),
            (Words { reprice: Some("2026-11-01"), since: Some("7d"), ..none }, "Reprice("),
            (Words { forecast: Some("yes"), ..none }, "`yes` is not"),
            (Words { forecast: Some("true"), since: Some("7d"), ..none }, "a forecast is for the cycle that runs"),
            (Words { forecast: Some("true"), reprice: Some("7d"), ..none }, "a forecast is for the cycle that runs"),
            (Words { reprice: Some("soon"), ..none }, "`soon` is no time for `reprice`"),
            (Words { by: Some("colour"), ..none }, "`colour` is no dimension"),
        ] {
            let found = match Question::parse(words, NOW) {
                Ok(question) => format!("{question:?}"),
                Err(why) => why,
            };
            assert!(found.starts_with(kind), "{words:?}: {found}");
        }
        let only = Question::parse(none, NOW).unwrap().of_projects(&["search".to_owned()]);
        assert!(matches!(only, Question::Spend(query) if query.projects == ["search"]));
    }
}
