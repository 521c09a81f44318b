//! What the runner does with invocations, shown through the real binary.
