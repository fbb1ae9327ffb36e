//! Reserve: is there money for it? What the planned calls can come to is set aside in every budget that they fall under, and
//! in the rates of tokens. Where there is none, the request is refused, or goes to the model that the budget names instead.

use super::admit::{Admitted, crowded, over, tightest};
use super::record::Record;
use super::route::{self, Route};
use crate::limits::{Hold, Short, Stood, Want};
use crate::refusal::{OverBudget, Refusal};
use crate::request::Request;
use crate::state::Shared;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::budget::{OnExceed, Unit};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::Target;
use penstock_schemas::plan::{Plan, Worst};
use penstock_schemas::stage::Stage;
use std::sync::Arc;
use tokio::time::Instant;

/// Models that one request is sent down to at most.
const DOWN: usize = 3;

/// A request that may come, has a plan and can be paid for. Only this file makes one, and only it can be sent.
pub(crate) struct Funded {
    pub(crate) request: Request,
    pub(crate) route: Route,
    /// What is set aside; `None`: no limit is for it.
    pub(crate) hold: Option<Hold>,
    _admitted: Admitted,
}

/// Sets aside what the request may come to.
pub(crate) async fn reserve(
    mut request: Request,
    mut route: Route,
    admitted: Admitted,
    ingress: &Shared,
    record: &mut Record,
) -> Result<Funded, Refusal> {
    record.enter(Stage::Reserve);
    let mut asked = vec![request.asked.model.clone()];
    loop {
        let (wanted, worst) = wants(&request, &route.plan, ingress, record)?;
        if wanted.is_empty() {
            return Ok(Funded { request, route, hold: None, _admitted: admitted });
        }
        match set_aside(&wanted, request.deadline, ingress).await {
            Ok(hold) => {
                route.plan = route.plan.bounded(&worst.unwrap_or_default());
                return Ok(Funded { request, route, hold: Some(hold), _admitted: admitted });
            }
            Err(NoMoney::Refused(refusal)) => return Err(refusal),
            // A way that leads back, or does not end soon, leads nowhere.
            Err(NoMoney::Down(_, model, refusal)) if asked.contains(&model) || asked.len() > DOWN => {
                return Err(refusal);
            }
            Err(NoMoney::Down(budget, model, _)) => {
                asked.push(model.clone());
                record.sent_down(&budget, &model);
                route = route::send_down(&mut request, &model, ingress).await?;
                record.routed(&route, &request);
            }
        }
    }
}

type Wanted = (Vec<Want>, Option<Vec<Worst>>);

/// Why nothing was set aside.
enum NoMoney {
    Refused(Refusal),
    /// This budget sends it to this model; and how it is refused where that is no way.
    Down(String, String, Refusal),
}

/// What is wanted of the counters, and what the request comes to at most at each link of the plan, where that is needed.
fn wants(request: &Request, plan: &Plan, ingress: &Shared, record: &mut Record) -> Result<Wanted, Refusal> {
    let rules = ingress.rules();
    if !rules.is_limiting(&request.key) {
        return Ok((Vec::new(), None));
    }
    let now = clock::now();
    let card = |target: &Target| ingress.models.card(target);
    let targets: Vec<(Target, Option<Arc<ModelCard>>)> =
        plan.links().iter().map(|link| (link.target.clone(), card(&link.target))).collect();
    let asked = request.limit_query(&targets, now);
    let tokens = rules.rates(&asked).tokens;
    record.stands(Unit::Tokens, tightest(ingress, &tokens, now));
    let (mut wanted, worst) = rules.budgets(&asked)?;
    wanted.extend(tokens);
    Ok((wanted, worst))
}

async fn set_aside(wanted: &[Want], deadline: UnixMicros, ingress: &Shared) -> Result<Hold, NoMoney> {
    let now = clock::now();
    // Who waits for a rate would wait for the clock; what is set aside in a budget may come back any moment.
    let patience = ingress.config.budget_wait.min(deadline.since(now));
    match ingress.keeper.set_aside(wanted, deadline, Instant::now() + patience).await {
        Ok(hold) => Ok(hold),
        Err(Short::Unknown) => Err(NoMoney::Refused(Refusal::NotReady("the budgets cannot be checked"))),
        Err(Short::Crowded(want)) => Err(NoMoney::Refused(crowded(&want, ingress, now))),
        Err(Short::Counter(want, _)) if !want.is_budget() => Err(NoMoney::Refused(over(&want, now))),
        Err(Short::Counter(want, stood)) => match want.on_exceed() {
            OnExceed::Downgrade(model) => {
                let refusal = refused(&want, stood, now);
                Err(NoMoney::Down(want.label, model, refusal))
            }
            OnExceed::Reject | OnExceed::Alert => {
                tell_spent(ingress, &want, stood, now);
                Err(NoMoney::Refused(refused(&want, stood, now)))
            }
        },
    }
}

/// A strict budget refuses before all of it is spent: whoever is to know that it is used up is told now.
fn tell_spent(ingress: &Shared, want: &Want, stood: Stood, now: UnixMicros) {
    let is_nearly_spent = stood.settled >= want.limit - want.limit / 5;
    let Some((counter, window)) = want.book.rsplit_once('.').filter(|_| is_nearly_spent) else { return };
    let alert = Alert::new(AlertKind::BudgetExceeded, counter, "100", window, now).about(&want.label);
    let [settled, limit] = [stood.settled, want.limit].map(|amount| want.unit.write(amount));
    ingress
        .alarm
        .raise(alert.saying(format!("the budget {} refuses requests: {settled} of {limit} is spent", want.label)));
}

fn refused(want: &Want, stood: Stood, now: UnixMicros) -> Refusal {
    Refusal::OverBudget(Box::new(OverBudget {
        label: want.label.clone(),
        unit: want.unit,
        limit: want.limit,
        settled: stood.settled,
        reserved: stood.reserved,
        needed: want.amount,
        resets: want.until.map(|until| (until, until.since(now))),
    }))
}
