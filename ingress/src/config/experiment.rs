//! Experiments: sections `[[experiments]]`. Who goes to which arm, what is copied, and what stops an arm. Knows nothing of
//! requests.

use penstock_runtime::config::{Document, Section};
use penstock_schemas::experiment::{ExperimentPlan, Figure};
use penstock_schemas::name::{KeyId, Target};
use penstock_schemas::percent::parse_percent;
use penstock_schemas::score;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// One experiment on a virtual model.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What reports go by.
    pub plan: ExperimentPlan,
    /// The arms; the first is the one that the others are compared with.
    pub arms: Vec<ExperimentArm>,
    /// Arms that get copies of requests, off their way.
    pub shadows: Vec<ShadowArm>,
}

/// An arm that answers callers.
#[derive(Clone, Debug)]
pub struct ExperimentArm {
    /// Its name.
    pub name: String,
    /// Its part of the users.
    pub share: f64,
    /// Its targets, of those of the model, in this order.
    pub targets: Vec<Target>,
}

/// An arm that answers copies.
#[derive(Clone, Debug)]
pub struct ShadowArm {
    /// Its name.
    pub name: String,
    /// The part of the requests that is copied.
    pub share: f64,
    /// Who answers the copies.
    pub target: Target,
    /// The virtual key that asks and pays for them.
    pub key: KeyId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArm {
    name: String,
    percent: String,
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShadow {
    name: String,
    percent: String,
    model: String,
    key: String,
}

impl Experiment {
    /// Reads the sections. `targets`: those of a virtual model; `None` when there is no such model.
    pub(super) fn read_all(document: &mut Document, targets: impl Fn(&str) -> Option<Vec<Target>>) -> Vec<Self> {
        let (mut all, mut names, mut models) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for mut section in document.entries("experiments") {
            let Some(one) = Self::read(&mut section, &targets) else { continue };
            if !names.insert(one.plan.name.clone()) {
                section.mistake("name", &format!("`{}` is there twice", one.plan.name));
            }
            if !models.insert(one.plan.model.clone()) {
                section.mistake("model", &format!("`{}` has another experiment", one.plan.model));
            }
            all.push(one);
        }
        all
    }

    fn read(section: &mut Section, targets: impl Fn(&str) -> Option<Vec<Target>>) -> Option<Self> {
        let name: Option<String> = section.get("name");
        let model: Option<String> = section.get("model");
        let score: String = section.or("score", "quality".to_owned());
        if let Some(why) = score::mistake_of_name(&score) {
            section.mistake("score", &why);
        }
        let guard: Vec<Figure> = section.get("guard").unwrap_or_else(|| vec![Figure::Errors]);
        let raw: Option<Vec<RawArm>> = parse(section, "arms");
        let shadows: Option<Vec<RawShadow>> = parse(section, "shadows");
        let (Some(name), Some(model)) = (name, model) else {
            section.mistake("", "must have a `name` and the `model` that it is on");
            return None;
        };
        let Some(known) = targets(&model) else {
            section.mistake("model", &format!("there is no virtual model `{model}`"));
            return None;
        };
        let arms = raw.unwrap_or_default().into_iter().map(|arm| read_arm(arm, &known)).collect::<Result<Vec<_>, _>>();
        let shadows = shadows.unwrap_or_default().into_iter().map(read_shadow).collect::<Result<Vec<_>, _>>();
        let arms = arms.map_err(|why| section.mistake("arms", &why)).ok()?;
        let shadows = shadows.map_err(|why| section.mistake("shadows", &why)).ok()?;
        check(section, &arms, &shadows);
        let of_arms = arms.iter().map(|arm| (arm.name.clone(), arm.share));
        let of_shadows = shadows.iter().map(|arm| (arm.name.clone(), arm.share));
        let plan = ExperimentPlan { name, model, arms: of_arms.chain(of_shadows).collect(), score, guard };
        Some(Self { plan, arms, shadows })
    }
}

fn parse<T: serde::de::DeserializeOwned>(section: &mut Section, key: &str) -> Option<T> {
    let value: Value = section.json(key)?;
    serde_json::from_value(value).map_err(|error| section.mistake(key, &error.to_string())).ok()
}

fn check(section: &Section, arms: &[ExperimentArm], shadows: &[ShadowArm]) {
    let sum: f64 = arms.iter().map(|arm| arm.share).sum();
    if arms.is_empty() || (sum - 1.0).abs() > 1e-9 {
        section.mistake("arms", &format!("their percentages must come to 100, not to {:.2}", sum * 100.0));
    }
    let mut names = BTreeSet::new();
    for name in arms.iter().map(|arm| &arm.name).chain(shadows.iter().map(|arm| &arm.name)) {
        if !names.insert(name) {
            section.mistake("arms", &format!("`{name}` is there twice"));
        }
    }
}

fn share(arm: &str, percent: &str) -> Result<f64, String> {
    parse_percent(percent).ok_or_else(|| format!("`{arm}`: `{percent}` is not a percentage: write it as \"10%\""))
}

fn read_arm(arm: RawArm, known: &[Target]) -> Result<ExperimentArm, String> {
    let RawArm { name, percent, targets } = arm;
    let share = share(&name, &percent)?;
    let find = |text: &String| {
        let found = known.iter().find(|target| target.to_string() == *text).cloned();
        found.ok_or_else(|| format!("`{name}`: `{text}` is not one of the model's targets"))
    };
    let targets: Vec<Target> = targets.iter().map(find).collect::<Result<_, _>>()?;
    if targets.is_empty() {
        return Err(format!("`{name}`: `targets` must name at least one"));
    }
    Ok(ExperimentArm { name, share, targets })
}

fn read_shadow(arm: RawShadow) -> Result<ShadowArm, String> {
    let RawShadow { name, percent, model, key } = arm;
    let share = share(&name, &percent)?;
    let target = Target::parse(&model).map_err(|error| format!("`{name}`: {error}"))?;
    let key = KeyId::parse(key).map_err(|error| format!("`{name}`: {error}"))?;
    Ok(ShadowArm { name, share, target, key })
}
