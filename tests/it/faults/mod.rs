//! What guests, files and machines can do wrong, and what becomes of it.

mod bombs;
mod bounds;
mod caches;
mod components;
mod corpus;
mod disks;
mod floods;
mod hoards;
mod limits;
mod network;
mod output;
mod requests;
mod scratch;
mod stores;
mod traps;
