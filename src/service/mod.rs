//! The operations on a store, and the components that they need: what can be done,
//! whoever asks.

pub mod kept;
pub mod patience;
pub mod registry;
pub mod shelf;
pub mod wait;
pub mod whole;
