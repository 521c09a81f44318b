//! One function per promise of the `Store` trait, run against every store.
