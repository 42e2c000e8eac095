//! The byte stream under a connection: TCP, Unix socket, or TLS over TCP.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::options::Address;
use crate::error::{Error, ErrorKind, Result};

/// How long one blocking system call waits before it lets the caller look at its stop token and deadline. Each end of a step waits
/// for it (the thread that receives the binary log blocks in it), and so does a cut-over; few sessions wait at a time.
pub(super) const TICK: Duration = Duration::from_millis(20);

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Opens a stream; tries every address that the name resolves to, within `timeout` in all.
    pub(super) fn open(address: &Address, timeout: Duration) -> Result<Stream> {
        match address {
            Address::Tcp { host, port } => {
                let addresses: Vec<SocketAddr> = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(|source| ErrorKind::Resolve { host: host.clone(), source })?
                    .collect();
                let end = Instant::now() + timeout;
                let mut last: Option<Error> = None;
                for ip in addresses {
                    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                    match TcpStream::connect_timeout(&ip, left) {
                        Ok(stream) => {
                            set_up(&stream).map_err(ErrorKind::ConnectionLost)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(source) => last = Some(connect_error(address, Some(ip), source)),
                    }
                }
                Err(last.unwrap_or_else(|| {
                    let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                    ErrorKind::Resolve { host: host.clone(), source }.into()
                }))
            }
            Address::Socket(path) => {
                let stream =
                    UnixStream::connect(path).map_err(|source| connect_error(address, None, source))?;
                stream
                    .set_read_timeout(Some(TICK))
                    .and_then(|()| stream.set_write_timeout(Some(TICK)))
                    .map_err(ErrorKind::ConnectionLost)?;
                Ok(Stream::Unix(stream))
            }
        }
    }

    /// Returns whether a password may be sent in clear: nobody can listen.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Stream::Unix(_) | Stream::Tls(_))
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Returns our own and the server's address of a TCP connection.
    pub(super) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let tcp = match self {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
            Stream::Unix(_) => return None,
        };
        Some((tcp.local_addr().ok()?, tcp.peer_addr().ok()?))
    }
}

fn connect_error(address: &Address, ip: Option<SocketAddr>, source: io::Error) -> Error {
    let shown = match (address, ip) {
        (Address::Tcp { host, .. }, Some(ip)) if *host != ip.ip().to_string() => {
            format!("{address} ({})", ip.ip())
        }
        _ => address.to_string(),
    };
    let hint = match source.kind() {
        io::ErrorKind::ConnectionRefused => Some(
            "The machine answers but nothing listens on that port: check the port, and that the server runs.",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Some(
            "No answer at all: usually a firewall, security group or whitelist that does not have this machine's address.",
        ),
        io::ErrorKind::NotFound => {
            Some("There is no such socket file: check the path, and that the server runs.")
        }
        _ => None,
    };
    let error = Error::from(ErrorKind::Connect { address: shown, source });
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Keepalive finds a peer that vanished; TCP_USER_TIMEOUT finds one that vanished while we were sending.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Unix(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
