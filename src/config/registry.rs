//! References to components in OCI registries: `oci://HOST[:PORT]/REPOSITORY`, and
//! which version of it.

use std::fmt;

use crate::model::ComponentDigest;

/// How a reference begins.
pub const OCI_SCHEME: &str = "oci://";

/// A component in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReference {
    /// The registry's host, with its port if it has one.
    pub host: String,
    /// The repository in it.
    pub repository: String,
    /// Which version.
    pub version: RegistryVersion,
    /// Whether it may be spoken to without TLS wherever it is.
    pub is_insecure: bool,
}

/// A version of a component in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryVersion {
    /// A tag, which can be moved.
    Tag(String),
    /// The manifest with this digest, for ever.
    Manifest(ComponentDigest),
}

impl RegistryReference {
    /// Reads what follows `source =`.
    ///
    /// # Errors
    ///
    /// The reason why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "`{text}` {what} (for example `oci://ghcr.io/acme/math@sha256:…` or `oci://ghcr.io/acme/math:1.2`)"
            )
        };
        let rest = text.strip_prefix(OCI_SCHEME).ok_or_else(|| wrong("does not begin with `oci://`"))?;
        let (host, rest) = rest.split_once('/').ok_or_else(|| wrong("names no repository"))?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong("names no host"));
        }
        let (rest, digest) = rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest)));
        let (repository, tag) = rest.rsplit_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        let is_part = |part: &str| {
            let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            !part.is_empty()
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(is_inner)
        };
        if !repository.split('/').all(is_part) {
            return Err(wrong("has a repository that no registry can have"));
        }
        let version = match (digest, tag) {
            // A tag beside a digest is for people.
            (Some(digest), _) => RegistryVersion::Manifest(
                digest.parse().map_err(|_| wrong("has a digest that is not `sha256:` and 64 digits"))?,
            ),
            (None, Some(tag)) => {
                let is_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if tag.is_empty() || tag.len() > 128 || !tag.chars().all(is_tag) {
                    return Err(wrong("has a tag that no registry can have"));
                }
                RegistryVersion::Tag(tag.to_owned())
            }
            (None, None) => return Err(wrong("says neither a tag nor a digest")),
        };
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), version, is_insecure: false })
    }

    /// Whether the registry is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }

    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.is_insecure || self.is_loopback()
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OCI_SCHEME}{}/{}", self.host, self.repository)?;
        match &self.version {
            RegistryVersion::Tag(tag) => write!(f, ":{tag}"),
            RegistryVersion::Manifest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_survive_their_text_form() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [
            "oci://ghcr.io/acme/math:1.2.3".to_owned(),
            "oci://localhost:5000/a:latest".to_owned(),
            "oci://[::1]:5000/a/b-c_d/e:v1".to_owned(),
            format!("oci://127.0.0.1:5000/acme/math@{digest}"),
        ] {
            assert_eq!(RegistryReference::parse(&text).map(|reference| reference.to_string()), Ok(text));
        }
        let both = RegistryReference::parse(&format!("oci://ghcr.io/a:1@{digest}")).unwrap();
        assert_eq!(both.to_string(), format!("oci://ghcr.io/a@{digest}"));
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (text, why) in [
            ("https://ghcr.io/a:1", "does not begin with `oci://`"),
            ("oci://ghcr.io", "names no repository"),
            ("oci:///a:1", "names no host"),
            ("oci://user@host/a:1", "names no host"),
            ("oci://ghcr.io/:1", "no registry can have"),
            ("oci://ghcr.io/../a:1", "no registry can have"),
            ("oci://ghcr.io/A:1", "no registry can have"),
            ("oci://ghcr.io/a", "neither a tag nor a digest"),
            ("oci://ghcr.io/a:", "has a tag"),
            ("oci://ghcr.io/a:b/c", "no registry can have"),
            ("oci://ghcr.io/a@sha256:12", "has a digest"),
            ("oci://ghcr.io/a@md5:12", "has a digest"),
        ] {
            let error = RegistryReference::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, is_loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("ghcr.io", false),
            ("10.0.0.1", false),
        ] {
            let reference = RegistryReference::parse(&format!("oci://{host}/a:1")).unwrap();
            assert_eq!(reference.is_plain(), is_loopback, "{host}");
            assert!(RegistryReference { is_insecure: true, ..reference }.is_plain());
        }
    }
}
