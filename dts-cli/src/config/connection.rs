//! The sections `[source]` and `[target]`.
use std::path::{Path, PathBuf};

use dts_core::error::Result;
use dts_core::validator::EndpointKind;
use dts_core::wire::{Address, ConnectionOptions, TlsMode, TlsOptions};

use super::password;
use super::reader::{Keys, Section};

const TLS_MODES: [(&str, TlsMode); 5] = [
    ("disabled", TlsMode::Disabled),
    ("preferred", TlsMode::Preferred),
    ("required", TlsMode::Required),
    ("verify-ca", TlsMode::VerifyCa),
    ("verify-identity", TlsMode::VerifyIdentity),
];

/// The keys of the target.
pub(super) const TARGET_KEYS: Keys = &["kind", "host", "port", "socket", "user", "password", "tls"];
/// The keys of the source.
pub(super) const SOURCE_KEYS: Keys = &["kind", "access", "host", "port", "socket", "user", "password", "tls"];

/// Reads what both ends have in common. Relative paths start at `folder`, that of the task file.
pub(super) fn read(
    section: &Section<'_, '_>,
    side: &str,
    kinds: &[(&str, EndpointKind)],
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Result<(EndpointKind, ConnectionOptions)> {
    let kind = section.choice("kind", kinds)?.unwrap_or(EndpointKind::MySql);
    let host = section.string("host")?;
    let port = section.integer("port", 1..=u64::from(u16::MAX))?;
    let socket = section.string("socket")?;
    let address = match (host, socket) {
        (Some(host), None) if host.value.trim().is_empty() => {
            return Err(section.wrong("host", host.at, "", "a host name or an address"));
        }
        (Some(host), None) => Address::Tcp {
            host: host.value,
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(3306),
        },
        (None, Some(path)) => Address::Socket(folder.join(path.value)),
        (Some(_), Some(path)) => {
            return Err(section.wrong("socket", path.at, &path.value, "either a host or a socket, not both"));
        }
        (None, None) => return Err(section.missing("host", "a host name or an address (or a socket)")),
    };
    let Some(user) = section.string("user")? else {
        return Err(section.missing("user", "the account's name"));
    };
    let secret = password::read(section, side, folder, warnings)?;
    let mut connection = ConnectionOptions::new(address, user.value, secret);
    if let Some(tls) = section.optional_section("tls", &["mode", "ca", "cert", "key"])? {
        let path =
            |key| -> Result<Option<PathBuf>> { Ok(tls.string(key)?.map(|path| folder.join(path.value))) };
        let (ca, cert, key) = (path("ca")?, path("cert")?, path("key")?);
        let mode = tls.choice("mode", &TLS_MODES)?.unwrap_or_default();
        connection.tls = TlsOptions { mode, ca, cert, key };
    }
    Ok((kind, connection))
}
