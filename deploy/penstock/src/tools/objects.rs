//! `penstock projects|users|budgets|limits|admins|webhooks`: what is managed, by the same verbs for all. Knows no rule about
//! any of them: `manage` does.

use super::manage::{Counter, print_done, told};
use super::output::print;
use crate::{Format, Place};
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use penstock_ingress::manage::{Force, Wish};
use penstock_schemas::audit::Way;
use penstock_schemas::kind::Kind;
use penstock_schemas::managed::Object;
use serde_json::{Map, Value};
use std::process::ExitCode;
use std::time::Duration;

/// What is done to the objects of one sort: `penstock budgets list`. There is a command for each, but for virtual keys,
/// which have one of their own.
pub(crate) struct KindCommand {
    kind: Kind,
    command: ObjectCommand,
}

impl KindCommand {
    fn kinds() -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Key)
    }
}

impl FromArgMatches for KindCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let unknown = || clap::Error::new(ErrorKind::InvalidSubcommand);
        let (word, matches) = matches.subcommand().ok_or_else(unknown)?;
        let kind = Self::kinds().find(|kind| kind.plural() == word).ok_or_else(unknown)?;
        Ok(Self { kind, command: ObjectCommand::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for KindCommand {
    fn augment_subcommands(all: Command) -> Command {
        Self::kinds().fold(all, |all, kind| {
            let about = kind.description().map_or("", |kind| kind.about);
            let command = ObjectCommand::augment_subcommands(Command::new(kind.plural()));
            all.subcommand(command.about(about).subcommand_required(true).arg_required_else_help(true))
        })
    }

    fn augment_subcommands_for_update(all: Command) -> Command {
        Self::augment_subcommands(all)
    }

    fn has_subcommand(name: &str) -> bool {
        Self::kinds().any(|kind| kind.plural() == name)
    }
}

#[derive(Subcommand)]
enum ObjectCommand {
    /// List all
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one
    Show {
        /// Its name
        name: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Make one
    #[command(after_help = EXAMPLES)]
    Create {
        /// Its name
        name: String,
        /// Its fields, as FIELD=VALUE: match.project=search
        fields: Vec<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Change some fields of one; an empty value takes a field away
    #[command(after_help = EXAMPLES)]
    Set {
        /// Its name
        name: String,
        /// The fields, as FIELD=VALUE
        #[arg(required = true)]
        fields: Vec<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Remove one
    Delete {
        /// Its name
        name: String,
        /// Also a project that keys belong to
        #[arg(long)]
        force: bool,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Give an admin a new token, shown once; the older one is refused
    #[command(hide = true)]
    Rotate {
        /// Its name
        name: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

const EXAMPLES: &str = "\
Examples:
  penstock projects create search models='openai/*,chat'
  penstock budgets create search-monthly match.project=search limit_usd=50 cycle=monthly time_zone=Europe/Berlin
  penstock budgets set search-monthly limit_usd=80 on_exceed.downgrade=chat
  penstock limits create per-user per=user rates.requests_per_minute=60 rates.concurrent_requests=5
  penstock admins create ann role=owner projects=search
  penstock webhooks create ops url=https://hooks.example.org/x secret=env:PENSTOCK_WEBHOOK_SECRET

The fields are those of deploy/penstock.example.toml.";

pub(crate) async fn run(place: &Place, KindCommand { kind, command }: KindCommand) -> anyhow::Result<ExitCode> {
    let counter = Box::pin(Counter::open(place, Way::Cli)).await?;
    let (wish, format) = match command {
        ObjectCommand::List { format } => {
            let objects = counter.objects.list(&counter.actor, kind).await.map_err(told)?.0;
            print_objects(kind, &objects, format, &Value::Array(objects.clone()))?;
            return Ok(ExitCode::SUCCESS);
        }
        ObjectCommand::Show { name, format } => {
            let object = counter.objects.one(&counter.actor, kind, &name).await.map_err(told)?.0;
            print_objects(kind, std::slice::from_ref(&object), format, &object)?;
            return Ok(ExitCode::SUCCESS);
        }
        ObjectCommand::Create { name, fields, format } => {
            let mut value = assigned(kind, &fields)?;
            value[kind.name_field()] = Value::String(name);
            (Wish::Create(without_nulls(value)), format)
        }
        ObjectCommand::Set { name, fields, format } => (Wish::Merge(name, assigned(kind, &fields)?), format),
        ObjectCommand::Delete { name, force, format } => {
            (Wish::Delete(name, if force { Force::Yes } else { Force::No }), format)
        }
        ObjectCommand::Rotate { name, format } => (Wish::Rotate(name, Duration::ZERO), format),
    };
    let done = Box::pin(counter.carry_out(kind, wish)).await?;
    print_done(kind, &done, format)?;
    Ok(ExitCode::SUCCESS)
}

/// `match.project=search limit_usd=50` as an object: each value in the first form that fits its field.
pub(super) fn assigned(kind: Kind, pairs: &[String]) -> anyhow::Result<Value> {
    let mut all = Value::Object(Map::new());
    for pair in pairs {
        let Some((path, text)) = pair.split_once('=') else {
            anyhow::bail!("`{pair}` is no field: write FIELD=VALUE, such as limit_usd=50");
        };
        let nested = |value: Value| {
            path.rsplit('.').fold(value, |value, name| Value::Object([(name.to_owned(), value)].into_iter().collect()))
        };
        let json: Option<Value> = serde_json::from_str(text).ok();
        let list = || text.split(',').map(|part| Value::String(part.trim().to_owned())).collect::<Vec<_>>().into();
        let forms = [Some(Value::String(text.to_owned())), json, Some(list())];
        let fits = |value: &Value| Object::fits(kind, &nested(value.clone()));
        let value = forms.into_iter().flatten().find(fits).unwrap_or_else(|| Value::String(text.to_owned()));
        join(&mut all, nested(if text.is_empty() { Value::Null } else { value }));
    }
    Ok(all)
}

fn join(all: &mut Value, more: Value) {
    match (all, more) {
        (Value::Object(all), Value::Object(more)) => {
            for (name, value) in more {
                join(all.entry(name).or_insert(Value::Null), value);
            }
        }
        (all, more) => *all = more,
    }
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

fn print_objects(kind: Kind, objects: &[Value], format: Format, value: &Value) -> anyhow::Result<()> {
    if kind == Kind::Budget {
        return print_budgets(objects, format, value);
    }
    let columns = kind.description().map_or(&[][..], |kind| kind.columns);
    let row = |object: &Value| columns.iter().map(|column| text(&object[*column])).collect::<Vec<String>>();
    print(format, columns, &objects.iter().map(row).collect::<Vec<_>>(), value)
}

/// A line for each counter: how much of it is used, and when it begins anew.
fn print_budgets(budgets: &[Value], format: Format, value: &Value) -> anyhow::Result<()> {
    let columns =
        ["name", "match", "for", "cycle", "settled", "reserved", "limit", "unit", "left", "resets", "on_exceed"];
    let mut rows = Vec::new();
    for budget in budgets {
        let unit = if budget["limit_tokens"].is_null() { "usd" } else { "tokens" };
        let limit = if unit == "usd" { &budget["limit_usd"] } else { &budget["limit_tokens"] };
        let row = |window: &Value| {
            let of_window = |name: &str| text(&window[name]);
            let until = of_window("until");
            let resets = if until.is_empty() && !window.is_null() { "never".to_owned() } else { until };
            let cells = [
                text(&budget["name"]),
                text(&budget["match"]),
                of_window("part"),
                text(&budget["cycle"]),
                of_window("settled"),
                of_window("reserved"),
                text(limit),
                unit.to_owned(),
                of_window("left"),
                resets,
                text(&budget["on_exceed"]),
            ];
            cells.to_vec()
        };
        match budget["windows"].as_array() {
            Some(windows) if !windows.is_empty() => rows.extend(windows.iter().map(row)),
            _ => rows.push(row(&Value::Null)),
        }
    }
    print(format, &columns, &rows, value)
}

/// A value in a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_take_the_form_that_fits_them() {
        for (kind, pairs, expected) in [
            (
                Kind::Budget,
                "limit_usd=50 match.project=search",
                json!({"limit_usd": "50", "match": {"project": "search"}}),
            ),
            (Kind::Budget, "limit_tokens=50 alert_at=[50,90]", json!({"limit_tokens": 50, "alert_at": [50, 90]})),
            (
                Kind::Budget,
                "per=user,project match.tags.team=7",
                json!({"per": ["user", "project"], "match": {"tags": {"team": "7"}}}),
            ),
            (Kind::Budget, "on_exceed.downgrade=chat", json!({"on_exceed": {"downgrade": "chat"}})),
            (
                Kind::Project,
                "enabled=false description=5 models=openai/*",
                json!({"enabled": false, "description": "5", "models": ["openai/*"]}),
            ),
            (Kind::Limit, "rates.requests_per_minute=5", json!({"rates": {"requests_per_minute": 5}})),
            (Kind::Budget, "time_zone= colour=red", json!({"time_zone": null, "colour": "red"})),
        ] {
            let pairs: Vec<String> = pairs.split(' ').map(ToOwned::to_owned).collect();
            assert_eq!(assigned(kind, &pairs).unwrap(), expected, "{pairs:?}");
        }
        assert!(assigned(Kind::Budget, &["limit_usd".to_owned()]).is_err());
    }
}
