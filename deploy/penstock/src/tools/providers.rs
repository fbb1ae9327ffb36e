//! `penstock providers`: the keys of providers, managed while everything runs. Secrets come from standard input or from the
//! environment, never from the command line, and are sealed before they go anywhere.

use super::output::{print, write};
use crate::config::Config;
use crate::up::{MASTER_KEY, data};
use crate::{Format, Place};
use anyhow::{Context, anyhow, ensure};
use penstock_ingress::manage::{Actor, Objects};
use penstock_runtime::{MasterKey, Secret};
use penstock_schemas::audit::Way;
use penstock_schemas::provider_key::{NewProviderKey, ProviderKeyChange, ProviderKeyShown};
use std::io::{ErrorKind, Read};
use std::process::ExitCode;

const COLUMNS: [&str; 6] = ["provider", "id", "source", "key", "weight", "state"];

#[derive(clap::Subcommand)]
pub(crate) enum ProviderCommand {
    /// Add, list and remove the keys that workers call a provider with; they take a change in under a second
    #[command(subcommand)]
    Keys(ProviderKeyCommand),
}

#[derive(clap::Subcommand)]
pub(crate) enum ProviderKeyCommand {
    /// Add a key: it is read from standard input, and kept sealed with the master key
    #[command(after_help = "Examples:
  penstock providers keys add openai < new-key.txt
  penstock providers keys add openai --id spare --weight 3 --from-env NEW_KEY
  penstock providers keys add openai --source file:/run/secrets/openai")]
    Add {
        /// The provider
        provider: String,
        /// Its name, for logs and alerts [default: one is made]
        #[arg(long)]
        id: Option<String>,
        /// Read it from this variable here and now
        #[arg(long, value_name = "NAME", conflicts_with = "source")]
        from_env: Option<String>,
        /// Keep no secret: workers read it from env:NAME or file:PATH
        #[arg(long)]
        source: Option<String>,
        /// Its share of the calls beside the provider's other keys
        #[arg(long, default_value_t = 1)]
        weight: u32,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the keys that are managed; those of the workers' configuration are not among them
    List {
        /// The provider [default: all]
        provider: Option<String>,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Remove a key: calls that are under way finish with it
    Remove {
        /// The provider
        provider: String,
        /// The key's name
        id: String,
    },
    /// Use a key no more until it is enabled again; also env:NAME or file:PATH of the workers' configuration
    Disable {
        /// The provider
        provider: String,
        /// The key's name
        id: String,
    },
    /// Use a key again
    Enable {
        /// The provider
        provider: String,
        /// The key's name
        id: String,
    },
}

pub(crate) async fn run(place: &Place, ProviderCommand::Keys(command): ProviderCommand) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(place)?.ingress;
    config.master_key = master_key(place)?;
    let bus = super::bus(place).await?;
    let objects = Box::pin(Objects::for_tool(&bus, &config)).await?;
    let done = Box::pin(manage(&objects, command)).await;
    let is_recorded = Box::pin(objects.close()).await;
    done?;
    ensure!(is_recorded, "the ledger has not confirmed the record of the change");
    Ok(ExitCode::SUCCESS)
}

async fn manage(objects: &Objects, command: ProviderKeyCommand) -> anyhow::Result<()> {
    let actor = Actor::admin("cli", Way::Cli);
    match command {
        ProviderKeyCommand::Add { provider, id, from_env, source, weight, format } => {
            let key = match source {
                Some(_) => None,
                None => Some(read_secret(from_env)?.reveal().to_owned()),
            };
            let new = NewProviderKey { id, key, source, weight };
            let (key, _) = objects.add_provider_key(&actor, &provider, new).await?;
            print(format, &COLUMNS, &[row(&key)], &key)
        }
        ProviderKeyCommand::List { provider, format } => {
            let (keys, _) = objects.provider_keys(&actor, provider.as_deref()).await?;
            show(&keys, format)
        }
        ProviderKeyCommand::Remove { provider, id } => {
            objects.remove_provider_key(&actor, &provider, &id).await?;
            write(format!("{id} of {provider} is removed\n").as_bytes())
        }
        ProviderKeyCommand::Disable { provider, id } => {
            switch(objects, &actor, (&provider, &id), false).await?;
            write(format!("{id} of {provider} is disabled\n").as_bytes())
        }
        ProviderKeyCommand::Enable { provider, id } => {
            switch(objects, &actor, (&provider, &id), true).await?;
            write(format!("{id} of {provider} is enabled\n").as_bytes())
        }
    }
}

async fn switch(objects: &Objects, actor: &Actor, key: (&str, &str), enabled: bool) -> anyhow::Result<()> {
    let change = ProviderKeyChange { enabled: Some(enabled), weight: None };
    objects.change_provider_key(actor, key, &change).await?;
    Ok(())
}

fn show(keys: &[ProviderKeyShown], format: Format) -> anyhow::Result<()> {
    let rows: Vec<[String; 6]> = keys.iter().map(row).collect();
    print(format, &COLUMNS, &rows, &keys)
}

fn row(key: &ProviderKeyShown) -> [String; 6] {
    let hint = key.hint.as_ref().map_or_else(String::new, |hint| format!("…{hint}"));
    let state = if key.enabled { "enabled" } else { "disabled" };
    [key.provider.clone(), key.id.clone(), key.source.clone(), hint, key.weight.to_string(), state.to_owned()]
}

fn read_secret(variable: Option<String>) -> anyhow::Result<Secret> {
    if let Some(name) = variable {
        return Secret::resolve(&format!("env:{name}")).map_err(|why| anyhow!(why));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the key cannot be read from standard input")?;
    Ok(Secret::new(text.trim()))
}

/// The operator's, else that of the `up` whose data are here.
fn master_key(place: &Place) -> anyhow::Result<Option<MasterKey>> {
    if let Some(master) = Config::load(place)?.master_key {
        return Ok(Some(master));
    }
    let file = data::path(place)?.join(MASTER_KEY);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let master = MasterKey::parse(&Secret::new(text));
            master.map(Some).map_err(|why| anyhow!("{}: {why}", file.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}
