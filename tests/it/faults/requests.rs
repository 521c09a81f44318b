//! Requests of guests, to servers that are good and bad.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::network::{denied, traffic};
use crate::guests::setup::Setup;
use crate::support::http::HttpServer;
use crate::support::openssl::openssl;
use crate::support::servers::{FullPort, TcpServer};

/// The guest with the keys of one grant for requests.
fn setup(grant: &str, more: &str) -> Setup {
    Setup::with(&["network", "echo"], &format!("[[component.network.http]]\n{grant}\n{more}"))
}

/// With a grant for everything on a server of this machine.
fn everything(server: &HttpServer, more: &str) -> Setup {
    let grant = format!("host = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{}]", server.port);
    setup(&grant, more)
}

#[track_caller]
fn get(setup: &Setup, url: &str) -> Value {
    setup.value("requests.get", &json!([url]).to_string())
}

/// The error code that a task returns.
#[track_caller]
fn code(setup: &Setup, task: &str, arguments: &Value) -> String {
    let failed = setup.failure(task, &arguments.to_string(), 1, "returned");
    failed.failure["error"].as_str().expect("an error").to_owned()
}

#[test]
fn a_granted_request_is_made() {
    let server = HttpServer::start();
    let setup = everything(&server, "");
    assert_eq!(get(&setup, &server.url("/hello?a=b")), json!({"status": 200, "body": "hello"}));
    assert_eq!(get(&setup, &server.url("/other")), json!({"status": 404, "body": "nothing here"}));
    let echo = json!(["POST", server.url("/echo"), "hello"]);
    assert_eq!(setup.value("requests.send", &echo.to_string()), json!({"status": 200, "body": "hello"}));
    assert_eq!(server.requests(), ["GET /hello?a=b", "GET /other", "POST /echo"]);
}

#[test]
fn every_part_of_a_request_must_be_granted() {
    let server = HttpServer::start();
    let port = server.port;
    let grant = format!(
        "host = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{port}]\nmethods = [\"GET\"]\npaths = [\"/hello\", \"/size*\"]"
    );
    let setup = setup(&grant, "");
    let section = "[[component.network.http]]";
    for (url, says) in [
        (format!("http://127.0.0.2:{port}/hello"), "host = \"127.0.0.2\""),
        (format!("http://example.com:{port}/hello"), "host = \"example.com\""),
        (format!("https://127.0.0.1:{port}/hello"), "has `https` among its `schemes`"),
        (format!("http://127.0.0.1:{}/hello", port ^ 1), "among its `ports`"),
        (format!("http://127.0.0.1:{port}/to"), "has `/to` among its `paths`"),
        (format!("http://127.0.0.1:{port}/size/../to"), "among its `paths`"),
    ] {
        denied(&setup, "requests.get", &json!([url]), &["`GET http", section, says]);
        assert_eq!(code(&setup, "requests.get", &json!([url])), "ErrorCode::HttpRequestDenied", "{url}");
    }
    let post = json!(["POST", server.url("/hello"), "hello"]);
    denied(&setup, "requests.send", &post, &[section, "has `POST` among its `methods`"]);
    assert_eq!(code(&setup, "requests.send", &post), "ErrorCode::HttpRequestDenied");
    assert_eq!(server.accepted(), 0);
    assert_eq!(get(&setup, &server.url("/hello"))["status"], 200);
}

