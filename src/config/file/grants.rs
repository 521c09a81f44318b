//! The grants of a component.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{DIRECTORY_KEYS, HTTP_KEYS, NETWORK_KEYS, SCRATCH_KEYS, SECRET_KEYS};
use super::reader::{Reader, Value, describe};
use crate::config::component::SubmitPattern;
use crate::wasm::{
    DirectoryAccess, DirectoryGrant, Glob, Grants, HostPattern, HttpGrant, NetworkGrant, Ports, Scheme,
    ScratchGrant, SecretGrant, SecretSource,
};

/// A scratch directory of which nothing more is said.
const SCRATCH_GUEST: &str = "/tmp";
const SCRATCH_BYTES: u64 = 64 << 20;
const SCRATCH_FILES: u64 = 10_000;

impl Reader<'_> {
    pub(super) fn grants(&mut self, table: &DeTable<'_>, section: &str) -> Grants {
        let directories = self.blocks(table, section, "directory", "directory", Self::directory);
        Grants {
            scratch: self.scratch(table, section, &directories),
            directories,
            environment: self.environment(table, section),
            secrets: self.secrets(table, section),
            network: self.blocks(table, section, "network", "host", Self::network).into(),
            http: self.blocks(table, section, "http", "host", Self::http).into(),
            may_submit: self.may_submit(table, section).map(Into::into),
        }
    }

    /// The blocks of one kind, `[[component.NAME.KEY]]`, each for one of `what`.
    fn blocks<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        what: &str,
        read: fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let section = format!("{section}.{key}");
        match value.get_ref() {
            DeValue::Array(blocks) => blocks.iter().filter_map(|block| read(self, block, &section)).collect(),
            other => {
                let found = describe(other);
                self.problem(
                    value.span().start,
                    format!("`{section}` must be a list of tables, found {found}"),
                )
                .hint = Some(format!("write `[[{section}]]`, once for each {what}"));
                Vec::new()
            }
        }
    }

    fn directory(&mut self, value: &Value<'_>, section: &str) -> Option<DirectoryGrant> {
        let table = self.expect_table(value, section)?;
        self.refuse_unknown_keys(table, section, &DIRECTORY_KEYS);
        for key in ["host", "guest"] {
            if !table.contains_key(key) {
                self.problem(value.span().start, format!("`[[{section}]]` has no `{key}`")).hint =
                    Some("`host` is the directory here, `guest` is where the component sees it".to_owned());
            }
        }
        let host = self.path(table, section, "host");
        let guest = self.string(table, section, "guest").map(|(guest, offset)| {
            if guest.is_empty() {
                self.problem(offset, format!("`{section}.guest` is empty")).hint =
                    Some("say where the component sees the directory, for example `/data`".to_owned());
            }
            guest
        });
        let access = match self.string(table, section, "access") {
            None => DirectoryAccess::ReadOnly,
            Some((text, offset)) => match text.as_str() {
                "read-only" => DirectoryAccess::ReadOnly,
                "read-write" => DirectoryAccess::ReadWrite,
                other => {
                    let message =
                        format!("`{section}.access` can't be `{other}` (known: `read-only`, `read-write`)");
                    self.problem(offset, message);
                    DirectoryAccess::ReadOnly
                }
            },
        };
        Some(DirectoryGrant { host: host?, guest: guest?, access })
    }

    fn environment(&mut self, table: &DeTable<'_>, section: &str) -> Vec<(String, String)> {
        let Some(variables) = self.table(table, section, "environment") else { return Vec::new() };
        let section = format!("{section}.environment");
        let mut found = Vec::new();
        for name in variables.keys() {
            let value = self.string(variables, &section, name.get_ref());
            if self.variable(name, &section)
                && let Some((value, offset)) = value
            {
                if value.contains('\0') {
                    let message = format!("`{section}.{}` has a NUL in it", name.get_ref());
                    self.problem(offset, message);
                }
                found.push((name.get_ref().to_string(), value));
            }
        }
        found
    }

    fn secrets(&mut self, table: &DeTable<'_>, section: &str) -> Vec<SecretGrant> {
        let Some(secrets) = self.table(table, section, "secrets") else { return Vec::new() };
        let plain = match table.get("environment").map(Spanned::get_ref) {
            Some(DeValue::Table(plain)) => Some(plain),
            _ => None,
        };
        let section = format!("{section}.secrets");
        let mut found = Vec::new();
        for (name, value) in secrets {
            let shown = format!("{section}.{}", name.get_ref());
            if !self.variable(name, &section) {
                continue;
            }
            if plain.is_some_and(|plain| plain.contains_key(name.get_ref().as_ref())) {
                let message = format!("`{shown}` is in `environment`, too: it can't be both");
                self.problem(name.span().start, message);
            }
            let source = match value.get_ref() {
                DeValue::Table(source) => self.secret_source(source, &shown),
                // Its value is not told: somebody may have written the secret itself.
                _ => None,
            };
            match source {
                Some(source) => found.push(SecretGrant::new(name.get_ref().to_string(), source)),
                None => {
                    let message = format!("`{shown}` does not say where the secret is");
                    self.problem(value.span().start, message).hint = Some(
                        "write `{ file = \"PATH\" }` or `{ environment = \"VARIABLE\" }`; a secret itself does not belong here"
                            .to_owned(),
                    );
                }
            }
        }
        found
    }

    fn secret_source(&mut self, source: &DeTable<'_>, section: &str) -> Option<SecretSource> {
        self.refuse_unknown_keys(source, section, &SECRET_KEYS);
        let file = self.path(source, section, "file");
        let variable = self.string(source, section, "environment");
        match (file, variable) {
            (Some(path), None) => Some(SecretSource::File(path)),
            (None, Some((name, _))) => Some(SecretSource::Environment(name)),
            _ => None,
        }
    }

    /// Whether something can be the name of a variable.
    fn variable(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, section: &str) -> bool {
        let is_name = !name.get_ref().is_empty() && !name.get_ref().contains(['=', '\0']);
        if !is_name {
            let message = format!("`{}` in `[{section}]` can't be the name of a variable", name.get_ref());
            self.problem(name.span().start, message);
        }
        is_name
    }

    fn scratch(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        directories: &[DirectoryGrant],
    ) -> Option<ScratchGrant> {
        let scratch = self.table(table, section, "scratch")?;
        let section = format!("{section}.scratch");
        self.refuse_unknown_keys(scratch, &section, &SCRATCH_KEYS);
        let guest = self.string(scratch, &section, "guest");
        let (guest, offset) = guest.unwrap_or_else(|| (SCRATCH_GUEST.to_owned(), 0));
        if guest.is_empty() {
            self.problem(offset, format!("`{section}.guest` is empty")).hint =
                Some("say where the component sees it, for example `/tmp`".to_owned());
        }
        if directories.iter().any(|directory| directory.guest == guest) {
            let offset = table.get("scratch").map_or(0, |value| value.span().start);
            self.problem(offset, format!("`[{section}]` is at `{guest}`, and so is a granted directory"));
        }
        let bytes = self.size(scratch, &section, "size").unwrap_or(SCRATCH_BYTES);
        let files = self.integer(scratch, &section, "files", 0, i64::MAX as u64).unwrap_or(SCRATCH_FILES);
        Some(ScratchGrant::new(guest, bytes, files))
    }

    fn may_submit(&mut self, table: &DeTable<'_>, section: &str) -> Option<Vec<Glob>> {
        let tasks = self.strings(table, section, "may-submit")?;
        let tasks = tasks.into_iter().map(|(task, offset)| {
            let (key, task) = (format!("{section}.may-submit"), Glob::new(&task));
            self.submits.push(SubmitPattern { key, task: task.clone(), place: self.place(offset) });
            task
        });
        Some(tasks.collect())
    }

    fn network(&mut self, value: &Value<'_>, section: &str) -> Option<NetworkGrant> {
        let table = self.expect_table(value, section)?;
        self.refuse_unknown_keys(table, section, &NETWORK_KEYS);
        if !table.contains_key("ports") {
            self.problem(value.span().start, format!("`[[{section}]]` has no `ports`")).hint =
                Some("say which, for example `ports = [443]`, or `ports = \"any\"`".to_owned());
        }
        let host = self.host(table, value, section);
        let ports = self.ports(table, section);
        let allow_private = self.boolean(table, section, "allow-private").unwrap_or(false);
        Some(NetworkGrant { host: host?, ports: ports?, allow_private })
    }

    fn http(&mut self, value: &Value<'_>, section: &str) -> Option<HttpGrant> {
        let table = self.expect_table(value, section)?;
        self.refuse_unknown_keys(table, section, &HTTP_KEYS);
        let host = self.host(table, value, section);
        let ports = match table.contains_key("ports") {
            true => Some(self.ports(table, section)),
            false => None,
        };
        let schemes = self.words(table, section, "schemes", "`http` or `https`", |word| match word {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        });
        let methods = self.words(table, section, "methods", "a method such as `GET`", |word| {
            let is_method =
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            // They are for proxies and for whoever looks for holes.
            (is_method && word != "CONNECT" && word != "TRACE").then(|| word.into())
        });
        let paths = self.words(table, section, "paths", "a path such as `/v1/*`", |word| {
            (word.starts_with('/') && !word.contains(['?', '#'])).then(|| Glob::new(word))
        });
        Some(HttpGrant {
            host: host?,
            schemes: schemes.unwrap_or_else(|| vec![Scheme::Https]),
            ports: match ports {
                Some(ports) => Some(ports?),
                None => None,
            },
            methods,
            paths,
            allow_private: self.boolean(table, section, "allow-private").unwrap_or(false),
        })
    }

    /// A list of words, each of which must mean something.
    fn words<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let words = self.strings(table, section, key)?;
        let mut found = Vec::new();
        for (word, offset) in words {
            match read(&word) {
                Some(read) => found.push(read),
                None => {
                    self.problem(offset, format!("`{section}.{key}`: `{word}` is not {expected}"));
                }
            }
        }
        Some(found)
    }

    /// The `host` of a block, which must be there.
    fn host(&mut self, table: &DeTable<'_>, block: &Value<'_>, section: &str) -> Option<HostPattern> {
        let Some((text, offset)) = self.string(table, section, "host") else {
            if !table.contains_key("host") {
                self.problem(block.span().start, format!("`[[{section}]]` has no `host`")).hint = Some(
                    "a name such as `api.example.com` or `*.example.com`, an address, a network such as `10.0.0.0/8`, \
                     or `*`"
                        .to_owned(),
                );
            }
            return None;
        };
        let host = HostPattern::parse(&text);
        host.map_err(|why| self.problem(offset, format!("`{section}.host`: `{text}` {why}")).hint = None).ok()
    }

    fn ports(&mut self, table: &DeTable<'_>, section: &str) -> Option<Ports> {
        let value = table.get("ports")?;
        let items = match value.get_ref() {
            DeValue::String(text) if text == "any" => return Some(Ports::any()),
            DeValue::Array(items) if items.iter().len() > 0 => items,
            other => {
                let found = describe(other);
                let message =
                    format!("`{section}.ports` must be a list such as `[443, \"8000-8999\"]`, found {found}");
                self.problem(value.span().start, message).hint = Some("or `ports = \"any\"`".to_owned());
                return None;
            }
        };
        let mut ranges = Vec::new();
        for item in items.iter() {
            match port_range(item) {
                Some(range) => ranges.push(range),
                None => {
                    let found = describe(item.get_ref());
                    let message = format!(
                        "`{section}.ports` must have ports from 1 to 65535, or ranges such as `\"8000-8999\"`, found {found}"
                    );
                    self.problem(item.span().start, message);
                }
            }
        }
        Some(Ports::new(ranges))
    }

    fn boolean(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<bool> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            other => {
                let found = describe(other);
                self.problem(
                    value.span().start,
                    format!("`{section}.{key}` must be `true` or `false`, found {found}"),
                );
                None
            }
        }
    }
}

/// A port, or `"FIRST-LAST"`.
fn port_range(value: &Spanned<DeValue<'_>>) -> Option<RangeInclusive<u16>> {
    let (first, last) = match value.get_ref() {
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
