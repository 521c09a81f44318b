//! The doorbell: how processes that share a database file learn of each other's
//! commits without polling.
//!
//! Beside the database lies a file of one byte, `<database>-bell`. Every process
//! holds it open for writing and writes the byte after each commit that others
//! may care about; whoever watches is woken by inotify and asks SQLite's
//! `data_version`, which tells whether another connection has committed.
//!
//! No commit of another process is missed:
//! - the byte is written after the commit is visible, never before;
//! - a process that is killed between the two closes the file, and that is an
//!   event too;
//! - if the file is deleted or replaced, ringers and watchers move to the new
//!   one, and watchers tell once;
//! - if the kernel's queue of events overflows, that is an event too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Room for a few hundred events; they all say the same.
const EVENT_BUFFER_BYTES: usize = 4096;

/// The file that is rung by writing to it.
pub(super) struct Bell {
    path: PathBuf,
    /// Held open as long as the store: its end is the last ring.
    file: Mutex<OpenBell>,
}

struct OpenBell {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
}

impl OpenBell {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open_own(path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { file, identity })
    }

    fn ring(&self) -> io::Result<()> {
        let written = self.file.write_at(b"\n", 0);
        // On a full disk the first byte may not fit; a time stamp always does.
        written.map(|_| ()).or_else(|_| self.file.set_modified(SystemTime::now()))
    }
}

/// Opens a bell. Refuses a link, which could lead to a file that is not ours, and a pipe, which would keep us
/// waiting.
fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let refused = |what: &str| io::Error::other(format!("it is {what}: remove it"));
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => refused("a symbolic link"),
        Some(Errno::NXIO) => refused("no ordinary file"),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused("no ordinary file")) }
}

impl Bell {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = Mutex::new(OpenBell::open(&path)?);
        Ok(Self { path, file })
    }

    /// Waits for the lock that openers of the database take in turn. It ends
    /// with the file that is returned.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file = open_own(&self.path, OpenOptions::new().read(true))?;
        file.lock()?;
        Ok(file)
    }

    /// Tells the others. A bell that can't be rung is no reason to fail a commit
    /// that is durable already.
    pub(super) fn ring(&self) {
        if let Err(error) = self.try_to_ring() {
            tracing::warn!(bell = %self.path.display(), %error, "other processes can't be told of a commit");
        }
    }

    fn try_to_ring(&self) -> io::Result<()> {
        let mut bell = self.file.lock();
        let is_current =
            std::fs::metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == bell.identity);
        if !is_current {
            *bell = OpenBell::open(&self.path)?;
        }
        bell.ring()
    }
}

/// Whether others have committed since it was last asked.
pub(super) trait HasNews: FnMut() -> bool + Send + 'static {}
impl<F: FnMut() -> bool + Send + 'static> HasNews for F {}

/// A thread that waits for the bell. Ends, and is waited for, when dropped.
pub(super) struct Listener {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Calls `notify` whenever the bell was rung and `has_news` says yes.
    /// `make_has_news` is called when nothing can be missed any more.
    pub(super) fn start<F: HasNews>(
        bell: &Bell,
        make_has_news: impl FnOnce() -> F,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let inotify = Inotify::init().map_err(name_shortage)?;
        let watched = watch(&inotify, &bell.path).map_err(name_shortage)?;
        watch_directory(&inotify, &bell.path);
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let listener = ListenerThread { path: bell.path.clone(), inotify, watched, end: Arc::clone(&end) };
        let has_news = make_has_news();
        let thread = std::thread::Builder::new()
            .name("store-bell".to_owned())
            .spawn(move || listener.listen(has_news, &*notify))?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from its end.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            // Dropped by `notify` itself: the thread ends right after it.
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in `notify` was printed already.
            let _ = thread.join();
        }
    }
}

/// Names what is used up, which the system calls too many open files, or no space left.
fn name_shortage(error: io::Error) -> io::Error {
    let what = match Errno::from_io_error(&error) {
        Some(Errno::MFILE) => {
            "all inotify instances of this user are taken (`fs.inotify.max_user_instances`), or all file descriptors \
             (`ulimit -n`)"
        }
        Some(Errno::NOSPC) => "all inotify watches of this user are taken (`fs.inotify.max_user_watches`)",
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

fn watch(inotify: &Inotify, path: &Path) -> io::Result<WatchDescriptor> {
    // ATTRIB also tells that the last name of the file is gone.
    let mask = WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::DONT_FOLLOW;
    inotify.watches().add(path, mask)
}

/// Watches the directory of the bell, which may be moved away with everything in it: whoever listens looks at the store
/// then, and finds out. Without it that is found out by the next commit.
fn watch_directory(inotify: &Inotify, bell: &Path) {
    let mask = WatchMask::MOVE_SELF | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
    if let Some(directory) = bell.parent()
        && let Err(error) = inotify.watches().add(directory, mask)
    {
        tracing::debug!(directory = %directory.display(), %error, "the directory of the store is not watched");
    }
}

/// The state of the listening thread.
struct ListenerThread {
    path: PathBuf,
    inotify: Inotify,
    watched: WatchDescriptor,
    end: Arc<OwnedFd>,
}

impl ListenerThread {
    fn listen(mut self, mut has_news: impl HasNews, notify: &dyn Fn()) {
        loop {
            let mut ready = [
                PollFd::new(&*self.end, PollFlags::IN),
                PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the store can't wait for other processes");
                    return;
                }
            }
            if !ready[0].revents().is_empty() {
                return;
            }
            let must_tell = match self.read_events() {
                Ok(must_tell) => must_tell,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    tracing::error!(%error, "the store can't listen to other processes");
                    return;
                }
            };
            // Asked in any case, to remember what was told.
            if has_news() | must_tell {
                notify();
            }
        }
    }

    /// Reads what has happened; whether something may have been missed.
    fn read_events(&mut self) -> io::Result<bool> {
        let mut buffer = [0; EVENT_BUFFER_BYTES];
        let mut seen = EventMask::empty();
        for event in self.inotify.read_events(&mut buffer)? {
            seen |= event.mask;
        }
        let is_replaced = seen.intersects(
            EventMask::ATTRIB | EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED,
        );
        if is_replaced {
            return Ok(self.follow() || seen.contains(EventMask::Q_OVERFLOW));
        }
        Ok(seen.contains(EventMask::Q_OVERFLOW))
    }

    /// Watches the file that has the name now; whether it is another one.
    fn follow(&mut self) -> bool {
        let again = OpenBell::open(&self.path).and_then(|_| watch(&self.inotify, &self.path));
        match again {
            Ok(watched) if watched == self.watched => false,
            Ok(watched) => {
                // Fails if the old file is gone, and with it its watch.
                let old = std::mem::replace(&mut self.watched, watched);
                let _ = self.inotify.watches().remove(old);
                true
            }
            Err(error) => {
                tracing::warn!(bell = %self.path.display(), %error, "the store's bell is gone");
                true
            }
        }
    }
}
