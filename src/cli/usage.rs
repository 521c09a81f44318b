//! `usage`: the sums of what was used, by hour.

use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::Cell;

use crate::model::{Moment, UnixMicros, UsageSums, size};
use crate::service::{UsageDocument, UsageOrder, UsageReport, UsageRequest};
use crate::store::UsageBy;

use super::context::Context;
use super::error::CliError;
use super::flags::{ComponentFlag, component_pattern, count, moment};
use super::output;
use super::render::{byte_seconds, cell, duration, plural, thousands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner usage
  run-wasm-runner usage --by key --since 2026-11-01 --until 2026-12-01 --json
  run-wasm-runner usage --by component,hour --since 24h --component 'customer-*'

Hours are those of UTC. An hour has what ended in it: an attempt of three hours is counted at its end.")]
pub struct UsageArgs {
    /// Make a line for each component, fairness key or hour, or for each combination of them
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', default_value = "component")]
    pub by: Vec<By>,

    /// From this time on, rounded down to the hour: `24h` ago, `2026-11-01` or `2026-11-01T12:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "24h")]
    pub since: Moment,

    /// Until this time, rounded up to the hour [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Moment>,

    /// Only that of components whose names fit this pattern; repeatable [`NAME=PATH` adds a component, as everywhere]
    // It stands in the place of the global one, which has the same id.
    #[arg(id = "components", long = "component", value_name = "GLOB", value_parser = component_pattern)]
    pub components: Vec<ComponentFlag>,

    /// Only that of fairness keys that fit this pattern; repeatable
    #[arg(long = "key", value_name = "GLOB")]
    pub keys: Vec<String>,

    /// The order of the lines
    #[arg(long, value_name = "WHAT", value_enum, default_value = "cpu")]
    pub sort: Sort,

    /// At most this many lines; 0 prints them all
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = count)]
    pub limit: usize,
}

/// What makes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The name of the component
    Component,
    /// The fairness key
    Key,
    /// The hour, in UTC
    Hour,
}

/// The order of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The most processor time first
    Cpu,
    /// The most memory and time first
    Memory,
    /// The most calls first
    Calls,
    /// The most failures first
    Failures,
    /// By hour, component and key
    Hour,
}

impl UsageArgs {
    /// Returns the request that the flags make.
    fn request(&self, now: UnixMicros) -> UsageRequest {
        let has = |what| self.by.contains(&what);
        let patterns = self.components.iter().filter(|flag| flag.path.is_none());
        UsageRequest {
            since: self.since.before(now),
            until: self.until.map(|until| until.before(now)),
            components: patterns.map(|flag| flag.name.clone()).collect(),
            fairness_keys: self.keys.clone(),
            by: UsageBy { component: has(By::Component), fairness_key: has(By::Key), hour: has(By::Hour) },
            order: match self.sort {
                Sort::Cpu => UsageOrder::Cpu,
                Sort::Memory => UsageOrder::Memory,
                Sort::Calls => UsageOrder::Calls,
                Sort::Failures => UsageOrder::Failures,
                Sort::Hour => UsageOrder::Hour,
            },
            limit: Some(self.limit).filter(|limit| *limit > 0),
        }
    }
}

/// Runs `usage`.
pub fn run(args: &UsageArgs, context: &Context) -> Result<(), CliError> {
    let request = args.request(context.service.clock().now());
    let UsageReport { since, until, lines, total, left_out } = context.service.usage(&request)?;
    if since != request.since || request.until.is_some_and(|asked| asked != until) {
        output::note(&format!("whole hours: from {} to {}", hour(since), hour(until)));
    }
    if context.json {
        context.output().documents(&lines)?;
    } else if lines.is_empty() {
        let missing = context.service.missing();
        output::note(missing.as_deref().unwrap_or("nothing was used in these hours"));
    } else {
        table(&request.by, &lines, &total, context)?;
    }
    if left_out > 0 {
        let left_out = plural(left_out, "line");
        output::note(&format!(
            "{left_out} left out of those above, and counted in the total: `--limit 0` prints all"
        ));
    }
    Ok(())
}

