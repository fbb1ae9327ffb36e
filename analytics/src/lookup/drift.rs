//! Drift, read from the ledger: the figures of each day, compared with those of the weeks before, and versions of models that
//! were not there before. Knows the tables, and leaves the judgement to `crate::drift`.

use super::rows::{VISIBLE, VisibleProjects};
use crate::drift::{BASELINE, DayFigures, DriftSignal, DriftTest, GAP, LEAST_ANSWERS, Series, SeriesKey, compare};
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use clickhouse::query::Query;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::AlertKind;
use penstock_schemas::rfc3339;
use penstock_schemas::rows::RowReport;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Targets, virtual models and projects that are tested at the most: those with most answers.
const MOST_SCOPES: u32 = 200;

/// Names of scores of each, and new versions, at the most.
const MOST_SCORES: u32 = 20_000;
const MOST_VERSIONS: u32 = 100;

/// Answers that a new version must have given: a single one may be a provider's trial.
const LEAST_OF_VERSION: u32 = 5;

/// A day, in microseconds.
const DAY: u64 = 86_400_000_000;

/// Columns that say what an answer belongs to. Rows are added up by these first: there are few of them, and many answers.
const DIMENSIONS: &str = "provider, model, virtual_model, project";

/// The target, the virtual model and the project that they name.
const SCOPES: &str = "arrayJoin(arrayFilter(one -> one.2 != '', [
    ('target', concat(toString(provider), '/', toString(model))),
    ('virtual_model', toString(ifNull(virtual_model, ''))),
    ('project', toString(project))])) AS part";

/// The answers that are looked at.
const ANSWERS: &str = "outcome = 'served' AND operation IN ('chat', 'completions')
    AND started_at >= fromUnixTimestamp64Micro(?) AND started_at < fromUnixTimestamp64Micro(?)";

const DAY_OF_ANSWER: &str = "toUInt32(toDate(started_at, 'UTC')) AS day";

/// How many values there are, their sum, and the sum of their squares.
type Sums = (u64, f64, f64);

/// A day of a scope: answers, and of these refusals, cut ones, empty ones and ones that ask for tools; length, time to the first
/// token, time in all.
type AnswerDay = (u32, u64, u64, u64, u64, u64, Sums, Sums, Sums);

/// A scope that has enough answers on the day that is tested.
#[derive(Row, Deserialize)]
struct ScopeDays {
    scope: String,
    name: String,
    days: Vec<AnswerDay>,
}

/// The scores of one name on one day of one scope.
#[derive(Row, Deserialize)]
struct ScoreDay {
    day: u32,
    scope: String,
    name: String,
    score: String,
    figures: Sums,
}

/// Versions of a target, or ways in which it is run, that answered for the first time: each with its first day and its answers.
#[derive(Row, Deserialize)]
struct NewWords {
    target: String,
    kind: String,
    new: Vec<(String, u32, u64)>,
    before: Vec<String>,
}

/// The same, with the alert that tells it; the column is of the same name.
pub(crate) struct NewVersion {
    pub(crate) kind: AlertKind,
    pub(crate) target: String,
    pub(crate) version: String,
    pub(crate) before: Vec<String>,
    pub(crate) answers: u64,
}

/// All of a day.
pub(crate) struct DriftDay {
    pub(crate) day: u32,
    pub(crate) compared: Vec<DriftTest>,
    pub(crate) versions: Vec<NewVersion>,
}

/// The day as people write it.
pub(crate) fn date(day: u32) -> String {
    rfc3339::write(UnixMicros(u64::from(day) * DAY)).chars().take(10).collect()
}

/// The report of a day: one row.
pub(super) async fn report(
    warehouse: &Warehouse,
    (day, project): (u32, Option<&str>),
    seen: &VisibleProjects,
    rate: f64,
) -> Result<RowReport, Error> {
    let narrowed = project.map(|project| VisibleProjects {
        all: false,
        projects: if seen.all || seen.projects.iter().any(|seen| seen == project) {
            vec![project.to_owned()]
        } else {
            Vec::new()
        },
    });
    let found = read(warehouse, day, narrowed.as_ref().unwrap_or(seen), rate).await?;
    let tests: Vec<Value> = found.compared.iter().map(row).collect();
    let versions: Vec<Value> = found.versions.iter().map(version_row).collect();
    let data = vec![json!({ "day": date(day), "false_alarms": rate, "tests": tests, "versions": versions })];
    Ok(RowReport { data, ..RowReport::default() })
}

