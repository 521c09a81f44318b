//! Components in OCI registries: fetched by digest, verified, kept as files.
//!
//! A kept file is never asked for again: a reference by digest, and a tag that the lock file
//! pins, need the network once.

mod credentials;
mod identity;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciDescriptor;
use oci_client::{Client, Reference};
use serde::Deserialize;

use crate::config::{Config, RegistryReference, RegistryVersion};
use crate::model::ComponentDigest;

use super::kept::Kept;
use credentials::Credentials;
use identity::PATIENCE;

/// The media type of a component's configuration.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The media type of a component.
const LAYER_TYPE: &str = "application/wasm";
/// Manifests that are asked for; an index only to say what is wrong with it.
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"];
/// The most bytes of a manifest that is looked into.
const MAX_MANIFEST: usize = 1 << 20;

/// The time for everything together.
const ALL_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The time for an answer that is small or has only begun: a manifest, the head of a component.
const ASK_PATIENCE: Duration = Duration::from_secs(60);
/// The least bytes of a component that come in a second, on the average of all after the first [`PATIENCE`]. At less
/// a large one would not be here in time anyway.
const SLOWEST: u64 = 16 << 10;

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
    /// Uses the cache directory of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            components: Kept::components(config),
            manifests: Kept::manifests(config),
            max_bytes: config.compile.component_bytes,
        }
    }

    /// Finds a component to load: from its file if there is one, else from its registry.
    /// `locked` is the digest that the lock file has of it.
    pub fn load(
        &self,
        reference: &RegistryReference,
        locked: Option<ComponentDigest>,
    ) -> Result<Found, String> {
        if let Some(digest) = locked {
            if let Some((path, _)) = self.components.find(digest) {
                return Ok(Found { path, digest });
            }
            // Whatever the tag stands for by now.
            if let RegistryVersion::Tag(_) = reference.version {
                return self.fetch(reference, digest, None);
            }
        } else if let RegistryVersion::Tag(_) = reference.version {
            return Err(format!(
                "`{reference}` is a tag, which can be moved: `run-wasm-runner lock` pins what it stands for now"
            ));
        }
        self.resolve(reference)
    }

    /// Finds what a reference stands for now, and its file, fetched if need be.
    pub fn resolve(&self, reference: &RegistryReference) -> Result<Found, String> {
        let manifest = match reference.version {
            RegistryVersion::Tag(_) => self.manifest(reference)?,
            RegistryVersion::Manifest(digest) => match self.manifests.find(digest) {
                Some((_, bytes)) => bytes,
                None => self.manifest(reference)?,
            },
        };
        let (digest, size) = read_manifest(&manifest).map_err(|reason| format!("`{reference}`: {reason}"))?;
        match self.components.find(digest) {
            Some((path, _)) => Ok(Found { path, digest }),
            None => self.fetch(reference, digest, Some(size)),
        }
    }

    /// Fetches the bytes of a manifest.
    fn manifest(&self, reference: &RegistryReference) -> Result<Vec<u8>, String> {
        let session = Session::new(reference)?;
        let pulled = run(&session.runtime, async {
            let auth = &session.auth;
            in_time(session.client.pull_manifest_raw(&session.image, auth, &MANIFEST_TYPES)).await
        });
        let (bytes, _) = pulled.map_err(unavailable(reference))?;
        if bytes.len() > MAX_MANIFEST {
            return Err(unavailable(reference)(format!("its manifest has {} bytes", bytes.len())));
        }
        let found = ComponentDigest::of(&bytes);
        if let RegistryVersion::Manifest(wanted) = reference.version
            && found != wanted
        {
            return Err(format!("`{reference}`: the registry answered with the manifest `{found}`"));
        }
        let path = self.manifests.keep(found, &bytes)?;
        self.manifests.tidy(|file| file == path);
        Ok(bytes.to_vec())
    }

    /// Fetches the bytes with a digest; the manifest says that there are `size` of them.
    fn fetch(
        &self,
        reference: &RegistryReference,
        wanted: ComponentDigest,
        size: Option<u64>,
    ) -> Result<Found, String> {
        let most = self.max_bytes;
        if size.is_some_and(|size| size > most) {
            return Err(format!(
                "`{reference}`: it has more than the {most} bytes that `compile.component` allows"
            ));
        }
        let session = Session::new(reference)?;
        let pulled = run(&session.runtime, async {
            let (client, image) = (&session.client, &session.image);
            client.store_auth_if_needed(image.resolve_registry(), &session.auth).await;
            let descriptor = OciDescriptor {
                media_type: LAYER_TYPE.to_owned(),
                digest: wanted.to_string(),
                ..OciDescriptor::default()
            };
            let mut stream = in_time(client.pull_blob_stream(image, &descriptor)).await?;
            let began = Instant::now();
            let most = size.unwrap_or(most);
            let mut bytes = Vec::new();
            while let Some(more) = stream.try_next().await.map_err(|error| error.to_string())? {
                bytes.extend_from_slice(&more);
                if bytes.len() as u64 > most {
                    return Err(format!("it has more than the {most} bytes that it may have"));
                }
                check_rate(bytes.len() as u64, began.elapsed())?;
            }
            Ok(bytes)
        });
        let bytes = pulled.map_err(unavailable(reference))?;
        // Whatever the library compared.
        let found = ComponentDigest::of(&bytes);
        if found != wanted {
            return Err(format!("`{reference}`: the registry answered `{found}` for `{wanted}`"));
        }
        let path = self.components.keep(wanted, &bytes)?;
        Ok(Found { path, digest: wanted })
    }
}

