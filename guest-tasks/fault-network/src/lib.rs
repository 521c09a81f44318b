//! Tries everything on the network that it may and may not.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use exports::demo::network::sockets::Guest;

mod hoards;
mod requests;

wit_bindgen::generate!({
    path: "wit",
    world: "demo:network/guest",
    generate_all,
});

struct Network;
export!(Network);

impl Guest for Network {
    fn exchange(address: String, line: String) -> Result<String, String> {
        let mut stream = TcpStream::connect(address).map_err(text)?;
        stream.write_all(format!("{line}\n").as_bytes()).map_err(text)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(text)?;
        Ok(answer.trim_end().to_owned())
    }

    fn exchange_or_abort(address: String, line: String) -> String {
        Self::exchange(address, line).unwrap_or_else(|_| std::process::abort())
    }

    fn exchange_datagrams(address: String, text_to_send: String) -> Result<String, String> {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(text)?;
        socket.send_to(text_to_send.as_bytes(), address).map_err(text)?;
        let mut buffer = [0; 1500];
        let (bytes, _) = socket.recv_from(&mut buffer).map_err(text)?;
        Ok(String::from_utf8_lossy(&buffer[..bytes]).into_owned())
    }

    fn look_up(name: String) -> Result<Vec<String>, String> {
        let addresses = (name.as_str(), 80).to_socket_addrs().map_err(text)?;
        Ok(addresses.map(|address| address.ip().to_string()).collect())
    }

    fn listen(address: String) -> Result<String, String> {
        let listener = TcpListener::bind(address).map_err(text)?;
        listener.local_addr().map(|address| address.to_string()).map_err(text)
    }

    fn bind(address: String) -> Result<String, String> {
        let socket = UdpSocket::bind(address).map_err(text)?;
        socket.local_addr().map(|address| address.to_string()).map_err(text)
    }

    fn flood(address: String, count: u32) -> u32 {
        let streams: Vec<_> = (0..count).map_while(|_| TcpStream::connect(&address).ok()).collect();
        streams.len() as u32
    }

    fn one_after_another(address: String, count: u32) -> Result<(), String> {
        (0..count).try_for_each(|_| TcpStream::connect(&address).map(drop)).map_err(text)
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}
