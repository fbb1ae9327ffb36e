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

/// What belongs to which target, virtual model and project.
const SCOPES: &str = "arrayJoin(arrayFilter(one -> one.2 != '', [
    ('target', concat(toString(provider), '/', toString(model))),
    ('virtual_model', toString(ifNull(virtual_model, ''))),
    ('project', toString(project))])) AS part";

/// The answers that are looked at.
const ANSWERS: &str = "outcome = 'served' AND operation IN ('chat', 'completions')
    AND started_at >= fromUnixTimestamp64Micro(?) AND started_at < fromUnixTimestamp64Micro(?)";

/// The figures of one day of one scope.
#[derive(Row, Deserialize)]
struct AnswerDay {
    day: u32,
    scope: String,
    name: String,
    answers: u64,
    refusals: u64,
    cut: u64,
    empty: u64,
    tools: u64,
    length: (u64, f64, f64),
    first_token: (u64, f64, f64),
    latency: (u64, f64, f64),
}

/// The same of a score.
#[derive(Row, Deserialize)]
struct ScoreDay {
    day: u32,
    scope: String,
    name: String,
    score: String,
    figures: (u64, f64, f64),
}

/// A version of a model, or a way in which it is run, that answered for the first time.
#[derive(Row, Deserialize)]
struct NewWord {
    target: String,
    version: String,
    before: Vec<String>,
    answers: u64,
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
    for row in answers(warehouse, day, seen).await? {
        for (signal, figures) in signals(&row) {
            let key = SeriesKey { scope: row.scope.clone(), name: row.name.clone(), signal };
            all.entry(key).or_default().insert(row.day, figures);
        }
    }
    for row in scores(warehouse, day, seen).await? {
        let key = SeriesKey { scope: row.scope, name: row.name, signal: DriftSignal::Score(row.score) };
        all.entry(key).or_default().insert(row.day, figures(row.figures));
    }
    let compared = compare(&all, day, rate);
    let mut versions = versions(warehouse, day, seen, AlertKind::ModelVersion).await?;
    versions.extend(self::versions(warehouse, day, seen, AlertKind::SystemFingerprint).await?);
    Ok(DriftDay { day, compared, versions })
}

fn figures((count, sum, squares): (u64, f64, f64)) -> DayFigures {
    DayFigures { count, sum, squares }
}

fn signals(row: &AnswerDay) -> [(DriftSignal, DayFigures); 7] {
    let share = |marked: u64| figures((row.answers, marked as f64, marked as f64));
    [
        (DriftSignal::Refusals, share(row.refusals)),
        (DriftSignal::Cut, share(row.cut)),
        (DriftSignal::Empty, share(row.empty)),
        (DriftSignal::Tools, share(row.tools)),
        (DriftSignal::Length, figures(row.length)),
        (DriftSignal::FirstToken, figures(row.first_token)),
        (DriftSignal::Latency, figures(row.latency)),
    ]
}

/// Binds the times of [`ANSWERS`]: from the first day to compare with to the end of the tested one.
fn during(query: Query, day: u32) -> Query {
    let micros = |day: u32| i64::from(day) * i64::try_from(DAY).unwrap_or(i64::MAX);
    query.bind(micros(day.saturating_sub(GAP + BASELINE))).bind(micros(day + 1))
}