#[test]
fn without_a_grant_no_request_is_made() {
    let server = HttpServer::start();
    // What is granted to sockets is granted to sockets.
    let sockets = format!("[[component.network.network]]\nhost = \"127.0.0.1\"\nports = [{}]\n", server.port);
    let setup = Setup::with(&["network", "echo"], &sockets);
    denied(&setup, "requests.get", &json!([server.url("/hello")]), &["[[component.network.http]]", "host ="]);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_name_resolves_to_private_addresses_only_if_that_is_granted() {
    let server = HttpServer::start();
    let grant = |host: &str, private: bool| {
        format!(
            "host = \"{host}\"\nschemes = [\"http\"]\nports = [{}]\nallow-private = {private}",
            server.port
        )
    };
    let url = format!("http://localhost:{}/hello", server.port);
    assert_eq!(get(&setup(&grant("localhost", true), ""), &url)["body"], "hello");
    let says =
        ["`localhost`, which leads to", "loopback", "allow-private = true", "[[component.network.http]]"];
    for host in ["localhost", "*"] {
        let setup = setup(&grant(host, false), "");
        denied(&setup, "requests.get", &json!([url]), &says);
        assert_eq!(code(&setup, "requests.get", &json!([url])), "ErrorCode::DestinationIpProhibited");
    }
    let any = setup(&grant("*", false), "");
    for host in
        ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "[64:ff9b::7f00:1]", "169.254.169.254", "0.0.0.0"]
    {
        let url = format!("http://{host}:{}/hello", server.port);
        assert_eq!(code(&any, "requests.get", &json!([url])), "ErrorCode::DestinationIpProhibited", "{host}");
    }
    let nowhere = any.failure("requests.get", &json!(["http://localhost"]).to_string(), 1, "returned");
    assert!(!nowhere.stderr.contains("WARN"), "a guest does not write into our log: {}", nowhere.stderr);
    for host in ["127.1", "2130706433", "0x7f000001", "user@localhost"] {
        let url = format!("http://{host}:{}/hello", server.port);
        assert_eq!(code(&any, "requests.get", &json!([url])), "ErrorCode::HttpRequestUriInvalid", "{host}");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_redirect_is_a_request_like_any_other() {
    let server = HttpServer::start();
    let any_port = "host = \"*\"\nschemes = [\"http\"]\nports = \"any\"\n[[component.network.http]]\n";
    let own = format!("host = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{}]", server.port);
    let setup = setup(&(any_port.to_owned() + &own), "");
    let follow = |to: &str| json!([server.url(&format!("/to?{to}"))]);
    assert_eq!(setup.value("requests.follow", &follow(&server.url("/hello")).to_string())["body"], "hello");
    let metadata = follow("http://169.254.169.254/latest/meta-data/");
    denied(&setup, "requests.follow", &metadata, &["`169.254.169.254`", "link-local"]);
    assert_eq!(code(&setup, "requests.follow", &metadata), "ErrorCode::DestinationIpProhibited");
}

#[test]
fn bodies_have_their_limits() {
    let server = HttpServer::start();
    let setup = everything(
        &server,
        "[component.network.limits]\nrequest-body = \"64KiB\"\nresponse-body = \"64KiB\"\n",
    );
    assert_eq!(get(&setup, &server.url("/size?65536"))["body"].as_str().map(str::len), Some(65536));
    for path in ["/size?65537", "/endless"] {
        let arguments = json!([server.url(path)]);
        let error = code(&setup, "requests.get", &arguments);
        assert!(error.contains("HttpResponseBodySize") && error.contains("65536"), "{error}");
        denied(&setup, "requests.get", &arguments, &["the limit `response-body` is 65536 bytes"]);
    }
    let fits = setup.value("requests.upload", &json!([server.url("/echo"), 65536]).to_string());
    assert_eq!(fits["body"].as_str().map(str::len), Some(65536));
    let arguments = json!([server.url("/echo"), 1 << 20]);
    let error = code(&setup, "requests.upload", &arguments);
    assert!(error.contains("HttpRequestBodySize") && error.contains("65536"), "{error}");
    denied(&setup, "requests.upload", &arguments, &["the limit `request-body` is 65536 bytes"]);
}

#[test]
fn requests_at_once_are_limited_with_the_sockets() {
    let server = HttpServer::start();
    let setup = everything(&server, "[component.network.limits]\nsockets = 5\n");
    let at_once = json!([server.url("/size?100000"), 20]);
    assert_eq!(setup.value("requests.at-once", &at_once.to_string()), 5);
    let setup = everything(&server, "");
    assert_eq!(setup.value("requests.at-once", &at_once.to_string()), 20);
}

#[test]
fn timeouts_that_a_guest_sets_hold() {
    let server = HttpServer::start();
    let full = FullPort::new();
    let grant =
        format!("host = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{}, {}]", server.port, full.port);
    let setup = setup(&grant, "");
    let full = format!("http://127.0.0.1:{}/hello", full.port);
    for (url, patience, expected) in [
        (full, json!({"connect": 100, "first-byte": 0, "between-bytes": 0}), "ConnectionTimeout"),
        (
            server.url("/silent"),
            json!({"connect": 0, "first-byte": 100, "between-bytes": 0}),
            "ConnectionReadTimeout",
        ),
        (
            server.url("/drip"),
            json!({"connect": 0, "first-byte": 0, "between-bytes": 1}),
            "ConnectionReadTimeout",
        ),
    ] {
        let error = code(&setup, "get-within", &json!([url, patience]));
        assert_eq!(error, format!("ErrorCode::{expected}"), "{url}");
    }
}

#[test]
fn a_server_that_takes_its_time_does_not_outlive_the_time_limit() {
    let server = HttpServer::start();
    let setup = everything(&server, "[component.network.limits]\ntime = \"500ms\"\n");
    setup.run(["check"]).expect(0);
    for path in ["/drip", "/silent"] {
        let slow = setup.submit("requests.get", &json!([server.url(path)]).to_string());
        let good = setup.submit("echo.echo-u32", "[7]");
        let began = Instant::now();
        setup.run(["start", "--until-idle", "--slots", "1"]).expect(0);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let slow = setup.status(&slow);
        assert_eq!(slow["failure"]["kind"], "timed-out", "{path}: {slow}");
        assert_eq!(setup.status(&good)["result"], 7, "the slot is free again");
    }
}

#[test]
fn a_malformed_response_is_an_error() {
    let server = HttpServer::start();
    let setup = everything(&server, "");
    for (path, expected) in [
        ("/half", "HttpResponseIncomplete"),
        ("/headers", "HttpResponseHeaderSectionSize"),
        ("/garbage", "HttpProtocolError"),
        // Not the head is too large.
        ("/promise?18446744073709551615", "HttpResponseBodySize(Some(67108864))"),
        ("/promise?18446744073709551616", "HttpProtocolError"),
    ] {
        let error = code(&setup, "requests.get", &json!([server.url(path)]));
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[test]
fn interim_responses_are_passed_over_and_too_many_are_an_error() {
    let server = HttpServer::start();
    let setup = everything(&server, "");
    assert_eq!(get(&setup, &server.url("/interim?16")), json!({"status": 200, "body": "hello"}));
    for path in ["/interim?17", "/interim"] {
        let error = code(&setup, "requests.get", &json!([server.url(path)]));
        assert!(error.contains("HttpProtocolError"), "{path}: {error}");
    }
}

#[test]
fn a_body_over_its_limit_that_ends_the_guest_names_the_limit() {
    let server = HttpServer::start();
    let setup = everything(&server, "[component.network.limits]\nresponse-body = \"64KiB\"\n");
    let endless = json!([server.url("/endless")]).to_string();
    let failed = setup.failure("requests.get-or-abort", &endless, 4, "limit-exceeded");
    failed.says(&["more of a response's body (the limit `response-body` is 65536 bytes), and then trapped"]);
    assert_eq!(failed.failure["limit"], "response-body");
}

#[test]
fn traffic_of_requests_is_billed() {
    let server = HttpServer::start();
    let setup = everything(&server, "");
    // Heads are traffic too.
    let (sent, received) = traffic(&setup, "requests.get", &json!([server.url("/hello")]));
    assert!((20..500).contains(&sent) && (20..500).contains(&received), "{sent} {received}");
    let (sent, received) = traffic(&setup, "requests.upload", &json!([server.url("/echo"), 40_960]));
    assert!((40_960..50_000).contains(&sent) && (40_960..50_000).contains(&received), "{sent} {received}");
}

#[test]
fn traffic_of_requests_ends_at_its_limit() {
    let server = HttpServer::start();
    let setup = everything(&server, "[component.network.limits]\ntraffic = \"64KiB\"\n");
    assert_eq!(get(&setup, &server.url("/hello"))["status"], 200);
    let says = ["sending and receiving more: the limit `traffic` is 65536 bytes"];
    for (task, arguments) in [
        ("requests.upload", json!([server.url("/echo"), 4 << 20])),
        ("requests.get", json!([server.url("/endless")])),
    ] {
        denied(&setup, task, &arguments, &says);
        assert_eq!(code(&setup, task, &arguments), "ErrorCode::HttpRequestDenied", "{task}");
    }
}

#[test]
fn a_port_that_is_closed_refuses_the_connection() {
    let closed =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
    let setup = setup(&format!("host = \"127.0.0.1\"\nschemes = [\"http\"]\nports = [{closed}]"), "");
    let error = code(&setup, "requests.get", &json!([format!("http://127.0.0.1:{closed}/")]));
    assert_eq!(error, "ErrorCode::ConnectionRefused");
}

#[test]
fn a_server_must_match_its_certificate() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let path = |name: &str| files.path().join(name);
    openssl(
        files.path(),
        &format!(
            "req -x509 {new_key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2 -addext basicConstraints=critical,CA:TRUE"
        ),
    );
    openssl(files.path(), &format!("req {new_key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(path("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("a file");
    openssl(
        files.path(),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let server = HttpServer::start_tls(&path("server.pem"), &path("server.key"));
    let port = server.port;
    let setup = setup(
        &format!("host = \"localhost\"\nports = [{port}]\nallow-private = true"),
        &format!("[[component.network.http]]\nhost = \"127.0.0.1\"\nports = [{port}]\n"),
    );
    let call = |authority: &str, url: &str| {
        setup
            .command(["--json", "call", "requests.get", &json!([url]).to_string()])
            .env("SSL_CERT_FILE", path(authority))
            .run()
    };
    let url = format!("https://localhost:{port}/hello");
    let good = call("ca.pem", &url).expect(0);
    assert_eq!(good.json()["result"]["body"], "hello", "{good:?}");
    // Another name, and an authority that nobody here trusts.
    let by_address = format!("https://127.0.0.1:{port}/hello");
    openssl(
        files.path(),
        &format!("req -x509 {new_key} -keyout other.key -out other.pem -subj /CN=other -days 2"),
    );
    for (authority, url) in [("ca.pem", &by_address), ("other.pem", &url)] {
        let failed = call(authority, url).expect(1);
        assert_eq!(failed.json()["failure"]["error"], "ErrorCode::TlsCertificateError", "{authority} {url}");
    }
    assert_eq!(server.requests(), ["GET /hello"]);
}

/// The sockets that a process has open.
fn sockets_of(pid: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn guests_that_are_ended_leave_no_socket_behind() {
    let server = HttpServer::start();
    let silent = TcpServer::silent();
    let setup = everything(
        &server,
        &format!(
            "[[component.network.network]]\nhost = \"127.0.0.1\"\nports = [{}]\n\
             [component.network.limits]\ntime = \"300ms\"\n",
            silent.port
        ),
    );
    let mut runner = setup.command(["start", "--slots", "2"]).spawn();
    runner.wait_for_stderr("the runner has started");
    let before = sockets_of(runner.pid());
    let mut ids = Vec::new();
    for _ in 0..10 {
        for path in ["/drip", "/silent", "/endless"] {
            ids.push(setup.submit("requests.get", &json!([server.url(path)]).to_string()));
        }
        ids.push(
            setup.submit("exchange", &json!([format!("127.0.0.1:{}", silent.port), "hello"]).to_string()),
        );
    }
    for id in &ids {
        setup.run(["result", "--wait", id]);
        assert_eq!(setup.status(id)["status"], "failed");
    }
    assert!(server.accepted() >= 30 && silent.accepted() >= 10, "they were connected");
    // What an attempt leaves to close is closed on another thread.
    let deadline = Instant::now() + Duration::from_secs(20);
    while sockets_of(runner.pid()) > before {
        assert!(Instant::now() < deadline, "{} sockets, {before} before", sockets_of(runner.pid()));
    }
    runner.signal(rustix::process::Signal::TERM);
    runner.wait().expect(0);
}
