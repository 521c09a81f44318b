//! `quotas`: how much of each quota is used.

use std::fmt::Display;

use clap::Args;

use crate::model::{size, span};
use crate::service::{QuotaDocument, Quotas};

use super::context::Context;
use super::error::CliError;
use super::output;
use super::render::{cell, duration, plural, thousands};

#[derive(Debug, Args)]
pub struct QuotasArgs {
    /// List also sections without a quota, and those that they hold for
    #[arg(long)]
    pub all: bool,
}

/// Runs `quotas`.
pub fn run(args: &QuotasArgs, context: &Context) -> Result<(), CliError> {
    let Quotas { documents, left_out } = context.service.quotas(args.all)?;
    let now = context.service.clock().now();
    let headings = ["HOLDER", "NAME", "UNFINISHED", "STORED", "SUBMITS", "SET BY"];
    context.list(&documents, "no quotas are set", &headings, |quota| {
        let submits = quota.submits_limit.zip(quota.submits_window);
        let submits =
            submits.map(|(limit, window)| format!("{} in {}", thousands(limit.into()), span(window)));
        let config = quota.set_by.as_ref().and_then(|by| by.config.as_deref());
        let set_by = quota.set_by.as_ref().map_or("", |by| &by.host);
        let config = config.unwrap_or("no configuration file");
        let ago = duration(now.since(quota.set_at));
        vec![
            cell(quota.holder.as_str()),
            cell(quota.name.as_ref().unwrap_or(&quota.pattern)),
            cell(&used(quota, quota.unfinished.map(thousands), quota.unfinished_limit.map(thousands))),
            cell(&used(quota, quota.stored_bytes.map(size), quota.stored_bytes_limit.map(size))),
            cell(&used(quota, quota.submits.map(thousands), submits)),
            cell(&format!("{set_by}, {config}, {ago} ago")),
        ]
    })?;
    if left_out > 0 && !context.json {
        output::note(&format!("{} without a quota: `--all` lists them", plural(left_out, "line")));
    }
    Ok(())
}

/// Says how much is used; of the quota itself, how much may be.
fn used(quota: &QuotaDocument, count: Option<impl Display>, limit: Option<String>) -> String {
    match (count, limit) {
        (Some(count), Some(limit)) => format!("{count} of {limit}"),
        (None, Some(limit)) if quota.name.is_none() => format!("at most {limit}"),
        (None, Some(limit)) => limit,
        (Some(count), None) => count.to_string(),
        (None, None) => String::new(),
    }
}
