//! Connections that break, and a server that restarts.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use run_wasm_runner::model::{RunnerId, Status};
use run_wasm_runner::store::{Batch, ClaimRequest, Inventory, Store, StoreError, Submitted};

use super::{LONG, open};
use crate::store_contract::harness::{assert_store_is_consistent, new, request};
use crate::support::database::shared;
use crate::support::proxy::Proxy;

fn submits(count: usize) -> Batch {
    Batch { submits: (0..count).map(|_| new("work")).collect(), ..Batch::default() }
}

#[test]
fn a_lost_connection_is_replaced_and_watchers_are_notified() {
    let proxy = Proxy::to(shared().port());
    let store = open(&shared().url_through(proxy.port()));
    let (told, tell) = channel();
    let _watch = store
        .watch(Arc::new(move || {
            // Nobody listens any more at the end.
            let _ = told.send(());
        }))
        .expect("it can be watched");
    tell.recv_timeout(LONG).expect("it listens");
    store.commit(&submits(1)).unwrap();
    for round in 1..=3 {
        proxy.cut();
        let error = store.commit(&submits(1)).expect_err("nobody is there");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(store.counts(None).is_err());
        while tell.try_recv().is_ok() {}
        proxy.mend();
        // Without a restart, and without being asked twice.
        store.commit(&submits(1)).unwrap();
        assert_eq!(store.counts(None).unwrap().get(Status::Queued), round + 1);
        tell.recv_timeout(LONG).expect("something may have been missed");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_bounded_time() {
    let proxy = Proxy::to(shared().port());
    let store = open(&shared().url_through(proxy.port()));
    proxy.silence();
    let began = Instant::now();
    let error = store.commit(&submits(1)).expect_err("nobody answers");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    proxy.mend();
    store.commit(&submits(1)).unwrap();
}

/// The answer to a commit is cut off at any moment; the batch is repeated as it is.
#[test]
fn a_batch_whose_answer_was_lost_is_repeated_without_harm() {
    let direct = shared().url();
    let (_, schema) = direct.rsplit_once("schema=").expect("it names a schema");
    let judge = open(&direct);
    let proxy = Arc::new(Proxy::to(shared().port()));
    let through = direct.replace(&format!(":{}/", shared().port()), &format!(":{}/", proxy.port()));
    let store = open(&through);
    let runner = RunnerId::generate();
    let mut lost = 0;
    let mut submitted = 0;
    for round in 0..60_u64 {
        let batch = Batch { claim: Some(ClaimRequest { lease: LONG, ..request(runner, 3) }), ..submits(5) };
        let cutter = {
            let proxy = Arc::clone(&proxy);
            std::thread::spawn(move || {
                // Any moment is a good one; all of them are met in time.
                std::thread::sleep(Duration::from_micros(round * 150));
                proxy.cut();
            })
        };
        let first = store.commit(&batch);
        cutter.join().expect("no panic");
        proxy.mend();
        submitted += 5;
        let Err(error) = first else { continue };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        lost += 1;
        // What the runner does: it repeats the submits, and tells what it owns.
        let owned = Vec::new();
        let again = Batch { inventory: Some(Inventory { runner, owned }), claim: None, ..batch };
        let receipt = store.commit(&again).expect("the cable is mended");
        assert!(
            receipt.submits.iter().all(|one| matches!(one, Submitted::Created(_) | Submitted::Existing(_))),
            "{receipt:?}"
        );
    }
    println!("{lost} answers of 60 were lost");
    assert!(lost > 5, "the cable is cut in the middle");
    assert_eq!(judge.list(&crate::store_contract::harness::everything()).unwrap().len(), submitted);
    // Whatever is claimed, the runner knows of: an inventory of nothing gives it all
    // back.
    let inventory = Some(Inventory { runner, owned: Vec::new() });
    judge.commit(&Batch { inventory, ..Batch::default() }).unwrap();
    let owned = format!("SELECT count(*) FROM {schema}.invocation WHERE place = 'owned'");
    assert_eq!(shared().psql("tests", &owned), "0");
    assert_store_is_consistent(&*judge);
}
