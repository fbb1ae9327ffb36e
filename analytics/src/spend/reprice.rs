//! What spending would have been at the prices of another day: in SQL, from the usage that each attempt keeps, by the same rules
//! as `Prices::charge`. Knows the columns of `attempts` and `prices`.

use super::dimension::Dimension;
use super::read::{MOST_ROWS, group, projects, tags, texts, time};
use crate::warehouse::Warehouse;
use clickhouse::Row;
use clickhouse::error::Error;
use penstock_schemas::spend::{RepriceQuery, RepricedSums, SpendQuery, Unpriced};
use serde::Deserialize;

/// Models that are named as having no price.
const MOST_UNPRICED: usize = 100;

/// A row of the answer; the one with all rows together is the total.
#[derive(Row, Deserialize)]
pub(super) struct Repriced {
    pub(super) is_total: u8,
    pub(super) by: Vec<Option<String>>,
    attempts: u64,
    cost_usd: String,
    repriced_usd: String,
    difference_usd: String,
    unpriced: u64,
}

#[derive(Row, Deserialize)]
struct Missing {
    target: String,
    attempts: u64,
    cost_usd: String,
}

impl Repriced {
    pub(super) fn sums(self) -> RepricedSums {
        RepricedSums {
            attempts: self.attempts,
            cost_usd: self.cost_usd,
            repriced_usd: self.repriced_usd,
            difference_usd: self.difference_usd,
            unpriced: self.unpriced,
        }
    }
}

/// The token classes: their count in `attempts`, and the prices that they are charged at, the first that there is.
const CLASSES: [(&str, &[&str]); 10] = [
    ("input_tokens", &["input"]),
    ("cache_read_tokens", &["cache_read", "input"]),
    ("cache_write_tokens", &["cache_write", "input"]),
    ("cache_write_1h_tokens", &["cache_write_1h", "cache_write", "input"]),
    ("input_audio_tokens", &["input_audio", "input"]),
    ("input_image_tokens", &["input_image", "input"]),
    ("output_tokens", &["output"]),
    ("reasoning_tokens", &["reasoning", "output"]),
    ("output_audio_tokens", &["output_audio", "output"]),
    ("output_image_tokens", &["output_image", "output"]),
];

/// What tiers can change.
const TIERED: [&str; 10] = [
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
];