async fn answers(warehouse: &Warehouse, day: u32, seen: &VisibleProjects) -> Result<Vec<AnswerDay>, Error> {
    // Of a figure that not every answer has, those that have it.
    let sums = |column: &str, name: &str| {
        format!("(count({column}), ifNull(sum(log1p({column})), 0), ifNull(sum(pow(log1p({column}), 2)), 0)) AS {name}")
    };
    let sql = format!(
        "WITH given AS (
            SELECT toUInt32(toDate(started_at, 'UTC')) AS day, {SCOPES},
                ifNull(lower(finish_reason) IN ('content_filter', 'content_filtered', 'refusal', 'safety', 'recitation',
                    'blocklist', 'prohibited_content', 'spii', 'image_safety', 'guardrail_intervened', 'error_toxic'), 0) AS refused,
                ifNull(lower(finish_reason) IN ('length', 'max_tokens', 'model_length', 'model_context_window_exceeded'), 0) AS cut_off,
                ifNull(lower(finish_reason) IN ('tool_calls', 'tool_call', 'tool_use', 'function_call'), 0) AS asks_tools,
                total_output_tokens AS tokens, first_token_us, total_us
            FROM attempts WHERE {ANSWERS} AND {VISIBLE}
        )
        SELECT day, part.1 AS scope, part.2 AS name, count() AS answers, countIf(refused) AS refusals, countIf(cut_off) AS cut,
            countIf(ifNull(tokens = 0, 0)) AS empty, countIf(asks_tools) AS tools, {}, {}, {}
        FROM given
        WHERE part IN (SELECT part FROM given WHERE day = ? GROUP BY part HAVING count() >= ? ORDER BY count() DESC LIMIT ?)
        GROUP BY day, part",
        sums("tokens", "length"),
        sums("first_token_us", "first_token"),
        sums("total_us", "latency"),
    );
    let query = during(warehouse.client().query(&sql), day);
    seen.bind(query).bind(day).bind(LEAST_ANSWERS).bind(MOST_SCOPES).fetch_all().await
}

async fn scores(warehouse: &Warehouse, day: u32, seen: &VisibleProjects) -> Result<Vec<ScoreDay>, Error> {
    let sql = format!(
        "SELECT day, part.1 AS scope, part.2 AS name, score,
            (count(), sum(number), sum(number * number)) AS figures
        FROM (SELECT request_id, toUInt32(toDate(started_at, 'UTC')) AS day, {SCOPES}
            FROM attempts WHERE {ANSWERS} AND {VISIBLE}) AS given
        INNER JOIN (SELECT request_id, toString(name) AS score, assumeNotNull(number) AS number FROM scores
            WHERE number IS NOT NULL AND {VISIBLE}) AS marked USING (request_id)
        GROUP BY day, part, score ORDER BY count() DESC LIMIT ?"
    );
    let query = during(warehouse.client().query(&sql), day);
    seen.bind(seen.bind(query)).bind(MOST_SCORES).fetch_all().await
}

/// What is new of the column that `kind` is named as.
async fn versions(
    warehouse: &Warehouse,
    day: u32,
    seen: &VisibleProjects,
    kind: AlertKind,
) -> Result<Vec<NewVersion>, Error> {
    let column = kind.as_str();
    let sql = format!(
        "WITH known AS (
            SELECT concat(toString(provider), '/', toString(model)) AS target, toString(ifNull({column}, '')) AS version,
                min(toUInt32(toDate(started_at, 'UTC'))) AS first, countIf(toUInt32(toDate(started_at, 'UTC')) = ?) AS answers
            FROM attempts WHERE {ANSWERS} AND {VISIBLE} GROUP BY target, version HAVING version != ''
        )
        SELECT target, version, before, answers
        FROM (SELECT target, version, answers FROM known WHERE first = ? AND answers >= ?) AS new
        INNER JOIN (SELECT target, arraySort(groupArray(10)(version)) AS before FROM known WHERE first < ? GROUP BY target) AS old
            USING (target)
        ORDER BY target, version LIMIT ?"
    );
    let query = during(warehouse.client().query(&sql).bind(day), day);
    let query = seen.bind(query).bind(day).bind(LEAST_OF_VERSION).bind(day).bind(MOST_VERSIONS);
    let new: Vec<NewWord> = query.fetch_all().await?;
    let with_kind =
        |NewWord { target, version, before, answers }| NewVersion { kind, target, version, before, answers };
    Ok(new.into_iter().map(with_kind).collect())
}
