//! Guests on the network: they reach only granted hosts, and the log names a missing
//! grant.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guests::setup::Setup;
use crate::support::servers::{FullPort, TcpServer, shouting_datagrams};

/// The guest, with these grants: host, port, whether private addresses are allowed.
fn setup(grants: &[(&str, u16, bool)], more: &str) -> Setup {
    let grants = grants.iter().map(|(host, port, allow_private)| {
        format!(
            "[[component.network.network]]\nhost = \"{host}\"\nports = [{port}]\nallow-private = {allow_private}\n"
        )
    });
    Setup::with(&["network", "echo"], &(grants.collect::<String>() + more))
}

/// Runs a task that is denied something: the guest gets an error, and both logs have
/// a line that says all of `says`.
#[track_caller]
pub fn denied(setup: &Setup, task: &str, arguments: &Value, says: &[&str]) {
    let id = setup.submit(task, &arguments.to_string());
    let output = setup.run_all();
    let status = setup.status(&id);
    assert_eq!(status["failure"]["kind"], "returned", "{status}");
    assert!(status["failure"]["error"].is_string(), "{status}");
    let logs = setup.run(["logs", &id, "--json"]).expect(0).json_lines();
    let said: Vec<&str> = logs
        .iter()
        .filter(|line| line["stream"] == "runner")
        .filter_map(|line| line["text"].as_str())
        .collect();
    let has_all = |line: &&str| line.starts_with("denied: ") && says.iter().all(|text| line.contains(text));
    let line =
        said.iter().find(|line| has_all(line)).unwrap_or_else(|| panic!("{says:?} is not in {said:?}"));
    assert!(output.stderr.contains(line), "{line:?} is not in {}", output.stderr);
}

#[test]
fn an_address_that_is_granted_is_reached_and_no_other() {
    let (server, other) = (TcpServer::shouting(), TcpServer::shouting());
    let setup = setup(&[("127.0.0.1", server.port, false)], "");
    let exchange = |port: u16| json!([format!("127.0.0.1:{port}"), "hello"]);
    assert_eq!(setup.value("exchange", &exchange(server.port).to_string()), "HELLO");
    let port = other.port.to_string();
    let says = ["connecting to `127.0.0.1`", &port, "[[component.network.network]]", "host = \"127.0.0.1\""];
    denied(&setup, "exchange", &exchange(other.port), &says);
    denied(&setup, "exchange", &json!([format!("127.0.0.2:{}", server.port), "hello"]), &["`127.0.0.2`"]);
    assert_eq!((server.accepted(), other.accepted()), (1, 0));
}

