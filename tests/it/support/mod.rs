//! The tools that tests share.

pub mod cli;
pub mod clock;
pub mod closures;
pub mod database;
pub mod disk;
pub mod faulty_store;
pub mod guests;
pub mod http;
pub mod openssl;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod servers;
pub mod tokens;
pub mod toolchains;
