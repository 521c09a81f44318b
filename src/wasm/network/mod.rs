//! What guests reach over the network: `wasi:sockets` and `wasi:http`, each as far
//! as it was granted.

mod address;
mod gate;
mod grants;
mod resolver;
mod sockets;
#[cfg(test)]
mod tests;

pub(super) use gate::{Gate, SocketLimit};
pub use grants::{HostPattern, NetworkGrant, Ports};
pub(super) use sockets::{Sockets, add_to_linker};
