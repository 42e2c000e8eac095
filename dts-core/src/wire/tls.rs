//! TLS set-up: which certificates are believed, and what to say when the server's TLS is too old.
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::options::{TlsMode, TlsOptions};
use crate::error::{Error, ErrorKind, Result};

/// How a TLS attempt ended when it did not end well.
pub(super) enum TlsFailure {
    /// The server only speaks TLS 1.0 or 1.1, which no current library does.
    TooOld(Error),
    /// Anything else.
    Other(Error),
}

/// Makes the TLS handshake on an open TCP stream.
pub(super) fn wrap(
    mut tcp: TcpStream,
    options: &TlsOptions,
    host: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsFailure> {
    let address = tcp.peer_addr().map_or_else(|_| host.to_owned(), |peer| peer.to_string());
    let config = client_config(options, &address).map_err(TlsFailure::Other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        TlsFailure::Other(failure(&address, format!("'{host}' is not a name a certificate can be for")))
    })?;
    let mut connection = ClientConnection::new(Arc::new(config), name)
        .map_err(|error| TlsFailure::Other(failure(&address, error.to_string())))?;
    while connection.is_handshaking() {
        match connection.complete_io(&mut tcp) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(TlsFailure::Other(failure(
                    &address,
                    "the server stopped answering in the handshake".into(),
                )));
            }
            Err(error) => return Err(classify(&address, &error)),
        }
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn failure(address: &str, why: String) -> Error {
    ErrorKind::Tls { address: address.to_owned(), why }.into()
}

fn classify(address: &str, error: &io::Error) -> TlsFailure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let too_old = match tls {
        // A version that the library has never heard of comes as an invalid message.
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::InvalidMessage(_)) => true,
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            rustls::AlertDescription::ProtocolVersion | rustls::AlertDescription::HandshakeFailure
        ),
        // yaSSL of MySQL 5.6 closes the connection on a hello it does not understand.
        None => matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        Some(_) => false,
    };
    if too_old {
        let why =
            format!("the server offers only TLS 1.0 or 1.1, or ciphers that are no longer safe ({error})");
        return TlsFailure::TooOld(failure(address, why).with_hint(
            "Servers before 5.7.28 often speak no TLS 1.2. Use tls.mode = \"disabled\" inside a private network, or lead \
             the connection through a tunnel (ssh -L, VPN).",
        ));
    }
    TlsFailure::Other(failure(address, error.to_string()))
}

fn client_config(options: &TlsOptions, address: &str) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(address, error.to_string()))?;
    let builder = match options.mode {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        }
        TlsMode::VerifyIdentity => builder.with_root_certificates(roots(options, address)?),
        TlsMode::VerifyCa => {
            let chain =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(options, address)?), provider)
                    .build()
                    .map_err(|error| failure(address, error.to_string()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(ChainOnly(chain)))
        }
    };
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| failure(address, error.to_string()))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(Error::invalid("tls", "only one of cert and key", "both cert and key, or neither")),
    }
}

fn roots(options: &TlsOptions, address: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let certificates = match &options.ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(failure(address, "no trusted authority was found".into())
            .with_hint("Give tls.ca, a PEM file with the authority that signed the server's certificate."));
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    ErrorKind::File {
        action: "read",
        path: path.display().to_string(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
    .into()
}

/// `required`: encryption without identity, as the MySQL client does it.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain must hold, the name may differ (MySQL's self-made certificates carry no host name).
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
