//! A disk that is full.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::guests::setup::Setup;
use crate::support::cli::Cli;

/// A directory with little room. A file system of its own where that may be
/// mounted (by root); else a limit on the size of files, which fails writes as
/// well.
struct SmallDisk {
    setup: Setup,
    directory: PathBuf,
    is_mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let setup = Setup::new(&["echo"]);
        let directory = setup.path().join("disk");
        std::fs::create_dir(&directory).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(&directory)
            .output()
            .is_ok_and(|output| output.status.success());
        Self { setup, directory, is_mounted: mounted }
    }

    fn command(&self, args: &[&str]) -> Cli {
        let store = format!("sqlite:{}/state.db", self.directory.display());
        self.setup.command(["--store", store.as_str()].iter().chain(args))
    }

    /// A command on the disk as small as it is.
    fn cramped(&self, args: &[&str]) -> Cli {
        match self.is_mounted {
            true => self.command(args),
            // In blocks of 512 bytes.
            false => self.command(args).through(r#"ulimit -S -f 4000; exec "$0" "$@""#),
        }
    }

    /// Takes all the space that there is, but for so many bytes.
    fn fill_but_for(&self, bytes: u64) {
        let mut file = std::fs::File::create(self.directory.join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        let size = file.metadata().expect("it is there").len();
        file.set_len(size - bytes).expect("it can be cut");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a process that a failed test left behind may be in it.
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
    }
}

fn string_of(bytes: usize) -> String {
    json!(["x".repeat(bytes)]).to_string()
}

#[test]
fn a_submit_that_does_not_fit_is_refused_and_nothing_is_lost() {
    let disk = SmallDisk::new();
    let first = disk.cramped(&["submit", "echo-string", r#"["small"]"#]).run().expect(0);
    let first = first.stdout().trim().to_owned();
    disk.setup.sandbox.write("big.json", string_of(3_000_000));
    let output = disk.cramped(&["submit", "echo-string", "@big.json"]).run().expect(69);
    assert!(output.stderr.contains("error: the store `sqlite:") && output.stdout.is_empty(), "{output:?}");
    if disk.is_mounted {
        assert!(output.stderr.contains("the disk is full: free some space"), "{output:?}");
    }
    // What was acknowledged is there, and what was refused is not.
    let listed = disk.command(&["list", "--json"]).run().expect(0).json_lines();
    assert_eq!(listed.iter().map(|one| one["id"].as_str()).collect::<Vec<_>>(), [Some(first.as_str())]);
    disk.cramped(&["start", "--until-idle"]).run().expect(0);
    assert_eq!(disk.command(&["result", &first]).run().expect(0).json(), "small");
    // With more space it works.
    if disk.is_mounted {
        let remounted = Command::new("mount").args(["-o", "remount,size=20m"]).arg(&disk.directory).status();
        assert!(remounted.is_ok_and(|status| status.success()));
    }
    let second = disk.command(&["submit", "echo-string", "@big.json"]).run().expect(0);
    disk.command(&["start", "--until-idle"]).run().expect(0);
    let output = disk.command(&["result", "--raw", second.stdout().trim()]).run().expect(0);
    assert_eq!(output.stdout.len(), 3_000_000);
}

#[test]
fn a_runner_keeps_what_it_could_not_write_until_there_is_space() {
    let disk = SmallDisk::new();
    disk.setup.sandbox.write("big.json", string_of(500_000));
    let id = disk.command(&["submit", "echo-string", "@big.json"]).run().expect(0);
    let id = id.stdout().trim().to_owned();
    // Room to open the store and to claim, and not for the outcome.
    let mut running = if disk.is_mounted {
        disk.fill_but_for(200_000);
        disk.command(&["start", "--until-idle"]).spawn()
    } else {
        let script = r#"ulimit -S -f 900; exec "$0" "$@""#;
        disk.command(&["start", "--until-idle"]).through(script).spawn()
    };
    running.wait_for_stderr("the store can't be written to; trying again");
    if disk.is_mounted {
        std::fs::remove_file(disk.directory.join("filler")).expect("it was there");
    } else {
        let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw);
        prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None })
            .expect("the limit can be raised");
    }
    running.wait().expect(0);
    let status = disk.command(&["status", "--json", &id]).run().expect(0).json();
    assert_eq!(status["status"], "succeeded");
    assert_eq!(status["result"].as_str().map(str::len), Some(500_000));
    assert_eq!(status["attempt"], 1, "the outcome was written, not made again");
}

