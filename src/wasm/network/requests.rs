//! Grants of requests by `wasi:http`, and the comparison of a request with them.

use std::fmt;

use hyper::Request;
use wasmtime_wasi_http::{Error, WasiBody};

use super::grants::{HostPattern, Ports, normalise, parse_address};
use crate::model::Glob;

/// Requests that guests may make by `wasi:http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// The granted hosts.
    pub host: HostPattern,
    /// The granted schemes.
    pub schemes: Vec<Scheme>,
    /// The granted ports of the hosts; `None`: the scheme's own.
    pub ports: Option<Ports>,
    /// The granted methods; `None`: all.
    pub methods: Option<Vec<Box<str>>>,
    /// The granted paths; `None`: all.
    pub paths: Option<Vec<Glob>>,
    /// Whether the host may be outside of the open internet.
    pub allow_private: bool,
}

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    /// Its name in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The target of a request.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// A name as it is compared, or an address.
    pub(super) host: String,
    pub(super) port: u16,
    method: String,
    path: String,
}

impl Target {
    pub(super) fn of(request: &Request<WasiBody>) -> Result<Self, Error> {
        let uri = request.uri();
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        // A wrong port must not be taken for the scheme's own.
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" => Some(scheme.port()),
            after => {
                let digits =
                    after.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
                digits.and_then(|port| port.parse().ok()).filter(|port| *port != 0)
            }
        };
        let port = port.ok_or(Error::HttpRequestUriInvalid)?;
        let host = match parse_address(authority.host()) {
            Some(address) => address.to_canonical().to_string(),
            None => normalise(authority.host()).ok_or(Error::HttpRequestUriInvalid)?,
        };
        let (method, path) = (request.method().as_str().to_owned(), uri.path().to_owned());
        Ok(Self { scheme, host, port, method, path })
    }

    /// The value of the header `host`: the host that is checked, not the text in which the guest wrote it.
    pub(super) fn host_header(&self) -> String {
        let host = bracketed(&self.host);
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Finds the grants that allow it, whatever its host leads to.
    ///
    /// # Errors
    ///
    /// The missing grant: its key, and the value that it would need.
    pub(super) fn granted_by<'g>(
        &self,
        grants: &'g [HttpGrant],
    ) -> Result<Vec<&'g HttpGrant>, (&'static str, String)> {
        if matches!(self.method.as_str(), "CONNECT" | "TRACE") {
            return Err(("methods", self.method.clone()));
        }
        let address = parse_address(&self.host);
        let mut left: Vec<&HttpGrant> = grants.iter().collect();
        let mut keep = |key, missing: String, fits: &dyn Fn(&HttpGrant) -> bool| {
            left.retain(|grant| fits(grant));
            if left.is_empty() { Err((key, missing)) } else { Ok(()) }
        };
        keep("host", self.host.clone(), &|grant| match address {
            // Special addresses are checked, and logged, later.
            Some(address) => grant.host.has_address(address, true),
            None => grant.host.has_name(&self.host),
        })?;
        let scheme = self.scheme;
        keep("schemes", scheme.as_str().to_owned(), &|grant| grant.schemes.contains(&scheme))?;
        keep("ports", self.port.to_string(), &|grant| match &grant.ports {
            Some(ports) => ports.contains(self.port),
            None => self.port == scheme.port(),
        })?;
        keep("methods", self.method.clone(), &|grant| {
            grant.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| **method == *self.method))
        })?;
        let fits = |paths: &Vec<Glob>| paths.iter().any(|path| path.matches(&self.path));
        keep("paths", self.path.clone(), &|grant| {
            grant.paths.as_ref().is_none_or(|paths| is_plain(&self.path) && fits(paths))
        })?;
        Ok(left)
    }
}

/// Leaves out the query, which may be confidential.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = bracketed(&self.host);
        write!(f, "{} {}://{host}:{}{}", self.method, self.scheme.as_str(), self.port, self.path)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether every server reads a path as it is written: one with `..` in it, in whatever disguise, may lead
