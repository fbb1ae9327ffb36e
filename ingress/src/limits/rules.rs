//! Which counters a request falls under, and how much it needs in each: the operator's budgets and rates, and the key's own.
//! Pure but for the windows of cycles, which are kept until they end.

use crate::refusal::Refusal;
use jiff::tz::TimeZone;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{Counter, Generations};
use penstock_schemas::bound;
use penstock_schemas::budget::{Budget, Dimension, Mode, OnExceed, RateLimit, Scope, Unit};
use penstock_schemas::cycle::{self, Cycle, Window};
use penstock_schemas::directory::Directory;
use penstock_schemas::envelope::{Caller, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{ProjectId, Target};
use penstock_schemas::place;
use penstock_schemas::plan::Worst;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Keys whose own rules are kept ready; of others they are made anew.
const OWN_RULES: usize = 10_000;

/// The rates that hold for a day.
pub(super) const REQUESTS_A_DAY: &str = "requests_per_day";
pub(super) const TOKENS_A_DAY: &str = "tokens_per_day";

/// What a request is, as far as limits look at it.
pub(crate) struct LimitQuery<'a> {
    pub(crate) caller: &'a Caller,
    /// The session that it is a part of.
    pub(crate) session: Option<&'a str>,
    pub(crate) key: &'a VirtualKey,
    /// The name that was asked for.
    pub(crate) model: &'a str,
    pub(crate) operation: Operation,
    pub(crate) extent: &'a Extent,
    /// Whom it may call, and what is known of them.
    pub(crate) targets: &'a [(Target, Option<Arc<ModelCard>>)],
    pub(crate) now: UnixMicros,
}

/// What a request needs in one counter.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// The key of the counter's book.
    pub(crate) book: String,
    /// Which limit, and which of its counters: `search-users[ann]`.
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) limit: u64,
    pub(crate) amount: u64,
    /// When the counter begins anew.
    pub(crate) until: Option<UnixMicros>,
    pub(crate) counted: CounterKind,
    /// The project, where callers name whom the counter is for.
    pub(crate) named_by: Option<ProjectId>,
}

/// What sort of counter it is.
#[derive(Clone, Debug)]
pub(crate) enum CounterKind {
    /// Money or tokens of a budget.
    Budget { scope: Box<Scope>, mode: Mode, on_exceed: OnExceed },
    /// Requests or tokens in a minute or a day.
    Rate(&'static str),
    /// Requests at once.
    AtOnce,
}

/// Where the book of a counter lies, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CounterSort {
    Budget,
    /// Of a minute.
    Rate,
    DayRate,
    AtOnce,
}

impl Want {
    pub(super) fn sort(&self) -> CounterSort {
        match self.counted {
            CounterKind::Budget { .. } => CounterSort::Budget,
            CounterKind::Rate(REQUESTS_A_DAY | TOKENS_A_DAY) => CounterSort::DayRate,
            CounterKind::Rate(_) => CounterSort::Rate,
            CounterKind::AtOnce => CounterSort::AtOnce,
        }
    }

    /// Whether it is refused when there is no more.
    pub(crate) fn is_hard(&self) -> bool {
        !matches!(&self.counted, CounterKind::Budget { on_exceed: OnExceed::Alert, .. })
    }

    /// What happens to a request for which there is no more.
    pub(crate) fn on_exceed(&self) -> OnExceed {
        match &self.counted {
            CounterKind::Budget { on_exceed, .. } => on_exceed.clone(),
            CounterKind::Rate(_) | CounterKind::AtOnce => OnExceed::Reject,
        }
    }

    pub(crate) fn is_budget(&self) -> bool {
        matches!(self.counted, CounterKind::Budget { .. })
    }
}

/// All limits, ready for use.
#[derive(Default)]
pub(crate) struct Rules {
    budgets: Vec<BudgetRule>,
    rates: Vec<RateRule>,
    own: Mutex<HashMap<String, Arc<Own>>>,
}

/// The limits of one key.
struct Own {
    key: VirtualKey,
    budgets: Vec<BudgetRule>,
    rates: Vec<RateRule>,
}

struct BudgetRule {
    budget: Budget,
    generation: Option<String>,
    unit: Unit,
    limit: u64,
    zone: TimeZone,
    window: RwLock<Window>,
}

struct RateRule {
    name: String,
    scope: Scope,
    per: Vec<Dimension>,
    rates: penstock_schemas::budget::Rates,
}

/// The rates of a request: what counts when it comes, and what counts by its tokens.
pub(crate) struct RateWants {
    pub(crate) requests: Vec<Want>,
    pub(crate) tokens: Vec<Want>,
}

impl Rules {
    pub(crate) fn of(directory: &Directory) -> Self {
        let of = |budget| BudgetRule::of(budget, &directory.generations);
        let budgets = directory.budgets.values().filter_map(of).collect();
        Self { budgets, rates: directory.limits.values().map(RateRule::of).collect(), own: Mutex::default() }
    }

