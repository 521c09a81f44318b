//! The faults of guests, files and machines, and their ends.

mod bombs;
mod bounds;
mod budget;
mod caches;
mod components;
mod corpus;
mod disks;
mod floods;
mod hoards;
mod limits;
mod network;
mod output;
mod pipes;
mod requests;
mod scratch;
mod shares;
mod shortages;
mod stores;
mod traps;
