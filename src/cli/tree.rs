//! `tree`: an invocation and everything that came of it.

use std::collections::{HashMap, HashSet};

use clap::Args;

use crate::model::{InvocationId, InvocationName, Outcome, Status, UnixMicros, failure_line};
use crate::service::{InvocationDocument, Tree};
use crate::store::Counts;

use super::context::Context;
use super::error::CliError;
use super::harmless::harmless_line;
use super::output;
use super::render::{Ids, duration, run_time, standing, status_word, thousands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner tree 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner tree 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --all")]
pub struct TreeArgs {
    /// Any invocation of the tree: its id, or at least 6 of its first or last digits
    pub id: InvocationName,

    /// Draw every child
    #[arg(long)]
    pub all: bool,
}

/// Children of one parent that are drawn without `--all`.
const SHOWN_CHILDREN: usize = 10;

/// The most characters of a failure's message.
const MESSAGE_CHARS: usize = 120;

/// Lines that are drawn without `--all`.
const SHOWN_LINES: usize = 1_000;

/// Generations below the first that are drawn with lines: those below them stand under each other, or the lines of a
/// chain of a hundred thousand would be gigabytes.
const DRAWN_GENERATIONS: usize = 50;

/// Runs `tree`.
pub fn run(args: &TreeArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let id = context.service.resolve(&args.id)?;
    let Tree { root, members, is_uprooted } = context.service.tree(id)?;
    if is_uprooted {
        let message = format!("the root `{root}` was removed: what hung on it can't be drawn as a tree");
        output::note(&message);
    }
    if context.json {
        return context.invocations(&members);
    }
    let (shown, lines) = if args.all { (usize::MAX, usize::MAX) } else { (SHOWN_CHILDREN, SHOWN_LINES) };
    let drawing = Drawing {
        shown,
        lines,
        marked: Some(id).filter(|id| *id != root),
        ids: Ids::of(members.iter().map(|one| one.id), output::is_terminal()),
        now: context.service.clock().now(),
        has_colours: output.has_colours(),
    };
    drawing.draw(&members, &mut |line| output.line(line))?;
    output.flush()
}

struct Drawing {
    /// The most children of one parent.
    shown: usize,
    /// The most lines.
    lines: usize,
    /// The invocation that was asked for.
    marked: Option<InvocationId>,
    ids: Ids,
    now: UnixMicros,
    has_colours: bool,
}

/// A line that is still to be drawn, with its beginning.
enum Step<'a> {
    Invocation { invocation: &'a InvocationDocument, depth: usize, branch: String, below: String },
    More { rest: &'a [&'a InvocationDocument], branch: String },
}

