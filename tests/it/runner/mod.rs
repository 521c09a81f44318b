//! What the runner does with invocations, shown through the real binary.

mod cancel;
mod cap;
pub mod histories;
mod kill;
mod order;
mod process;
mod regression;
mod retries;
mod sharing;
pub mod site;
mod slots;
mod stop;
mod survival;
mod waits;
