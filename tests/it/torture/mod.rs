//! `torture`: real runners are killed, and the checks hold.

mod guest;
mod run;
