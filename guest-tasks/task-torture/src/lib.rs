//! The tasks of `run-wasm-runner torture`. Small, because the program carries the
//! component inside itself: `cargo xtask torture-guest` puts it there.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use wasm_runner::task::types::{Failure, Refusal, SubmitOptions};
use wasm_runner::task::{context, invocations};
use witness::Witness;

mod witness;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:torture/guest",
    generate_all,
});

struct Torture;
export!(Torture);

/// A guest that sleeps gives a sign of life this often.
const BEAT: Duration = Duration::from_millis(50);

impl Guest for Torture {
    fn leaf(spin_ms: u32, nap_ms: u32) -> u64 {
        let mut witness = Witness::start();
        spin(spin_ms);
        nap(&mut witness, nap_ms);
        let value = random();
        witness.end(&value.to_string());
        value
    }

    fn lane(_key: u32, nap_ms: u32) -> u64 {
        Self::leaf(0, nap_ms)
    }

    fn flaky(failures: u32) -> Result<u64, String> {
        let witness = Witness::start();
        if context::attempt() <= failures {
            witness.end("!returned");
            return Err("not yet".to_owned());
        }
        let value = random();
        witness.end(&value.to_string());
        Ok(value)
    }

    fn trap() {
        Witness::start().end("!trapped");
        core::arch::wasm32::unreachable()
    }

    fn poison() {
        let mut witness = Witness::start();
        loop {
            nap(&mut witness, 1_000);
        }
    }

    fn fan(children: u32, spin_ms: u32) -> Result<u64, String> {
        parent(|witness| {
            let ids = submit("leaf", &format!("[{spin_ms},0]"), children, false)?;
            sum(witness, &ids)
        })
    }

    fn tree(depth: u32, width: u32) -> Result<u64, String> {
        parent(|witness| {
            let ids = match depth.checked_sub(1) {
                Some(below) => submit("tree", &format!("[{below},{width}]"), width, false)?,
                None => submit("leaf", "[1,0]", 1, false)?,
            };
            sum(witness, &ids)
        })
    }

    fn race(children: u32, nap_ms: u32) -> Result<u64, String> {
        parent(|witness| {
            let mut ids = Vec::new();
            for lane in 0..children {
                // The first lane is the shortest; the others are on their way
                // when it ends.
                ids.extend(submit("leaf", &format!("[0,{}]", nap_ms * lane), 1, false)?);
            }
            let (index, outcome) = invocations::await_any(&ids).map_err(refusal)?;
            Ok(seen(witness, &ids[index as usize], &outcome))
        })
    }

    fn leave(children: u32, nap_ms: u32) -> Result<u64, String> {
        parent(|_| {
            let ids = submit("leaf", &format!("[0,{nap_ms}]"), children, true)?;
            Ok(ids.len() as u64)
        })
    }
}

/// Runs a parent: what it returns is written down first.
fn parent(run: impl FnOnce(&mut Witness) -> Result<u64, String>) -> Result<u64, String> {
    let mut witness = Witness::start();
    let result = run(&mut witness);
    match &result {
        Ok(value) => witness.end(&value.to_string()),
        Err(_) => witness.end("!returned"),
    }
    result
}

/// Submits a task of this component so many times.
fn submit(task: &str, arguments: &str, times: u32, detached: bool) -> Result<Vec<String>, String> {
    let own = context::task();
    let component = own.split_once("::").map_or("", |(component, _)| component);
    let arguments = vec![arguments.to_owned(); times as usize];
    let options = SubmitOptions { delay_ms: None, priority: None, key: None, detached, labels: Vec::new() };
    invocations::submit_all(&format!("{component}::{task}"), &arguments, &options).map_err(refusal)
}

/// Awaits all, and adds up the values of those that have one.
fn sum(witness: &mut Witness, ids: &[String]) -> Result<u64, String> {
    let outcomes = invocations::await_all(ids).map_err(refusal)?;
    Ok(ids.iter().zip(&outcomes).map(|(id, outcome)| seen(witness, id, outcome)).sum())
}

/// Writes down what became of a child; 0 if it has no value.
fn seen(witness: &mut Witness, id: &str, outcome: &Result<String, Failure>) -> u64 {
    match outcome {
        Ok(value) => {
            witness.saw(id, value);
            value.parse().unwrap_or_else(|_| panic!("`{value}` is not the value of a child"))
        }
        Err(failure) => {
            witness.saw(id, kind(failure));
            0
        }
    }
}

fn kind(failure: &Failure) -> &'static str {
    match failure {
        Failure::Returned(_) => "!returned",
        Failure::Trapped(_) => "!trapped",
        Failure::TimedOut(_) => "!timed-out",
        Failure::LimitExceeded(_) => "!limit-exceeded",
        Failure::Cancelled(_) => "!cancelled",
        Failure::Skipped(_) => "!skipped",
        Failure::Lost(_) => "!lost",
    }
}

fn refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::UnknownTask(text)
        | Refusal::BadArguments(text)
        | Refusal::UnknownInvocation(text)
        | Refusal::Denied(text)
        | Refusal::Cycle(text)
        | Refusal::Limit(text)
        | Refusal::Unavailable(text) => text,
    }
}

/// Computes for so long.
fn spin(ms: u32) {
    let began = Instant::now();
    let mut number = random();
    while began.elapsed() < Duration::from_millis(u64::from(ms)) {
        for _ in 0..10_000 {
            number = std::hint::black_box(number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
        }
    }
}

/// Sleeps for so long, with signs of life.
fn nap(witness: &mut Witness, ms: u32) {
    let mut left = Duration::from_millis(u64::from(ms));
    while !left.is_zero() {
        let pause = left.min(BEAT);
        std::thread::sleep(pause);
        left -= pause;
        witness.beat();
    }
}

/// A number of 32 bits, so that thousands of them can be added up.
fn random() -> u64 {
    // The keys of a fresh map are random; the host gives them.
    RandomState::new().build_hasher().finish() >> 32
}
