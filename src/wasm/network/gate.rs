//! The one place that decides which hosts, addresses and sockets an attempt may use.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi_http::Error;

use super::address::special;
use super::grants::{NetworkGrant, normalise, parse_address};
use super::lookups::LOOKUPS;
use super::requests::{HttpGrant, Target};
use super::traffic::Traffic;
use crate::model::LimitKind;
use crate::wasm::denials::Denials;
use crate::wasm::grants::Grants;
use crate::wasm::host_memory::{Held, HostMemory};
use crate::wasm::meter::{Allowance, Place};

/// The most addresses of looked-up names that are remembered for an attempt. More push out the oldest.
const MOST_LEARNED: usize = 1024;

/// The most time of one lookup. The thread that does it stays until the system's resolver gives up.
const LOOKUP_TIME: Duration = Duration::from_secs(20);

/// The hosts that one attempt may reach, and the addresses that it has looked up.
pub(in crate::wasm) struct Gate {
    network: Arc<[NetworkGrant]>,
    http: Arc<[HttpGrant]>,
    resolver: Arc<dyn Resolver>,
    pub(super) denials: Arc<Denials>,
    /// Addresses that granted names had when they were looked up, with the index of the grant. An address
    /// is connected, not a name: one that leads elsewhere by then changes nothing.
    learned: Mutex<Vec<(IpAddr, usize)>>,
    /// Sockets that may still be opened.
    sockets: Arc<Allowance>,
    /// The account on which what is open is.
    host_memory: Arc<HostMemory>,
    /// The counters of bytes sent and received.
    pub(super) traffic: Arc<Traffic>,
}

/// The reasons why a lookup gave no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupError {
    /// It is no name.
    Invalid,
    /// No grant is for the name, or for its addresses.
    Denied,
    /// The limit of sockets is reached: a lookup counts as one.
    TooMany,
    /// No resolver knows the name.
    Unresolvable,
}

impl Gate {
    /// Lets through what is granted, with at most `sockets` open at once, on an account.
    pub(in crate::wasm) fn new(
        grants: &Grants,
        denials: Arc<Denials>,
        sockets: u64,
        host_memory: &Arc<HostMemory>,
        traffic: Arc<Traffic>,
        resolver: Arc<dyn Resolver>,
    ) -> Arc<Self> {
        let (network, http) = (Arc::clone(&grants.network), Arc::clone(&grants.http));
        let sockets = Arc::new(Allowance::new(sockets));
        let host_memory = Arc::clone(host_memory);
        let learned = Mutex::default();
        Arc::new(Self { network, http, resolver, denials, learned, sockets, host_memory, traffic })
    }