impl Drawing {
    fn draw(
        &self,
        invocations: &[InvocationDocument],
        line: &mut impl FnMut(&str) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut children: HashMap<InvocationId, Vec<&InvocationDocument>> = HashMap::new();
        for invocation in invocations {
            if let Some(parent) = invocation.parent {
                children.entry(parent).or_default().push(invocation);
            }
        }
        let ids: HashSet<_> = invocations.iter().map(|invocation| invocation.id).collect();
        let is_there = |parent: InvocationId| ids.contains(&parent);
        let roots = invocations.iter().filter(|invocation| !invocation.parent.is_some_and(is_there));
        // A stack and not a recursion: chains of children can be very deep.
        let mut steps: Vec<Step<'_>> = roots
            .map(|invocation| Step::Invocation {
                invocation,
                depth: 0,
                branch: String::new(),
                below: String::new(),
            })
            .collect();
        let mut lines = 0;
        while let Some(step) = steps.pop() {
            if lines == self.lines {
                return line(&format!(
                    "… of {} invocations (`--all` draws them)",
                    thousands(invocations.len() as u64)
                ));
            }
            lines += 1;
            match step {
                Step::More { rest, branch } => line(&format!("{branch}{}", more(rest)))?,
                Step::Invocation { invocation, depth, branch, below } => {
                    let deep = if depth > DRAWN_GENERATIONS { format!("({depth}) ") } else { String::new() };
                    line(&format!("{branch}{deep}{}", self.describe(invocation)))?;
                    let Some(children) = children.get(&invocation.id) else { continue };
                    // One too many is drawn rather than counted.
                    let shown = if children.len() - 1 <= self.shown { children.len() } else { self.shown };
                    let (drawn, rest) = children.split_at(shown);
                    if !rest.is_empty() {
                        steps.push(Step::More { rest, branch: format!("{below}└─ ") });
                    }
                    for (index, child) in drawn.iter().enumerate().rev() {
                        let is_last = rest.is_empty() && index + 1 == drawn.len();
                        let (corner, bar) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                        steps.push(Step::Invocation {
                            invocation: child,
                            depth: depth + 1,
                            branch: format!("{below}{corner}"),
                            below: if depth < DRAWN_GENERATIONS {
                                format!("{below}{bar}")
                            } else {
                                below.clone()
                            },
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn describe(&self, invocation: &InvocationDocument) -> String {
        let mut text = format!(
            "{} {}",
            harmless_line(&invocation.task),
            status_word(invocation.status, self.has_colours)
        );
        if let Some(standing) = standing(invocation, self.now) {
            text.push_str(&format!(", {standing}"));
        }
        if let Some(time) = run_time(invocation, self.now) {
            text.push_str(&format!(" {}", duration(time)));
        }
        if invocation.attempt > 1 {
            text.push_str(&format!(" (attempt {})", invocation.attempt));
        }
        if invocation.detached {
            text.push_str(" (detached)");
        }
        text.push_str(&format!("  {}", self.ids.show(invocation.id)));
        if self.marked == Some(invocation.id) {
            text.push_str("  ◄");
        }
        if let Some(Outcome::Failure(failure)) = &invocation.outcome {
            let message = harmless_line(&failure_line(&failure.message, MESSAGE_CHARS));
            text.push_str(&format!("  {}: {message}", failure.kind.as_str()));
        }
        text
    }
}

/// `… and 9,990 more: 9,980 succeeded, 10 failed`.
fn more(rest: &[&InvocationDocument]) -> String {
    let mut counts = Counts::default();
    for invocation in rest {
        counts.add(invocation.status, 1);
    }
    let counts = Status::ALL.into_iter().map(|status| (counts.get(status), status));
    let counts: Vec<_> = counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, status)| format!("{} {status}", thousands(count)))
        .collect();
    format!("… and {} more: {}", thousands(rest.len() as u64), counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Callers, ComponentDigest, Failure, FailureKind, Invocation, SubmitLimits};

    fn invocation(task: &str, parent: Option<&InvocationDocument>, status: Status) -> InvocationDocument {
        let id = InvocationId::generate();
        InvocationDocument::from(Invocation {
            id,
            task: task.into(),
            component_digest: ComponentDigest::from_bytes([0; 32]),
            status,
            attempt: 1,
            max_attempts: 3,
            parent: parent.map(|parent| parent.id),
            root: parent.map_or(id, |parent| parent.root),
            depth: parent.map_or(0, |parent| parent.depth + 1),
            detached: false,
            priority: 0,
            key: None,
            fairness_key: "k".into(),
            payer: None,
            unkeyed: false,
            labels: std::sync::Arc::default(),
            limits: SubmitLimits::default(),
            callers: Callers::default(),
            runner: None,
            submitted_at: UnixMicros(0),
            available_at: UnixMicros(0),
            blocked: false,
            lane: None,
            unique: None,
            deadline: None,
            started_at: Some(UnixMicros(0)),
            finished_at: status.is_final().then_some(UnixMicros(1_500)),
            progress: None,
            usage: None,
            outcome: None,
        })
    }

    fn draw(invocations: &[InvocationDocument], shown: usize) -> String {
        let drawing = Drawing {
            shown,
            lines: 2_000,
            marked: None,
            ids: Ids::Whole,
            now: UnixMicros(2_000_000),
            has_colours: false,
        };
        let mut text = String::from("\n");
        drawing
            .draw(invocations, &mut |line| {
                // Ids differ in every run.
                let (before, after) = line.split_once("  0").unwrap_or((line, ""));
                let after = after.get(35..).unwrap_or_default();
                text.push_str(&format!("{before}{after}\n"));
                Ok(())
            })
            .expect("a string takes everything");
        text
    }

    #[test]
    fn branches_show_who_came_of_whom() {
        let root = invocation("root", None, Status::Waiting);
        let first = invocation("first", Some(&root), Status::Succeeded);
        let mut second = invocation("second", Some(&root), Status::Failed);
        second.outcome = Some(Outcome::Failure(Failure::new(FailureKind::Trapped, "boom\nbang").into()));
        let leaf = invocation("leaf", Some(&first), Status::Queued);
        let expected = "
root waiting 2.0 s
├─ first succeeded 1.5 ms
│  └─ leaf queued
└─ second failed 1.5 ms  trapped: boom\\nbang
";
        assert_eq!(draw(&[root, first, second, leaf], 10), expected);
    }

    #[test]
    fn the_lines_of_a_long_chain_stay_short() {
        let mut chain = vec![invocation("root", None, Status::Succeeded)];
        for generation in 0..1_000 {
            chain.push(invocation("child", Some(&chain[generation]), Status::Succeeded));
        }
        let drawn = draw(&chain, 10);
        let lines: Vec<_> = drawn.lines().skip(1).collect();
        assert_eq!(lines.len(), 1_001);
        let indent = |text: &str| text.chars().count() - text.trim_start().chars().count();
        assert_eq!((indent(lines[50]), indent(lines[1_000])), (49 * 3, 49 * 3 + 3), "{}", lines[50]);
        assert!(lines[50].ends_with("└─ child succeeded 1.5 ms"), "{}", lines[50]);
        assert!(lines[1_000].ends_with("└─ (1000) child succeeded 1.5 ms"), "{}", lines[1_000]);
    }

    #[test]
    fn many_children_are_counted() {
        let root = invocation("root", None, Status::Succeeded);
        let mut all = vec![root];
        for number in 0..1_003 {
            let status = if number == 500 { Status::Failed } else { Status::Succeeded };
            all.push(invocation("child", Some(&all[0]), status));
        }
        let expected = "
root succeeded 1.5 ms
├─ child succeeded 1.5 ms
├─ child succeeded 1.5 ms
└─ … and 1,001 more: 1,000 succeeded, 1 failed
";
        assert_eq!(draw(&all, 2), expected);
        assert_eq!(draw(&all, usize::MAX).lines().count(), 2 + 1_003);
        // Leaving out a single one would save nothing.
        assert_eq!(draw(&all[..4], 2).lines().count(), 2 + 3);
    }

    #[test]
    fn a_drawing_ends_somewhere() {
        let mut all = vec![invocation("root", None, Status::Succeeded)];
        for _ in 0..1_003 {
            all.push(invocation("child", Some(&all[0]), Status::Succeeded));
        }
        for number in 0..1_000 {
            all.push(invocation("grandchild", Some(&all[number + 1]), Status::Queued));
        }
        let all = draw(&all, usize::MAX);
        assert_eq!(all.lines().count(), 2 + 2_000);
        assert!(all.ends_with("\n… of 2,004 invocations (`--all` draws them)\n"), "{all}");
    }
}
