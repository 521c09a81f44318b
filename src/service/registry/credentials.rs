//! The user's credentials for a registry: from a variable, or from docker's files. They are
//! never part of a message.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::identity::IdentityToken;
use crate::config::RegistryReference;
use crate::regular_file;

/// `HOST=USER:PASSWORD`.
const VARIABLE: &str = "WASM_RUNNER_REGISTRY_AUTH";

/// The user whose password is an identity token, as helpers of docker's write it.
const TOKEN_USER: &str = "<token>";

/// The credentials for one registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// The registry takes these as they are.
    Auth(RegistryAuth),
    /// The registry's token server takes this, and gives a token for the registry.
    Identity(IdentityToken),
}

impl Credentials {
    const NONE: Self = Self::Auth(RegistryAuth::Anonymous);

    fn of(user: String, password: String) -> Self {
        match user == TOKEN_USER {
            true => Self::Identity(IdentityToken::new(password)),
            false => Self::Auth(RegistryAuth::Basic(user, password)),
        }
    }
}

/// The part of docker's `config.json` that matters here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The answer of one of docker's helpers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Finds the credentials for a registry; none if there are none, or if they would travel
/// over the network for everybody to read.
pub(super) fn find(reference: &RegistryReference) -> Result<Credentials, String> {
    if reference.is_plain() && !reference.is_loopback() {
        return Ok(Credentials::NONE);
    }
    if let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        let text = text.into_string().map_err(|_| format!("{VARIABLE} is not UTF-8"))?;
        let shape = || format!("{VARIABLE} is not `HOST=USER:PASSWORD`");
        let (host, pair) = text.split_once('=').ok_or_else(shape)?;
        let (user, password) = pair.split_once(':').ok_or_else(shape)?;
        if host == reference.host {
            return Ok(Credentials::of(user.to_owned(), password.to_owned()));
        }
    }
    let Some(path) = docker_config() else { return Ok(Credentials::NONE) };
    let text = match regular_file::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Credentials::NONE),
        other => other.map_err(|error| format!("`{}`: {error}", path.display()))?,
    };
    // The error of the parser could quote what it read.
    let config: DockerConfig = serde_json::from_slice(&text).map_err(|error| {
        format!("`{}` is not docker's (line {}, column {})", path.display(), error.line(), error.column())
    })?;
    of_docker(&config, &reference.host)
}

fn docker_config() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|text| !text.is_empty()).map(PathBuf::from);
    Some(directory.or_else(|| Some(dirs::home_dir()?.join(".docker")))?.join("config.json"))
}

fn of_docker(config: &DockerConfig, host: &str) -> Result<Credentials, String> {
    let helper = config.cred_helpers.get(host).or(config.creds_store.as_ref());
    if let Some(helper) = helper
        && let Some(auth) = ask(helper, host)?
    {
        return Ok(auth);
    }
    // Older tools wrote URLs.
    let name = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let Some((_, auth)) = config.auths.iter().find(|(key, _)| name(key) == host) else {
        return Ok(Credentials::NONE);
    };
    // It goes before a user, who stands beside it for show.
    if let Some(token) = auth.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Credentials::Identity(IdentityToken::new(token.clone())));
    }
    let pair = match (&auth.auth, &auth.username, &auth.password) {
        (Some(encoded), _, _) if !encoded.is_empty() => {
            let decoded =
                STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or("`auth` in docker's configuration is not base64")?;
            decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
        }
        (_, Some(user), Some(password)) => Some((user.clone(), password.clone())),
        _ => None,
    };
    Ok(pair.map_or(Credentials::NONE, |(user, password)| Credentials::of(user, password)))
}

/// Asks one of docker's helpers; `None` if it knows nothing of that registry.
fn ask(helper: &str, host: &str) -> Result<Option<Credentials>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("`{program}`: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may answer without having read.
        let _ = stdin.write_all(host.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Ok(None);
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|_| format!("`{program}` gave no credentials"))?;
    Ok(Some(Credentials::of(answer.username, answer.secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_docker_are_those_of_the_host() {
        let text = format!(
            r#"{{"auths": {{"ghcr.io": {{"auth": "{}"}}, "acr.example": {{"auth": "{}", "identitytoken": "t"}}, "https://old.example/v1/": {{"username": "u", "password": "p"}}, "empty.example": {{}}}}}}"#,
            STANDARD.encode("acme:secret:with:colons"),
            STANDARD.encode("00000000-0000-0000-0000-000000000000:")
        );
        let config: DockerConfig = serde_json::from_str(&text).unwrap();
        let basic = |user: &str, password: &str| Credentials::of(user.to_owned(), password.to_owned());
        for (host, auth) in [
            ("ghcr.io", basic("acme", "secret:with:colons")),
            ("old.example", basic("u", "p")),
            ("acr.example", Credentials::Identity(IdentityToken::new("t".to_owned()))),
            ("empty.example", Credentials::NONE),
            ("other.example", Credentials::NONE),
        ] {
            assert_eq!(of_docker(&config, host), Ok(auth), "{host}");
        }
        let config: DockerConfig =
            serde_json::from_str(r#"{"auths": {"a": {"auth": "not base64 but secret"}}}"#).unwrap();
        let error = of_docker(&config, "a").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn credentials_never_travel_in_the_open() {
        let reference = RegistryReference::parse("oci://registry.example/a:1").unwrap();
        let plain = RegistryReference { is_insecure: true, ..reference };
        assert_eq!(find(&plain), Ok(Credentials::NONE));
    }
}
