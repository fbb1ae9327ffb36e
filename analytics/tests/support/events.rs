//! Events to write, with everything that a test does not care about filled in.

use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::Alert;
use penstock_schemas::asked_tools::AskedTools;
use penstock_schemas::envelope::{Caller, Dialect, Operation};
use penstock_schemas::event::{AttemptEnded, AttemptStarted, CacheResult, Outcome, RequestEvent, UsageEvent};
use penstock_schemas::model::PriceRow;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{KeyId, ProjectId, Target};
use penstock_schemas::usage::{Usage, UsageSource};
use std::time::Duration;

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const HOUR: u64 = 3600 * SECOND;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) fn now() -> UnixMicros {
    clock::now()
}

pub(crate) fn ago(micros: u64) -> UnixMicros {
    UnixMicros(clock::now().0 - micros)
}

pub(crate) fn caller(project: &str) -> Caller {
    Caller {
        project: ProjectId::parse(project).unwrap(),
        key_id: KeyId::parse(format!("{project}-key")).unwrap(),
        user: None,
        end_user: None,
        tags: [].into(),
    }
}

pub(crate) fn start(project: &str, target: &str, at: UnixMicros) -> AttemptStarted {
    AttemptStarted {
        attempt_id: clock::attempt_id(),
        request_id: clock::request_id(),
        started_at: at,
        deadline: at.after(Duration::from_secs(600)),
        caller: caller(project),
        target: Target::parse(target).unwrap(),
        virtual_model: None,
        operation: Operation::Chat,
        number: 1,
        link: 0,
        stream: false,
        worst_case: Some(usd("1")),
        price_id: Some("day1".to_owned()),
        worst_tokens: 0,
        worker: None,
        reserved: None,
        batch_id: None,
        native_batch: false,
        trace: None,
    }
}

pub(crate) fn end(start: &AttemptStarted, outcome: Outcome, usage: Usage, cost: &str) -> AttemptEnded {
    AttemptEnded {
        start: start.clone(),
        ended_at: start.started_at.after(Duration::from_secs(2)),
        outcome,
        failure: None,
        provider_status: Some(200),
        usage,
        usage_source: UsageSource::Provider,
        claimed: None,
        unpriced: None,
        cost: Some(usd(cost)),
        charged: None,
        charged_tokens: 0,
        first_token_us: Some(300_000),
        total_us: 2_000_000,
        model_version: None,
        provider_request_id: None,
        finish_reason: Some("stop".to_owned()),
        system_fingerprint: None,
        tools: AskedTools::default(),
    }
}

pub(crate) fn request(start: &AttemptStarted, cache: CacheResult) -> RequestEvent {
    RequestEvent {
        request_id: start.request_id,
        received_at: start.started_at,
        ended_at: start.started_at.after(Duration::from_secs(2)),
        caller: start.caller.clone(),
        dialect: Dialect::Openai,
        operation: Operation::Chat,
        model: start.target.model.to_string(),
        target: Some(start.target.clone()),
        attempts: 1,
        stream: false,
        outcome: Outcome::Served,
        failure: None,
        status: 200,
        cache,
        first_token_us: None,
        cost: None,
        saved: None,
        cache_source: None,
        batch_id: None,
        session: None,
        stages: Vec::new(),
        trace: None,
        route: None,
    }
}

pub(crate) fn tokens(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

pub(crate) fn usd(text: &str) -> Picodollars {
    Picodollars::parse(text).unwrap()
}

pub(crate) fn price(target: &str, id: &str, from: UnixMicros, json: &str) -> (Target, PriceRow) {
    let prices = serde_json::from_str(json).unwrap();
    (Target::parse(target).unwrap(), PriceRow { price_id: id.to_owned(), valid_from: from, prices })
}

pub(crate) fn started(start: &AttemptStarted) -> UsageEvent {
    UsageEvent::AttemptStarted(Box::new(start.clone()))
}

pub(crate) fn ended(end: AttemptEnded) -> UsageEvent {
    UsageEvent::AttemptEnded(Box::new(end))
}

pub(crate) fn raised(alert: &Alert) -> UsageEvent {
    UsageEvent::Alert(Box::new(alert.clone()))
}

pub(crate) fn requested(request: RequestEvent) -> UsageEvent {
    UsageEvent::Request(Box::new(request))
}
