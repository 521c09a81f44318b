//! Lookups of the addresses of names.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;

use tokio::sync::Semaphore;

/// The lookups that may run at once in the whole process. Each takes a thread until the system's resolver
/// gives up, whether or not anybody still waits for it.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// The addresses of a name.
pub(super) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A source of the addresses of names.
pub(super) trait Resolver: Send + Sync {
    /// Looks a name up.
    fn resolve(&self, name: &str) -> Addresses;
}

/// The resolver of the system: `/etc/hosts`, and the servers of `/etc/resolv.conf`.
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> Addresses {
        let name = name.to_owned();
        Box::pin(async move {
            let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs()?;
                let mut addresses: Vec<IpAddr> = Vec::new();
                for address in found.map(|found| found.ip().to_canonical()) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                drop(permit);
                Ok(addresses)
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
