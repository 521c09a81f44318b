//! Components in OCI registries: fetched by digest, verified, kept as files.
//!
//! What is kept is never asked for again: a reference by digest, and a tag that
//! the lock file pins, need the network once.

mod credentials;
mod identity;

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciDescriptor;
use oci_client::{Client, Reference};
use serde::Deserialize;
use tokio::io::AsyncWrite;

use crate::config::{Config, RegistryReference, RegistryVersion};
use crate::model::ComponentDigest;

use super::kept::{KeepError, Kept};
use credentials::Credentials;
use identity::PATIENCE;

/// What a component's configuration is called in a registry.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// What a component is called in a registry.
const LAYER_TYPE: &str = "application/wasm";
/// Manifests that are asked for; an index only to say what is wrong with it.
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"];
/// The most bytes of a manifest that is looked into.
const MAX_MANIFEST: usize = 1 << 20;

/// For everything together.
const ALL_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Why a component can't be had from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Its tag may stand for something else tomorrow.
    #[error("`{0}` is a tag, which can be moved: `run-wasm-runner lock` pins what it stands for now")]
    Unlocked(String),
    /// The registry did not give it.
    #[error("`{reference}` can't be fetched: {reason}")]
    Unavailable {
        /// What was asked for.
        reference: String,
        /// What the registry, or the network, said.
        reason: String,
    },
    /// It is no component, or not the one that was asked for.
    #[error("`{reference}`: {reason}")]
    Unusable {
        /// What was asked for.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// Credentials can't be read.
    #[error("the credentials for `{host}` can't be read: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why, without a word of them.
        reason: String,
    },
    /// It can't be kept.
    #[error(transparent)]
    File(#[from] KeepError),
}

/// Registries, and the files in which this user keeps what came from them.
pub struct Registry {
    components: Kept,
    manifests: Kept,
    max_bytes: u64,
}

/// A component that was found.
#[derive(Debug)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
}

/// The part of a manifest that matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl Registry {
    /// With the files of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            components: Kept::components(config),
            manifests: Kept::manifests(config),
            max_bytes: config.compile.component_bytes,
        }
    }

    /// A component to load: from its file if there is one, else from its registry.
    /// `locked` is the digest that the lock file has of it.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn load(
        &self,
        reference: &RegistryReference,
        locked: Option<ComponentDigest>,
    ) -> Result<Found, RegistryError> {
        if let Some(digest) = locked {
            if let Some((path, _)) = self.components.find(digest) {
                return Ok(Found { path, digest });
            }
            // Whatever the tag stands for by now.
            if let RegistryVersion::Tag(_) = reference.version {
                return self.fetch(reference, digest, None);
            }
        } else if let RegistryVersion::Tag(_) = reference.version {
            return Err(RegistryError::Unlocked(reference.to_string()));
        }
        self.resolve(reference)
    }

    /// What a reference stands for now, and its file, fetched if need be.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn resolve(&self, reference: &RegistryReference) -> Result<Found, RegistryError> {
        let manifest = match reference.version {
            RegistryVersion::Tag(_) => self.manifest(reference)?,
            RegistryVersion::Manifest(digest) => match self.manifests.find(digest) {
                Some((_, bytes)) => bytes,
                None => self.manifest(reference)?,
            },
        };
        let (digest, size) = read_manifest(&manifest)
            .map_err(|reason| RegistryError::Unusable { reference: reference.to_string(), reason })?;
        match self.components.find(digest) {
            Some((path, _)) => Ok(Found { path, digest }),
            None => self.fetch(reference, digest, Some(size)),
        }
    }

    /// The bytes of a manifest, from its registry.
    fn manifest(&self, reference: &RegistryReference) -> Result<Vec<u8>, RegistryError> {
        let unavailable =
            |reason: String| RegistryError::Unavailable { reference: reference.to_string(), reason };
        let session = Session::new(reference)?;
        let pulled = session.run(async {
            let auth = &session.auth;
            let pulled = session.client.pull_manifest_raw(&session.image, auth, &MANIFEST_TYPES).await;
            pulled.map_err(|error| error.to_string())
        });
        let (bytes, _) = pulled.map_err(unavailable)?;
        if bytes.len() > MAX_MANIFEST {
            return Err(unavailable(format!("its manifest has {} bytes", bytes.len())));
        }
        let found = ComponentDigest::of(&bytes);
        if let RegistryVersion::Manifest(wanted) = reference.version
            && found != wanted
        {
            let reason = format!("the registry answered with the manifest `{found}`");
            return Err(RegistryError::Unusable { reference: reference.to_string(), reason });
        }
        self.manifests.keep(found, &bytes)?;
        Ok(bytes.to_vec())
    }

    /// The bytes with a digest, from a registry; `size` is what the manifest says of
    /// them.
    fn fetch(
        &self,
        reference: &RegistryReference,
        wanted: ComponentDigest,
        size: Option<u64>,
    ) -> Result<Found, RegistryError> {
        let unusable = |reason: String| RegistryError::Unusable { reference: reference.to_string(), reason };
        let most = self.max_bytes;
        if size.is_some_and(|size| size > most) {
            let reason = format!("it has more than the {most} bytes that `compile.component` allows");
            return Err(unusable(reason));
        }
        let session = Session::new(reference)?;
        let mut sink = Sink { bytes: Vec::new(), most: size.unwrap_or(most) };
        let pulled = session.run(async {
            let (client, image) = (&session.client, &session.image);
            client.store_auth_if_needed(image.resolve_registry(), &session.auth).await;
            let descriptor = OciDescriptor {
                media_type: LAYER_TYPE.to_owned(),
                digest: wanted.to_string(),
                ..OciDescriptor::default()
            };
            client.pull_blob(image, &descriptor, &mut sink).await.map_err(|error| error.to_string())
        });
        pulled.map_err(|reason| RegistryError::Unavailable { reference: reference.to_string(), reason })?;
        // Whatever the library compared.
        let found = ComponentDigest::of(&sink.bytes);
        if found != wanted {
            return Err(unusable(format!("the registry answered `{found}` for `{wanted}`")));
        }
        let path = self.components.keep(wanted, &sink.bytes)?;
        Ok(Found { path, digest: wanted })
    }
}

