//! To whom and how to connect.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host name or IP address, and port.
    Tcp {
        /// A name or an address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A Unix socket on this machine.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A password: never printed, not even by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How much TLS is asked for, with the meaning of the same words of `--ssl-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// TLS when the server offers a version we speak, else plain. The certificate is not verified.
    #[default]
    Preferred,
    /// TLS or no connection. The certificate is not verified.
    Required,
    /// TLS, and the certificate's chain must end in a trusted authority. The name is not looked at.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must be for the host connected to.
    VerifyIdentity,
}

/// TLS settings of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// How much is asked for.
    pub mode: TlsMode,
    /// PEM file of trusted authorities; without it those of the operating system.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate, for accounts that REQUIRE X509.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// To whom and how to connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// Where the server listens.
    pub address: Address,
    /// The account's name.
    pub user: String,
    /// The account's password.
    pub password: Secret,
    /// TLS settings; ignored on a Unix socket.
    pub tls: TlsOptions,
    /// Longest wait for a connection and its login. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest silence of the server while an answer is expected, for statements that have no own limit. Default 10
    /// minutes; a dead peer is noticed earlier by TCP keepalive (30 s + 3 x 10 s).
    pub answer_timeout: Duration,
}

impl ConnectionOptions {
    /// Starts from an address and an account; everything else has its default.
    pub fn new(address: Address, user: impl Into<String>, password: Secret) -> Self {
        ConnectionOptions {
            address,
            user: user.into(),
            password,
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(600),
        }
    }
}
