//! The thread that carries the traffic of all connections of a store, and how
//! connections come about.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_postgres::{Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::Fault;
use super::link::{Ask, Link, SESSION};
use super::schema::{VERSION, quote};
use super::sql::column;
use super::url::PostgresUrl;
use super::{tls, wait};

type TlsStream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// A thread with a runtime. Ends, and is waited for, when dropped.
pub(super) struct Engine {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("store-postgres".to_owned()).spawn(move || {
            // Also when the sender is gone.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, end: Some(end), thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            // Dropped by a watcher: the thread ends right after it.
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of a watcher was printed already.
            let _ = thread.join();
        }
    }
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) url: PostgresUrl,
    tls: MakeRustlsConnect,
    handle: Handle,
    /// The schema's name as SQL takes it.
    pub(super) schema: Arc<str>,
    /// Where the server is, for messages.
    pub(super) place: String,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl, handle: &Handle) -> Result<Self, Fault> {
        Ok(Self {
            tls: MakeRustlsConnect::new(tls::client(url.tls, url.root_certificates.as_deref())?),
            handle: handle.clone(),
            schema: quote(&url.schema).into(),
            place: url.place(),
            url: url.clone(),
        })
    }

    /// Connects, on the store's thread.
    pub(super) async fn dial(&self) -> Result<(Client, Connection<Socket, TlsStream>), Fault> {
        self.url.config.connect(self.tls.clone()).await.map_err(Fault::Connect)
    }

    /// A connection, made while the calling thread waits. What is in the database
    /// is not looked at.
    pub(super) fn connect_unchecked(self: &Arc<Self>, deadline: Instant) -> Result<Link, Fault> {
        let connector = Arc::clone(self);
        let dialled = self.handle.spawn(async move {
            let (client, connection) = connector.dial().await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the store has ended");
                }
            });
            Ok::<_, Fault>((client, task.abort_handle()))
        });
        let abandoned = dialled.abort_handle();
        let dialled =
            wait::wait(dialled, deadline).ok_or(Fault::TimedOut).inspect_err(|_| abandoned.abort())?;
        let (client, task) = dialled
            .map_err(|error| Fault::Unavailable(format!("the store's thread has ended: {error}")))??;
        let link = Link::new(client, task, Arc::clone(&self.schema), self.url.listens);
        if self.url.listens {
            wait::wait(link.run(SESSION), deadline).ok_or(Fault::TimedOut)??;
        }
        Ok(link)
    }

    /// A connection to a database that is as this program knows it.
    pub(super) fn connect(self: &Arc<Self>, deadline: Instant) -> Result<Link, Fault> {
        let link = self.connect_unchecked(deadline)?;
        self.check_version(&link, deadline)?;
        Ok(link)
    }

    /// Refuses a database whose schema has changed since it was opened.
    pub(super) fn check_version(&self, link: &Link, deadline: Instant) -> Result<(), Fault> {
        let ask = Ask::new("SELECT version FROM @schema_version");
        let rows = wait::wait(link.ask_one(ask), deadline).ok_or(Fault::TimedOut)?;
        let rows = rows.map_err(|fault| match fault.is_of_schema() {
            true => Fault::Unusable(format!(
                "the schema {} is gone from the database: start again to make a new store, or restore it",
                self.schema
            )),
            false => fault,
        })?;
        match rows.first().map(|row| column(row, 0)).transpose()? {
            Some(version) if version == VERSION => Ok(()),
            Some(version) if version > VERSION => Err(Fault::Upgraded(version)),
            _ => Err(Fault::Damaged(format!("its schema {} has gone back to an older version", self.schema))),
        }
    }
}