    /// Allows sockets in a context, if any are granted, with a check of each address.
    pub(in crate::wasm) fn allow_sockets(self: &Arc<Self>, wasi: &mut WasiCtxBuilder) {
        if !self.network.is_empty() {
            let gate = Arc::clone(self);
            wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, usage| {
                Box::pin(std::future::ready(gate.allows(address, usage)))
            });
        }
    }

    /// Takes the place of one more socket, if there may be one.
    pub(super) fn open_socket(&self, protocol: &str) -> Result<OpenSocket, ErrorCode> {
        if self.network.is_empty() {
            let missing = self.missing("network", "host` and `ports");
            self.denials.say_ungranted(&format!("opening a {protocol} socket"), &missing);
            return Err(ErrorCode::AccessDenied);
        }
        self.open().ok_or(ErrorCode::NewSocketLimit)
    }

    /// Whether a socket may do something with an address. A refusal is logged.
    pub(super) fn allows(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let (verb, is_noise) = match usage {
            // Before a socket is connected, the system gives it any free port.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                let is_any = address.port() == 0 && address.ip().is_unspecified();
                if !is_any {
                    self.denials.say(&format!("binding a socket to `{address}`"), NEVER_LISTENS);
                }
                return is_any;
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                self.denials.say("listening for connections", NEVER_LISTENS);
                return false;
            }
            SocketAddrUse::TcpConnect => ("connecting to", false),
            SocketAddrUse::UdpSend => ("sending to", false),
            // Anybody may send something to an open port: that is not the guest's doing.
            SocketAddrUse::UdpReceive => ("receiving from", true),
        };
        let allowed = self.allows_remote(address);
        if !allowed && !is_noise {
            let (ip, port) = (address.ip().to_canonical(), address.port());
            self.denials.say_ungranted(
                &format!("{verb} `{ip}` on port {port}"),
                &self.missing("network", &format!("host = \"{ip}\"` and `ports = [{port}]")),
            );
        }
        allowed
    }

    fn allows_remote(&self, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let learned = self.learned.lock();
        self.network.iter().enumerate().any(|(place, grant)| {
            grant.ports.contains(port)
                && (grant.host.has_address(ip, grant.allow_private) || learned.contains(&(ip, place)))
        })
    }

    /// Looks a name up for a guest, if a grant is for it, and remembers where it leads.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        // Nothing is looked up for an address, so nothing is allowed by it either.
        if let Some(address) = parse_address(name) {
            return Ok(vec![address]);
        }
        let name = normalise(name).ok_or(LookupError::Invalid)?;
        let granted: Vec<_> =
            self.network.iter().enumerate().filter(|(_, grant)| grant.host.has_name(&name)).collect();
        if granted.is_empty() {
            let missing = self.missing("network", &format!("host = \"{name}\"` and its `ports"));
            self.denials.say_ungranted(&format!("looking up `{name}`"), &missing);
            return Err(LookupError::Denied);
        }
        let _open = self.open().ok_or(LookupError::TooMany)?;
        let found = self.resolve(&name, LOOKUP_TIME).await?;
        let found: Vec<IpAddr> = found.into_iter().map(|address| address.to_canonical()).collect();
        let mut learned = self.learned.lock();
        let mut given = Vec::new();
        for address in found.iter().copied() {
            let is_open = special(address).is_none();
            for (place, _) in granted.iter().filter(|(_, grant)| grant.allow_private || is_open) {
                if !learned.contains(&(address, *place)) {
                    if learned.len() == MOST_LEARNED {
                        learned.remove(0);
                    }
                    learned.push((address, *place));
                }
            }
            let is_allowed = is_open
                || granted.iter().any(|(_, grant)| grant.allow_private)
                || self.network.iter().any(|grant| grant.host.has_address(address, grant.allow_private));
            if is_allowed && !given.contains(&address) {
                given.push(address);
            }
        }
        drop(learned);
        match found.first() {
            None => Err(LookupError::Unresolvable),
            Some(first) if given.is_empty() => {
                self.say_leads_to(&name, *first, "network");
                Err(LookupError::Denied)
            }
            Some(_) => Ok(given),
        }
    }

    /// Looks a name up within a time, in which it waits for its turn, too.
    pub(super) async fn resolve(&self, name: &str, time: Duration) -> Result<Vec<IpAddr>, LookupError> {
        match timeout(time, self.resolver.resolve(name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Err(LookupError::Unresolvable),
        }
    }

    /// The addresses that a request may be sent to.
    pub(super) async fn addresses_for(&self, target: &Target) -> Result<Vec<IpAddr>, Error> {
        let section = format!("[[component.{}.http]]", self.denials.component);
        let granted = target.granted_by(&self.http).map_err(|(key, missing)| {
            let host = &target.host;
            let why = match key {
                "host" => format!("a `{section}` with `host = \"{host}\"` would allow it"),
                "methods" if self.http.is_empty() => format!("no `{section}` allows it"),
                _ => format!("no `{section}` for `{host}` has `{missing}` among its `{key}`"),
            };
            self.denials.say_ungranted(&format!("`{target}`"), &why);
            Error::HttpRequestDenied
        })?;
        let is_allowed = |address: &IpAddr| {
            special(*address).is_none()
                || granted
                    .iter()
                    .any(|grant| grant.allow_private || grant.host.has_address(*address, grant.allow_private))
        };
        let found = match parse_address(&target.host) {
            Some(address) => vec![address],
            None => {
                let _open = self.open().ok_or(LookupError::TooMany)?;
                self.resolve(&target.host, LOOKUP_TIME).await?
            }
        };
        let allowed: Vec<_> = found.iter().map(IpAddr::to_canonical).filter(is_allowed).collect();
        match found.first() {
            Some(first) if allowed.is_empty() => {
                self.say_leads_to(&target.host, *first, "http");
                Err(LookupError::Denied.into())
            }
            None => Err(LookupError::Unresolvable.into()),
            Some(_) => Ok(allowed),
        }
    }

    /// Logs that a name leads to an address that is not allowed.
    fn say_leads_to(&self, name: &str, address: IpAddr, section: &str) {
        let what = special(address).unwrap_or("not granted");
        let component = &self.denials.component;
        self.denials.say_ungranted(
            &format!("`{name}`, which leads to `{address}`, an address that is {what}"),
            &format!("`allow-private = true` in its `[[component.{component}.{section}]]` would allow it"),
        );
    }

    /// Names the missing grant.
    fn missing(&self, section: &str, keys: &str) -> String {
        format!("a `[[component.{}.{section}]]` with `{keys}` would allow it", self.denials.component)
    }

    /// Counts one more open socket until the returned value is dropped; `None`, which is logged, if the
    /// limit is reached.
    pub(super) fn open(&self) -> Option<OpenSocket> {
        const TRIED: &str = "opening one more socket";
        let Some(place) = self.sockets.place() else {
            let why = format!("the limit of {} open `sockets` is reached", self.sockets.limit);
            self.denials.say_limit(LimitKind::Sockets, TRIED, &why);
            return None;
        };
        match self.host_memory.hold(SOCKET_BYTES) {
            Ok(held) => Some(OpenSocket { _place: place, _held: held }),
            Err(error) => {
                self.denials.say_limit(LimitKind::HostMemory, TRIED, &error.to_string());
                None
            }
        }
    }
}

const NEVER_LISTENS: &str = "no grant allows that: guests connect, and never listen";

/// Bytes of an open socket, lookup or request: the buffers of its connection, of TLS and of HTTP.
const SOCKET_BYTES: u64 = 192 << 10;

/// One open socket, lookup or request, counted until it is dropped.
pub(in crate::wasm) struct OpenSocket {
    _place: Place,
    _held: Held,
}

/// The addresses of a name.
pub(in crate::wasm) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A source of the addresses of names.
pub(in crate::wasm) trait Resolver: Send + Sync {
    /// Looks a name up.
    fn resolve(&self, name: &str) -> Addresses;
}

/// The resolver of the system: `/etc/hosts`, and the servers of `/etc/resolv.conf`. It looks names up for a component.
pub(in crate::wasm) struct SystemResolver(Arc<str>);

impl SystemResolver {
    /// Looks names up in the share of a component.
    pub(in crate::wasm) fn of(component: &Arc<str>) -> Self {
        Self(Arc::clone(component))
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> Addresses {
        let (component, name) = (Arc::clone(&self.0), name.to_owned());
        Box::pin(async move {
            let place = LOOKUPS.place(&component).await?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs()?;
                let mut addresses: Vec<IpAddr> = Vec::new();
                for address in found.map(|found| found.ip().to_canonical()) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                drop(place);
                Ok(addresses)
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
