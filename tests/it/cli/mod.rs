//! The command line, through the real program.

mod components;
mod errors;
mod filters;
mod fixture;
mod help;
mod identity;
mod keep;
mod lock;
mod output;
mod pushes;
mod registry;
mod run;
mod stored;
mod wit;
