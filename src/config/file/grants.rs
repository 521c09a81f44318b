//! The grants of a component.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{MANY, Section, Value, describe};
use crate::config::component::SubmitPattern;
use crate::wasm::{
    DirectoryAccess, DirectoryGrant, Glob, Grants, HostPattern, HttpGrant, NetworkGrant, Ports, Scheme,
    ScratchGrant, SecretGrant, SecretSource, grant_section,
};

/// A scratch directory of which nothing more is said.
const SCRATCH_GUEST: &str = "/tmp";
const SCRATCH_BYTES: u64 = 64 << 20;
const SCRATCH_FILES: u64 = 10_000;

impl<'t> Section<'t> {
    /// Reads what is granted. Of a kind that is not mentioned here, what `profile` grants.
    pub(super) fn grants(&self, profile: &Grants) -> Grants {
        let directories = match self.has("directory") {
            true => self.blocks("directory", "directory", grant_section("directory"), Self::directory),
            false => profile.directories.clone(),
        };
        let mentioned = |key: &str| self.has(key);
        Grants {
            scratch: match mentioned("scratch") {
                true => self.scratch(&directories),
                false => profile.scratch.clone(),
            },
            environment: match mentioned("environment") {
                true => self.environment(),
                false => profile.environment.clone(),
            },
            secrets: if mentioned("secrets") { self.secrets() } else { profile.secrets.clone() },
            network: match mentioned("network") {
                true => self.blocks("network", "host", grant_section("network"), Self::network).into(),
                false => Arc::clone(&profile.network),
            },
            http: match mentioned("http") {
                true => self.blocks("http", "host", grant_section("http"), Self::http).into(),
                false => Arc::clone(&profile.http),
            },
            may_submit: if mentioned("may-submit") { self.may_submit() } else { profile.may_submit.clone() },
            directories,
        }
    }

    /// Reads the blocks `[[component.NAME.KEY]]`, each for one of `what`. `read` gets a block and its offset.
    fn blocks<T>(
        &self,
        key: &str,
        what: &str,
        known: &[&str],
        read: fn(&Self, usize) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let section = self.key(key);
        let DeValue::Array(blocks) = value else {
            let is_what = format!("must be a list of tables, found {}", describe(value));
            self.wrong_with_hint(key, &is_what, format!("write `[[{section}]]`, once for each {what}"));
            return Vec::new();
        };
        let read_block = |block: &'t Value<'t>| {
            let table = self.table_of(block, section.clone())?;
            table.refuse_unknown_keys(known);
            read(&table, block.span().start)
        };
        blocks.iter().filter_map(read_block).collect()
    }

    fn directory(&self, start: usize) -> Option<DirectoryGrant> {
        for key in ["host", "guest"].into_iter().filter(|key| !self.has(key)) {
            let hint = "`host` is the directory here, `guest` is where the component sees it";
            self.problem_with_hint(start, format!("`[[{}]]` has no `{key}`", self.name), hint);
        }
        let host = self.path("host");
        let guest = self.string("guest");
        if guest == Some("") {
            let hint = "say where the component sees the directory, for example `/data`";
            self.wrong_with_hint("guest", "is empty", hint);
        }
        let words = [("read-only", DirectoryAccess::ReadOnly), ("read-write", DirectoryAccess::ReadWrite)];
        let access = self.one_of("access", &words).unwrap_or(DirectoryAccess::ReadOnly);
        Some(DirectoryGrant { host: host?, guest: guest?.to_owned(), access })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let Some(variables) = self.open_table("environment") else { return Vec::new() };
        let read = |name: &'t Spanned<Cow<'t, str>>| {
            let value = variables.string(name.get_ref());
            let name = variables.variable(name)?;
            if value?.contains('\0') {
                variables.wrong(&name, "has a NUL in it");
            }
            Some((name, value?.to_owned()))
        };
        variables.table.keys().filter_map(read).collect()
    }

    fn secrets(&self) -> Vec<SecretGrant> {
        let Some(secrets) = self.open_table("secrets") else { return Vec::new() };
        let plain = self.get("environment").and_then(DeValue::as_table);
        let mut found = Vec::new();
        for (key, value) in secrets.table {
            let Some(name) = secrets.variable(key) else { continue };
            let shown = secrets.key(&name);
            if plain.is_some_and(|plain| plain.contains_key(&*name)) {
                let message = format!("`{shown}` is in `environment`, too: it can't be both");
                secrets.problem(key.span().start, message);
            }
            // If it is no table, its value is not told: somebody may have written the secret itself.
            let source = value
                .get_ref()
                .as_table()
                .and_then(|_| secrets.table(&name, grant_section("secrets"))?.secret());
            match source {
                Some(source) => found.push(SecretGrant::new(name, source)),
                None => secrets.wrong_with_hint(
                    &name,
                    "does not say where the secret is",
                    "write `{ file = \"PATH\" }` or `{ environment = \"VARIABLE\" }`; a secret itself does not belong here",
                ),
            }
        }
        found
    }

    fn secret(&self) -> Option<SecretSource> {
        match (self.path("file"), self.string("environment")) {
            (Some(path), None) => Some(SecretSource::File(path)),
            (None, Some(name)) => Some(SecretSource::Environment(name.to_owned())),
            _ => None,
        }
    }

