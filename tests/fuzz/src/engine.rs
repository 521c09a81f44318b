//! Runs a target on one input after another, and keeps those that run new code to make
//! more of.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Target;
use crate::coverage::{self, Seen};
use crate::mutate::{Random, mutate};

/// Whatever takes longer hangs. Compiling a component in a debug build, on a machine
/// that is busy, takes a while.
const HANGS: Duration = Duration::from_secs(30);

/// What is to be done.
pub struct Run {
    /// The target's name.
    pub name: &'static str,
    /// The target.
    pub target: Target,
    /// For how long.
    pub time: Duration,
    /// What chance begins with.
    pub seed: u64,
}

/// What was done.
#[derive(Debug)]
pub struct Report {
    inputs: u64,
    kept: usize,
    /// `None` if nothing is instrumented.
    edges: Option<usize>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inputs, {} of them kept", self.inputs, self.kept)?;
        match self.edges {
            Some(edges) => write!(f, ", {edges} edges seen"),
            None => f.write_str(", blindly: nothing is instrumented"),
        }
    }
}

/// The seeds of a target, in a stable order.
///
/// # Errors
///
/// If they can't be read.
pub fn seeds(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

/// Fuzzes. The input that is being run lies in `findings/NAME.current`: it is there
/// even if the process is gone with it.
///
/// # Errors
///
/// What was found, and where its input is.
pub fn run(run: &Run, findings: &Path) -> Result<Report, String> {
    let failed = |error: io::Error| format!("{}: {error}", findings.display());
    std::fs::create_dir_all(findings).map_err(failed)?;
    let path = findings.join(format!("{}.current", run.name));
    let current = File::create(&path).map_err(failed)?;
    let began = Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    watch(began, Arc::clone(&last), path.clone());

    let mut seen = Seen::default();
    let mut random = Random::new(run.seed);
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    let mut waiting = seeds(run.name).map_err(failed)?;
    let mut inputs = 0;
    loop {
        let (input, is_seed) = match waiting.pop() {
            Some(seed) => (seed, true),
            None if began.elapsed() >= run.time || corpus.is_empty() => break,
            None => {
                // What was found last is likelier to lead to more.
                let newest = corpus.len() - 1 - random.below(corpus.len()).min(random.below(corpus.len()));
                let other = random.below(corpus.len());
                (mutate(&corpus[newest], &corpus[other], &mut random), false)
            }
        };
        current.write_all_at(&input, 0).and_then(|()| current.set_len(input.len() as u64)).map_err(failed)?;
        last.store(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        seen.reset();
        if catch_unwind(AssertUnwindSafe(|| (run.target)(&input))).is_err() {
            let kept = findings.join(format!("{}-{inputs}-{}", run.name, run.seed));
            std::fs::write(&kept, &input).map_err(failed)?;
            return Err(format!(
                "found something; its input is `{}`: put it into `tests/fuzz/seeds/{}` and mend it",
                kept.display(),
                run.name
            ));
        }
        inputs += 1;
        if seen.note() || is_seed {
            corpus.push(input);
        }
    }
    drop(current);
    std::fs::remove_file(path).map_err(failed)?;
    let edges = coverage::is_there().then(|| seen.edges());
    Ok(Report { inputs, kept: corpus.len(), edges })
}

/// Ends the process if an input takes too long.
fn watch(began: Instant, last: Arc<AtomicU64>, path: PathBuf) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(HANGS / 10);
            let since = began.elapsed().saturating_sub(Duration::from_millis(last.load(Ordering::Relaxed)));
            if since > HANGS {
                eprintln!("an input takes longer than {HANGS:?}: it is `{}`", path.display());
                std::process::abort();
            }
        }
    });
}
