//! What tests share.

pub mod cli;
pub mod clock;
pub mod database;
pub mod guests;