/// The rows, and the total.
pub(super) async fn read(
    warehouse: &Warehouse,
    query: &RepriceQuery,
    dimensions: &[Dimension<'_>],
) -> Result<Vec<Repriced>, Error> {
    let sql = format!(
        "SELECT toUInt8(grouping(by)) AS is_total, by, sum(count) AS attempts, toString(sum(old)) AS cost_usd,
            toString(sum(new)) AS repriced_usd, toString(sum(new) - sum(old)) AS difference_usd,
            sum(without) AS unpriced
        FROM (
            SELECT {by} AS by, count() AS count, sum(charged) AS old, sum(ifNull(repriced, toDecimal128(0, 12))) AS new,
                countIf(has_rest) AS without
            FROM ({attempts}) {group}
        )
        GROUP BY GROUPING SETS ((by), ())
        ORDER BY is_total DESC, sum(old) DESC, by
        LIMIT {most}",
        by = texts(dimensions),
        attempts = attempts(query, dimensions),
        group = group(dimensions),
        most = MOST_ROWS + 2,
    );
    tags(dimensions).fold(warehouse.client().query(&sql), |rows, tag| rows.bind(tag).bind(tag)).fetch_all().await
}

/// The models that have no price at that date.
pub(super) async fn unpriced(warehouse: &Warehouse, query: &RepriceQuery) -> Result<Vec<Unpriced>, Error> {
    let sql = format!(
        "SELECT concat(provider, '/', model) AS target, count() AS attempts, toString(sum(charged)) AS cost_usd
        FROM ({}) WHERE has_rest GROUP BY target ORDER BY attempts DESC, target LIMIT {MOST_UNPRICED}",
        attempts(query, &[]),
    );
    let rows: Vec<Missing> = warehouse.client().query(&sql).fetch_all().await?;
    let missing = |row: Missing| Unpriced { target: row.target, attempts: row.attempts, cost_usd: row.cost_usd };
    Ok(rows.into_iter().map(missing).collect())
}

/// Each attempt with what it was charged and what it would have cost: NULL where there is no price. What cannot be made out of
/// the usage stays as it was.
fn attempts(query: &RepriceQuery, dimensions: &[Dimension<'_>]) -> String {
    let keys: String = dimensions.iter().enumerate().map(|(i, d)| format!("{} AS key{i}, ", d.attempts())).collect();
    let SpendQuery { since, until, .. } = query.spend;
    let terms = Terms::all();
    format!(
        "SELECT *,
            ifNull(cost_usd, toDecimal128(0, 12)) AS charged,
            usage_source = 'unknown' OR outcome = 'refused' AS stays,
            if(stays, charged, toDecimal128({cost}, 12)) AS repriced,
            NOT stays AND ({rest}) AS has_rest
        FROM (
            SELECT {keys} a.provider AS provider, a.model AS model, cost_usd, usage_source, outcome, native_batch, {counts},
                images, seconds, characters, searches, code_executions, file_searches, {prices},
                characters_usd_per_million, usd_per_image, usd_per_second, usd_per_search, usd_per_code_execution,
                usd_per_file_search, batch_rate, batch_cache_read_rate,
                arrayLast(tier -> ifNull(total_input_tokens, 0) > tier.above_input_tokens, p.tier_list) AS tier
            FROM attempts AS a
            LEFT JOIN ({in_force}) AS p ON p.provider = a.provider AND p.model = a.model
            WHERE started_at >= {since} AND started_at < {until}{projects}
        )",
        cost = terms.cost(),
        rest = terms.rest(),
        counts = CLASSES.map(|(count, _)| count).join(", "),
        prices = TIERED.map(|name| format!("{name}_usd_per_million")).join(", "),
        in_force = in_force(query),
        projects = projects(&query.spend.projects),
        since = time(since.0),
        until = time(until.0),
    )
}

/// For each model the price that was in force; its tiers as tuples.
fn in_force(query: &RepriceQuery) -> String {
    let fields = TIERED.map(|name| format!("{name} Nullable(String)")).join(", ");
    format!(
        "SELECT *, JSONExtract(tiers, 'Array(Tuple(above_input_tokens UInt64, {fields}))') AS tier_list
        FROM prices WHERE valid_from <= {}
        ORDER BY provider, model, valid_from DESC, price_id LIMIT 1 BY provider, model",
        time(query.at.0)
    )
}

/// The price of a class that is charged at the first of these that there is, in SQL; through the provider's own batch API at
/// its rate of that, as `Prices::in_batch` has it.
fn price(names: &[&str]) -> String {
    let first = |names: &[&str]| {
        let each = names
            .iter()
            .map(|name| format!("toDecimal256OrNull(tier.{name}, 12), toDecimal256({name}_usd_per_million, 12)"));
        format!("coalesce({})", each.collect::<Vec<_>>().join(", "))
    };
    let part = |price: &str, rate: &str| {
        format!("toDecimal256(floor({price} * {rate} + toDecimal256('0.0000000000005', 24), 12), 12)")
    };
    let usual = first(names);
    let in_batch = match names {
        ["cache_read", others @ ..] => {
            let read = part(&first(&["cache_read"]), "batch_cache_read_rate");
            format!("coalesce({read}, {})", part(&first(others), "batch_rate"))
        }
        _ => part(&usual, "batch_rate"),
    };
    format!("if(native_batch AND batch_rate IS NOT NULL, {in_batch}, {usual})")
}

/// What was used, in SQL: what each class costs in millionths of a dollar, NULL where it has no price; and whether it is part
/// of the rest then.
struct Terms(Vec<(String, String)>);

impl Terms {
    fn all() -> Self {
        let is_used = |count: &str| format!("ifNull({count}, 0) > 0");
        let used = |count: &str, price: &str| format!("if({}, {count} * {price}, toDecimal256(0, 12))", is_used(count));
        let outputs = [6, 8, 9].map(|class: usize| CLASSES[class]);
        let any = |conditions: Vec<String>| format!("({})", conditions.join(" OR "));
        // Images, seconds and characters beside output tokens with a price are only told; and so are tokens without a price
        // beside such units that have one.
        let by_tokens = any(outputs
            .iter()
            .map(|(count, names)| format!("({} AND {} IS NOT NULL)", is_used(count), price(names)))
            .collect());
        let has_output = any(outputs.iter().map(|(count, _)| is_used(count)).collect());
        let units = [
            ("characters", "characters_usd_per_million", 1),
            ("images", "usd_per_image", 1_000_000),
            ("seconds", "usd_per_second", 1_000_000),
        ];
        let is_priced = units.map(|(count, name, _)| format!("({} AND {name} IS NOT NULL)", is_used(count)));
        let by_units = format!("(NOT {by_tokens} AND {})", any(is_priced.to_vec()));
        let tokens = CLASSES.iter().map(|(count, names)| (used(count, &price(names)), format!("NOT {by_units}")));
        let units = units.map(|(count, name, millions)| {
            let term = used(count, &format!("toDecimal256({name}, 12) * {millions}"));
            (format!("if({by_tokens}, toDecimal256(0, 12), {term})"), format!("NOT {has_output}"))
        });
        let fees = [
            ("searches", "usd_per_search"),
            ("code_executions", "usd_per_code_execution"),
            ("file_searches", "usd_per_file_search"),
        ];
        let fees =
            fees.map(|(count, name)| (used(count, &format!("toDecimal256({name}, 12) * 1000000")), "true".to_owned()));
        Self(tokens.chain(units).chain(fees).collect())
    }

    /// The cost in dollars of what has a price, rounded half up to a whole picodollar.
    fn cost(&self) -> String {
        let terms: Vec<String> =
            self.0.iter().map(|(term, _)| format!("ifNull({term}, toDecimal256(0, 12))")).collect();
        format!("floor(toDecimal256({}, 18) / 1000000 + toDecimal256('0.0000000000005', 18), 12)", terms.join(" + "))
    }

    /// Whether something was used that has no price.
    fn rest(&self) -> String {
        let rests = self.0.iter().map(|(term, is_rest)| format!("({term} IS NULL AND {is_rest})"));
        rests.collect::<Vec<_>>().join(" OR ")
    }
}
