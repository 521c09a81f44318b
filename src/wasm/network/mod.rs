//! The network of guests: `wasi:sockets` and `wasi:http`, each as far as it was granted.

mod address;
mod gate;
mod grants;
mod http;
mod http_handles;
mod imports;
mod lookups;
mod pace;
mod requests;
#[cfg(test)]
mod tests;
mod traffic;

pub(super) use gate::{Gate, OpenSocket, SystemResolver};
pub use grants::{HostPattern, NetworkGrant, Ports};
pub(super) use http::Http;
pub(super) use imports::{add_http_to_linker, add_sockets_to_linker};
pub use requests::{HttpGrant, Scheme};
pub(super) use traffic::Traffic;
