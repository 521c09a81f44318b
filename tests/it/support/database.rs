//! PostgreSQL for tests: a private cluster in a temporary directory, on a free port
//! of the loopback interface and on a Unix socket.
//!
//! It comes from the system's packages and is installed if it is missing. It ends
//! with the process that started it, however that ends: a shell watches over it, and
//! its standard input closes then.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

/// Starting takes a second or two; a machine that is busy may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The shell script that watches over the server: ends it and throws its files away when standard
/// input closes, and only ends it when it is told to keep them.
const WATCH: &str = r#"
trap "" INT
directory=$1
shift
"$@" &
server=$!
read -r word
kill -QUIT $server 2>/dev/null
wait $server
[ "$word" = keep ] || rm -rf "$directory"
"#;

/// A running server.
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    watch: Mutex<Option<Child>>,
    /// The server's log, and a notification of each line.
    log: Arc<(Mutex<String>, Condvar)>,
}

/// The cluster that tests share, each with a schema of its own.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}

/// The directory of the server's programs.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        find_programs().unwrap_or_else(|| {
            install("postgresql");
            find_programs().expect("PostgreSQL was installed")
        })
    })
}

fn find_programs() -> Option<PathBuf> {
    let version = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|entry| entry.path().join("bin")).max_by_key(version);
    let elsewhere = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    debian.into_iter().chain(elsewhere).find(|directory| directory.join("postgres").is_file())
}

/// Installs a package of the system's.
pub fn install(package: &str) {
    let apt = |arguments: &[&str]| {
        let ran = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
        ran.is_ok_and(|output| output.status.success())
    };
    // One at a time: tests run in several processes, and apt has one lock.
    let lock = std::fs::File::create(std::env::temp_dir().join("run-wasm-runner-apt.lock"));
    let _lock = lock.and_then(|lock| lock.lock().map(|()| lock)).expect("a lock file can be made");
    let install = ["install", "-y", "--no-install-recommends", package];
    let is_installed = apt(&install) || (apt(&["update"]) && apt(&install));
    assert!(
        is_installed,
        "`{package}` is missing and can't be installed: as root, `apt-get install {package}` \
         (tests need it)"
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// User and group that the server runs as: it refuses to run as root.
fn owner() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("the users are listed");
    let line = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    Some((fields.next()?, fields.next()?))
}

/// A command as the server's user.
pub fn as_owner(program: impl AsRef<Path>) -> Command {
    if !is_root() {
        return Command::new(program.as_ref());
    }
    let (user, group) = owner().expect("the package has made the user `postgres`");
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    command.arg(program.as_ref());
    command
}

/// A directory that the server's user may write to.
pub fn directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("rwr-pg-").tempdir().expect("a directory").keep();
    if is_root() {
        let (user, group) = owner().expect("the package has made the user `postgres`");
        chown(&directory, Some(user), Some(group)).expect("a directory can be given away");
    }
    directory
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Makes a cluster, prepares its data directory, and starts it.
    pub fn start_with(prepare: impl FnOnce(&Path)) -> Self {
        let programs = programs();
        let directory = directory();
        let data = directory.join("data");
        let made = as_owner(programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // Whose name says so must give a password; all others are trusted.
        let rules = data.join("pg_hba.conf");
        let trusting = std::fs::read_to_string(&rules).expect("the rules are there");
        let strict = "host all needs_password all scram-sha-256\n".to_owned();
        std::fs::write(&rules, strict + &trusting).expect("the rules can be written");
        prepare(&data);
        let cluster = Self { directory, port: free_port(), watch: Mutex::default(), log: Arc::default() };
        cluster.run();
        cluster.psql("postgres", "CREATE DATABASE tests");
        cluster
    }

    /// Starts the server and waits until it takes connections.
    pub fn run(&self) {
        let server = as_owner(programs().join("postgres"));
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&self.directory)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-c", "max_connections=300"])
            .arg("-k")
            .arg(&self.directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell runs");
        let stderr = BufReader::new(watch.stderr.take().expect("it is piped"));
        let log = Arc::clone(&self.log);
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("ready to accept connections") {
                    let _ = ready.send(());
                }
                let (log, written) = &*log;
                let mut log = log.lock().expect("nobody panicked");
                log.push_str(&line);
                log.push('\n');
                written.notify_all();
            }
        });
        if is_ready.recv_timeout(PATIENCE).is_err() {
            panic!("PostgreSQL did not start:\n{}", self.log());
        }
        *self.watch.lock().expect("nobody panicked") = Some(watch);
    }

    /// Ends the server at once, as a crash would (its mode `immediate`).
    pub fn crash(&self) {
        let mut watch = self.watch.lock().expect("nobody panicked").take().expect("it runs");
        let stdin = watch.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"keep\n").expect("the shell listens");
        watch.wait().expect("the server ends");
    }

    /// Returns the log of the server.
    pub fn log(&self) -> String {
        self.log.0.lock().expect("nobody panicked").clone()
    }

    /// Returns the log since the last call, and waits until it has `mark`.
    pub fn take_log_until(&self, mark: &str) -> String {
        let (log, written) = &*self.log;
        let mut log = log.lock().expect("nobody panicked");
        let mut seen = 0;
        while !log[seen..].contains(mark) {
            seen = log.len();
            let (waited, timeout) = written.wait_timeout(log, PATIENCE).expect("nobody panicked");
            assert!(!timeout.timed_out(), "the server has not written `{mark}`");
            log = waited;
        }
        std::mem::take(&mut *log)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The URL of a schema that nobody else uses.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The URL of a new schema by way of a forwarder's port.
    pub fn url_through(&self, port: u16) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("postgres://postgres@127.0.0.1:{port}/tests?schema=test_{}_{number}", std::process::id())
    }

    /// Runs SQL as the superuser and returns what it prints, bare.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(programs().join("psql"))
            .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }
}

/// A transaction that stays open, with its locks, until this is dropped.
pub struct OpenTransaction(std::process::Child);

impl Cluster {
    /// Runs SQL in a transaction and leaves it open.
    #[track_caller]
    pub fn hold(&self, database: &str, sql: &str) -> OpenTransaction {
        let mut psql = Command::new(programs().join("psql"))
            .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql runs");
        let stdin = psql.stdin.as_mut().expect("it is piped");
        stdin.write_all(format!("BEGIN; {sql};\n\\echo held\n").as_bytes()).expect("psql listens");
        let said = BufReader::new(psql.stdout.take().expect("it is piped")).lines();
        let is_held = said.map_while(Result::ok).any(|line| line == "held");
        assert!(is_held, "{sql} failed");
        OpenTransaction(psql)
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        // The end of its input is the end of it, and of the transaction.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut watch) = self.watch.lock().expect("nobody panicked").take() {
            drop(watch.stdin.take());
            let _ = watch.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
