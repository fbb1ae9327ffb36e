//! The first reading of a batch's file: every line is checked as a request is, a bad one gets its result at once, and what
//! all of them may come to is held against the budgets. Sends nothing.

use super::lead::{Halt, Lead};
use super::line::{BadLine, Line, endpoint};
use super::lines::{Lines, Text};
use super::{native, result};
use crate::allow;
use crate::limits::{LimitQuery, Want};
use crate::refusal::Refusal;
use crate::session;
use crate::stage::{admit, line, route};
use crate::state::Shared;
use bytes::Bytes;
use penstock_dialects::client::{ClientRequest, Endpoint};
use penstock_runtime::clock;
use penstock_schemas::batch::{Batch, BatchStatus, NAMED_ERRORS, Tally};
use penstock_schemas::key::VirtualKey;
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What the names of lines are compared by: the first half of their SHA-256, since they may be long.
type NameHash = [u8; 16];

/// Models that the lines of a batch may name.
const MODELS: usize = 500;

/// Reads all lines once.
pub(super) async fn validate(lead: &mut Lead) -> Result<(), Halt> {
    let ingress = lead.ingress.clone();
    let batch = lead.batch.clone();
    let key = match line::find_owner(&batch, &ingress) {
        Ok(found) => found.key,
        Err(refusal) => return lead.fail("key_not_valid", refusal.to_string()).await,
    };
    let Some(endpoint) = endpoint(&batch.endpoint) else {
        return lead.fail("invalid_endpoint", "this version has no such endpoint").await;
    };
    let Some(file) = super::input(&ingress, &batch).await? else {
        return lead.fail("file_not_found", format!("the file {} does not exist any more", batch.input_file)).await;
    };
    let mut lines = Lines::new(file, ingress.config.body_limit);
    let (most, mut sum) = (ingress.config.batch.lines, Sum::default());
    let mut checks = Checks {
        batch: &batch,
        endpoint: &endpoint,
        key: &key,
        ingress: &ingress,
        names: HashSet::new(),
        models: BTreeMap::new(),
    };
    lead.batch.errors.clear();
    lead.batch.uncount();
    while let Some((number, text)) = lines.next().await.map_err(|error| Halt::File(error.to_string()))? {
        if number > most {
            return lead.fail("too_many_lines", format!("the file has more than {most} lines ([batch] lines)")).await;
        }
        lead.batch.counts.total = lead.batch.counts.total.max(number);
        let checked = match text {
            Text::TooLong => {
                let why = format!("the line is longer than {} bytes ([ingress] body_limit)", ingress.config.body_limit);
                Err(BadLine::new(None, "line_too_long", why, None))
            }
            Text::Whole(line) => checks.check(&line),
        };
        match checked {
            Ok(wants) => sum.add(wants),
            Err(bad) => refuse(lead, number, bad).await?,
        }
        lead.beat().await?;
        if lead.batch.status == BatchStatus::Cancelling {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    let models = std::mem::take(&mut checks.models);
    lead.batch.native = native::lanes(&lead.batch, &models, &ingress.models);
    lead.batch.models = models.into_keys().collect();
    conclude(lead, &sum).await
}

/// What becomes of a batch whose lines are all checked.
async fn conclude(lead: &mut Lead, sum: &Sum) -> Result<(), Halt> {
    let counts = lead.batch.counts;
    if counts.total == 0 {
        return lead.fail("empty_file", "the file has no lines: each must be a request").await;
    }
    if counts.failed == counts.total {
        lead.batch.outcome = Some(BatchStatus::Failed);
        return lead.turn(BatchStatus::Finalizing).await;
    }
    if let Some(why) = sum.short(&lead.ingress) {
        return lead.fail("insufficient_budget", why).await;
    }
    lead.turn(BatchStatus::InProgress).await
}

/// What the lines of a file are checked against.
struct Checks<'a> {
    batch: &'a Batch,
    endpoint: &'a Endpoint,
    key: &'a Arc<VirtualKey>,
    ingress: &'a Shared,
    /// The names of the lines so far.
    names: HashSet<NameHash>,
    /// The models that they name, and how often.
    models: BTreeMap<String, u64>,
}

impl Checks<'_> {
    /// What a line needs in each budget, when it can be run.
    fn check(&mut self, text: &Bytes) -> Result<Vec<Want>, BadLine> {
        let line = Line::read(text, &self.batch.endpoint)?;
        let hash = digest(&SHA256, line.custom_id.as_bytes());
        let hash: NameHash = hash.as_ref()[..16].try_into().expect("it has 32 bytes");
        if !self.names.insert(hash) {
            let why = "another line of the file has this `custom_id`";
            return Err(BadLine::new(Some(line.custom_id), "duplicate_custom_id", why, Some("custom_id")));
        }
        let asked = line.ask(self.endpoint.clone())?;
        let wants = wants(&asked, self.batch, self.key, self.ingress);
        let wants = wants.map_err(|refusal| BadLine::refused(line.custom_id.clone(), &refusal))?;
        if self.models.len() >= MODELS && !self.models.contains_key(&asked.model) {
            let why = format!("the lines of a batch may name {MODELS} models");
            return Err(BadLine::new(Some(line.custom_id), "too_many_models", why, Some("body.model")));
        }
        *self.models.entry(asked.model).or_default() += 1;
        Ok(wants)
    }
}

