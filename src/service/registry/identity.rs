//! Identity tokens: what a registry's own login gives instead of a password. They are
//! good for nothing but to ask the registry's token server for a token that opens one
//! repository for a short time.

use std::time::Duration;

use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::config::RegistryReference;

/// The time for a registry's answer, and between two pieces of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the client, for the token server's log.
const CLIENT: &str = "run-wasm-runner";

/// The most bytes of an answer that is looked into.
const MAX_ANSWER: usize = 1 << 20;

/// An identity token. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IdentityToken(String);

impl IdentityToken {
    pub(super) fn new(token: String) -> Self {
        Self(token)
    }
}

impl std::fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityToken(not shown)")
    }
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    /// The name of older servers for it.
    token: Option<String>,
}

/// The token server that a registry names.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

/// Exchanges an identity token for one that opens a repository for reading: asks the registry
/// where its token server is, and that server, by OAuth 2. Errors have no word of any token.
pub(super) async fn exchange(
    reference: &RegistryReference,
    identity: &IdentityToken,
) -> Result<RegistryAuth, String> {
    let client = Client::builder()
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .https_only(!reference.is_plain())
        // What is sent is for the one that was named.
        .redirect(Policy::none())
        .user_agent(concat!("run-wasm-runner/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
    let scheme = if reference.is_plain() { "http" } else { "https" };
    let host = &reference.host;
    let asked = client.get(format!("{scheme}://{host}/v2/")).send().await;
    let asked = asked.map_err(|error| failed(host, error))?;
    if asked.status() != StatusCode::UNAUTHORIZED {
        // It lets everybody in, or nobody knows why not: the request itself will tell.
        return Ok(RegistryAuth::Anonymous);
    }
    let headers = asked.headers().get_all(WWW_AUTHENTICATE).iter();
    let challenge = headers.filter_map(|header| challenge(header.to_str().ok()?)).next().ok_or_else(|| {
        format!("there is an identity token for `{host}`, and it does not say where to take it: give it a password")
    })?;
    let realm = realm(reference, &challenge.realm)?;
    let server = realm.authority().to_owned();
    let body = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("service", challenge.service.as_deref().unwrap_or_default()),
        ("scope", &format!("repository:{}:pull", reference.repository)),
        ("refresh_token", &identity.0),
    ])?;
    let answer = client
        .post(realm)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(body)
        .send()
        .await
        .map_err(|error| failed(&server, error))?;
    if !answer.status().is_success() {
        return Err(format!(
            "the token server `{server}` does not take the identity token ({}): log in again",
            answer.status()
        ));
    }
    let bytes = bounded(answer).await.map_err(|error| format!("the token server `{server}`: {error}"))?;
    // The error of the parser could quote what it read.
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| format!("the token server `{server}` answers with something else than a token"))?;
    let token = answer.access_token.or(answer.token);
    token.map(RegistryAuth::Bearer).ok_or_else(|| format!("the token server `{server}` gives no token"))
}

fn failed(host: &str, error: reqwest::Error) -> String {
    // Not its text, which ends before it comes to the cause.
    let error = error.without_url();
    let cause = std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
    format!("`{host}` can't be asked: {}", cause.map_or_else(|| error.to_string(), ToString::to_string))
}

/// Reads a header of a registry that names its token server.
fn challenge(header: &str) -> Option<Challenge> {
    let challenges = http_auth::parse_challenges(header).ok()?;
    let bearer = challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case("bearer"))?;
    let find = |name: &str| {
        let mut parameters = bearer.params.iter();
        let (_, value) = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.to_unescaped())
    };
    Some(Challenge { realm: find("realm")?, service: find("service") })
}

/// Reads the address of a token server, and refuses one to which tokens travel in the open.
fn realm(reference: &RegistryReference, realm: &str) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|_| "its token server's address is no URL".to_owned())?;
    let is_safe = match url.scheme() {
        "https" => true,
        // As the registry itself, and as near.
        "http" => {
            let host = url.host_str().unwrap_or_default();
            let is_here = host == "localhost"
                || host
                    .trim_matches(['[', ']'])
                    .parse()
                    .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
            reference.is_plain() && is_here
        }
        _ => false,
    };
    match is_safe {
        true => Ok(url),
        false => Err(format!(
            "its token server `{}` is reached without TLS: the identity token stays here",
            url.authority()
        )),
    }
}

/// Writes fields as the body of a form.
fn form(fields: &[(&str, &str)]) -> Result<String, String> {
    let fields = fields.iter().filter(|(_, value)| !value.is_empty());
    let url = Url::parse_with_params("form:", fields).map_err(|error| error.to_string())?;
    Ok(url.query().unwrap_or_default().to_owned())
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(more) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
        bytes.extend_from_slice(&more);
        if bytes.len() > MAX_ANSWER {
            return Err(format!("its answer has more than {MAX_ANSWER} bytes"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_says_where_tokens_come_from() {
        let found = challenge(r#"Bearer realm="https://auth.example/token",service="registry, \"mine\"""#);
        let expected = Challenge {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry, \"mine\"".to_owned()),
        };
        assert_eq!(found, Some(expected));
        let found = challenge(r#"Basic realm="x", bearer realm="y""#);
        assert_eq!(found, Some(Challenge { realm: "y".to_owned(), service: None }));
        for header in [r#"Basic realm="x""#, "Bearer", "nonsense=\"", ""] {
            assert_eq!(challenge(header), None, "{header}");
        }
    }

    #[test]
    fn an_identity_token_never_travels_in_the_open() {
        let parse = |text: &str| RegistryReference::parse(text).unwrap();
        let [near, far] = [parse("oci://127.0.0.1:5000/a:1"), parse("oci://registry.example/a:1")];
        let goes = |reference: &RegistryReference, text: &str| realm(reference, text).is_ok();
        for text in ["https://auth.example/token", "https://127.0.0.1/token"] {
            assert!(goes(&near, text) && goes(&far, text), "{text}");
        }
        for text in ["http://127.0.0.1:5001/token", "http://localhost/token", "http://[::1]/token"] {
            assert!(goes(&near, text) && !goes(&far, text), "{text}");
        }
        for text in ["http://auth.example/token", "http://127.0.0.1.example/", "file:///token", "token"] {
            assert!(!goes(&near, text) && !goes(&far, text), "{text}");
        }
    }

    #[test]
    fn a_form_says_what_it_was_given() {
        let body = form(&[("a", "b c&d=é"), ("empty", ""), ("scope", "repository:a/b:pull")]);
        assert_eq!(body.as_deref(), Ok("a=b+c%26d%3D%C3%A9&scope=repository%3Aa%2Fb%3Apull"));
    }

    #[test]
    fn nobody_sees_a_token_by_chance() {
        assert!(!format!("{:?}", IdentityToken::new("sesame".to_owned())).contains("sesame"));
    }
}
