//! What tests share.

pub mod clock;
