//! What the runner does with invocations, shown through the real binary.

mod histories;
mod site;
mod slots;
