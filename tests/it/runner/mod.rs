//! The behaviour of the runner, shown through the real binary.

mod cancel;
mod cap;
mod deadlines;
mod fairness;
pub mod histories;
mod kill;
mod limits;
mod operating;
mod order;
mod quotas;
mod regression;
mod retention;
mod retries;
mod rules;
mod sharing;
pub mod site;
mod slots;
mod stop;
mod survival;
mod usage;
mod waits;
