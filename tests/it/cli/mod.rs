//! The command line, through the real program.

mod errors;
mod help;
mod output;
mod run;
mod stored;
