//! The tasks that `wit/world.wit` declares.

use exports::local::{{snake}}::tasks::{Guest, Point};
use wasm_runner::task::invocations;
use wasm_runner::task::types::SubmitOptions;

wit_bindgen::generate!({ world: "{{name}}", generate_all });

struct Tasks;
export!(Tasks);

impl Guest for Tasks {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }

    fn centroid(points: Vec<Point>) -> Result<Point, String> {
        if points.is_empty() {
            return Err("no points have no centroid".to_owned());
        }
        let count = points.len() as f64;
        let sum = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>();
        Ok(Point { x: sum(|point| point.x) / count, y: sum(|point| point.y) / count })
    }

    fn square(n: u32) -> u32 {
        n.checked_mul(n).expect("the square fits into 32 bits")
    }

    fn sum_of_squares(count: u32) -> Result<u64, String> {
        // A list of arguments, in JSON, for each child.
        let arguments: Vec<String> = (1..=count).map(|n| format!("[{n}]")).collect();
        let options = SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: vec![] };
        let children = invocations::submit_all("local:{{name}}/tasks.square", &arguments, &options)
            .map_err(|refusal| refusal.to_string())?;
        // While it waits, this task holds no thread.
        let outcomes = invocations::await_all(&children).map_err(|refusal| refusal.to_string())?;
        let mut sum = 0;
        for outcome in outcomes {
            let square = outcome.map_err(|failure| format!("{failure:?}"))?;
            sum += square.parse::<u64>().map_err(|error| error.to_string())?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centroid_is_in_the_middle() {
        let points = vec![Point { x: 0.0, y: 0.0 }, Point { x: 2.0, y: 4.0 }];
        let centroid = Tasks::centroid(points).expect("there are points");
        assert_eq!((centroid.x, centroid.y), (1.0, 2.0));
    }

    #[test]
    fn no_points_have_no_centroid() {
        assert!(Tasks::centroid(Vec::new()).is_err());
    }
}
