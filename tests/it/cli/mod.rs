//! The command line, through the real program.

mod components;
mod errors;
mod fixture;
mod help;
mod keep;
mod output;
mod run;
mod stored;
mod wit;
