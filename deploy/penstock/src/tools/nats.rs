//! `penstock nats-config` and `penstock provision`: a nats-server on which each role has a user with the least rights, and the
//! streams that those users may not make. Knows no
//! subject: see `rights`.

mod rights;

use crate::config::Config;
use crate::tools::output::write;
use crate::{Place, tools};
use anyhow::Context;
use penstock_ingress::BATCHES_SHOWN;
use penstock_schemas::name::ProviderId;
use penstock_schemas::subject::Subjects;
use rights::{BusRole, Rights, rights};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the configuration is to say besides.
#[derive(clap::Args)]
pub(crate) struct NatsConfigOptions {
    /// A provider whose workers get a user of their own, `worker-NAME`, that may serve it alone; may be repeated
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Where the server listens
    #[arg(long, default_value = "0.0.0.0:4222")]
    listen: String,
    /// The folder of its streams
    #[arg(long, default_value = "/var/lib/nats")]
    store: PathBuf,
    /// Where it tells how it is, over HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    monitor: Option<String>,
    /// The name of the cluster that it is part of; its servers listen for each other on port 6222
    #[arg(long, requires = "routes")]
    cluster: Option<String>,
    /// Another server of the cluster, or itself: nats://HOST:6222; may be repeated
    #[arg(long = "route", value_name = "URL", requires = "cluster")]
    routes: Vec<String>,
}

/// Prints the configuration of a nats-server.
pub(crate) fn print(place: &Place, options: &NatsConfigOptions) -> anyhow::Result<ExitCode> {
    let subjects = Config::load(place)?.nats.subjects;
    let mut roles = vec![BusRole::Operator, BusRole::Ingress, BusRole::Analytics];
    for name in &options.providers {
        let provider = ProviderId::parse(name.clone()).with_context(|| format!("--provider {name}"))?;
        roles.push(BusRole::Worker(Some(provider)));
    }
    if options.providers.is_empty() {
        roles.push(BusRole::Worker(None));
    }
    write(configuration(&subjects, &roles, options).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(subjects: &Subjects, roles: &[BusRole], options: &NatsConfigOptions) -> String {
    let users: String = roles.iter().map(|role| user(role, &rights(subjects, role))).collect();
    let NatsConfigOptions { listen, store, .. } = options;
    let monitor = options.monitor.iter().map(|address| format!("http: {address:?}\n"));
    let cluster = options.cluster.iter().map(|name| {
        let routes: Vec<String> = options.routes.iter().map(|route| format!("{route:?}")).collect();
        format!("cluster {{ name: {name:?}, listen: \"0.0.0.0:6222\", routes: [{}] }}\n", routes.join(", "))
    });
    let name = if options.cluster.is_none() { "server_name: \"penstock\"\n" } else { "" };
    let more: String = monitor.chain(cluster).collect();
    format!(
        r#"# Printed by `penstock nats-config`. Each role has a user with the least that it needs; the passwords are variables of the
# server's environment. The streams are made once, by `penstock provision` as the user `operator`.
{name}listen: "{listen}"
{more}max_payload: 8MB
write_deadline: "10s"
jetstream {{ store_dir: {store:?}, max_file_store: 1TB }}
# Against power loss, where there are no three replicas: jetstream {{ sync_interval: always }}
# tls {{ cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key" }}
accounts {{
  PENSTOCK {{
    jetstream: enabled
    users: [
{users}    ]
  }}
  SYS {{}}
}}
system_account: SYS
"#
    )
}

fn user(role: &BusRole, rights: &Rights) -> String {
    let name = role.user();
    let variable = format!("PENSTOCK_NATS_PASSWORD_{}", name.to_uppercase().replace(['-', '.'], "_"));
    let list =
        |subjects: &[String]| subjects.iter().map(|subject| format!("            \"{subject}\"\n")).collect::<String>();
    format!(
        "      {{ user: \"{name}\", password: ${variable}, permissions: {{\n          publish: {{ allow: [\n{}          ] }}\n          \
         subscribe: {{ allow: [\n{}          ] }}\n          allow_responses: {{ max: 1, expires: \"2m\" }}\n      }} }}\n",
        list(&rights.publish),
        list(&rights.subscribe),
    )
}

/// Makes every stream and bucket that is missing.
pub(crate) async fn provision(place: &Place) -> anyhow::Result<ExitCode> {
    let bus = tools::bus(place).await?;
    bus.provision(BATCHES_SHOWN).await?;
    write(b"Every stream and bucket is there.\n")?;
    Ok(ExitCode::SUCCESS)
}
