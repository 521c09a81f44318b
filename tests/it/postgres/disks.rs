//! A server whose disk is full.

use std::path::Path;
use std::process::Command;

use run_wasm_runner::model::{RunnerId, Status};
use run_wasm_runner::store::{Batch, NewInvocation, Store, StoreError};

use super::open;
use crate::store_contract::harness::{assert_store_is_consistent, new, request};
use crate::support::database::{Cluster, as_owner, directory};

/// A small file system; unmounted when dropped, after the server has ended.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
        let _ = std::fs::remove_dir_all(self.0);
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_server_whose_disk_is_full_refuses_and_goes_on_when_it_has_space() {
    let place = directory();
    let mount = Mount(&place);
    if !run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(mount.0)) {
        eprintln!("skipped: a small file system can't be mounted here");
        return;
    }
    let tables = place.join("tables");
    // As the server's user: it wants a directory of its own.
    assert!(run(Command::new("chmod").arg("1777").arg(&place)));
    assert!(run(as_owner("/bin/mkdir").arg(&tables)));
    let cluster = Cluster::start();
    cluster.psql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
    cluster.psql("postgres", "CREATE DATABASE small TABLESPACE small");
    let store = open(&format!("postgres://postgres@127.0.0.1:{}/small", cluster.port()));
    let filler = place.join("filler");
    std::fs::write(&filler, vec![0; 6 << 20]).expect("there is room for it");

    // Not compressible, for the server compresses values.
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:016x}", state)
    })
    .take(10_000)
    .collect();
    let large = || NewInvocation { arguments: format!("[\"{noise}\"]").into(), ..new("work") };
    let mut acknowledged = Vec::new();
    let error = loop {
        let submits: Vec<_> = (0..5).map(|_| large()).collect();
        let ids: Vec<_> = submits.iter().map(|new| new.id).collect();
        match store.commit(&Batch { submits, ..Batch::default() }) {
            Ok(_) => acknowledged.extend(ids),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 1000, "the disk is never full");
    };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("the server's disk is full: free some space there"), "{error}");
    assert_eq!(store.counts(None).expect("it can be read").get(Status::Queued), acknowledged.len() as u64);
    for found in store.get(&acknowledged).expect("it can be read") {
        assert!(found.is_some(), "what was acknowledged is there");
    }

    std::fs::remove_file(&filler).expect("it was there");
    let submits = vec![large()];
    store.commit(&Batch { submits, ..Batch::default() }).expect("it goes on by itself");
    let claim = Some(request(RunnerId::generate(), 1000));
    let claimed = store.commit(&Batch { claim, ..Batch::default() }).expect("it goes on").claimed;
    assert_eq!(claimed.len(), acknowledged.len() + 1);
    assert_store_is_consistent(&*store);
    drop(store);
    drop(cluster);
}
