//! Identity tokens: a real registry whose token server takes nothing else.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;

use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};

use super::registry::{Machine, WASM, fib};
use crate::support::cli::Output;
use crate::support::registry::Registry;
use crate::support::servers::TcpServer;
use crate::support::tokens::{IDENTITY, TokenServer};

/// A registry with a component, its token server, and the component's reference.
fn closed() -> (Registry, TokenServer, String) {
    let tokens = TokenServer::start();
    let registry = Registry::start_with_tokens(&tokens.url(), &tokens.certificate());
    let auth = RegistryAuth::Bearer(tokens.token("acme/fib", &["pull", "push"]));
    let manifest = registry.push("acme/fib", "latest", &fib(1), WASM, &auth);
    let source = format!("oci://{}/acme/fib@{manifest}", registry.host());
    (registry, tokens, source)
}

/// A machine with something in docker's configuration about a registry.
fn machine(source: &str, registry: &Registry, auth: &Value) -> Machine {
    let machine = Machine::new(source);
    machine.sandbox.write("docker/config.json", json!({ "auths": { registry.host(): auth } }).to_string());
    machine
}

#[track_caller]
fn tells_no_token(output: &Output) {
    // A signed one begins with the first.
    for text in ["eyJ", IDENTITY, "identity%2Bof", "another one"] {
        assert!(!output.stderr.contains(text), "{text}: {output:?}");
    }
}

#[test]
fn an_identity_token_is_exchanged_for_one_that_opens_the_repository() {
    let (registry, tokens, source) = closed();
    let anonymous = Machine::new(&source).run(&["component", "pull"]).expect(78);
    assert!(anonymous.stderr.contains("can't be fetched"), "{anonymous:?}");
    // A user without a password beside it, as some registries' logins write it.
    let auth = json!({ "auth": "MDAwMDo=", "identitytoken": IDENTITY });
    let machine = machine(&source, &registry, &auth);
    tells_no_token(&machine.run(&["-vv", "component", "pull"]).expect(0));
    assert_eq!(machine.run(&["call", "fib", "[7]"]).expect(0).json(), 13);
    let asked = tokens.asked();
    let exchange = "POST /token refresh_token repository:acme/fib:pull";
    assert!(asked.iter().filter(|line| *line == exchange).count() >= 1, "{asked:?}");
    assert!(asked.iter().all(|line| line == exchange || line.starts_with("GET /token?scope=")), "{asked:?}");
}

#[test]
fn a_helper_and_the_variable_can_give_an_identity_token() {
    let (registry, _tokens, source) = closed();
    let machine = Machine::new(&source);
    let answer = json!({ "ServerURL": registry.host(), "Username": "<token>", "Secret": IDENTITY });
    let helper =
        machine.sandbox.write("bin/docker-credential-tests", format!("#!/bin/sh\necho '{answer}'\n"));
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    machine.sandbox.write("docker/config.json", json!({ "credsStore": "tests" }).to_string());
    let path = format!("{}:/usr/bin:/bin", machine.sandbox.path().join("bin").display());
    tells_no_token(&machine.command(&["-vv", "component", "pull"]).env("PATH", path).run().expect(0));
    let machine = Machine::new(&source);
    let variable = format!("{}=<token>:{IDENTITY}", registry.host());
    let pull = machine.command(&["-vv", "component", "pull"]);
    tells_no_token(&pull.env("WASM_RUNNER_REGISTRY_AUTH", variable).run().expect(0));
}

#[test]
fn a_rejected_identity_token_is_reported_and_not_printed() {
    let (registry, tokens, source) = closed();
    let refused = machine(&source, &registry, &json!({ "identitytoken": "another one" }));
    let output = refused.run(&["-vv", "component", "pull"]).expect(78);
    let host = tokens.url().replace("http://", "").replace("/token", "");
    let says = format!("the token server `{host}` does not take the identity token (401 Unauthorized)");
    assert!(output.stderr.contains(&says), "{output:?}");
    tells_no_token(&output);
}

#[test]
fn an_identity_token_is_sent_only_over_tls() {
    let tokens = TokenServer::start();
    let elsewhere = Registry::start_with_tokens("http://auth.example/token", &tokens.certificate());
    let source = format!("oci://{}/acme/fib:latest", elsewhere.host());
    let machine = machine(&source, &elsewhere, &json!({ "identitytoken": IDENTITY }));
    let output = machine.run(&["-vv", "lock"]).expect(78);
    let says = "its token server `auth.example` is reached without TLS: the identity token stays here";
    assert!(output.stderr.contains(says), "{output:?}");
    tells_no_token(&output);
}

#[test]
fn a_registry_that_wants_a_password_says_so() {
    let registry =
        Registry::start_closed("acme:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n");
    let source = format!("oci://{}/acme/fib:latest", registry.host());
    let machine = machine(&source, &registry, &json!({ "identitytoken": IDENTITY }));
    let output = machine.run(&["-vv", "lock"]).expect(78);
    assert!(output.stderr.contains("does not say where to take it: give it a password"), "{output:?}");
    tells_no_token(&output);
}

#[test]
fn a_token_that_no_header_can_carry_is_reported() {
    let tokens = TcpServer::start(|mut stream| {
        let head = BufReader::new(stream.try_clone().expect("a socket can be shared")).lines();
        head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
        let answer = json!({ "token": "a\u{1}b" }).to_string();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        );
    });
    let realm = format!("http://127.0.0.1:{}/token", tokens.port);
    let registry = Registry::start_with_tokens(&realm, &TokenServer::start().certificate());
    let machine = Machine::new(&format!("oci://{}/acme/fib:latest", registry.host()));
    let output = machine.run(&["lock"]).expect(78);
    assert!(output.stderr.contains("its answer can't be used"), "{output:?}");
    assert!(tokens.accepted() > 0);
}