#[test]
fn a_name_resolves_to_private_addresses_only_if_that_is_granted() {
    let server = TcpServer::shouting();
    let arguments = json!([format!("localhost:{}", server.port), "hello"]);
    let with = setup(&[("localhost", server.port, true)], "");
    assert_eq!(with.value("exchange", &arguments.to_string()), "HELLO");
    let without = setup(&[("localhost", server.port, false)], "");
    let says = ["`localhost`, which leads to", "loopback", "allow-private = true"];
    denied(&without, "exchange", &arguments, &says);
    let any = setup(&[("*", server.port, false)], "");
    denied(&any, "exchange", &arguments, &says);
    denied(&any, "exchange", &json!([format!("127.0.0.1:{}", server.port), "hello"]), &["`127.0.0.1`"]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn only_granted_names_are_looked_up() {
    let setup = setup(&[("localhost", 80, true)], "");
    let found = setup.value("look-up", r#"["localhost"]"#);
    assert!(found.as_array().is_some_and(|found| found.contains(&json!("127.0.0.1"))), "{found}");
    let says = ["looking up `db.example`", "host = \"db.example\""];
    denied(&setup, "look-up", &json!(["db.example"]), &says);
}

#[test]
fn without_a_grant_nothing_is_opened() {
    let server = TcpServer::shouting();
    let setup = setup(&[], "");
    let says = ["opening a TCP socket", "[[component.network.network]]"];
    denied(&setup, "exchange", &json!([format!("127.0.0.1:{}", server.port), "hello"]), &says);
    denied(
        &setup,
        "exchange",
        &json!([format!("localhost:{}", server.port), "hello"]),
        &["looking up `localhost`"],
    );
    denied(&setup, "exchange-datagrams", &json!(["127.0.0.1:53", "hello"]), &["opening a UDP socket"]);
    denied(&setup, "listen", &json!(["127.0.0.1:0"]), &["opening a TCP socket"]);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn datagrams_go_only_to_granted_addresses() {
    let port = shouting_datagrams();
    let private = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    private.set_nonblocking(true).expect("a socket that can be asked");
    let private_port = private.local_addr().expect("an address").port();
    let setup = setup(&[("127.0.0.1", port, false), ("*", private_port, false)], "");
    assert_eq!(
        setup.value("exchange-datagrams", &json!([format!("127.0.0.1:{port}"), "hello"]).to_string()),
        "HELLO"
    );
    let says = ["sending to `127.0.0.1`", "[[component.network.network]]"];
    denied(&setup, "exchange-datagrams", &json!([format!("127.0.0.1:{private_port}"), "hello"]), &says);
    denied(
        &setup,
        "exchange-datagrams",
        &json!([format!("169.254.169.254:{private_port}"), "hello"]),
        &["sending to"],
    );
    let nothing = private.recv_from(&mut [0; 10]).expect_err("nothing came");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn listening_is_refused_whatever_is_granted() {
    let setup = setup(&[("*", 8080, true), ("0.0.0.0/0", 8081, true)], "");
    for address in ["0.0.0.0:8080", "127.0.0.1:8080", "127.0.0.1:0", "[::]:8080"] {
        denied(
            &setup,
            "listen",
            &json!([address]),
            &["binding a socket to", "guests connect, and never listen"],
        );
        denied(&setup, "bind", &json!([address]), &["binding a socket to"]);
    }
    denied(&setup, "listen", &json!(["0.0.0.0:0"]), &["listening for connections"]);
}

#[test]
fn an_address_in_another_notation_is_the_same_address() {
    let server = TcpServer::shouting();
    // Everything on this port, but for what is not of the open internet.
    let setup = setup(&[("*", server.port, false), ("::/0", server.port, false)], "");
    for address in [
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[::1]",
    ] {
        let arguments = json!([format!("{address}:{}", server.port), "hello"]);
        let failed = setup.failure("exchange", &arguments.to_string(), 1, "returned");
        assert!(failed.failure["error"].is_string(), "{address}");
    }
    for name in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"] {
        let arguments = json!([format!("{name}:{}", server.port), "hello"]);
        setup.failure("exchange", &arguments.to_string(), 1, "returned");
    }
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_flood_of_connections_ends_at_the_limit_of_sockets() {
    let server = TcpServer::silent();
    let grant = [("127.0.0.1", server.port, false)];
    let address = format!("127.0.0.1:{}", server.port);
    let few = setup(&grant, "[component.network.limits]\nsockets = 5\n");
    let id = few.submit("sockets.flood", &json!([&address, 1000]).to_string());
    let good = few.submit("echo.echo-u32", "[7]");
    let output = few.run_all();
    assert_eq!(few.status(&id)["result"], 5);
    assert_eq!(few.status(&good)["result"], 7);
    let line = "denied: opening one more socket: the limit of 5 open `sockets` is reached";
    let logs = few.run(["logs", &id]).expect(0);
    assert!(logs.stdout().contains(line) && output.stderr.contains(line), "{logs:?} {output:?}");
    let none = setup(&grant, "[component.network.limits]\nsockets = 0\n");
    let failed =
        none.failure("exchange-or-abort", &json!([&address, "hello"]).to_string(), 4, "limit-exceeded");
    assert_eq!(failed.failure["limit"], "sockets");
    // What is closed does not count.
    few.call("one-after-another", &json!([&address, 50]).to_string()).expect(0);
    let default = setup(&grant, "");
    assert_eq!(default.value("sockets.flood", &json!([&address, 1000]).to_string()), 64);
}

/// Reads the traffic of a task that succeeded: bytes sent, bytes received.
#[track_caller]
pub fn traffic(setup: &Setup, task: &str, arguments: &Value) -> (u64, u64) {
    let id = setup.submit(task, &arguments.to_string());
    setup.run_all();
    let status = setup.status(&id);
    assert_eq!(status["status"], "succeeded", "{status}");
    let bytes = |name: &str| status["usage"][name].as_u64().expect("a number");
    (bytes("sent_bytes"), bytes("received_bytes"))
}

#[test]
fn traffic_of_sockets_is_billed() {
    let (server, port) = (TcpServer::shouting(), shouting_datagrams());
    let setup = setup(&[("127.0.0.1", server.port, false), ("127.0.0.1", port, false)], "");
    let exchange = json!([format!("127.0.0.1:{}", server.port), "hello"]);
    assert_eq!(traffic(&setup, "exchange", &exchange), (6, 6), "with the ends of the lines");
    let datagrams = json!([format!("127.0.0.1:{port}"), "hello"]);
    assert_eq!(traffic(&setup, "exchange-datagrams", &datagrams), (5, 5));
    assert_eq!(traffic(&setup, "one-after-another", &json!([exchange[0], 5])), (0, 0));
    let used = setup.run(["status", &setup.submit("exchange", &exchange.to_string())]).expect(0);
    assert!(!used.stdout().contains("sent"), "it has not run: {used:?}");
}

#[test]
fn traffic_stops_exactly_at_its_limit() {
    let (server, port) = (TcpServer::shouting(), shouting_datagrams());
    let grants = [("127.0.0.1", server.port, false), ("127.0.0.1", port, false)];
    let with = |bytes: u32| setup(&grants, &format!("[component.network.limits]\ntraffic = \"{bytes}\"\n"));
    let exchange = json!([format!("127.0.0.1:{}", server.port), "hello"]);
    let datagrams = json!([format!("127.0.0.1:{port}"), "hello"]);
    let says = |bytes: u32| format!("sending and receiving more: the limit `traffic` is {bytes} bytes");
    assert_eq!(with(12).value("exchange", &exchange.to_string()), "HELLO");
    assert_eq!(with(10).value("exchange-datagrams", &datagrams.to_string()), "HELLO");
    // The answer goes beyond it, or the question already does.
    for bytes in [11, 6, 5, 0] {
        denied(&with(bytes), "exchange", &exchange, &[&says(bytes)]);
    }
    for bytes in [9, 5, 4, 0] {
        denied(&with(bytes), "exchange-datagrams", &datagrams, &[&says(bytes)]);
    }
    let failed = with(11).failure("exchange-or-abort", &exchange.to_string(), 4, "limit-exceeded");
    failed.says(&["the limit `traffic` is 11 bytes", "and then trapped"]);
    assert_eq!(failed.failure["limit"], "traffic");
    assert!(failed.stderr.contains("raise `traffic`"), "{}", failed.stderr);
}

/// Runs a task that hangs on the network, with a time limit, beside one that does
/// not.
#[track_caller]
fn hangs_until_its_time_is_over(port: u16) {
    let setup = setup(&[("127.0.0.1", port, false)], "[component.network.limits]\ntime = \"500ms\"\n");
    setup.run(["check"]).expect(0);
    let hanging = setup.submit("exchange", &json!([format!("127.0.0.1:{port}"), "hello"]).to_string());
    let good = setup.submit("echo.echo-u32", "[7]");
    let began = Instant::now();
    setup.run(["start", "--until-idle", "--slots", "1"]).expect(0);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let hanging = setup.status(&hanging);
    assert_eq!(hanging["failure"]["kind"], "timed-out", "{hanging}");
    assert_eq!(setup.status(&good)["result"], 7, "the slot is free again");
}

#[test]
fn a_connection_that_never_comes_ends_with_the_time_limit() {
    hangs_until_its_time_is_over(FullPort::new().port);
}

#[test]
fn a_server_that_never_answers_ends_with_the_time_limit() {
    hangs_until_its_time_is_over(TcpServer::silent().port);
}
