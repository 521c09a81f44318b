//! The command line, through the real program.

mod components;
mod errors;
mod fixture;
mod help;
mod identity;
mod keep;
mod lock;
mod output;
mod registry;
mod run;
mod stored;
mod wit;