fn row(one: &DriftTest) -> Value {
    json!({
        "scope": one.key.scope, "name": one.key.name, "signal": one.key.signal.name(),
        "before": one.before, "now": one.now, "p": one.p, "drift": one.is_drift,
        "answers": one.answers, "days": one.days,
    })
}

fn version_row(new: &NewVersion) -> Value {
    json!({ "kind": new.kind, "target": new.target, "version": new.version, "before": new.before, "answers": new.answers })
}

/// All tests of a day at a rate of false alarms, and the versions that are new on it.
pub(crate) async fn read_day(warehouse: &Warehouse, day: u32, rate: f64) -> Result<DriftDay, Error> {
    read(warehouse, day, &VisibleProjects { all: true, projects: Vec::new() }, rate).await
}

async fn read(warehouse: &Warehouse, day: u32, seen: &VisibleProjects, rate: f64) -> Result<DriftDay, Error> {
    let mut all: BTreeMap<SeriesKey, Series> = BTreeMap::new();
    let (scopes, scores, versions) =
        tokio::try_join!(answers(warehouse, day, seen), scores(warehouse, day, seen), versions(warehouse, day, seen))?;
    for ScopeDays { scope, name, days } in scopes {
        for own in days {
            for (signal, figures) in signals(&own) {
                let key = SeriesKey { scope: scope.clone(), name: name.clone(), signal };
                all.entry(key).or_default().insert(own.0, figures);
            }
        }
    }
    for row in scores {
        let key = SeriesKey { scope: row.scope, name: row.name, signal: DriftSignal::Score(row.score) };
        all.entry(key).or_default().insert(row.day, figures(row.figures));
    }
    Ok(DriftDay { day, compared: compare(&all, day, rate), versions })
}

fn figures((count, sum, squares): Sums) -> DayFigures {
    DayFigures { count, sum, squares }
}

fn signals(own: &AnswerDay) -> [(DriftSignal, DayFigures); 7] {
    let (_, answers, refusals, cut, empty, tools, length, first_token, latency) = *own;
    let share = |marked: u64| figures((answers, marked as f64, marked as f64));
    [
        (DriftSignal::Refusals, share(refusals)),
        (DriftSignal::Cut, share(cut)),
        (DriftSignal::Empty, share(empty)),
        (DriftSignal::Tools, share(tools)),
        (DriftSignal::Length, figures(length)),
        (DriftSignal::FirstToken, figures(first_token)),
        (DriftSignal::Latency, figures(latency)),
    ]
}

/// When a day begins, in microseconds.
fn begin(day: u32) -> i64 {
    i64::from(day) * i64::try_from(DAY).unwrap_or(i64::MAX)
}

/// The first day that the day is compared with.
fn first(day: u32) -> u32 {
    day.saturating_sub(GAP + BASELINE)
}

/// Binds the times of [`ANSWERS`]: from the first day to compare with to the end of the tested one.
fn during(query: Query, day: u32) -> Query {
    query.bind(begin(first(day))).bind(begin(day + 1))
}

async fn answers(warehouse: &Warehouse, day: u32, seen: &VisibleProjects) -> Result<Vec<ScopeDays>, Error> {
    // Of a figure that not every answer has, those that have it.
    let sums = |column: &str, name: &str| {
        format!("(count({column}), ifNull(sum(log1p({column})), 0), ifNull(sum(pow(log1p({column}), 2)), 0)) AS {name}")
    };
    let added = |name: &str| format!("(sum({name}.1), sum({name}.2), sum({name}.3))");
    let sql = format!(
        "WITH given AS (
            SELECT {DAY_OF_ANSWER}, {DIMENSIONS}, lower(ifNull(finish_reason, '')) AS reason, count() AS answers,
                countIf(ifNull(total_output_tokens = 0, 0)) AS empty, {}, {}, {}
            FROM attempts WHERE {ANSWERS} AND {VISIBLE} GROUP BY day, {DIMENSIONS}, reason
        ), days AS (
            SELECT part, day, sum(answers) AS of_day, (day, of_day,
                sumIf(answers, reason IN ('content_filter', 'content_filtered', 'refusal', 'safety', 'recitation', 'blocklist',
                    'prohibited_content', 'spii', 'image_safety', 'guardrail_intervened', 'error_toxic')),
                sumIf(answers, reason IN ('length', 'max_tokens', 'model_length', 'model_context_window_exceeded')),
                sum(empty),
                sumIf(answers, reason IN ('tool_calls', 'tool_call', 'tool_use', 'function_call')),
                {}, {}, {}) AS figures
            FROM (SELECT *, {SCOPES} FROM given) GROUP BY part, day
        )
        SELECT part.1 AS scope, part.2 AS name, groupArray(figures) AS days
        FROM days GROUP BY part HAVING sumIf(of_day, day = ?) >= ? ORDER BY sumIf(of_day, day = ?) DESC LIMIT ?",
        sums("total_output_tokens", "length"),
        sums("first_token_us", "first_token"),
        sums("total_us", "latency"),
        added("length"),
        added("first_token"),
        added("latency"),
    );
    let query = seen.bind(during(warehouse.client().query(&sql), day));
    query.bind(day).bind(LEAST_ANSWERS).bind(day).bind(MOST_SCOPES).fetch_all().await
}