/// out of the granted ones.
fn is_plain(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let has_disguise =
        ["%2e", "%2f", "%5c", "%00", "\\", "//"].iter().any(|disguise| path.contains(disguise));
    let mut segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    !has_disguise && segments.all(|segment| segment != "." && segment != "..")
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.methods {
            None => f.write_str("any method")?,
            Some(methods) => f.write_str(&methods.join(", "))?,
        }
        let schemes: Vec<_> = self.schemes.iter().map(|scheme| scheme.as_str()).collect();
        write!(f, " by {} to {}", schemes.join(" and "), self.host)?;
        if let Some(ports) = &self.ports {
            write!(f, ", {ports}")?;
        }
        if let Some(paths) = &self.paths {
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            write!(f, ", paths {}", paths.join(", "))?;
        }
        f.write_str(if self.allow_private { ", private addresses too" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};

    use super::*;

    fn target(method: &str, url: &str) -> Result<Target, Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Target::of(&Request::builder().method(method).uri(url).body(body).expect("a request"))
    }

    fn grant(host: &str) -> HttpGrant {
        HttpGrant {
            host: HostPattern::parse(host).expect("a host"),
            schemes: vec![Scheme::Https],
            ports: None,
            methods: Some(vec!["GET".into()]),
            paths: Some(vec![Glob::new("/v1/*"), Glob::new("/status")]),
            allow_private: false,
        }
    }

    #[track_caller]
    fn missing(method: &str, url: &str, grants: &[HttpGrant]) -> &'static str {
        let target = target(method, url).expect("a request that can be made");
        target.granted_by(grants).map_or_else(|(key, _)| key, |_| "nothing")
    }

    #[test]
    fn the_host_header_is_the_host_that_is_checked() {
        for (url, header) in [
            ("http://API.Example./x", "api.example"),
            ("http://api.example:80/", "api.example"),
            ("https://api.example:8443/", "api.example:8443"),
            ("https://[::1]:8443/", "[::1]:8443"),
            ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ] {
            assert_eq!(target("GET", url).expect("a request").host_header(), header, "{url}");
        }
        assert!(target("GET", "http://127.0.0.1:+80/").is_err(), "a sign is no part of a port");
    }

    #[test]
    fn every_part_of_a_request_is_compared() {
        let grants = [grant("api.example")];
        for (method, url, expected) in [
            ("GET", "https://api.example/v1/a?b=/../c", "nothing"),
            ("GET", "https://API.example.:443/status", "nothing"),
            ("GET", "https://api.example/v1/", "nothing"),
            ("GET", "https://other.example/v1/a", "host"),
            ("GET", "https://x.api.example/v1/a", "host"),
            ("GET", "https://1.1.1.1/v1/a", "host"),
            ("GET", "http://api.example/v1/a", "schemes"),
            ("GET", "https://api.example:8443/v1/a", "ports"),
            ("POST", "https://api.example/v1/a", "methods"),
            ("get", "https://api.example/v1/a", "methods"),
            ("CONNECT", "https://api.example/v1/a", "methods"),
            ("GET", "https://api.example/v2/a", "paths"),
            ("GET", "https://api.example/", "paths"),
        ] {
            assert_eq!(missing(method, url, &grants), expected, "{method} {url}");
        }
    }

    #[test]
    fn no_disguise_leads_out_of_a_granted_path() {
        let grants = [grant("api.example")];
        for path in [
            "/v1/../admin",
            "/v1/./a",
            "/v1/..",
            "/v1/.",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/..%2fadmin",
            "/v1/..%5cadmin",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1//admin",
            "/v1/a%00",
        ] {
            let url = format!("https://api.example{path}");
            assert_eq!(missing("GET", &url, &grants), "paths", "{path}");
        }
        let everywhere = [HttpGrant { paths: None, ..grant("api.example") }];
        assert_eq!(
            missing("GET", "https://api.example/v1/../admin", &everywhere),
            "nothing",
            "all paths are granted"
        );
    }

    #[test]
    fn what_two_readers_would_read_differently_is_no_request() {
        for url in [
            "https://user@api.example/",
            "https://api.example@evil.example/",
            "https://api.example:/",
            "https://api.example:0/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "ftp://api.example/",
            "https://api..example/",
        ] {
            assert!(target("GET", url).is_err(), "{url}");
        }
        let shown = |url| target("GET", url).expect("a request").to_string();
        assert_eq!(shown("https://[::ffff:127.0.0.1]/a?b"), "GET https://127.0.0.1:443/a");
        assert_eq!(shown("http://[2001:db8::1]:8080"), "GET http://[2001:db8::1]:8080/");
    }

    #[test]
    fn grants_do_not_add_up() {
        let write = HttpGrant {
            methods: Some(vec!["POST".into()]),
            paths: Some(vec![Glob::new("/in")]),
            ..grant("a.b")
        };
        let grants = [grant("a.b"), write];
        assert_eq!(missing("GET", "https://a.b/v1/x", &grants), "nothing");
        assert_eq!(missing("POST", "https://a.b/in", &grants), "nothing");
        assert_eq!(missing("POST", "https://a.b/v1/x", &grants), "paths");
    }
}
