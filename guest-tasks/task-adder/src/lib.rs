//! A component that others call by typed import. It knows nothing of the runner.

use exports::demo::calc::add::{Guest, Vector};

wit_bindgen::generate!({ path: "wit", world: "demo:calc/adder" });

struct Adder;
export!(Adder);

impl Guest for Adder {
    fn add(a: u32, b: u32) -> Result<u32, String> {
        a.checked_add(b).ok_or_else(|| format!("{a} + {b} does not fit into 32 bits"))
    }

    fn add_all(numbers: Vec<u32>) -> Result<u32, String> {
        numbers.into_iter().try_fold(0, Self::add)
    }

    fn add_vectors(a: Vector, b: Vector) -> Vector {
        Vector { x: a.x + b.x, y: a.y + b.y }
    }
}
