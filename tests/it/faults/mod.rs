//! What guests, files and machines can do wrong, and what becomes of it.

mod floods;
mod limits;
mod output;
mod traps;
