//! The parts of `wasi:sockets` and `wasi:http` that differ from wasmtime's: sockets are counted, names are
//! looked up by the gate, and requests go through it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, IncomingDatagramStream, OutgoingDatagram,
    OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::{tcp, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, SocketError, SocketResult, TcpSocket, UdpSocket,
    subscribe,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, poll_noop, spawn};
use wasmtime_wasi::sockets::WasiSocketsView;
use wasmtime_wasi_http::WasiHttpCtxView;

use super::gate::{Gate, LookupError};
use super::http::Http;
use super::http_handles::{self, HttpHandles};
use crate::wasm::host::HostState;

/// Replaces the drop of sockets: a dropped one no longer counts as open.
fn close_counted<T: 'static>(
    linker: &mut Linker<HostState>,
    interface: &str,
    name: &str,
) -> wasmtime::Result<()> {
    linker.instance(interface)?.resource(name, ResourceType::host::<T>(), |mut store, rep| {
        let state: &mut HostState = store.data_mut();
        state.table.delete(Resource::<T>::new_own(rep))?;
        state.open_sockets.remove(&rep);
        Ok(())
    })
}

/// Replaces the calls by which bytes go over sockets: they are counted.
fn count_streams(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance("wasi:sockets/tcp@0.2.12")?.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store, (socket,): (Resource<TcpSocket>,)| {
            let state: &mut HostState = store.data_mut();
            let this = || Resource::<TcpSocket>::new_borrow(socket.rep());
            let (input, output) = match tcp::HostTcpSocket::finish_connect(&mut state.sockets(), this()) {
                Ok(streams) => streams,
                Err(error) => return Ok((Err(error.downcast()?),)),
            };
            let (input, output) = (state.table.delete(input)?, state.table.delete(output)?);
            let (input, output) = state.gate.traffic.counted(input, output);
            let input: Resource<DynInputStream> = state.table.push_child(input, &this())?;
            let output: Resource<DynOutputStream> = state.table.push_child(output, &this())?;
            Ok((Ok((input, output)),))
        },
    )?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        |mut store, (stream, most): (Resource<IncomingDatagramStream>, u64)| {
            let state: &mut HostState = store.data_mut();
            let received = match HostIncomingDatagramStream::receive(&mut state.sockets(), stream, most) {
                Ok(received) => received,
                Err(error) => return Ok((Err(error.downcast()?),)),
            };
            let bytes = received.iter().map(|datagram| datagram.data.len() as u64).sum();
            let within = state.gate.traffic.receive(bytes);
            Ok((within.map(|()| received).map_err(|_| ErrorCode::AccessDenied),))
        },
    )?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        |mut store, (stream, datagrams): (Resource<OutgoingDatagramStream>, Vec<OutgoingDatagram>)| {
            let state: &mut HostState = store.data_mut();
            let sizes: Vec<u64> = datagrams.iter().map(|datagram| datagram.data.len() as u64).collect();
            let bytes = sizes.iter().sum();
            if state.gate.traffic.make_room(bytes).is_err() {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            let sent = HostOutgoingDatagramStream::send(&mut state.sockets(), stream, datagrams);
            let count = sent.as_ref().map_or(0, |count| *count);
            let count = sizes.iter().take(usize::try_from(count).unwrap_or(usize::MAX)).sum();
            state.gate.traffic.count_sent(count, bytes);
            Ok((sent.map(Ok).or_else(|error| error.downcast().map(Err))?,))
        },
    )
}

/// Replaces the parts of wasmtime's `wasi:sockets` that a linker has already.
pub(in crate::wasm) fn add_sockets_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp_create_socket::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    udp_create_socket::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    // The version of wasmtime's own interfaces, which these replace.
    close_counted::<TcpSocket>(linker, "wasi:sockets/tcp@0.2.12", "tcp-socket")?;
    close_counted::<UdpSocket>(linker, "wasi:sockets/udp@0.2.12", "udp-socket")?;
    count_streams(linker)?;
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, rep| {
        let state: &mut HostState = store.data_mut();
        state.table.delete(Resource::<Lookup>::new_own(rep))?;
        Ok(())
    })?;
    lookup.func_wrap("resolve-addresses", |mut store, (network, name): (Resource<Network>, String)| {
        let state: &mut HostState = store.data_mut();
        state.table.get(&network)?;
        let lookup = Lookup::start(&state.gate, name);
        Ok((if let Lookup::Failed(error) = lookup { Err(error) } else { Ok(state.table.push(lookup)?) },))
    })?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (lookup,): (Resource<Lookup>,)| {
            let state: &mut HostState = store.data_mut();
            Ok((state.table.get_mut(&lookup)?.next(),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (lookup,): (Resource<Lookup>,)| {
            let state: &mut HostState = store.data_mut();
            let pollable: Resource<DynPollable> = subscribe(&mut state.table, lookup)?;
            Ok((pollable,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Adds the outgoing half of `wasi:http`.
pub(in crate::wasm) fn add_http_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    http_handles::add_to_linker(linker, |state| {
        state.handles.make_room(&mut state.table);
        let Http { context, sender } = &mut state.http;
        let http = WasiHttpCtxView { hooks: sender, table: &mut state.table, ctx: context };
        HttpHandles { http, handles: &mut state.handles }
    })
}

// Needed by the two interfaces below, for their errors.
impl network::Host for HostState {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for HostState {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

impl tcp_create_socket::Host for HostState {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let open = self.gate.open_socket("TCP")?;
        let socket = self.sockets().create_tcp_socket(family)?;
        self.open_sockets.insert(socket.rep(), open);
        Ok(socket)
    }
}

impl udp_create_socket::Host for HostState {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let open = self.gate.open_socket("UDP")?;
        let socket = self.sockets().create_udp_socket(family).await?;
        self.open_sockets.insert(socket.rep(), open);
        Ok(socket)
    }
}

/// A name that is being looked up, or its addresses that were not taken yet.
pub(super) enum Lookup {
    Pending(AbortOnDropJoinHandle<Result<Vec<IpAddr>, LookupError>>),
    Found(std::vec::IntoIter<IpAddr>),
    Failed(ErrorCode),
}

impl Lookup {
    fn start(gate: &Arc<Gate>, name: String) -> Self {
        let gate = Arc::clone(gate);
        let mut looking = Box::pin(async move { gate.look_up(&name).await });
        // A refusal comes at once.
        match poll_noop(looking.as_mut()) {
            Some(result) => Self::of(result),
            None => Self::Pending(spawn(looking)),
        }
    }

    fn of(result: Result<Vec<IpAddr>, LookupError>) -> Self {
        match result {
            Ok(addresses) => Self::Found(addresses.into_iter()),
            Err(LookupError::Invalid) => Self::Failed(ErrorCode::InvalidArgument),
            Err(LookupError::Denied) => Self::Failed(ErrorCode::AccessDenied),
            Err(LookupError::TooMany) => Self::Failed(ErrorCode::NewSocketLimit),
            Err(LookupError::Unresolvable) => Self::Failed(ErrorCode::NameUnresolvable),
        }
    }

    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        if let Self::Pending(looking) = self {
            match poll_noop(Pin::new(looking)) {
                Some(result) => *self = Self::of(result),
                None => return Err(ErrorCode::WouldBlock),
            }
        }
        match self {
            Self::Found(addresses) => Ok(addresses.next().map(IpAddress::from)),
            Self::Failed(error) => Err(*error),
            Self::Pending(_) => Err(ErrorCode::WouldBlock),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Pending(looking) = self {
            *self = Self::of(looking.await);
        }
    }
}
