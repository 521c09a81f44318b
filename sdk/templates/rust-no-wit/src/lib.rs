//! The tasks of this project: each `pub fn` of the module is a task.

#[wasm_runner::tasks("local:{{name}}")]
mod tasks {
    use wasm_runner::gather;

    pub struct Point {
        pub x: f64,
        pub y: f64,
    }

    /// A greeting.
    pub fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }

    /// The middle of some points. No points have none: an error, which the
    /// caller gets as a value.
    pub fn centroid(points: Vec<Point>) -> Result<Point, String> {
        if points.is_empty() {
            return Err("no points have no centroid".to_owned());
        }
        let count = points.len() as f64;
        let sum = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>();
        Ok(Point { x: sum(|point| point.x) / count, y: sum(|point| point.y) / count })
    }

    /// `n` times `n`. Where that needs more than 32 bits it traps, as any panic
    /// does.
    pub fn square(n: u32) -> u32 {
        n.checked_mul(n).expect("the square fits into 32 bits")
    }

    /// 1² + 2² + … + `count`². Each square is a child invocation, and all of them
    /// run at the same time.
    pub fn sum_of_squares(count: u32) -> Result<u64, String> {
        let children = (1..=count).map(square::submit).collect::<Result<Vec<_>, _>>()?;
        // While it waits, this task holds no thread.
        let squares = gather(children)?;
        Ok(squares.into_iter().map(u64::from).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::tasks::{Point, centroid};

    #[test]
    fn the_centroid_is_in_the_middle() {
        let points = vec![Point { x: 0.0, y: 0.0 }, Point { x: 2.0, y: 4.0 }];
        let centroid = centroid(points).expect("there are points");
        assert_eq!((centroid.x, centroid.y), (1.0, 2.0));
    }

    #[test]
    fn no_points_have_no_centroid() {
        assert!(centroid(Vec::new()).is_err());
    }
}
