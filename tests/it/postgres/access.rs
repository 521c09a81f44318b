//! The ways to a server: passwords, TLS, poolers, and the errors if it can't be reached.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Stdio};

use run_wasm_runner::model::Status;
use run_wasm_runner::store::{Batch, Store, StoreError};
use serde_json::json;

use super::{open, try_open};
use crate::runner::site::Site;
use crate::store_contract::harness::new;
use crate::support::database::{Cluster, as_owner, directory, free_port, install, shared};
use crate::support::openssl::openssl;

#[track_caller]
fn assert_is_refused(url: &str, words: &[&str]) {
    let error = try_open(url).err().expect("it is refused");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!message.contains("secret"), "{message}");
    let site = Site::new();
    let output = site.run(["--store", url, "list"]).expect(69);
    assert!(!output.stderr.contains("secret") && output.stderr.contains(words[0]), "{output:?}");
}

#[test]
fn the_reason_why_a_server_refuses_a_login_is_quoted() {
    let port = shared().port();
    shared().psql("postgres", "CREATE ROLE needs_password LOGIN PASSWORD 'right'");
    let at = format!("127.0.0.1:{port}");
    assert_is_refused(&format!("postgres://needs_password:secret@{at}/tests"), &[&at, "password", "pg_hba"]);
    assert_is_refused(&format!("postgres://needs_password@{at}/tests"), &[&at, "password", "PGPASSWORD"]);
    assert_is_refused(&format!("postgres://postgres:secret@{at}/nowhere"), &[&at, "nowhere", "create"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    assert_is_refused(
        &format!("postgres://ann:secret@{nobody}/tests"),
        &[&nobody, "refused", "running there"],
    );
    // May connect, and may not create anything: there is nothing to read either.
    let url = format!("postgres://needs_password:right@{at}/tests?schema=not_mine");
    let error = try_open(&url).err().expect("it is refused").to_string();
    assert!(error.contains("permission denied") && error.contains("grant"), "{error}");
    let site = Site::new();
    site.run(["--store", &url, "submit", "square", "[1]"]).expect(69);
    site.run(["--store", &url, "list"]).expect(0);
}

#[test]
fn a_unix_socket_is_a_way_too() {
    let socket = shared().directory().display().to_string();
    let url = shared().url();
    let (_, schema) = url.rsplit_once("schema=").expect("it names a schema");
    let url = format!("postgres://postgres@/tests?host={socket}&port={}&schema={schema}", shared().port());
    open(&url).commit(&Batch { submits: vec![new("work")], ..Batch::default() }).unwrap();
}

#[test]
fn two_schemas_of_one_database_never_see_each_other() {
    // One of them with a name that SQL would read otherwise.
    let odd = format!("{}%20Odd-%C3%A9", shared().url());
    let stores = [open(&shared().url()), open(&odd)];
    for (count, store) in (1..).zip(&stores) {
        let submits = (0..count).map(|_| new("work")).collect();
        store.commit(&Batch { submits, ..Batch::default() }).unwrap();
    }
    for (count, store) in (1..).zip(&stores) {
        assert_eq!(store.counts(None).unwrap().get(Status::Queued), count);
        assert_eq!(store.rules().unwrap().len(), 1);
    }
}

/// A certificate for `localhost`, signed by an authority of its own.
fn make_certificates(data: &Path) {
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        data,
        &format!("req -x509 {new_key} -days 2 -keyout ca.key -out ca.pem -subj /CN=test-authority"),
    );
    openssl(data, &format!("req {new_key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(data.join("names"), "subjectAltName=DNS:localhost\n").expect("a file");
    openssl(
        data,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
}

#[test]
fn tls_is_as_strict_as_the_url_says() {
    let authority = tempfile::tempdir().expect("a directory");
    let foreign = tempfile::tempdir().expect("a directory");
    make_certificates(foreign.path());
    let ca = authority.path().join("ca.pem");
    let cluster = Cluster::start_with(|data| {
        make_certificates(data);
        std::fs::copy(data.join("ca.pem"), &ca).expect("a copy");
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(data).expect("it is there"));
        for name in ["server.key", "server.crt"] {
            let path = data.join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            chown(&path, Some(owner), None).expect("an owner");
        }
        let config = data.join("postgresql.auto.conf");
        std::fs::write(&config, "ssl = on\n").expect("a file");
        // Nobody comes in without.
        let rules = data.join("pg_hba.conf");
        let text = std::fs::read_to_string(&rules).expect("a file");
        std::fs::write(&rules, format!("hostnossl tests all all reject\n{text}")).expect("a file");
    });
    let (named, numbered) = (
        format!("postgres://postgres@localhost:{}/tests", cluster.port()),
        format!("postgres://postgres@127.0.0.1:{}/tests", cluster.port()),
    );
    let with = |address: &str, query: &str| format!("{address}?{query}");
    let trusted = format!("sslrootcert={}", ca.display());
    let wrong = format!("sslrootcert={}", foreign.path().join("ca.pem").display());

    for good in [
        numbered.clone(),
        with(&numbered, "sslmode=require"),
        with(&named, &trusted),
        with(&named, &format!("sslmode=verify-full&{trusted}")),
        // Another name, but the right authority.
        with(&numbered, &format!("sslmode=verify-ca&{trusted}")),
    ] {
        let store = open(&good);
        let batch = Batch { submits: vec![new("work")], ..Batch::default() };
        store.commit(&batch).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    assert_is_refused(&with(&numbered, "sslmode=disable"), &["127.0.0.1", "pg_hba"]);
    for bad in [
        with(&named, &format!("sslmode=verify-full&{wrong}")),
        with(&named, &format!("sslmode=verify-ca&{wrong}")),
        with(&numbered, &format!("sslmode=verify-full&{trusted}")),
    ] {
        assert_is_refused(&bad, &["certificate", "sslrootcert"]);
    }
    assert_is_refused(&with(&named, "sslrootcert=/no/such/file"), &["/no/such/file"]);
    // One without TLS, asked for it.
    let plain = format!("postgres://postgres@127.0.0.1:{}/tests?sslmode=require", shared().port());
    assert_is_refused(&plain, &["TLS", "sslmode=prefer"]);
}

/// A pooler that gives each transaction any of a few sessions.
struct Pooler {
    server: Child,
    directory: std::path::PathBuf,
    port: u16,
}

impl Pooler {
    fn to(target: u16) -> Self {
        if !Path::new("/usr/sbin/pgbouncer").exists() {
            install("pgbouncer");
        }
        let directory = directory();
        let port = free_port();
        let config = format!(
            "[databases]\ntests = host=127.0.0.1 port={target} dbname=tests user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nserver_round_robin = 1\n"
        );
        let file = directory.join("pgbouncer.ini");
        std::fs::write(&file, config).expect("a file");
        let mut server = as_owner("/usr/sbin/pgbouncer")
            .arg(&file)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pgbouncer runs");
        let stderr = server.stderr.take().expect("it is piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("process up"));
        assert!(is_up, "pgbouncer did not start");
        // It must not block on a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, directory, port }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn behind_a_pooler_that_shares_sessions_everything_works_with_listen_off() {
    let pooler = Pooler::to(shared().port());
    let url = format!("{}&listen=off", shared().url_through(pooler.port));
    let site = Site::on(&url, "");
    let runners = [site.start(&["--slots", "2"]), site.start(&["--slots", "2"])];
    let ids = site.submit_all("spin-ms", (0..200).map(|_| json!([1])));
    let fib = site.submit("fib", json!([7]));
    assert_eq!(site.await_value(fib), 13);
    for id in ids.iter().rev().take(1) {
        site.await_value(*id);
    }
    site.wait_until("everything is final", |store| {
        store.counts(None).is_ok_and(|counts| counts.unfinished() == 0)
    });
    let store = site.open();
    let counts = store.counts(None).unwrap();
    assert_eq!(counts.get(Status::Succeeded), 200 + 41);
    crate::store_contract::harness::assert_store_is_consistent(&*store);
    drop(runners);
}
