//! The sockets that one attempt has open.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::gate::{Gate, OpenSocket};

/// The sockets of one attempt.
pub(in crate::wasm) struct Sockets {
    pub(in crate::wasm) gate: Arc<Gate>,
    /// The open sockets, by their place in the table.
    pub(super) open: HashMap<u32, OpenSocket>,
}

impl Sockets {
    pub(in crate::wasm) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, open: HashMap::new() }
    }

    /// Allows in a context what the gate allows.
    pub(in crate::wasm) fn allow(&self, wasi: &mut WasiCtxBuilder) {
        if self.gate.grants_sockets() {
            let gate = Arc::clone(&self.gate);
            wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, usage| {
                Box::pin(std::future::ready(gate.allows(address, usage)))
            });
        }
    }

    /// Takes the place of one more socket, if there may be one.
    pub(super) fn open(&self, protocol: &str) -> Result<OpenSocket, ErrorCode> {
        if !self.gate.grants_sockets() {
            let missing = self.gate.missing("network", "host` and `ports");
            self.gate.denials().say(&format!("opening a {protocol} socket"), &missing);
            return Err(ErrorCode::AccessDenied);
        }
        self.gate.open().ok_or(ErrorCode::NewSocketLimit)
    }
}
