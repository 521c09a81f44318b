//! `cargo xtask adversary`: generated guests beside a neighbour, in the real program. See
//! `docs/design/adversary.md`.

mod finding;
mod generate;
mod group;
mod kernel;
mod round;
mod server;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::guests;
use crate::process::{cargo, run, target_dir};
use finding::{Finding, Kind};
use generate::{Case, Instructions, Random};
use group::Group;
use round::Seen;
use site::{Grants, Site};

const RUNNER: &str = "run-wasm-runner";
/// The time for which cases are submitted to one runner.
const ROUND: Duration = Duration::from_secs(8);
/// The time in which what one case does by itself must show.
const ALONE: Duration = Duration::from_secs(4);
/// The last cases of a round that are tried in groups, then one by one, so many of each at once: one for each slot.
const SUSPECTS: usize = 8;
const GROUPS: usize = 6;
const COPIES: usize = 4;

/// The cases to try, and for how long.
struct Plan {
    minutes: f64,
    rounds: Option<u64>,
    seed: u64,
    memory: u64,
    cgroup: Option<u64>,
    program: Option<PathBuf>,
    is_shrunk: bool,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut plan = Self {
            minutes: 1.0,
            rounds: None,
            seed: now.as_secs() * 1_000,
            memory: 1 << 30,
            cgroup: None,
            program: None,
            is_shrunk: true,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{argument}` takes a value"));
            match argument.as_str() {
                "--minutes" => plan.minutes = value()?.parse().context("`--minutes` takes a number")?,
                "--rounds" => plan.rounds = Some(value()?.parse().context("`--rounds` takes a number")?),
                "--seed" => plan.seed = value()?.parse().context("`--seed` takes a number")?,
                "--memory" => plan.memory = size(value()?)?,
                "--cgroup" => plan.cgroup = Some(size(value()?)?),
                "--program" => plan.program = Some(PathBuf::from(value()?)),
                "--whole" => plan.is_shrunk = false,
                other => bail!("`adversary` does not take `{other}`"),
            }
        }
        Ok(plan)
    }

    /// The memory that a runner with the budget may have: half of it more, for the runner itself and the system's library.
    fn most_memory(&self) -> u64 {
        self.memory / 2 * 3
    }
}

/// Reads a size in bytes, KiB, MiB or GiB.
fn size(text: &str) -> Result<u64> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift))).context("a size")?;
    let number: u64 = number.parse().with_context(|| format!("`{text}` is no size, such as `1536MiB`"))?;
    number.checked_mul(1 << shift).with_context(|| format!("`{text}` is too large"))
}

/// Runs the command with what the command line says.
pub fn command(arguments: &[String]) -> Result<ExitCode> {
    let plan = Plan::parse(arguments)?;
    guests::build()?;
    let program = match &plan.program {
        Some(path) => path.canonicalize().with_context(|| format!("`{}` is missing", path.display()))?,
        None => {
            run(cargo().args(["build", "--release", "--package", RUNNER, "--locked"]))?;
            target_dir().join("release").join(RUNNER)
        }
    };
    let found = attack(&plan, program)?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs rounds, and returns the kinds of what was found.
fn attack(plan: &Plan, program: PathBuf) -> Result<Vec<Kind>> {
    let directory = target_dir().join("adversary").join(std::process::id().to_string());
    let group = plan.cgroup.map(Group::new).transpose()?;
    let site = Site::new(program, directory, plan.memory, &server::start()?, group)?;
    let output = site.command(&["call", "programs.instructions"]).output()?;
    let instructions = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("the guest lists no instructions: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let instructions = Instructions::of(&instructions)?;
    let (began, mut found) = (Instant::now(), Vec::new());
    let (mut cases, mut calls, mut slowest, mut most) = (0, 0, Duration::ZERO, 0);
    let mut rounds = 0;
    while match plan.rounds {
        Some(most) => rounds < most,
        None => began.elapsed().as_secs_f64() < plan.minutes * 60.0,
    } {
        let seed = plan.seed + rounds;
        let mut random = Random::new(seed);
        let grants = if random.is_true() { Grants::Everything } else { Grants::Nothing };
        let drawn = std::iter::repeat_with(|| Case::generate(&mut random, &instructions));
        let seen = round::run(&site, plan.most_memory(), grants, ROUND, drawn)?;
        rounds += 1;
        cases += seen.cases.len();
        calls += seen.calls;
        slowest = slowest.max(seen.slowest_call);
        most = most.max(seen.most.memory);
        println!("{}", line(seed, grants, &seen));
        if let Some(finding) = &seen.finding {
            found.push(finding.kind);
            report(plan, &site, seed, grants, finding, &seen)?;
        }
    }
    println!(
        "{rounds} rounds, {cases} cases, {calls} calls of the neighbour, the slowest {slowest:.1?}; {} MiB at most; {} findings",
        most >> 20,
        found.len()
    );
    Ok(found)
}

/// Writes the observations of a round in one line.
fn line(seed: u64, grants: Grants, seen: &Seen) -> String {
    format!(
        "seed {seed} ({}): {} cases, {} calls, the slowest {:.0?}; {} MiB, {} threads, {} descriptors, store {} MiB",
        grants.shown(),
        seen.cases.len(),
        seen.calls,
        seen.slowest_call,
        seen.most.memory >> 20,
        seen.most.threads,
        seen.most.descriptors,
        seen.store_bytes >> 20
    )
}

/// Prints a finding with what brings it about again.
fn report(plan: &Plan, site: &Site, seed: u64, grants: Grants, finding: &Finding, seen: &Seen) -> Result<()> {
    println!(
        "FOUND {finding}, {:.1} s after the start, with {} cases",
        seen.after.as_secs_f64(),
        seen.cases.len()
    );
    println!("  again: cargo xtask adversary --seed {seed} --rounds 1");
    if !plan.is_shrunk {
        return Ok(());
    }
    match smallest(plan, site, grants, finding.kind, &seen.cases)? {
        Some((case, again)) => {
            println!("  alone, {COPIES} times at once, {}: {case}", grants.shown());
            println!("    {again}");
        }
        None => println!("  none of the last {} cases does it alone", SUSPECTS * GROUPS),
    }
    Ok(())
}

/// Finds a case that does it alone, and leaves out what is not needed for that.
fn smallest(
    plan: &Plan,
    site: &Site,
    grants: Grants,
    kind: Kind,
    cases: &[Case],
) -> Result<Option<(Case, Finding)>> {
    let again = |cases: Vec<Case>| -> Result<Option<Finding>> {
        let seen = round::run(site, plan.most_memory(), grants, ALONE, cases.into_iter())?;
        Ok(seen.finding.filter(|finding| finding.kind == kind))
    };
    let alone = |case: &Case| again(vec![case.clone(); COPIES]);
    for suspects in cases.rchunks(SUSPECTS).take(GROUPS) {
        if again(suspects.to_vec())?.is_none() {
            continue;
        }
        for case in suspects.iter().rev() {
            let Some(finding) = alone(case)? else { continue };
            let (mut smallest, mut finding) = (case.clone(), finding);
            'again: loop {
                for smaller in smallest.smaller() {
                    if let Some(again) = alone(&smaller)? {
                        (smallest, finding) = (smaller, again);
                        continue 'again;
                    }
                }
                return Ok(Some((smallest, finding)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Case, Instructions, Random, size};

    fn cases(seed: u64) -> Vec<Case> {
        let instructions = json!([
            {"name": "submit-all", "subject": "tasks", "operands": ["count", "program", "choice"]},
            {"name": "rest", "subject": "clocks", "operands": ["times", "time"]},
        ]);
        let instructions = Instructions::of(&instructions).unwrap();
        let mut random = Random::new(seed);
        (0..20).map(|_| Case::generate(&mut random, &instructions)).collect()
    }

    #[test]
    fn a_seed_makes_the_same_cases_again_and_another_one_makes_others() {
        let shown = |seed| cases(seed).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(7), shown(7));
        assert_ne!(shown(7), shown(8));
    }

    #[test]
    fn a_step_has_a_number_for_each_operand_and_submits_programs_of_its_set() {
        for case in cases(7) {
            for step in case.programs.iter().flatten() {
                let words: Vec<_> = step.split(' ').collect();
                assert_eq!(words.len(), if words[0] == "rest" { 3 } else { 4 }, "{case}");
                if words[0] == "submit-all" {
                    // One beyond them is the task that does nothing.
                    assert!(words[2].parse::<usize>().unwrap() <= case.programs.len(), "{case}");
                }
            }
        }
    }

    #[test]
    fn each_smaller_case_has_one_step_less() {
        for case in cases(7) {
            let steps = |case: &Case| case.programs.iter().map(Vec::len).sum::<usize>();
            let smaller = case.smaller();
            assert_eq!(smaller.len(), steps(&case));
            assert!(smaller.iter().all(|smaller| steps(smaller) + 1 == steps(&case)), "{case}");
        }
    }

    #[test]
    fn an_operand_that_nobody_knows_is_an_error() {
        assert!(Instructions::of(&json!([{"name": "x", "operands": ["weight"]}])).is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [size("1GiB").unwrap(), size("1536MiB").unwrap(), size("7").unwrap()],
            [1 << 30, 1536 << 20, 7]
        );
        assert!(size("1.5GiB").is_err() && size("99999999999GiB").is_err());
    }
}