    fn own(&self, key: &VirtualKey) -> Option<Arc<Own>> {
        if key.budgets.is_empty() && key.rates.is_none() {
            return None;
        }
        let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(key.id.as_str()).filter(|own| own.key == *key) {
            return Some(own.clone());
        }
        if all.len() >= OWN_RULES {
            all.clear();
        }
        let own = Arc::new(Own::of(key));
        all.insert(key.id.to_string(), own.clone());
        Some(own)
    }

    /// Whether any rate may be for this key.
    pub(crate) fn has_rates(&self, key: &VirtualKey) -> bool {
        !self.rates.is_empty() || key.rates.is_some()
    }

    /// Whether any limit may be for this key.
    pub(crate) fn is_limiting(&self, key: &VirtualKey) -> bool {
        self.has_rates(key) || !self.budgets.is_empty() || !key.budgets.is_empty()
    }

    /// What the request needs of rates.
    pub(crate) fn rates(&self, asked: &LimitQuery<'_>) -> RateWants {
        let own = self.own(asked.key);
        let of_key = own.iter().flat_map(|own| own.rates.iter().map(|rule| (rule, Some(asked.key.id.as_str()))));
        let mut wanted = RateWants { requests: Vec::new(), tokens: Vec::new() };
        for (rule, owner) in self.rates.iter().map(|rule| (rule, None)).chain(of_key) {
            if rule.scope.matches_caller(asked.caller, asked.session) && matches_any(&rule.scope, asked) {
                rule.want(owner, asked, &mut wanted);
            }
        }
        wanted
    }

    /// What the request needs in budgets; and, where a strict one is for it, the most that it can come to at each target.
    ///
    /// # Errors
    /// When a budget counts money, and a model that it is for has no price.
    pub(crate) fn budgets(&self, asked: &LimitQuery<'_>) -> Result<(Vec<Want>, Option<Vec<Worst>>), Refusal> {
        let own = self.own(asked.key);
        let of_key = own.iter().flat_map(|own| own.budgets.iter().map(|rule| (rule, Some(asked.key.id.as_str()))));
        let mut wants = Vec::new();
        let mut amounts = Amounts::new(asked);
        for (rule, owner) in self.budgets.iter().map(|rule| (rule, None)).chain(of_key) {
            let is_in = owner.is_some() || rule.budget.scope.matches_caller(asked.caller, asked.session);
            if is_in && matches_any(&rule.budget.scope, asked) {
                wants.extend(rule.want(owner, asked, &mut amounts)?);
            }
        }
        Ok((wants, amounts.worst))
    }
}

/// Whether a scope holds for some target of the request.
fn matches_any(scope: &Scope, asked: &LimitQuery<'_>) -> bool {
    scope.is_any_target() || asked.targets.iter().any(|(target, _)| scope.matches_target(asked.model, target))
}

impl Own {
    fn of(key: &VirtualKey) -> Self {
        let budgets = key.budgets.iter().filter_map(|budget| BudgetRule::of(budget, &key.generations)).collect();
        let rates =
            key.rates.map(|rates| RateRule { name: "own".to_owned(), scope: Scope::default(), per: Vec::new(), rates });
        Self { key: key.clone(), budgets, rates: rates.into_iter().collect() }
    }
}

/// What the request comes to at each target, computed once.
struct Amounts<'a> {
    asked: &'a LimitQuery<'a>,
    worst: Option<Vec<Worst>>,
    usual: Option<Vec<Worst>>,
}

impl<'a> Amounts<'a> {
    fn new(asked: &'a LimitQuery<'a>) -> Self {
        Self { asked, worst: None, usual: None }
    }

    fn of(&mut self, mode: Mode) -> &[Worst] {
        let LimitQuery { operation, extent, targets, .. } = *self.asked;
        let each = |bound: fn(Option<&ModelCard>, Operation, &Extent) -> Worst| {
            targets
                .iter()
                .map(|(target, card)| bound(card.as_deref(), operation, &extent.at(target.model.as_str())))
                .collect()
        };
        match mode {
            Mode::Strict => self.worst.get_or_insert_with(|| each(bound::worst)),
            Mode::Expected => self.usual.get_or_insert_with(|| each(bound::usual)),
        }
    }
}

impl BudgetRule {
    /// One that is not valid was refused when it was written.
    fn of(budget: &Budget, generations: &Generations) -> Option<Self> {
        let generation = generations.get(&budget.name).cloned();
        let zone = cycle::zone(budget.zone()).ok()?;
        let (unit, limit) = budget.limit();
        let window = RwLock::new(budget.cycle.window(UnixMicros(0), &zone));
        Some(Self { budget: budget.clone(), generation, unit, limit, zone, window })
    }

    fn window(&self, now: UnixMicros) -> Window {
        if self.budget.cycle == Cycle::Total {
            return self.budget.cycle.window(now, &self.zone);
        }
        let known = self.window.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.from <= now && known.until.is_some_and(|until| now < until) {
            return known;
        }
        let window = self.budget.cycle.window(now, &self.zone);
        *self.window.write().unwrap_or_else(PoisonError::into_inner) = window.clone();
        window
    }

