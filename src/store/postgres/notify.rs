//! How processes learn of each other's commits: each transaction notifies a
//! channel, and one connection listens to it.
//!
//! A notification is sent by the transaction itself, so it comes exactly if the
//! commit did, and after it is visible. What is sent while the connection is down is
//! lost: so watchers are told once after every reconnect. And every few seconds on
//! suspicion, with a question to the server that finds out whether the connection
//! only looks alive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::poll_fn;
use parking_lot::{Mutex, ReentrantMutex};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::engine::Connector;
use super::fault::Fault;

/// Watchers are told at least so often, whatever was heard.
const FALLBACK: Duration = Duration::from_secs(5);

/// How often watchers are told if nothing can be heard, because the URL says `listen=off`.
const POLL: Duration = Duration::from_millis(200);

/// Notifications that come within so long after watchers were told are told as one.
const LULL: Duration = Duration::from_millis(5);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A server that does not answer for so long is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The watchers of a store.
#[derive(Default)]
pub(super) struct Watchers {
    all: Mutex<HashMap<u64, Arc<Watcher>>>,
    next: AtomicU64,
}

struct Watcher {
    notify: Arc<dyn Fn() + Send + Sync>,
    /// Held during a call. Of the kind that lets the caller itself in again,
    /// because `notify` may drop its own guard.
    calling: ReentrantMutex<()>,
    has_ended: AtomicBool,
}

impl Watchers {
    fn tell(&self) {
        let watchers: Vec<_> = self.all.lock().values().cloned().collect();
        for watcher in watchers {
            let _calling = watcher.calling.lock();
            if !watcher.has_ended.load(Ordering::Acquire) {
                (watcher.notify)();
            }
        }
    }

    /// Calls `notify` until the guard is dropped.
    pub(super) fn add(self: &Arc<Self>, notify: Arc<dyn Fn() + Send + Sync>) -> WatchGuard {
        let watcher = Watcher { notify, calling: ReentrantMutex::new(()), has_ended: AtomicBool::new(false) };
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.lock().insert(key, Arc::new(watcher));
        WatchGuard { watchers: Arc::clone(self), key }
    }
}

/// Ends the calls when dropped.
pub(super) struct WatchGuard {
    watchers: Arc<Watchers>,
    key: u64,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        if let Some(watcher) = self.watchers.all.lock().remove(&self.key) {
            watcher.has_ended.store(true, Ordering::Release);
            // Waits for a call under way.
            drop(watcher.calling.lock());
        }
    }
}

/// Listens to commits, on a connection of its own.
pub(super) struct Listener {
    pub(super) connector: Arc<Connector>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) channel: String,
    /// By which own commits are recognised.
    pub(super) sender: String,
}

/// Ends the listening when dropped.
pub(super) struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Begins to listen, on the store's thread.
    pub(super) fn start(self, handle: &Handle) -> Listening {
        let task = match self.connector.url.listens {
            true => handle.spawn(async move { self.listen().await }),
            false => handle.spawn(async move { self.poll().await }),
        };
        Listening(task.abort_handle())
    }

    async fn poll(self) {
        loop {
            sleep(POLL).await;
            self.watchers.tell();
        }
    }

    async fn listen(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok((client, mut heard)) => {
                    pause = FIRST_PAUSE;
                    // Something may have been missed.
                    self.watchers.tell();
                    self.hear(&client, &mut heard).await;
                }
                Err(fault) => {
                    tracing::debug!(?fault, ?pause, "the store can't be listened to; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    // The store itself may be reachable all the same.
                    self.watchers.tell();
                }
            }
        }
    }

    /// A connection that listens, and where its notifications arrive.
    async fn connect(&self) -> Result<(Client, mpsc::UnboundedReceiver<String>), Fault> {
        let (client, mut connection) =
            timeout(PATIENCE, self.connector.dial()).await.map_err(|_| Fault::TimedOut)??;
        let (tell, heard) = mpsc::unbounded_channel();
        // Ends with the client, or with the connection.
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && tell.send(notification.payload().to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let listen = client.batch_execute(&self.channel);
        timeout(PATIENCE, listen).await.map_err(|_| Fault::TimedOut)??;
        Ok((client, heard))
    }

    /// Tells what is heard, until the connection breaks.
    async fn hear(&self, client: &Client, heard: &mut mpsc::UnboundedReceiver<String>) {
        loop {
            match timeout(FALLBACK, heard.recv()).await {
                Ok(Some(sender)) => {
                    let mut is_foreign = sender != self.sender;
                    while let Ok(sender) = heard.try_recv() {
                        is_foreign |= sender != self.sender;
                    }
                    if is_foreign {
                        self.watchers.tell();
                        sleep(LULL).await;
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.watchers.tell();
                    if !matches!(timeout(PATIENCE, client.batch_execute("")).await, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}
