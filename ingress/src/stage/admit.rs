//! Admit: may this request come now? Counts it where requests are counted, and notes what its caller is told of it. What it
//! may cost is for `reserve`. Knows nothing of providers.

use super::limit_headers::RateStanding;
use super::record::Record;
use crate::limits::{CounterKind, Short, Want};
use crate::models::{Models, Named};
use crate::refusal::{OverRate, Refusal};
use crate::request::Request;
use crate::state::Shared;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::budget::Unit;
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::Target;
use penstock_schemas::stage::Stage;
use std::sync::Arc;
use std::time::Duration;

/// What to wait for a place among the requests at once.
const PLACE: Duration = Duration::from_secs(1);

/// That a request may come. Only this file makes one, and nothing is set aside without it.
pub(crate) struct Admitted(());

/// Admits a request.
pub(crate) async fn admit(request: &mut Request, ingress: &Shared, record: &mut Record) -> Result<Admitted, Refusal> {
    record.enter(Stage::Admit);
    record.joins(request.session.as_deref());
    request.join_session()?;
    record.goes_on_by(request.grant());
    let rules = ingress.rules();
    let now = clock::now();
    if !rules.has_rates(&request.key) {
        return Ok(Admitted(()));
    }
    let targets = targets(&ingress.models, &request.asked.model);
    let rates = rules.rates(&request.limit_query(&targets, now));
    let counted = ingress.keeper.count(&rates.requests).await;
    record.stands(Unit::Requests, tightest(ingress, &rates.requests, now));
    match counted {
        Ok(place) => record.holds_place(place),
        Err(Short::Counter(want, _)) => return Err(over(&want, now)),
        Err(Short::Crowded(want)) => return Err(crowded(&want, ingress, now)),
        Err(Short::Unknown) => return Err(Refusal::NotReady("the rate limits cannot be checked")),
    }
    Ok(Admitted(()))
}

/// Whom a name stands for, as far as it is known.
pub(crate) fn targets(models: &Models, name: &str) -> Vec<(Target, Option<Arc<ModelCard>>)> {
    let targets = match models.find(name) {
        Named::Own(model) => model.targets().cloned().collect(),
        Named::Target(target) => vec![target],
        Named::Ambiguous(_) | Named::Unknown(_) => Vec::new(),
    };
    targets.into_iter().map(|target| (target.clone(), models.card(&target))).collect()
}

/// The rate that has least left.
pub(super) fn tightest(ingress: &Shared, wants: &[Want], now: UnixMicros) -> Option<RateStanding> {
    let standing = |want: &Want| RateStanding {
        limit: want.limit,
        remaining: ingress.keeper.remaining(want),
        reset: want.until.map_or(PLACE, |until| until.since(now)),
    };
    wants
        .iter()
        .filter(|want| matches!(want.counted, CounterKind::Rate(_)))
        .map(standing)
        .min_by_key(|rate| rate.remaining)
}

/// The refusal where a project has named as many users, end users or sessions as may have counters of their own.
pub(super) fn crowded(want: &Want, ingress: &Shared, now: UnixMicros) -> Refusal {
    let what = "users, end users or sessions that a project names".to_owned();
    let (label, limit) = (want.label.clone(), ingress.config.counters as u64);
    let wait = want.until.map_or(PLACE, |until| until.since(now));
    Refusal::OverRate(Box::new(OverRate { label, limit, what, wait }))
}

/// The refusal for a rate that has no room.
pub(super) fn over(want: &Want, now: UnixMicros) -> Refusal {
    let what = match want.counted {
        CounterKind::Rate(what) => what.replace('_', " "),
        CounterKind::AtOnce | CounterKind::Budget { .. } => "requests at once".to_owned(),
    };
    let wait = want.until.map_or(PLACE, |until| until.since(now));
    Refusal::OverRate(Box::new(OverRate { label: want.label.clone(), limit: want.limit, what, wait }))
}
