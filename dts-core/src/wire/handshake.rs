//! Greeting, TLS, login.
//!
//! Plugins: `mysql_native_password`, `caching_sha2_password` (fast, and full over TLS, a socket or with the server's RSA
//! key), `mysql_clear_password` over TLS only. A password never leaves in clear over plain TCP.
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::{MyDeserialize, MySerialize};

use super::options::{Address, ConnectionOptions, TlsMode};
use super::packet::{PacketStream, protocol};
use super::result::parse_error;
use super::stream::Stream;
use super::tls::{self, TlsFailure};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::StopToken;

/// What the server said of itself in its greeting.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) server_version: String,
    pub(super) connection_id: u32,
}

/// The largest packet we announce; the server's own `max_allowed_packet` is the limit that counts.
const MAX_PACKET: u32 = 1 << 30;

const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_LONG_PASSWORD
    .union(CapabilityFlags::CLIENT_FOUND_ROWS)
    .union(CapabilityFlags::CLIENT_LONG_FLAG)
    .union(CapabilityFlags::CLIENT_LOCAL_FILES)
    .union(CapabilityFlags::CLIENT_PROTOCOL_41)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_MULTI_STATEMENTS)
    .union(CapabilityFlags::CLIENT_MULTI_RESULTS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);

/// Connects and logs in. With `preferred`, falls back to plain when the server's TLS is too old to be spoken.
pub(super) fn connect(options: &ConnectionOptions, stop: &StopToken) -> Result<(PacketStream, Greeting)> {
    match attempt(options, options.tls.mode, stop) {
        Err(Failure::TlsTooOld(error)) if options.tls.mode == TlsMode::Preferred => {
            log::warn!("continuing without TLS (tls.mode = \"preferred\"): {error}");
            attempt(options, TlsMode::Disabled, stop).map_err(Failure::into_error)
        }
        other => other.map_err(Failure::into_error),
    }
}

enum Failure {
    TlsTooOld(Error),
    Other(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Failure::TlsTooOld(error) | Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

fn attempt(
    options: &ConnectionOptions,
    mode: TlsMode,
    stop: &StopToken,
) -> Result<(PacketStream, Greeting), Failure> {
    let end = Instant::now() + options.connect_timeout;
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let stream = Stream::open(&options.address, options.connect_timeout)?;
    let mut packets = PacketStream::new(stream, stop.clone());
    let packet = packets.read(left()).map_err(no_greeting)?;
    if packet.first() == Some(&0xff) {
        return Err(refused(options, packet).into());
    }
    let greeting = HandshakePacket::deserialize((), &mut ParseBuf(packet))
        .map_err(|_| protocol("a greeting that is not MySQL's; is this the port of a MySQL server?"))?
        .into_owned();
    let about = Greeting {
        server_version: greeting.server_version_str().into_owned(),
        connection_id: greeting.connection_id(),
    };
    let mut capabilities = CAPABILITIES & (greeting.capabilities() | CapabilityFlags::CLIENT_FOUND_ROWS);

    let offers_tls = greeting.capabilities().contains(CapabilityFlags::CLIENT_SSL);
    let is_tcp = matches!(options.address, Address::Tcp { .. });
    if is_tcp && mode != TlsMode::Disabled {
        if offers_tls {
            capabilities |= CapabilityFlags::CLIENT_SSL;
            let mut request = Vec::new();
            SslRequest::new(capabilities, MAX_PACKET, 45).serialize(&mut request);
            packets.write(&request, left())?;
            let tls = upgrade(packets.into_stream()?, options)?;
            packets = PacketStream::new(tls, stop.clone());
            packets.set_sequence(2);
        } else if mode != TlsMode::Preferred {
            return Err(Error::from(ErrorKind::Tls {
                address: options.address.to_string(),
                why: "the server offers no TLS".into(),
            })
            .with_hint("Enable SSL on the server, or set tls.mode = \"disabled\" inside a private network.")
            .into());
        }
    }

    let nonce = trimmed(&greeting.nonce());
    let plugin = greeting.auth_plugin().unwrap_or(AuthPlugin::MysqlNativePassword).into_owned();
    // A plugin that we cannot speak is answered with nothing: the server then switches to the account's own.
    let first_answer = scramble(&plugin, options, &nonce, packets.stream().is_private());
    let mut response = Vec::new();
    HandshakeResponse::new(
        first_answer.as_deref(),
        (5, 6, 0),
        Some(options.user.as_bytes()),
        None::<&[u8]>,
        Some(plugin.borrow()),
        capabilities,
        None,
        MAX_PACKET,
    )
    .serialize(&mut response);
    packets.write(&response, left())?;
    log_in(&mut packets, options, nonce, end)?;
    Ok((packets, about))
}

fn no_greeting(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout { .. } => error.with_hint(
            "Something accepts connections there but sends no MySQL greeting: check host and port, and that no proxy or \
             firewall is in between.",
        ),
        ErrorKind::ConnectionLost(_) => error.with_hint(
            "The connection was closed before the server's greeting: usually a whitelist or security group without this \
             machine's address, or a port that is not MySQL's.",
        ),
        _ => error,
    }
}

fn upgrade(stream: Stream, options: &ConnectionOptions) -> Result<Stream, Failure> {
    let (Stream::Tcp(tcp), Address::Tcp { host, .. }) = (stream, &options.address) else {
        return Err(Failure::Other(Error::internal("TLS is only asked for on TCP")));
    };
    // The handshake is not read through ticks: one call may wait as long as the whole login.
    let patient = |timeout: Duration| tcp.set_read_timeout(Some(timeout)).map_err(ErrorKind::ConnectionLost);
    patient(options.connect_timeout).map_err(Error::from)?;
    let reset = tcp.try_clone().map_err(ErrorKind::ConnectionLost).map_err(Error::from)?;
    let tls = tls::wrap(tcp, &options.tls, host).map_err(|failure| match failure {
        TlsFailure::TooOld(error) => Failure::TlsTooOld(error),
        TlsFailure::Other(error) => Failure::Other(error),
    })?;
    reset
        .set_read_timeout(Some(super::stream::TICK))
        .map_err(|error| Error::from(ErrorKind::ConnectionLost(error)))?;
    Ok(Stream::Tls(Box::new(tls)))
}

fn log_in(
    packets: &mut PacketStream,
    options: &ConnectionOptions,
    mut nonce: Vec<u8>,
    end: Instant,
) -> Result<()> {
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    // OK, ERR, one switch and at most a few exchanges of one plugin.
    for _ in 0..8 {
        let packet = packets.read(left())?.to_vec();
        match packet.first() {
            Some(0x00) => return Ok(()),
            Some(0xff) => return Err(refused(options, &packet)),
            Some(0xfe) if packet.len() > 1 => {
                let switch = AuthSwitchRequest::deserialize((), &mut ParseBuf(&packet))
                    .map_err(|_| protocol("a malformed authentication switch"))?;
                let plugin = switch.auth_plugin();
                nonce = trimmed(switch.plugin_data());
                let private = packets.stream().is_private();
                if !is_spoken(&plugin, private) {
                    let name = String::from_utf8_lossy(plugin.as_bytes()).into_owned();
                    return Err(Error::from(ErrorKind::Unsupported {
                        what: format!("the account '{}' logs in with the plugin '{name}', which dts does not speak", options.user),
                    })
                    .with_hint("Create an account with caching_sha2_password (8.0 and later) or mysql_native_password."));
                }
                let answer = scramble(&plugin, options, &nonce, private).unwrap_or_default();
                packets.write(&answer, left())?;
            }
            Some(0x01) => match packet.get(1) {
                Some(0x03) => {}
                Some(0x04) => full_sha2(packets, options, &nonce, left())?,
                _ => return Err(protocol("an unknown step of authentication")),
            },
            _ => return Err(protocol("an unknown answer to the login")),
        }
    }
    Err(protocol("a login that does not end"))
}

/// `caching_sha2_password` without a cached entry: the password itself, over a channel that nobody can listen to, or
/// encrypted with the server's public key.
fn full_sha2(
    packets: &mut PacketStream,
    options: &ConnectionOptions,
    nonce: &[u8],
    patience: Duration,
) -> Result<()> {
    let mut password = options.password.expose().as_bytes().to_vec();
    password.push(0);
    if packets.stream().is_private() {
        return packets.write(&password, patience);
    }
    packets.write(&[0x02], patience)?;
    let answer = packets.read(patience)?;
    let Some((0x01, pem)) = answer.split_first() else {
        return Err(protocol("no public key where one was asked for"));
    };
    for (byte, key) in password.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= key;
    }
    // The crate's PEM parser panics on anything that is not a PEM public key.
    let encrypted = catch_unwind(|| mysql_common::crypto::encrypt(&password, pem))
        .map_err(|_| protocol("a public key that cannot be read"))?;
    packets.write(&encrypted, patience)
}

