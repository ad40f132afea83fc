//! TLS, by rustls: which certificate is shown, and how it is changed while the process runs.
//!
//! Certificate and key are read as a pair, and a pair that does not fit is not used: at the start the process does not start, at a reload
//! what was there stays. A connection keeps the certificate that it began with.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

/// Where certificate and key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, then those that lead from it to an authority's.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which of the two files is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The certificate's.
    Certificate,
    /// The key's.
    Key,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Certificate => "certificate",
            Which::Key => "key",
        })
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is no PEM with what it should hold.
    #[error("the {which} cannot be read from {}", file.display())]
    Unreadable {
        /// Which one.
        which: Which,
        /// Where.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// They do not belong together, or rustls does not know their kind.
    #[error("the certificate cannot be used with this key")]
    Unusable(#[from] rustls::Error),
}

impl Error {
    /// Which file has to be mended.
    #[must_use]
    pub fn which(&self) -> Which {
        match self {
            Error::Unreadable { which, .. } => *which,
            Error::Unusable(_) => Which::Certificate,
        }
    }
}

/// The certificate that new connections are shown.
pub struct Tls {
    files: Files,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn load(files: Files) -> Result<Tls, Error> {
        let acceptor = RwLock::new(read(&files)?);
        Ok(Tls { files, acceptor })
    }

    /// Reads them again. Connections that there are keep the old ones.
    ///
    /// # Errors
    /// They cannot be used: the old ones stay.
    pub fn reload(&self) -> Result<(), Error> {
        let new = read(&self.files)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(files: &Files) -> Result<TlsAcceptor, Error> {
    let unreadable = |which, file: &PathBuf| {
        let file = file.clone();
        move |source| Error::Unreadable { which, file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(unreadable(Which::Certificate, &files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(Which::Key, &files.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
