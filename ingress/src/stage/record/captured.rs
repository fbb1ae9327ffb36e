//! Whether a request and its answer are captured, and for what: to be kept, judged or checked. Knows nothing of what becomes of
//! them.

use crate::capture::{AnswerToCheck, Capture, CaptureContext, CaptureUse};
use crate::checking::is_checkable;
use crate::config::JudgeConfig;
use crate::request::Request;
use crate::state::Shared;
use penstock_schemas::body::is_sampled;
use penstock_schemas::envelope::Operation;
use std::sync::Arc;

/// What is captured of a request, if its body is kept or its answer judged or checked. A form is not: it holds files.
pub(super) fn capture(request: &Request, ingress: &Shared) -> Option<Box<Capture>> {
    let (config, caller, asked) = (&ingress.config, &request.caller, &request.asked);
    let (project, key, model) = (caller.project.as_str(), caller.key_id.as_str(), asked.model.as_str());
    let is_kept = is_sampled(request.id, config.bodies.share(project, key, model));
    let is_chat = matches!(asked.operation, Operation::Chat | Operation::Completions);
    let is_judged = |judge: &&Arc<JudgeConfig>| is_chat && is_sampled(request.id, judge.share(project, key, model));
    let judges: Vec<Arc<JudgeConfig>> = config.judges.iter().filter(is_judged).cloned().collect();
    let is_checked = is_checkable(asked) && is_sampled(request.id, config.checks.share(project, key, model));
    if request.is_judging || asked.content_type.is_some() || !(is_kept || is_checked || !judges.is_empty()) {
        return None;
    }
    let check = is_checked.then(|| AnswerToCheck { asked: asked.clone(), journal: ingress.journal.clone() });
    let wanted = CaptureUse { is_kept, judges, to_judge: ingress.to_judge.clone(), check: check.map(Box::new) };
    let context = CaptureContext {
        policy: config.bodies.clone(),
        places: ingress.rooms.captures.clone(),
        memory: ingress.memory.clone(),
        bus: ingress.bus.clone(),
        metrics: ingress.metrics.clone(),
    };
    Capture::begin(context, wanted, &asked.body).map(Box::new)
}