/// The disk fills up while a runner works, and is emptied again: nothing is lost
/// and nothing is made twice, and meanwhile commands say what is wrong.
#[test]
fn a_runner_goes_on_by_itself_when_a_full_disk_has_space_again() {
    let disk = SmallDisk::new();
    if !disk.is_mounted {
        // What stands for the disk then bounds single files, and is tested above.
        return;
    }
    disk.setup.sandbox.write("big.json", string_of(1_500_000));
    disk.setup.sandbox.write("many.jsonl", format!("{}\n", string_of(20_000)).repeat(30));
    let ids = disk.command(&["submit", "echo-string", "--batch", "many.jsonl"]).run().expect(0);
    let ids: Vec<_> = ids.stdout().lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 30);
    // Room for some of the outcomes.
    disk.fill_but_for(200_000);
    let mut running = disk.command(&["start", "--until-idle", "--slots", "2"]).spawn();
    running.wait_for_stderr("the store can't be written to; trying again");
    let refused = disk.command(&["submit", "echo-string", "@big.json"]).run().expect(69);
    assert!(refused.stderr.contains("the disk is full: free some space"), "{refused:?}");
    // What is there can be read.
    disk.command(&["status", &ids[0]]).run().expect(0);
    std::fs::remove_file(disk.directory.join("filler")).expect("it was there");
    running.wait().expect(0);
    let listed = disk.command(&["list", "--json", "--limit", "100"]).run().expect(0).json_lines();
    assert_eq!(listed.len(), 30, "what was refused is not there");
    for one in listed {
        assert_eq!((&one["status"], &one["attempt"]), (&json!("succeeded"), &json!(1)), "{one}");
    }
    for id in ids {
        let output = disk.command(&["result", "--raw", &id]).run().expect(0);
        assert_eq!(output.stdout.len(), 20_000);
    }
}

#[test]
fn a_file_system_that_was_made_read_only_is_named() {
    let disk = SmallDisk::new();
    if !disk.is_mounted {
        return;
    }
    let id = disk.command(&["submit", "echo-string", r#"["before"]"#]).run().expect(0);
    let id = id.stdout().trim().to_owned();
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", how]).arg(&disk.directory).status();
        assert!(done.is_ok_and(|status| status.success()), "remount,{how}");
    };
    remount("remount,ro");
    for args in [&["submit", "echo-string", r#"["after"]"#][..], &["start", "--until-idle"]] {
        let output = disk.command(args).run().expect(69);
        assert!(output.stderr.contains("Read-only file system"), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    remount("remount,rw");
    disk.command(&["start", "--until-idle"]).run().expect(0);
    assert_eq!(disk.command(&["result", &id]).run().expect(0).json(), "before");
}

/// Runs a command on a disk of its own that is full but for the directory `$1/cache`, and says
/// how many files it left there. Whoever may not mount may do so in a user namespace, on most systems.
const ON_A_FULL_DISK: &str = r#"
mount -t tmpfs -o size=64k none "$1" && mkdir "$1/cache" || exit 99
cat /dev/zero >"$1/filler" 2>/dev/null
disk=$1
shift
"$@"
code=$?
echo "left: $(ls -A "$disk/cache" | wc -l)" >&2
exit $code
"#;

#[test]
fn a_full_disk_under_the_cache_is_a_warning() {
    let disk = SmallDisk::new();
    let cache = disk.directory.join("cache");
    let command = disk.setup.command(["call", "echo-u8", "[5]"]).env("WASM_RUNNER_CACHE_DIR", &cache);
    let own = ["--user", "--map-root-user", "--mount"];
    let may_unshare =
        || Command::new("unshare").args(own).arg("true").status().is_ok_and(|end| end.success());
    let output = if disk.is_mounted {
        std::fs::create_dir(&cache).expect("a directory");
        disk.fill_but_for(0);
        command.run()
    } else if may_unshare() {
        let directory = disk.directory.display();
        let unshare = own.join(" ");
        command
            .through(&format!(
                "exec unshare {unshare} sh -c '{ON_A_FULL_DISK}' sh '{directory}' \"$0\" \"$@\""
            ))
            .run()
    } else {
        // Nothing can be kept there either.
        std::fs::create_dir(&cache).expect("a directory");
        std::fs::set_permissions(&cache, Permissions::from_mode(0o500)).expect("it is ours");
        command.run()
    };
    let output = output.expect(0);
    assert_eq!(output.stdout(), "5\n");
    assert!(output.stderr.contains("WARN can't keep compiled code in"), "{output:?}");
    match std::fs::read_dir(&cache) {
        Ok(entries) => assert_eq!(entries.count(), 0, "nothing half-written is left"),
        Err(_) => assert!(output.stderr.ends_with("left: 0\n"), "nothing half-written is left: {output:?}"),
    }
}
