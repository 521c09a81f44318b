//! Misbehaves, one function per way. Nothing here is an example to follow.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use exports::demo::faults::faults::Guest;
use wasm_runner::task::invocations;
use wasm_runner::task::log::{Level, log};
use wasm_runner::task::types::SubmitOptions;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:faults/guest",
    generate_all,
});

const MIB: usize = 1 << 20;
const HOST_PAGE: usize = 4 << 10;
const FORK_BOMB: &str = "demo:faults/faults.fork-bomb";
const HUGE_RESULT: &str = "demo:faults/faults.huge-result";
const NOTHING: &str = "demo:faults/faults.nothing";

struct Faults;
export!(Faults);

impl Guest for Faults {
    fn spin() {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }

    fn spin_ms(ms: u64) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(ms) {
            // Asking the clock is a host call: compute a while between two.
            for turn in 0..10_000_u32 {
                black_box(turn);
            }
        }
    }

    fn sleep(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn grow(mib: u32) -> u32 {
        let mut chunks = Vec::new();
        for _ in 0..mib {
            let mut chunk = vec![0_u8; MIB];
            touch(&mut chunk);
            chunks.push(chunk);
        }
        black_box(&chunks).len() as u32
    }

    fn grow_politely(mib: u32) -> Result<u32, String> {
        let mut chunks = Vec::new();
        for done in 0..mib {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(MIB).map_err(|e| format!("after {done} MiB: {e}"))?;
            chunk.resize(MIB, 0);
            touch(&mut chunk);
            chunks.push(chunk);
        }
        Ok(black_box(&chunks).len() as u32)
    }

    fn recurse(depth: u64) -> u64 {
        recurse_with_frame(depth)
    }

    fn panic(message: String) {
        panic!("{message}");
    }

    fn abort() {
        std::process::abort();
    }

    fn exit(code: u32) {
        std::process::exit(code as i32);
    }

    fn unreachable() {
        core::arch::wasm32::unreachable();
    }

    fn divide(a: i32, b: i32) -> i32 {
        a / b
    }

    fn out_of_bounds() -> u8 {
        let far = black_box(usize::MAX - 1) as *const u8;
        // SAFETY: none, which is the point. The address is outside of every
        // memory that this guest could have, so the sandbox has to trap.
        unsafe { far.read_volatile() }
    }

    fn huge_output(mib: u32) {
        fill(&mut io::stdout().lock(), mib);
    }

    fn huge_stderr(mib: u32) {
        fill(&mut io::stderr().lock(), mib);
    }

    fn huge_result(mib: u32) -> String {
        "x".repeat(mib as usize * MIB)
    }

    fn huge_log(lines: u32) {
        for line in 0..lines {
            log(Level::Info, &format!("line {line} {}", "x".repeat(1000)));
        }
    }

    fn escape_codes() {
        // Clears the screen, sets the window's title, rings the bell, changes
        // colours, overwrites the line, hides text by backspaces, sends a NUL.
        let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{7}\u{1b}[31mred\u{1b}[0m\rover\u{8}\u{8}\0\u{9b}1m end";
        println!("{nasty}");
        eprintln!("{nasty}");
        log(Level::Warn, nasty);
    }

    fn binary_output() {
        let mut out = io::stdout().lock();
        let _ = out.write_all(&[b'a', 0xff, 0xfe, 0xc3, 0x28, b'z', b'\n']);
        let _ = out.flush();
    }

    fn flood(count: u32) -> u32 {
        (0..count).take_while(|_| invocations::submit(NOTHING, "[]", &plain()).is_ok()).count() as u32
    }

    fn fork_bomb(depth: u32, width: u32) -> Result<u64, String> {
        if depth == 0 {
            return Ok(1);
        }
        let arguments = vec![format!("[{}, {width}]", depth - 1); width as usize];
        let ids = invocations::submit_all(FORK_BOMB, &arguments, &plain())
            .map_err(|refusal| format!("{refusal:?}"))?;
        let outcomes = invocations::await_all(&ids).map_err(|refusal| format!("{refusal:?}"))?;
        outcomes.into_iter().try_fold(1, |sum, outcome| {
            let value = outcome.map_err(|failure| format!("{failure:?}"))?;
            let below: u64 = value.parse().map_err(|e| format!("`{value}`: {e}"))?;
            Ok(sum + below)
        })
    }

    fn nothing() {}

    fn label(children: u32, bytes: u32) -> Result<u32, String> {
        let options = SubmitOptions { labels: vec![("l".to_owned(), "x".repeat(bytes as usize))], ..plain() };
        let ids = invocations::submit_all(NOTHING, &vec!["[]".to_owned(); children as usize], &options);
        ids.map(|ids| ids.len() as u32).map_err(|refusal| format!("{refusal:?}"))
    }

    fn key(bytes: u32) -> Result<String, String> {
        let options = SubmitOptions { key: Some("k".repeat(bytes as usize)), ..plain() };
        invocations::submit(NOTHING, "[]", &options).map_err(|refusal| format!("{refusal:?}"))
    }

    fn await_strangers(count: u32) -> Result<u32, String> {
        let outcomes = invocations::await_all(&strangers(count)).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(outcomes.len() as u32)
    }

    fn await_copies(copies: u32) -> Result<u32, String> {
        let id = invocations::submit(NOTHING, "[]", &plain()).map_err(|refusal| format!("{refusal:?}"))?;
        let ids = vec![id; copies as usize];
        let outcomes = invocations::await_all(&ids).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(outcomes.len() as u32)
    }

    fn await_briefly(count: u32, times: u32) -> u32 {
        let ids = strangers(count);
        (0..times).filter(|_| matches!(invocations::await_any_within(&ids, 0), Ok(None) | Err(_))).count()
            as u32
    }

    fn blink(times: u32) {
        for _ in 0..times {
            invocations::await_any_within(&[], 0).expect("a wait for nothing ends");
        }
    }

    fn ask_strangely(bytes: u32) -> u32 {
        let answer = invocations::status(&"x".repeat(bytes as usize));
        format!("{answer:?}").len() as u32
    }

    fn gather(children: u32, mib: u32) -> Result<u32, String> {
        let arguments = vec![format!("[{mib}]"); children as usize];
        let ids = invocations::submit_all(HUGE_RESULT, &arguments, &plain())
            .map_err(|refusal| format!("{refusal:?}"))?;
        let outcomes = invocations::await_all(&ids).map_err(|refusal| format!("{refusal:?}"))?;
        Ok(outcomes.len() as u32)
    }
}

/// Ids that nobody has.
fn strangers(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("01939f5e-7a2b-7c3d-8e4f-{n:012x}")).collect()
}

fn plain() -> SubmitOptions {
    SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() }
}

/// Writes to every page: memory that is never touched is never resident.
fn touch(chunk: &mut [u8]) {
    for page in chunk.chunks_mut(HOST_PAGE) {
        page[0] = 1;
    }
    black_box(chunk);
}

/// Keeps something in every frame, so that the recursion stays one.
#[inline(never)]
fn recurse_with_frame(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    if depth == 0 { 0 } else { recurse_with_frame(depth - 1) + frame[7] / depth }
}

fn fill(out: &mut impl Write, mib: u32) {
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    for _ in 0..mib as usize * MIB / line.len() {
        // A full buffer on the other side is the runner's affair.
        if out.write_all(&line).is_err() {
            return;
        }
    }
    let _ = out.flush();
}
