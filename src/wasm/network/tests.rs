//! What the gate lets through, with a resolver that says what the test wants.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::sockets::SocketAddrUse;

use super::gate::{Addresses, Gate, LookupError, Resolver};
use super::grants::{HostPattern, NetworkGrant, Ports};
use super::traffic::Traffic;
use crate::model::{InvocationId, SystemClock};
use crate::wasm::control::GuestControl;
use crate::wasm::denials::Denials;
use crate::wasm::grants::Grants;
use crate::wasm::host_memory::HostMemory;
use crate::wasm::output::{Bounds, GuestOutput};

/// Answers each lookup of a name with the next of its answers, and stays at the
/// last. Of a name without answers it is never heard again.
#[derive(Default)]
struct Script(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Script {
    fn with(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let names = names
            .iter()
            .map(|(name, answers)| ((*name).to_owned(), answers.iter().map(parse).collect::<Vec<_>>()));
        Arc::new(Self(Mutex::new(names.collect())))
    }
}

impl Resolver for Script {
    fn resolve(&self, name: &str) -> Addresses {
        let mut names = self.0.lock();
        let is_silent = names.get(name).is_some_and(Vec::is_empty);
        if is_silent {
            return Box::pin(std::future::pending());
        }
        let answer = names.get_mut(name).map(|answers| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        });
        Box::pin(async move { answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
    }
}

/// What was written down.
struct Notes {
    output: GuestOutput,
    kept: Arc<Mutex<Vec<String>>>,
}

impl Notes {
    fn lines(&self) -> Vec<String> {
        self.output.finish();
        self.kept.lock().clone()
    }
}

fn gate(grants: &[(&str, u16, bool)], names: &[(&str, &[&[&str]])], limit: u64) -> (Arc<Gate>, Notes) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let sink = Box::new(move |entries: Vec<crate::model::LogEntry>| {
        kept.lock().extend(entries.into_iter().map(|entry| entry.text));
    });
    let control = Arc::new(GuestControl::new(std::time::Duration::from_secs(1)));
    let account = HostMemory::new(1 << 20, Arc::clone(&control));
    let bounds = Bounds { log: 1000, value: None };
    let clock = Arc::new(SystemClock::new());
    let output = GuestOutput::new(clock, Arc::clone(&control), 1, bounds, None, &account, sink);
    let grants: Vec<_> = grants
        .iter()
        .map(|(host, port, allow_private)| NetworkGrant {
            host: HostPattern::parse(host).unwrap(),
            ports: Ports::new(vec![*port..=*port]),
            allow_private: *allow_private,
        })
        .collect();
    let grants = Grants { network: grants.into(), ..Grants::default() };
    let denials = Denials::new(
        "guest".into(),
        None,
        InvocationId::generate(),
        output.clone(),
        Arc::clone(&control),
        Arc::default(),
    );
    let account = HostMemory::new(1 << 20, Arc::clone(&control));
    let traffic = Traffic::new(1000, control, Arc::clone(&denials));
    let gate = Gate::new(&grants, denials, limit, &account, traffic, Script::with(names));
    (gate, Notes { output, kept: notes })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn look_up(gate: &Gate, name: &str) -> Result<Vec<String>, LookupError> {
    let runtime = runtime();
    let found = runtime.block_on(gate.look_up(name));
    found.map(|found| found.iter().map(IpAddr::to_string).collect())
}

fn connects(gate: &Gate, address: &str) -> bool {
    gate.allows(address.parse().unwrap(), SocketAddrUse::TcpConnect)
}

#[test]
fn only_what_a_granted_name_led_to_is_connected() {
    let names: &[(&str, &[&[&str]])] =
        &[("api.example", &[&["1.1.1.1", "2606:4700::1"]]), ("other.example", &[&["8.8.8.8"]])];
    let (gate, _) = gate(&[("api.example", 443, false)], names, 9);
    assert!(!connects(&gate, "1.1.1.1:443"), "nobody asked for the name yet");
    assert_eq!(look_up(&gate, "API.example.").unwrap(), ["1.1.1.1", "2606:4700::1"]);
    assert!(connects(&gate, "1.1.1.1:443") && connects(&gate, "[2606:4700::1]:443"));
    assert!(!connects(&gate, "1.1.1.1:80"), "another port");
    assert!(!connects(&gate, "8.8.8.8:443"), "another address");
    assert_eq!(look_up(&gate, "other.example"), Err(LookupError::Denied));
    assert!(!connects(&gate, "8.8.8.8:443"));
}

#[test]
fn a_lookup_has_a_limit_of_time() {
    let (gate, _) = gate(&[("*.example", 443, false)], &[("silent.example", &[])], 9);
    let looking = gate.resolve("silent.example", std::time::Duration::from_millis(1));
    assert_eq!(runtime().block_on(looking), Err(LookupError::Unresolvable));
}

#[test]
fn a_name_that_changes_its_mind_leads_nowhere_else() {
    let names: &[(&str, &[&[&str]])] = &[(
        "evil.example",
        &[&["1.1.1.1"], &["127.0.0.1"], &["1.1.1.2", "169.254.169.254", "::ffff:10.0.0.1"]],
    )];
    let (gate, _) = gate(&[("*.example", 80, false)], names, 9);
    assert_eq!(look_up(&gate, "evil.example").unwrap(), ["1.1.1.1"]);
    assert_eq!(look_up(&gate, "evil.example"), Err(LookupError::Denied));
    assert!(connects(&gate, "1.1.1.1:80"));
    assert_eq!(look_up(&gate, "evil.example").unwrap(), ["1.1.1.2"], "what is private is left out");
    for address in [
        "127.0.0.1:80",
        "169.254.169.254:80",
        "10.0.0.1:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:a9fe:a9fe]:80",
    ] {
        assert!(!connects(&gate, address), "{address}");
    }
}

#[test]
fn a_port_belongs_to_the_grant_whose_name_it_was() {
    let names: &[(&str, &[&[&str]])] = &[("a.example", &[&["1.1.1.1"]]), ("b.example", &[&["1.1.1.1"]])];
    let (gate, _) = gate(&[("a.example", 80, false), ("b.example", 443, false)], names, 9);
    look_up(&gate, "a.example").unwrap();
    assert!(connects(&gate, "1.1.1.1:80") && !connects(&gate, "1.1.1.1:443"), "only a.example was asked for");
    look_up(&gate, "b.example").unwrap();
    assert!(connects(&gate, "1.1.1.1:443"));
}

#[test]
fn private_addresses_of_names_are_given_if_they_are_granted() {
    let names: &[(&str, &[&[&str]])] = &[("db.internal", &[&["10.0.0.5"]])];
    let (with, _) = gate(&[("db.internal", 5432, true)], names, 9);
    assert_eq!(look_up(&with, "db.internal").unwrap(), ["10.0.0.5"]);
    assert!(connects(&with, "10.0.0.5:5432") && !connects(&with, "10.0.0.6:5432"));
    let (by_address, _) = gate(&[("db.internal", 5432, false), ("10.0.0.0/24", 5433, false)], names, 9);
    assert_eq!(look_up(&by_address, "db.internal").unwrap(), ["10.0.0.5"]);
    assert!(connects(&by_address, "10.0.0.5:5433"), "the address itself is granted, with this port");
    assert!(!connects(&by_address, "10.0.0.5:5432"), "and by the name it is not");
}

#[test]
fn nobody_listens() {
    let (gate, _) = gate(&[("*", 80, true)], &[], 9);
    let allows = |address: &str, usage| gate.allows(address.parse().unwrap(), usage);
    assert!(allows("0.0.0.0:0", SocketAddrUse::TcpBind) && allows("[::]:0", SocketAddrUse::UdpBind));
    for address in ["0.0.0.0:80", "127.0.0.1:0", "127.0.0.1:80", "[::]:80"] {
        assert!(
            !allows(address, SocketAddrUse::TcpBind) && !allows(address, SocketAddrUse::UdpBind),
            "{address}"
        );
    }
    for usage in [SocketAddrUse::TcpListen, SocketAddrUse::TcpAccept] {
        assert!(!allows("0.0.0.0:80", usage) && !allows("0.0.0.0:0", usage));
    }
    assert!(
        allows("127.0.0.1:80", SocketAddrUse::UdpSend) && !allows("127.0.0.1:81", SocketAddrUse::UdpReceive)
    );
}

#[test]
fn open_sockets_are_counted_until_they_are_closed() {
    let (gate, _) = gate(&[("a.example", 80, false)], &[("a.example", &[&["1.1.1.1"]])], 2);
    let (first, second) = (gate.open(), gate.open());
    assert!(first.is_some() && second.is_some() && gate.open().is_none());
    assert_eq!(look_up(&gate, "a.example"), Err(LookupError::TooMany));
    drop(first);
    assert_eq!(look_up(&gate, "a.example").unwrap(), ["1.1.1.1"]);
    assert!(gate.open().is_some(), "the lookup is over");
}

#[test]
fn each_denial_is_written_down_once_and_names_the_grant() {
    let names: &[(&str, &[&[&str]])] = &[("evil.example", &[&["169.254.169.254"]])];
    let (gate, notes) = gate(&[("evil.example", 80, false)], names, 0);
    assert!(!connects(&gate, "10.0.0.1:22") && !connects(&gate, "10.0.0.1:22"));
    assert!(!gate.allows("1.1.1.1:53".parse().unwrap(), SocketAddrUse::UdpSend));
    assert!(!gate.allows("0.0.0.0:80".parse().unwrap(), SocketAddrUse::TcpListen));
    look_up(&gate, "un\u{1b}known").unwrap_err();
    look_up(&gate, "unknown.example").unwrap_err();
    look_up(&gate, "evil.example").unwrap_err();
    assert_eq!(
        notes.lines(),
        [
            "denied: connecting to `10.0.0.1` on port 22: a `[[component.guest.network]]` with `host = \"10.0.0.1\"` \
             and `ports = [22]` would allow it",
            "denied: sending to `1.1.1.1` on port 53: a `[[component.guest.network]]` with `host = \"1.1.1.1\"` and \
             `ports = [53]` would allow it",
            "denied: listening for connections: no grant allows that: guests connect, and never listen",
            "denied: looking up `unknown.example`: a `[[component.guest.network]]` with `host = \"unknown.example\"` \
             and its `ports` would allow it",
            "denied: opening one more socket: the limit of 0 open `sockets` is reached",
        ]
    );
}

#[test]
fn a_name_that_leads_to_a_private_address_is_written_down() {
    let names: &[(&str, &[&[&str]])] = &[("evil.example", &[&["::ffff:169.254.169.254"]])];
    let (gate, notes) = gate(&[("evil.example", 80, false)], names, 9);
    assert_eq!(look_up(&gate, "evil.example"), Err(LookupError::Denied));
    assert_eq!(
        notes.lines(),
        [
            "denied: `evil.example`, which leads to `169.254.169.254`, an address that is link-local: `allow-private = \
          true` in its `[[component.guest.network]]` would allow it"
        ]
    );
}

#[test]
fn a_guest_that_probes_everything_does_not_fill_the_log() {
    let (gate, notes) = gate(&[], &[], 9);
    for port in 1..1000 {
        assert!(!connects(&gate, &format!("1.1.1.1:{port}")));
    }
    let lines = notes.lines();
    assert_eq!(lines.len(), 21);
    assert_eq!(lines[20], "denied: more than that, which is not listed any more");
}

#[test]
fn what_is_no_name_is_not_looked_up() {
    let (gate, _) = gate(&[("*", 80, true)], &[], 9);
    assert_eq!(look_up(&gate, "127.0.0.1").unwrap(), ["127.0.0.1"]);
    for name in ["127.1", "2130706433", "0x7f.0x1", "", "a b", "a/b"] {
        assert_eq!(look_up(&gate, name), Err(LookupError::Invalid), "{name}");
    }
    assert_eq!(look_up(&gate, "unknown.example"), Err(LookupError::Unresolvable));
}