fn is_spoken(plugin: &AuthPlugin<'_>, private: bool) -> bool {
    match plugin {
        AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password => true,
        AuthPlugin::MysqlClearPassword => private,
        AuthPlugin::MysqlOldPassword
        | AuthPlugin::Ed25519
        | AuthPlugin::MariadbParsec { .. }
        | AuthPlugin::Other(_) => false,
    }
}

fn scramble(
    plugin: &AuthPlugin<'_>,
    options: &ConnectionOptions,
    nonce: &[u8],
    private: bool,
) -> Option<Vec<u8>> {
    if !is_spoken(plugin, private) {
        return None;
    }
    plugin.gen_data(Some(options.password.expose()), nonce).map(|data| {
        let mut bytes = data.to_vec();
        if matches!(plugin, AuthPlugin::MysqlClearPassword) {
            bytes.push(0);
        }
        bytes
    })
}

/// The nonce has a terminating zero byte that does not take part.
fn trimmed(nonce: &[u8]) -> Vec<u8> {
    nonce.strip_suffix(&[0]).unwrap_or(nonce).iter().take(20).copied().collect()
}

fn refused(options: &ConnectionOptions, packet: &[u8]) -> Error {
    let source = parse_error(packet);
    match source.code {
        // 1045, 1044, 1698, 1862 (expired password), 3118 (locked), 3955 (blocked), 1130 (host not allowed).
        1044 | 1045 | 1130 | 1698 | 1862 | 3118 | 3955 => {
            let hint = match source.code {
                1130 => {
                    "The server does not let this machine's address in at all: add it to the account's host part or the whitelist."
                }
                1862 => "The password has expired: set a new one on the server.",
                3118 | 3955 => {
                    "The account is locked: unlock it on the server (ALTER USER ... ACCOUNT UNLOCK)."
                }
                _ => {
                    "Check user and password, and the host part of the account: the server's text shows the host that it sees."
                }
            };
            Error::from(ErrorKind::AccessDenied { user: options.user.clone(), source }).with_hint(hint)
        }
        _ => ErrorKind::Server { doing: "connecting".into(), source }.into(),
    }
}