async fn scores(warehouse: &Warehouse, day: u32, seen: &VisibleProjects) -> Result<Vec<ScoreDay>, Error> {
    // No score is older than the answer that it is of.
    let sql = format!(
        "SELECT day, part.1 AS scope, part.2 AS name, score, (sum(own.1), sum(own.2), sum(own.3)) AS figures
        FROM (
            SELECT *, {SCOPES} FROM (
                SELECT day, {DIMENSIONS}, score, (count(), sum(number), sum(number * number)) AS own
                FROM (SELECT request_id, {DAY_OF_ANSWER}, {DIMENSIONS} FROM attempts WHERE {ANSWERS} AND {VISIBLE}) AS given
                INNER JOIN (SELECT request_id, project, toString(name) AS score, assumeNotNull(number) AS number FROM scores
                    WHERE number IS NOT NULL AND at >= fromUnixTimestamp64Micro(?) AND {VISIBLE}) AS marked USING (request_id, project)
                GROUP BY day, {DIMENSIONS}, score
            )
        )
        GROUP BY day, part, score ORDER BY sum(own.1) DESC LIMIT ?"
    );
    let query = seen.bind(during(warehouse.client().query(&sql), day)).bind(begin(first(day)));
    seen.bind(query).bind(MOST_SCORES).fetch_all().await
}

/// The versions of models, and the ways in which they are run, that are new on a day.
async fn versions(warehouse: &Warehouse, day: u32, seen: &VisibleProjects) -> Result<Vec<NewVersion>, Error> {
    let [version, fingerprint] = [AlertKind::ModelVersion, AlertKind::SystemFingerprint];
    let sql = format!(
        "WITH given AS (
            SELECT provider, model, {version}, {fingerprint}, min(day) AS first, countIf(day = ?) AS answers
            FROM (SELECT {DAY_OF_ANSWER}, provider, model, {version}, {fingerprint} FROM attempts WHERE {ANSWERS} AND {VISIBLE})
            GROUP BY provider, model, {version}, {fingerprint}
        ), known AS (
            SELECT concat(toString(provider), '/', toString(model)) AS target,
                arrayJoin([('{version}', toString(ifNull({version}, ''))), ('{fingerprint}', toString(ifNull({fingerprint}, '')))]) AS word,
                (word.2, min(first), sum(answers)) AS one
            FROM given GROUP BY target, word HAVING word.2 != ''
        )
        SELECT target, word.1 AS kind, arraySort(groupArrayIf(one, one.2 = ? AND one.3 >= ?)) AS new,
            arraySlice(arraySort(groupArrayIf(one.1, one.2 < ?)), 1, 10) AS before
        FROM known GROUP BY target, kind HAVING notEmpty(new) AND notEmpty(before) ORDER BY target, kind LIMIT ?",
        version = version.as_str(),
        fingerprint = fingerprint.as_str(),
    );
    let query = seen.bind(during(warehouse.client().query(&sql).bind(day), day));
    let found: Vec<NewWords> = query.bind(day).bind(LEAST_OF_VERSION).bind(day).bind(MOST_VERSIONS).fetch_all().await?;
    let each = |found: NewWords| {
        let kind = if found.kind == version.as_str() { version } else { fingerprint };
        let NewWords { target, new, before, .. } = found;
        new.into_iter().map(move |(version, _, answers)| NewVersion {
            kind,
            target: target.clone(),
            version,
            before: before.clone(),
            answers,
        })
    };
    Ok(found.into_iter().flat_map(each).take(MOST_VERSIONS as usize).collect())
}
