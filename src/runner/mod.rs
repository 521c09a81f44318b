//! The runner loop: claims invocations and runs them.