/// Prints a line for each document, and one for the total.
fn table(
    by: &UsageBy,
    lines: &[UsageDocument],
    total: &UsageSums,
    context: &Context,
) -> Result<(), CliError> {
    let groups = [(by.hour, "HOUR"), (by.component, "COMPONENT"), (by.fairness_key, "KEY")];
    let groups = groups.into_iter().filter(|(has, _)| *has).map(|(_, heading)| heading.to_owned());
    // Of the rest of the bill, what was used at all.
    let used: Vec<_> =
        figures(total).into_iter().filter(|figure| !figure.is_optional || figure.value > 0).collect();
    let names: Vec<&'static str> = used.iter().map(|figure| figure.name).collect();
    let headings: Vec<String> = groups.chain(used.iter().map(|figure| figure.heading.clone())).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let shown = |sums: &UsageSums| {
        let shown = figures(sums).into_iter().filter(|figure| names.contains(&figure.name));
        shown.map(|figure| cell(&figure.text())).collect::<Vec<Cell>>()
    };
    let row = |line: &UsageDocument| {
        let mut cells = Vec::new();
        cells.extend(line.hour.map(|at| cell(&hour(at))));
        cells.extend(line.component.as_ref().map(|name| cell(name.as_deref().unwrap_or_default())));
        cells.extend(line.fairness_key.as_deref().map(cell));
        cells.extend(shown(&line.sums));
        cells
    };
    let mut rows: Vec<_> = lines.iter().map(row).collect();
    let mut last = vec![cell("TOTAL")];
    last.resize_with(headings.len() - names.len(), || cell(""));
    last.extend(shown(total));
    rows.push(last);
    context.output().rows(&headings, rows)
}

/// The beginning of an hour.
fn hour(at: UnixMicros) -> String {
    let text = at.to_rfc3339();
    text.strip_suffix(":00.000000Z").map_or(text.clone(), |minutes| format!("{minutes}Z"))
}

/// A number of the sums.
struct Figure {
    name: &'static str,
    heading: String,
    value: u64,
    /// Whether it is left out if there is nothing of it.
    is_optional: bool,
}

impl Figure {
    fn text(&self) -> String {
        match self.name {
            "cpu_micros" => duration(Duration::from_micros(self.value)),
            "memory_byte_seconds" => byte_seconds(self.value),
            name if name.ends_with("_bytes") => size(self.value),
            _ => thousands(self.value),
        }
    }
}

fn figures(sums: &UsageSums) -> Vec<Figure> {
    let always = ["calls", "failures", "cpu_micros", "memory_byte_seconds"];
    let figure = |(name, value): (&'static str, u64)| {
        let heading = match name {
            "cpu_micros" => "CPU".to_owned(),
            "memory_byte_seconds" => "MEMORY TIME".to_owned(),
            name => name.strip_suffix("_bytes").unwrap_or(name).to_uppercase(),
        };
        Figure { name, heading, value, is_optional: !always.contains(&name) }
    };
    let fuel = ("fuel", sums.bill.fuel.unwrap_or(0));
    sums.counts().chain(sums.entries()).chain([fuel]).map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ages_or_times() {
        assert_eq!(moment("24h"), Ok(Moment::Ago(Duration::from_secs(86_400))));
        assert_eq!(moment("1970-01-02"), Ok(Moment::At(UnixMicros(86_400_000_000))));
        for bad in ["", "24", "2026-13-01", "-1h", "yesterday"] {
            let error = moment(bad).expect_err(bad);
            assert!(error.contains("`2026-11-01`"), "{error}");
        }
    }

    #[test]
    fn hours_are_short() {
        assert_eq!(hour(UnixMicros(86_400_000_000)), "1970-01-02T00:00Z");
    }
}
