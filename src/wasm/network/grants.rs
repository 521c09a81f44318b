//! Grants of the network: hosts and ports.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::address::special;

/// Hosts that guests may connect and send datagrams to. Listening is never granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkGrant {
    /// The granted hosts.
    pub host: HostPattern,
    /// The granted ports of the hosts.
    pub ports: Ports,
    /// Whether the hosts may be outside of the open internet.
    pub allow_private: bool,
}

/// A pattern of the hosts that a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// The host with this name, in lower case.
    Name(Box<str>),
    /// The hosts whose names end with `.` and this, in lower case.
    Below(Box<str>),
    /// One address.
    Address(IpAddr),
    /// The addresses of a network.
    Range(IpNet),
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, `*`, `192.0.2.1`, `[2001:db8::1]` or `10.0.0.0/8`.
    ///
    /// # Errors
    ///
    /// The reason why it is none of these, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.contains("://") {
            return Err("is an URL: only the host is wanted, for example `api.example.com`".to_owned());
        }
        if let Some(address) = parse_address(text) {
            return Ok(Self::Address(address.to_canonical()));
        }
        if text.contains('/') {
            let range = text.parse::<IpNet>().map_err(|_| "is no network such as `10.0.0.0/8`".to_owned())?;
            return Ok(Self::Range(range.trunc()));
        }
        let below = text.strip_prefix("*.");
        let name = normalise(below.unwrap_or(text)).ok_or_else(|| {
            "is no host: neither a name such as `api.example.com` or `*.example.com`, nor an address, nor a \
             network such as `10.0.0.0/8`"
                .to_owned()
        })?;
        Ok(if below.is_some() { Self::Below(name.into()) } else { Self::Name(name.into()) })
    }

    /// Whether it is for a host by its name, as [`normalise`] returns it.
    pub(super) fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => **own == *name,
            Self::Below(parent) => {
                let above = name.strip_suffix(&**parent).and_then(|rest| rest.strip_suffix('.'));
                above.is_some_and(|rest| !rest.is_empty())
            }
            Self::Address(_) | Self::Range(_) => false,
        }
    }

    /// Whether it is for an address by itself, whatever names lead there. A wide range, or "every host",
    /// means the open internet; an address or a network outside of that is meant when it is named itself.
    pub(super) fn has_address(&self, address: IpAddr, allow_private: bool) -> bool {
        let address = address.to_canonical();
        let is_open = || allow_private || special(address).is_none();
        match self {
            Self::Any => is_open(),
            Self::Address(own) => *own == address,
            Self::Range(range) => {
                let kind = special(range.network());
                let is_within = kind.is_some() && kind == special(range.broadcast());
                range.contains(&address) && (is_within || is_open())
            }
            Self::Name(_) | Self::Below(_) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Address(address) => address.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// Reads an address, IPv6 also in brackets.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    }
}

/// Brings a name into the form in which it is compared: in lower case, without the dot at the end. `None` if
/// it is no name, or one that a resolver would read as an address (`127.1`, `0x7f.1`).
pub(super) fn normalise(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let looks_like_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    let is_name = name.len() <= 253 && name.split('.').all(is_label) && !looks_like_number;
    is_name.then(|| name.to_ascii_lowercase())
}

/// A set of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// All ports.
    pub fn any() -> Self {
        Self(vec![1..=u16::MAX])
    }

    /// The ports in the ranges.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// Whether a port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::any() {
            return f.write_str("any port");
        }
        let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        let is_one = matches!(&*self.0, [one] if one.start() == one.end());
        let ranges: Vec<_> = self.0.iter().map(range).collect();
        write!(f, "{} {}", if is_one { "port" } else { "ports" }, ranges.join(", "))
    }
}

impl fmt::Display for NetworkGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let private = if self.allow_private { ", private addresses too" } else { "" };
        write!(f, "{}, {}{private}", self.host, self.ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn hosts_are_read_and_shown_alike() {
        for (text, shown) in [
            ("API.Example.com.", "api.example.com"),
            ("*.Example.com", "*.example.com"),
            ("*", "*"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("localhost", "localhost"),
            ("a_b.c-d", "a_b.c-d"),
        ] {
            assert_eq!(host(text).to_string(), shown);
        }
        for text in [
            "",
            ".",
            "a..b",
            "*.",
            "a.*.b",
            "*a.b",
            "https://a.b",
            "a.b:80",
            "a.b/c",
            "10.0.0.0/33",
            "127.1",
            "0x7f.1",
            "2130706433",
            "ä.example",
            "[127.0.0.1]",
            "a b",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_fit_the_whole_pattern() {
        assert!(host("a.b").has_name("a.b") && !host("a.b").has_name("x.a.b"));
        assert!(host("*.a.b").has_name("x.a.b") && host("*.a.b").has_name("y.x.a.b"));
        assert!(!host("*.a.b").has_name("a.b") && !host("*.a.b").has_name("xa.b"));
        assert!(host("*").has_name("a.b") && !host("10.0.0.0/8").has_name("a.b"));
    }

    #[test]
    fn addresses_are_granted_by_themselves_and_not_by_names() {
        let has = |pattern: &str, address: &str, private| {
            host(pattern).has_address(address.parse().unwrap(), private)
        };
        assert!(has("127.0.0.1", "127.0.0.1", false), "it was named");
        assert!(has("127.0.0.1", "::ffff:127.0.0.1", false), "it is the same");
        assert!(!has("127.0.0.1", "127.0.0.2", true));
        assert!(has("10.0.0.0/8", "10.9.9.9", false), "a network that is private as a whole was named");
        assert!(has("8.0.0.0/7", "9.9.9.9", false));
        assert!(has("0.0.0.0/0", "8.8.8.8", false) && has("0.0.0.0/0", "10.0.0.1", true));
        for address in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0"] {
            assert!(!has("0.0.0.0/0", address, false) && !has("*", address, false), "{address}");
        }
        assert!(!has("::/0", "::ffff:127.0.0.1", false) && !has("::/0", "fe80::1", false));
        assert!(has("*", "8.8.8.8", false) && has("*", "127.0.0.1", true));
        assert!(!has("localhost", "127.0.0.1", true) && !has("*.b", "8.8.8.8", true));
    }

    #[test]
    fn ports_are_ranges() {
        let ports = Ports::new(vec![80..=80, 8000..=8999]);
        assert!(ports.contains(80) && ports.contains(8999) && !ports.contains(81));
        assert_eq!(ports.to_string(), "ports 80, 8000-8999");
        assert_eq!(Ports::new(vec![443..=443]).to_string(), "port 443");
        assert_eq!(Ports::any().to_string(), "any port");
    }
}