    fn want(
        &self,
        owner: Option<&str>,
        asked: &LimitQuery<'_>,
        amounts: &mut Amounts<'_>,
    ) -> Result<Option<Want>, Refusal> {
        let Budget { name, scope, per, mode, on_exceed, .. } = &self.budget;
        let mut amount = 0;
        let each = amounts.of(*mode);
        for ((target, _), Worst { usd, tokens }) in asked.targets.iter().zip(each) {
            if !scope.is_any_target() && !scope.matches_target(asked.model, target) {
                continue;
            }
            let at_target = match self.unit {
                Unit::Usd => {
                    let at = if asked.extent.is_priority { " at the service that is asked for" } else { "" };
                    usd.ok_or_else(|| Refusal::Unpriced { model: format!("{target}{at}"), budget: name.clone() })?
                }
                Unit::Tokens | Unit::Requests => *tokens,
            };
            amount = amount.max(at_target);
        }
        let window = self.window(asked.now);
        let generation = self.generation.as_deref();
        let counter = owner.map_or(Counter::Budget(name, generation), |key| Counter::OfKey(key, name, generation));
        let (book, label) = named(counter, per, asked, &window.name);
        let counted = CounterKind::Budget {
            scope: Box::new(narrowed(scope, asked.model)),
            mode: *mode,
            on_exceed: on_exceed.clone(),
        };
        let (unit, limit) = (self.unit, self.limit);
        let named_by = named_by(per, asked);
        Ok(Some(Want { book, label, unit, limit, amount, until: window.until, counted, named_by }))
    }
}

/// The scope as a worker can judge it, who knows targets and not the name that was asked for.
fn narrowed(scope: &Scope, asked: &str) -> Scope {
    let model = scope.model.clone().filter(|pattern| !penstock_schemas::pattern::matches(pattern, asked));
    Scope { model, ..scope.clone() }
}

impl RateRule {
    fn of(limit: &RateLimit) -> Self {
        let RateLimit { name, scope, per, rates } = limit.clone();
        Self { name, scope, per, rates }
    }

    fn place(&self, owner: Option<&str>, what: &str, asked: &LimitQuery<'_>, window: &str) -> (String, String) {
        let counter = owner.map_or(Counter::Rate(&self.name, what), |key| Counter::RateOfKey(key, what));
        named(counter, &self.per, asked, window)
    }

    fn want(&self, owner: Option<&str>, asked: &LimitQuery<'_>, wanted: &mut RateWants) {
        let rates = &self.rates;
        let (minute, day) = (cycle::minute(asked.now), Cycle::Daily.window(asked.now, &TimeZone::UTC));
        let want = |what: &'static str, unit, limit: u64, amount, window: &Window| {
            let (book, label) = self.place(owner, &what.replace('_', "-"), asked, &window.name);
            let counted = CounterKind::Rate(what);
            let named_by = named_by(&self.per, asked);
            Want { book, label, unit, limit, amount, until: window.until, counted, named_by }
        };
        let requests = [
            ("requests_per_minute", rates.requests_per_minute, &minute),
            (REQUESTS_A_DAY, rates.requests_per_day, &day),
        ];
        for (what, limit, window) in requests {
            wanted.requests.extend(limit.map(|limit| want(what, Unit::Requests, limit, 1, window)));
        }
        let tokens =
            [("tokens_per_minute", rates.tokens_per_minute, &minute), (TOKENS_A_DAY, rates.tokens_per_day, &day)];
        if tokens.iter().any(|(_, limit, _)| limit.is_some()) {
            let each = asked
                .targets
                .iter()
                .map(|(_, card)| bound::usual(card.as_deref(), asked.operation, asked.extent).tokens);
            let usual = each.max().unwrap_or(0);
            for (what, limit, window) in tokens {
                // What is larger than the whole limit is taken when there is room for nothing else.
                wanted.tokens.extend(limit.map(|limit| want(what, Unit::Tokens, limit, usual.min(limit), window)));
            }
        }
        if let Some(limit) = rates.concurrent_requests {
            let (book, label) = self.place(owner, "at-once", asked, "now");
            let (unit, counted, named_by) = (Unit::Requests, CounterKind::AtOnce, named_by(&self.per, asked));
            wanted.requests.push(Want { book, label, unit, limit, amount: 1, until: None, counted, named_by });
        }
    }
}

fn named_by(per: &[Dimension], asked: &LimitQuery<'_>) -> Option<ProjectId> {
    per.iter().any(|dimension| dimension.is_named_by_callers()).then(|| asked.caller.project.clone())
}

/// The key of a counter's book, and its name for people.
fn named(counter: Counter<'_>, per: &[Dimension], asked: &LimitQuery<'_>, window: &str) -> (String, String) {
    if per.is_empty() {
        return (counter.key(None, window), counter.label());
    }
    let values: Vec<&str> = per.iter().map(|dimension| dimension.of(asked.caller, asked.session)).collect();
    (counter.key(Some(&place::part(&values)), window), format!("{}[{}]", counter.label(), values.join(",")))
}