/// The component that a manifest names: the digest of its bytes, and how many there
/// are.
fn read_manifest(bytes: &[u8]) -> Result<(ComponentDigest, u64), String> {
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|error| format!("its manifest can't be understood: {error}"))?;
    let Some(config) = manifest.config else {
        let what = match manifest.media_type.as_deref() {
            Some(kind) if kind.contains("index") || kind.contains("manifest.list") => {
                "it is an index of several: name one of them by its digest"
            }
            _ => "its manifest has no `config`",
        };
        return Err(what.to_owned());
    };
    if config.media_type != CONFIG_TYPE {
        return Err(format!(
            "it is no component: its configuration is `{}`, and that of a component `{CONFIG_TYPE}`",
            config.media_type
        ));
    }
    let [layer] = &*manifest.layers else {
        return Err(format!("it has {} layers, and a component has one", manifest.layers.len()));
    };
    if layer.media_type != LAYER_TYPE {
        return Err(format!("its layer is `{}`, and that of a component `{LAYER_TYPE}`", layer.media_type));
    }
    let digest = layer.digest.parse().map_err(|error| format!("its layer: {error}"))?;
    Ok((digest, layer.size))
}

/// What it takes to ask one registry.
struct Session {
    client: Client,
    image: Reference,
    auth: oci_client::secrets::RegistryAuth,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    fn new(reference: &RegistryReference) -> Result<Self, RegistryError> {
        let unavailable =
            |reason: String| RegistryError::Unavailable { reference: reference.to_string(), reason };
        let credentials = credentials::find(reference)
            .map_err(|reason| RegistryError::Credentials { host: reference.host.clone(), reason })?;
        // Another part of this process may have done it: it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let protocol = match reference.is_plain() {
            true => ClientProtocol::HttpsExcept(vec![reference.host.clone()]),
            false => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(PATIENCE),
            read_timeout: Some(PATIENCE),
            user_agent: concat!("run-wasm-runner/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let (host, repository) = (reference.host.clone(), reference.repository.clone());
        let image = match &reference.version {
            RegistryVersion::Tag(tag) => Reference::with_tag(host, repository, tag.clone()),
            RegistryVersion::Manifest(digest) => Reference::with_digest(host, repository, digest.to_string()),
        };
        let client = Client::try_from(config).map_err(|error| unavailable(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unavailable(error.to_string()))?;
        let auth = match credentials {
            Credentials::Auth(auth) => auth,
            // What comes of it is good for a minute or so: not to be kept for another
            // session.
            Credentials::Identity(token) => {
                run(&runtime, identity::exchange(reference, &token)).map_err(unavailable)?
            }
        };
        Ok(Self { client, image, auth, runtime })
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        run(&self.runtime, work)
    }
}

fn run<T>(
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    runtime.block_on(async {
        match tokio::time::timeout(ALL_PATIENCE, work).await {
            Ok(result) => result,
            Err(_) => Err(format!("it was not here after {ALL_PATIENCE:?}")),
        }
    })
}

/// Bytes in memory, and no more than were announced.
struct Sink {
    bytes: Vec<u8>,
    most: u64,
}

impl AsyncWrite for &mut Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if (self.bytes.len() + buffer.len()) as u64 > self.most {
            let message = format!("it has more than the {} bytes that it may have", self.most);
            return Poll::Ready(Err(std::io::Error::other(message)));
        }
        self.bytes.extend_from_slice(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(config: &str, layers: &[&str]) -> Vec<u8> {
        let layers: Vec<_> = layers
            .iter()
            .map(|kind| {
                let digest = format!("sha256:{}", "ab".repeat(32));
                serde_json::json!({ "mediaType": kind, "digest": digest, "size": 7 })
            })
            .collect();
        let config = serde_json::json!({ "mediaType": config, "digest": "sha256:00", "size": 2 });
        serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().into_bytes()
    }

    #[test]
    fn a_manifest_names_one_component() {
        let read = read_manifest(&manifest(CONFIG_TYPE, &[LAYER_TYPE]));
        assert_eq!(read, Ok((ComponentDigest::from_bytes([0xab; 32]), 7)));
    }

    #[test]
    fn what_is_no_component_says_what_it_is() {
        let image = "application/vnd.oci.image.config.v1+json";
        for (bytes, why) in [
            (manifest(image, &[LAYER_TYPE]), "it is no component: its configuration is"),
            (manifest(CONFIG_TYPE, &[]), "it has 0 layers"),
            (manifest(CONFIG_TYPE, &[LAYER_TYPE, LAYER_TYPE]), "it has 2 layers"),
            (manifest(CONFIG_TYPE, &["application/x-tar"]), "its layer is `application/x-tar`"),
            (br#"{"mediaType": "application/vnd.oci.image.index.v1+json"}"#.to_vec(), "index of several"),
            (b"<html>".to_vec(), "can't be understood"),
        ] {
            let error = read_manifest(&bytes).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
