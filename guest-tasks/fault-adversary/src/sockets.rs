//! Sockets and names, granted and not.

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::{IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Size, Times};
use crate::machine::{room_for, text};
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("network", &[Times], |machine, _| machine.keep(instance_network())),
    entry("tcp", &[Times, Choice], |machine, numbers| {
        if let Ok(socket) = create_tcp_socket(family(numbers[0])) {
            machine.keep(socket);
        }
    }),
    entry("connect", &[Times, Choice, Choice], |machine, numbers| {
        let Some(socket) = machine.find::<TcpSocket>(numbers[0]) else { return };
        if socket.start_connect(&instance_network(), address(numbers[1])).is_err() {
            return;
        }
        socket.subscribe().block();
        if let Ok((input, output)) = socket.finish_connect() {
            machine.keep(input);
            machine.keep(output);
        }
    }),
    entry("connect-no-wait", &[Times, Choice, Choice], |machine, numbers| {
        let Some(socket) = machine.find::<TcpSocket>(numbers[0]) else { return };
        let _ = socket.start_connect(&instance_network(), address(numbers[1]));
        let pollable = socket.subscribe();
        machine.keep(pollable);
    }),
    entry("listen", &[Times, Choice, Choice], |machine, numbers| {
        let Some(socket) = machine.find::<TcpSocket>(numbers[0]) else { return };
        let _ = (socket.start_bind(&instance_network(), address(numbers[1])), socket.finish_bind());
        let _ = (socket.start_listen(), socket.finish_listen(), socket.accept().map(drop));
    }),
    entry("tcp-options", &[Times, Choice, Size], |machine, numbers| {
        let Some(socket) = machine.find::<TcpSocket>(numbers[0]) else { return };
        let size = numbers[1];
        let _ = (socket.set_receive_buffer_size(size), socket.set_send_buffer_size(size));
        let _ = (socket.set_listen_backlog_size(size), socket.set_keep_alive_enabled(true));
        let _ = (socket.set_keep_alive_idle_time(size), socket.set_keep_alive_interval(size));
        let _ = (socket.set_keep_alive_count(size as u32), socket.set_hop_limit(size as u8));
        let _ = (socket.receive_buffer_size(), socket.send_buffer_size(), socket.hop_limit());
        let _ = (socket.keep_alive_enabled(), socket.keep_alive_idle_time(), socket.keep_alive_interval());
        let _ = (socket.keep_alive_count(), socket.local_address(), socket.remote_address());
        let _ = (socket.is_listening(), socket.address_family());
    }),
    entry("shutdown", &[Times, Choice], |machine, numbers| {
        machine.find::<TcpSocket>(numbers[0]).map(|socket| socket.shutdown(ShutdownType::Both));
    }),
    entry("udp", &[Times, Choice, Choice], |machine, numbers| {
        let Ok(socket) = create_udp_socket(family(numbers[0])) else { return };
        let _ = (socket.start_bind(&instance_network(), address(7)), socket.finish_bind());
        let remote = (numbers[1] % 2 == 0).then(|| address(numbers[1]));
        let streams = socket.stream(remote);
        machine.keep(socket);
        if let Ok((input, output)) = streams {
            machine.keep(input);
            machine.keep(output);
        }
    }),
    entry("udp-send", &[Times, Choice, Count, Size], |machine, numbers| {
        let Some(stream) = machine.find::<OutgoingDatagramStream>(numbers[0]) else { return };
        let Ok(room) = stream.check_send() else { return };
        let data = text(numbers[2]).into_bytes();
        let datagram = OutgoingDatagram { remote_address: Some(address(numbers[0])), data };
        let count = room_for(numbers[1].min(room), datagram.data.len());
        let _ = stream.send(&vec![datagram; count]);
    }),
    entry("udp-receive", &[Times, Choice, Count], |machine, numbers| {
        let Some(stream) = machine.find::<IncomingDatagramStream>(numbers[0]) else { return };
        let _ = stream.receive(numbers[1]);
        let pollable = stream.subscribe();
        machine.keep(pollable);
    }),
    entry("udp-options", &[Times, Choice, Size], |machine, numbers| {
        let Some(socket) = machine.find::<UdpSocket>(numbers[0]) else { return };
        let size = numbers[1];
        let _ = (socket.set_receive_buffer_size(size), socket.set_send_buffer_size(size));
        let _ = (socket.set_unicast_hop_limit(size as u8), socket.unicast_hop_limit());
        let _ = (socket.receive_buffer_size(), socket.send_buffer_size(), socket.address_family());
        let _ = (socket.local_address(), socket.remote_address());
        let pollable = socket.subscribe();
        machine.keep(pollable);
    }),
    entry("look-up", &[Times, Size, Choice], |machine, numbers| {
        let name = match numbers[1] % 4 {
            0 => "localhost".to_owned(),
            1 => "127.0.0.1".to_owned(),
            2 => "nowhere.invalid".to_owned(),
            _ => text(numbers[0]),
        };
        if let Ok(stream) = resolve_addresses(&instance_network(), &name) {
            machine.keep(stream);
        }
    }),
    entry("look-up-next", &[Times, Choice], |machine, numbers| {
        let Some(stream) = machine.find::<ResolveAddressStream>(numbers[0]) else { return };
        let _ = stream.resolve_next_address();
        let pollable = stream.subscribe();
        machine.keep(pollable);
    }),
];

fn family(choice: u64) -> IpAddressFamily {
    if choice.is_multiple_of(4) { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 }
}

/// The server of the harness, a port at which nobody is, and addresses that nobody grants.
fn address(choice: u64) -> IpSocketAddress {
    let server = std::env::var("SERVER").unwrap_or_default();
    let port = server.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(80);
    let (port, address) = match choice % 8 {
        0..4 => (port, (127, 0, 0, 1)),
        4 => (1, (127, 0, 0, 1)),
        5 => (80, (10, 255, 255, 1)),
        6 => (port, (255, 255, 255, 255)),
        _ => (0, (0, 0, 0, 0)),
    };
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}