    /// Reads a key that is the name of a variable.
    fn variable(&self, key: &Spanned<Cow<'_, str>>) -> Option<String> {
        let name = key.get_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`{name}` in `[{}]` can't be the name of a variable", self.name);
            self.problem(key.span().start, message);
            return None;
        }
        Some(name.to_string())
    }

    fn scratch(&self, directories: &[DirectoryGrant]) -> Option<ScratchGrant> {
        let scratch = self.table("scratch", grant_section("scratch"))?;
        let guest = scratch.string("guest").unwrap_or(SCRATCH_GUEST);
        if guest.is_empty() {
            scratch.wrong_with_hint(
                "guest",
                "is empty",
                "say where the component sees it, for example `/tmp`",
            );
        }
        if directories.iter().any(|directory| directory.guest == guest) {
            let message = format!("`[{}]` is at `{guest}`, and so is a granted directory", scratch.name);
            self.problem(self.start_of("scratch"), message);
        }
        let bytes = scratch.size("size").unwrap_or(SCRATCH_BYTES);
        let files = scratch.integer("files", 0..=MANY).unwrap_or(SCRATCH_FILES);
        Some(ScratchGrant::new(guest.to_owned(), bytes, files))
    }

    fn may_submit(&self) -> Option<Arc<[Glob]>> {
        let tasks = self.strings("may-submit")?.into_iter().map(|(task, offset)| {
            let (key, task, place) = (self.key("may-submit"), Glob::new(task), self.source.place(offset));
            self.source.submits.borrow_mut().push(SubmitPattern { key, task: task.clone(), place });
            task
        });
        Some(tasks.collect())
    }

    fn network(&self, start: usize) -> Option<NetworkGrant> {
        if !self.has("ports") {
            let hint = "say which, for example `ports = [443]`, or `ports = \"any\"`";
            self.problem_with_hint(start, format!("`[[{}]]` has no `ports`", self.name), hint);
        }
        let (host, ports) = (self.host(start), self.ports());
        let allow_private = self.boolean("allow-private").unwrap_or(false);
        Some(NetworkGrant { host: host?, ports: ports?, allow_private })
    }

    fn http(&self, start: usize) -> Option<HttpGrant> {
        let host = self.host(start);
        let ports = self.has("ports").then(|| self.ports());
        let schemes = self.words("schemes", "`http` or `https`", |word| match word {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        });
        let methods = self.words("methods", "a method such as `GET`", |word| {
            let is_method =
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            // They are for proxies and for whoever looks for holes.
            (is_method && word != "CONNECT" && word != "TRACE").then(|| word.into())
        });
        let paths = self.words("paths", "a path such as `/v1/*`", |word| {
            (word.starts_with('/') && !word.contains(['?', '#'])).then(|| Glob::new(word))
        });
        let allow_private = self.boolean("allow-private").unwrap_or(false);
        let (schemes, host) = (schemes.unwrap_or_else(|| vec![Scheme::Https]), host?);
        // Ports that are wrong are not left out.
        let ports = match ports {
            Some(ports) => Some(ports?),
            None => None,
        };
        Some(HttpGrant { host, schemes, ports, methods, paths, allow_private })
    }

    /// Reads a list of words, each of which must mean something.
    fn words<T>(&self, key: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let mut found = Vec::new();
        for (word, offset) in self.strings(key)? {
            match read(word) {
                Some(read) => found.push(read),
                None => self.problem(offset, format!("`{}`: `{word}` is not {expected}", self.key(key))),
            }
        }
        Some(found)
    }

    /// Reads the `host` of a block, which must be there.
    fn host(&self, start: usize) -> Option<HostPattern> {
        if !self.has("host") {
            let hint = "a name such as `api.example.com` or `*.example.com`, an address, a network such as \
                        `10.0.0.0/8`, or `*`";
            self.problem_with_hint(start, format!("`[[{}]]` has no `host`", self.name), hint);
        }
        let text = self.string("host")?;
        self.accept("host", HostPattern::parse(text).map_err(|why| format!("`{text}` {why}")))
    }

    fn ports(&self) -> Option<Ports> {
        let items = match self.get("ports")? {
            DeValue::String(text) if text == "any" => return Some(Ports::any()),
            DeValue::Array(items) if items.iter().len() > 0 => items,
            other => {
                let is_what = "must be a list such as `[443, \"8000-8999\"]`, found";
                self.wrong_with_hint(
                    "ports",
                    &format!("{is_what} {}", describe(other)),
                    "or `ports = \"any\"`",
                );
                return None;
            }
        };
        let range_of = |item: &Value<'_>| {
            let range = port_range(item.get_ref());
            if range.is_none() {
                let message = format!(
                    "`{}` must have ports from 1 to 65535, or ranges such as `\"8000-8999\"`, found {}",
                    self.key("ports"),
                    describe(item.get_ref())
                );
                self.problem(item.span().start, message);
            }
            range
        };
        Some(Ports::new(items.iter().filter_map(range_of).collect()))
    }
}

/// Reads a port, or `"FIRST-LAST"`.
fn port_range(value: &DeValue<'_>) -> Option<RangeInclusive<u16>> {
    let (first, last) = match value {
        DeValue::Integer(integer) => {
            let port = u16::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            (port, port)
        }
        DeValue::String(text) => {
            let (first, last) = text.split_once('-')?;
            (first.trim().parse().ok()?, last.trim().parse().ok()?)
        }
        _ => return None,
    };
    (1..=last).contains(&first).then_some(first..=last)
}
