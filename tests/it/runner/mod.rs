//! What the runner does with invocations, shown through the real binary.

mod histories;
mod kill;
mod process;
mod retries;
mod sharing;
mod site;
mod slots;
mod stop;
mod waits;