/// What a request of a batch needs in each budget, when its model is there and allowed.
pub(super) fn wants(
    asked: &ClientRequest,
    batch: &Batch,
    key: &Arc<VirtualKey>,
    ingress: &Shared,
) -> Result<Vec<Want>, Refusal> {
    route::first_provider(&asked.model, &ingress.models)?;
    allow::check_name(key, &asked.model, ingress)?;
    let rules = ingress.rules();
    if !rules.is_limiting(key) {
        return Ok(Vec::new());
    }
    let targets = admit::targets(&ingress.models, &asked.model);
    let session = session::of_body(&asked.body);
    let query = LimitQuery {
        caller: &batch.caller,
        session: session.as_ref().map(|session| session.id.as_str()),
        key,
        model: &asked.model,
        operation: asked.operation,
        extent: &asked.extent,
        targets: &targets,
        now: clock::now(),
    };
    let (wants, _) = rules.budgets(&query)?;
    Ok(wants.into_iter().filter(Want::is_hard).collect())
}

/// A bad line has its result at once.
async fn refuse(lead: &mut Lead, number: u64, bad: BadLine) -> Result<(), Halt> {
    let BadLine { custom_id, mut error } = bad;
    error.line = Some(number);
    let written = result::unsent(clock::request_id(), custom_id.as_deref(), &error);
    let place = (&lead.batch.id, number);
    lead.ingress.batches.jobs.put_result(place, &Tally::default(), &written).await?;
    lead.batch.counts.failed += 1;
    if lead.batch.errors.len() < NAMED_ERRORS {
        lead.batch.errors.push(error);
    }
    Ok(())
}

/// What all lines may come to in each budget.
#[derive(Default)]
struct Sum(BTreeMap<String, Want>);

impl Sum {
    fn add(&mut self, wants: Vec<Want>) {
        for want in wants {
            match self.0.get_mut(&want.book) {
                Some(sum) => sum.amount = sum.amount.saturating_add(want.amount),
                None => drop(self.0.insert(want.book.clone(), want)),
            }
        }
    }

    /// Why it cannot be paid for. What calls in flight have set aside counts as left: most of it comes back.
    fn short(&self, ingress: &Shared) -> Option<String> {
        let short = self.0.values().find(|want| want.amount > ingress.keeper.unspent(want))?;
        let amounts = [short.amount, short.limit, ingress.keeper.unspent(short)];
        let [needed, limit, left] = amounts.map(|amount| short.unit.write(amount));
        let label = &short.label;
        Some(format!(
            "the lines may come to {needed} in all, and the budget `{label}` of {limit} has {left} left: raise it, set \
             `max_completion_tokens` in the lines, or send fewer of them"
        ))
    }
}
