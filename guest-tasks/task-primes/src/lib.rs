//! Counts primes by children, each with a part of the numbers. There is no WIT here:
//! the macro makes it of the module.

#[wasm_runner::tasks("demo:primes@0.1.0")]
mod tasks {
    use std::collections::BTreeMap;

    use wasm_runner::{Error, Options, as_completed, gather};

    /// Numbers from one to below another.
    #[derive(Clone, PartialEq)]
    pub struct Range {
        pub from: u32,
        /// Not part of it.
        pub to: u32,
    }

    /// How a range is searched.
    #[derive(Clone, Copy, PartialEq)]
    pub enum Way {
        TrialDivision,
        Sieve,
    }

    /// Why there is no answer.
    #[derive(Clone, PartialEq)]
    pub enum Refused {
        Empty,
        /// More numbers than one invocation may look at.
        TooMany(u32),
        Backwards(Range),
    }

    /// What is said of a range.
    #[derive(Clone, PartialEq)]
    pub struct Report {
        pub range: Range,
        pub way: Way,
        pub count: u32,
        pub largest: Option<u32>,
        pub by_last_digit: BTreeMap<u8, u32>,
        pub share: f64,
        pub refused: Option<Refused>,
        pub traits: Traits,
        pub r#type: char,
    }

    /// What is true of the primes that were found.
    #[flags]
    #[derive(Clone, Copy, PartialEq)]
    pub struct Traits {
        pub any: bool,
        /// Two is not one of them.
        pub all_odd: bool,
        pub r#static: bool,
    }

    /// A range as another component knows it.
    pub struct Stretch {
        from: u32,
        to: u32,
    }

    /// A task as another component knows it.
    #[wasm_runner::remote("demo:primes/tasks.search")]
    fn search_elsewhere(range: Stretch, way: Way) -> Result<Vec<u32>, Refused>;

    #[wasm_runner::remote("workflow::square")]
    fn squared(n: u64) -> u64;

    const MOST: u32 = 100_000;

    /// The primes in a range.
    pub fn search(range: Range, way: Way) -> Result<Vec<u32>, Refused> {
        match range.to.checked_sub(range.from) {
            None => Err(Refused::Backwards(range)),
            Some(0) => Err(Refused::Empty),
            Some(more) if more > MOST => Err(Refused::TooMany(more)),
            Some(_) => Ok(match way {
                Way::TrialDivision => (range.from..range.to).filter(|n| is_prime(*n)).collect(),
                Way::Sieve => sieve(&range),
            }),
        }
    }

    /// How many primes are below `n`, by a child for each part.
    pub fn count(n: u32, parts: u32) -> Result<u64, String> {
        let part = n.div_ceil(parts.max(1));
        let ranges = (0..n).step_by(part as usize).map(|from| Range { from, to: n.min(from + part) });
        let children = search::submit_all(ranges.map(|range| (range, Way::Sieve)))?;
        let found = gather(children).map_err(|error| explain(&error))?;
        Ok(found.iter().map(|primes| primes.len() as u64).sum())
    }

    /// Both ways have to find the same; which was first does not matter.
    pub fn agree(range: Range) -> Result<bool, String> {
        let ways = [Way::TrialDivision, Way::Sieve];
        let children = ways.map(|way| search::submit(range.clone(), way));
        let children = children.into_iter().collect::<Result<Vec<_>, _>>()?;
        let found: Result<Vec<_>, _> = as_completed(children).collect();
        let found = found.map_err(|error| explain(&error))?;
        Ok(found[0] == found[1])
    }

    /// What a child says of a range, after it went there and back once more.
    pub fn describe(range: Range) -> Result<Report, String> {
        let found = search::submit(range.clone(), Way::Sieve)?.result();
        let (primes, refused) = match found {
            Ok(primes) => (primes, None),
            Err(Error::Returned(refused)) => (Vec::new(), Some(refused)),
            Err(error) => return Err(explain(&error)),
        };
        let mut by_last_digit = BTreeMap::new();
        for prime in &primes {
            *by_last_digit.entry((prime % 10) as u8).or_insert(0) += 1;
        }
        let share = primes.len() as f64 / f64::from(range.to.saturating_sub(range.from));
        let report = Report {
            range,
            way: Way::Sieve,
            count: primes.len() as u32,
            largest: primes.last().copied(),
            by_last_digit,
            share,
            refused,
            traits: Traits { any: !primes.is_empty(), all_odd: !primes.contains(&2), r#static: false },
            r#type: 'é',
        };
        let options = Options { labels: vec![("part".to_owned(), "echo".to_owned())], ..Options::default() };
        let back = echo::submit_with(options, report.clone())?.result()?;
        // A share of nothing is not a number, and so not equal to itself.
        let is_same = back == report || (back.share.is_nan() && report.share.is_nan());
        if is_same { Ok(back) } else { Err("it came back as something else".to_owned()) }
    }

    /// The sum of the squares of the primes in a range, all by tasks of another component.
    pub fn squares(from: u32, to: u32) -> Result<u64, String> {
        let primes = search_elsewhere::submit(Stretch { from, to }, Way::Sieve)?.result();
        let primes = primes.map_err(|error| explain(&error))?;
        let squares = squared::submit_all(primes.into_iter().map(|prime| (prime.into(),)))?;
        Ok(gather(squares)?.iter().sum())
    }

    /// Returns what it was given.
    pub fn echo(report: Report) -> Report {
        report
    }

    /// Panics: no value, and no error of its own.
    pub fn give_up() {
        panic!("there are too many primes");
    }

    /// What its parent gets of it.
    pub fn ask() -> Result<(), String> {
        Ok(give_up::submit()?.result()?)
    }

    fn is_prime(n: u32) -> bool {
        n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
    }

    fn sieve(range: &Range) -> Vec<u32> {
        let mut composite = vec![false; range.to as usize];
        let mut found = Vec::new();
        for n in 2..range.to {
            if composite[n as usize] {
                continue;
            }
            if n >= range.from {
                found.push(n);
            }
            let multiples = (u64::from(n) * u64::from(n)..u64::from(range.to)).step_by(n as usize);
            multiples.for_each(|multiple| composite[multiple as usize] = true);
        }
        found
    }

    fn explain(error: &Error<Refused>) -> String {
        match error {
            Error::Returned(Refused::Empty) => "there is nothing to search".to_owned(),
            Error::Returned(Refused::TooMany(count)) => format!("{count} numbers are too many"),
            Error::Returned(Refused::Backwards(range)) => format!("{} is before {}", range.to, range.from),
            Error::Failed(failure) => format!("{failure:?}"),
            Error::Refused(refusal) => refusal.to_string(),
        }
    }
}
