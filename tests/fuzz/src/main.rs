//! `fuzz TARGET --seconds N --seed N --findings DIRECTORY`: what `cargo xtask fuzz`
//! starts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use run_wasm_runner_fuzz::{TARGETS, engine};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, seed, findings] = &*arguments else {
        eprintln!("usage: fuzz TARGET SECONDS SEED FINDINGS");
        return ExitCode::from(2);
    };
    let target = TARGETS.iter().find(|(known, _)| known == name);
    let (Some((name, target)), Ok(seconds), Ok(seed)) = (target, seconds.parse(), seed.parse()) else {
        let known: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("unknown target or bad number (known targets: {})", known.join(", "));
        return ExitCode::from(2);
    };
    let run = engine::Run { name, target: *target, time: Duration::from_secs(seconds), seed };
    match engine::run(&run, &PathBuf::from(findings)) {
        Ok(report) => {
            println!("{name}: {report}");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            eprintln!("{name}: {finding}");
            ExitCode::FAILURE
        }
    }
}
