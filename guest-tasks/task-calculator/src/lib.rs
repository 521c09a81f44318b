//! A component that imports the interface of another one, `adder`.
//!
//! The calls look like calls of a library. The runner makes each one a child
//! invocation in a fresh instance of the adder and parks this guest meanwhile.

use demo::calc::add;
use exports::demo::calculator::calculate::{Guest, Vector};

wit_bindgen::generate!({
    path: ["../task-adder/wit", "wit"],
    world: "demo:calculator/calculator",
    generate_all,
});

struct Calculator;
export!(Calculator);

impl Guest for Calculator {
    fn multiply(a: u32, b: u32) -> Result<u32, String> {
        (0..b).try_fold(0, |sum, _| add::add(sum, a))
    }

    fn total(numbers: Vec<u32>) -> Result<u32, String> {
        add::add_all(&numbers)
    }

    fn midpoint(a: Vector, b: Vector) -> Vector {
        let sum = add::add_vectors(a, b);
        Vector { x: sum.x / 2.0, y: sum.y / 2.0 }
    }

    fn explain(a: u32, b: u32) -> String {
        match add::add(a, b) {
            Ok(sum) => format!("{a} + {b} = {sum}"),
            Err(reason) => format!("no sum: {reason}"),
        }
    }
}
