//! `penstock bodies`: what is kept of the requests and answers of a user is deleted; the same as `DELETE /admin/v1/bodies`.

use super::manage::{Counter, told};
use super::output::print;
use crate::{Format, Place};
use anyhow::bail;
use penstock_schemas::audit::Way;
use penstock_schemas::body::BodyDeletion;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
#[command(after_help = "Example:\n  penstock bodies delete --user ann@example.com")]
pub(crate) enum BodyCommand {
    /// Deletes those of a user, and counts what is left
    Delete(DeleteOptions),
}

#[derive(clap::Args)]
pub(crate) struct DeleteOptions {
    /// The user, or the end user, of the requests
    #[arg(long)]
    user: String,
    /// Only those of this project
    #[arg(long)]
    project: Option<String>,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) async fn run(place: &Place, command: &BodyCommand) -> anyhow::Result<ExitCode> {
    let BodyCommand::Delete(options) = command;
    let counter = Counter::open(place, Way::Cli).await?;
    let bus = super::bus(place).await?;
    let whose = BodyDeletion { user: options.user.clone(), project: options.project.clone() };
    let done = counter.objects.delete_bodies(&counter.actor, &bus, &whose).await.map_err(told)?;
    Box::pin(counter.close()).await?;
    let row = [[options.user.clone(), done.deleted.to_string(), done.left.to_string()]];
    print(options.format, &["user", "deleted", "left"], &row, &done)?;
    if done.left > 0 {
        bail!("{} bodies are left: they came meanwhile; delete them again", done.left);
    }
    Ok(ExitCode::SUCCESS)
}
