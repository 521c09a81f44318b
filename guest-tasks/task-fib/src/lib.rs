//! Recursion through the runner, in two styles.
//!
//! `fibonacci.fib` calls itself by *typed import*: it looks like an ordinary
//! function call, and the runner makes each one a child invocation and parks the
//! caller until its value is there. The two calls run one after the other.
//!
//! `fib-parallel.fib-by-name` submits both halves *by name* and awaits them
//! together, so they can run at the same time.

use demo::math::fibonacci;
use exports::demo::math::{fib_parallel, fibonacci as exported};
use wasm_runner::task::invocations;
use wasm_runner::task::types::SubmitOptions;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:math/guest",
    generate_all,
});

struct Fib;
export!(Fib);

impl exported::Guest for Fib {
    fn fib(n: u32) -> u64 {
        if n < 2 {
            return n.into();
        }
        // The import, not this function: each call is a child invocation.
        fibonacci::fib(n - 1) + fibonacci::fib(n - 2)
    }
}

impl fib_parallel::Guest for Fib {
    fn fib_by_name(n: u32) -> Result<u64, String> {
        if n < 2 {
            return Ok(n.into());
        }
        let plain =
            SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() };
        let arguments = [n - 1, n - 2].map(|n| format!("[{n}]"));
        let ids = invocations::submit_all("demo:math/fib-parallel.fib-by-name", &arguments, &plain)
            .map_err(|refusal| format!("{refusal:?}"))?;
        let outcomes = invocations::await_all(&ids).map_err(|refusal| format!("{refusal:?}"))?;
        outcomes
            .into_iter()
            .map(|outcome| {
                let value = outcome.map_err(|failure| format!("{failure:?}"))?;
                value.parse::<u64>().map_err(|e| format!("`{value}`: {e}"))
            })
            .sum()
    }
}