/// Waits for an answer that does not take long.
async fn in_time<T>(answer: impl Future<Output = oci_client::errors::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ASK_PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer was here after {ASK_PATIENCE:?}")),
    }
}

/// Checks that so many bytes within a time are not too few: a registry that sends one now and then must not hold a
/// command, or a runner, for as long as it likes.
fn check_rate(bytes: u64, elapsed: Duration) -> Result<(), String> {
    let counted = elapsed.saturating_sub(PATIENCE).as_secs();
    if bytes >= counted.saturating_mul(SLOWEST) {
        return Ok(());
    }
    let seconds = elapsed.as_secs();
    Err(format!("only {bytes} bytes came within {seconds} s, less than {SLOWEST} in a second"))
}

/// Says that a registry did not give what was asked for.
fn unavailable(reference: &RegistryReference) -> impl Fn(String) -> String + '_ {
    move |reason| format!("`{reference}` can't be fetched: {reason}")
}

/// Reads which component a manifest names: the digest of its bytes, and how many there
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

/// The means to ask one registry.
struct Session {
    client: Client,
    image: Reference,
    auth: oci_client::secrets::RegistryAuth,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    fn new(reference: &RegistryReference) -> Result<Self, String> {
        let unavailable = unavailable(reference);
        let credentials = credentials::find(reference)
            .map_err(|reason| format!("the credentials for `{}` can't be read: {reason}", reference.host))?;
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
                run(&runtime, identity::exchange(reference, &token)).map_err(&unavailable)?
            }
        };
        Ok(Self { client, image, auth, runtime })
    }
}

fn run<T>(
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let done = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            match tokio::time::timeout(ALL_PATIENCE, work).await {
                Ok(result) => result,
                Err(_) => Err(format!("it was not here after {ALL_PATIENCE:?}")),
            }
        })
    }));
    // The client panics at some answers, such as a token that no header can carry.
    done.unwrap_or_else(|_| Err("its answer can't be used".to_owned()))
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
    fn a_registry_that_trickles_is_given_up() {
        assert_eq!(check_rate(0, PATIENCE), Ok(()), "it may need a while to begin");
        let later = PATIENCE + Duration::from_secs(10);
        assert_eq!(check_rate(10 * SLOWEST, later), Ok(()));
        let error = check_rate(10 * SLOWEST - 1, later).expect_err("it is too slow");
        assert!(error.contains("163839 bytes") && error.contains("less than 16384"), "{error}");
        // One byte now and then does not help, however long it goes on.
        assert!(check_rate(40, Duration::from_secs(40)).is_err());
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
