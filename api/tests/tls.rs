//! TLS: certificates made here, shown by a process, changed while it runs.

#![cfg(test)]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_api::http::serve::{self, Patience, Server};
use credence_api::http::tls::{Files, Tls};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::{Child, Engine, TestApp, User, command, eventually};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Certificate and key in files, and what a client needs to trust them.
struct Identity {
    folder: TempDir,
}

impl Identity {
    /// A first one.
    fn new() -> (Identity, CertificateDer<'static>) {
        let identity = Identity { folder: TempDir::new().unwrap() };
        let certificate = identity.renew();
        (identity, certificate)
    }

    /// Puts a new one in the place of what is there.
    fn renew(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// A process that listens by TLS with it.
    fn serve(&self) -> Child {
        let store = format!("sqlite:{}", self.folder.path().join("data").display());
        let (certificate, key) = (self.certificate().display().to_string(), self.key().display().to_string());
        Child::serve(self.folder.path(), &["--store", &store, "--tls-certificate-file", &certificate, "--tls-key-file", &key])
    }
}

/// A connection whose server shows this certificate.
async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// Asks for something over a connection that stays, and answers the head of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "it was closed");
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if body.len() == length {
            return head.to_owned();
        }
    }
}

#[tokio::test]
async fn a_process_with_a_certificate_speaks_tls_alone_and_says_so() {
    let (identity, certificate) = Identity::new();
    let child = identity.serve();
    assert_eq!(child.scheme, "https");
    let mut stream = connect(child.address, &certificate).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for path in ["/health", "/nowhere"] {
        let head = ask(&mut stream, path).await;
        assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");
    }
    let mut plain = TcpStream::connect(child.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert!(connect(child.address, &Identity::new().1).await.is_err(), "another certificate is not trusted");

    let app = TestApp::start(Engine::Sqlite).await;
    assert_eq!(app.anonymous().get("/health").await.expect(200).header("strict-transport-security"), "");
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_hang_up_signal_and_old_connections_live_on() {
    let (identity, first) = Identity::new();
    let mut child = identity.serve();
    let mut old = connect(child.address, &first).await.unwrap();
    ask(&mut old, "/health").await;

    let second = identity.renew();
    assert!(connect(child.address, &second).await.is_err(), "it is not read before the signal");
    child.signal("HUP");
    eventually("it is shown", || async { connect(child.address, &second).await.is_ok() }).await;
    assert!(connect(child.address, &first).await.is_err());
    ask(&mut old, "/health").await;

    // Not once only.
    let third = identity.renew();
    child.signal("HUP");
    eventually("it is shown", || async { connect(child.address, &third).await.is_ok() }).await;
    ask(&mut old, "/health").await;
    drop(old);
    assert!(child.terminate().success());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_old_one_and_a_line_says_why() {
    let (identity, first) = Identity::new();
    let child = identity.serve();
    let (good, good_key) = (std::fs::read(identity.certificate()).unwrap(), std::fs::read(identity.key()).unwrap());
    let other_key = KeyPair::generate().unwrap().serialize_pem().into_bytes();
    let cases: [(&str, Vec<u8>, Vec<u8>, &str); 4] = [
        ("no PEM", b"nonsense".to_vec(), good_key.clone(), "the certificate cannot be read"),
        ("a certificate and no key", good.clone(), good.clone(), "the key cannot be read"),
        ("another's key", good.clone(), other_key, "cannot be used with this key"),
        ("nothing", Vec::new(), good_key.clone(), "the certificate cannot be read"),
    ];
    for (what, certificate, key, reason) in cases {
        std::fs::write(identity.certificate(), certificate).unwrap();
        std::fs::write(identity.key(), key).unwrap();
        let before = child.stderr().matches(reason).count();
        child.signal("HUP");
        eventually(what, || async { child.stderr().matches(reason).count() > before }).await;
        ask(&mut connect(child.address, &first).await.unwrap(), "/health").await;
    }
    assert!(child.stderr().contains("\"level\":\"ERROR\""), "{}", child.stderr());
    // Whatever was wrong, the next good one is taken.
    let next = identity.renew();
    child.signal("HUP");
    eventually("it is shown", || async { connect(child.address, &next).await.is_ok() }).await;
}

#[test]
fn a_process_does_not_start_with_a_certificate_that_cannot_be_used() {
    let (identity, _) = Identity::new();
    let (certificate, key) = (identity.certificate().display().to_string(), identity.key().display().to_string());
    let store = format!("sqlite:{}", identity.folder.path().join("data").display());
    let refused = |arguments: &[&str], named: &str| {
        let output = command(&["serve", "--listen", "127.0.0.1:0", "--store", &store]).args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(named), "{told}");
    };
    refused(&["--tls-certificate-file", &certificate], "--tls-certificate-file: CREDENCE_TLS_KEY_FILE is needed, too");
    refused(&["--tls-key-file", &key], "--tls-key-file: CREDENCE_TLS_CERTIFICATE_FILE is needed, too");
    refused(&["--tls-certificate-file", &key, "--tls-key-file", &key], "CREDENCE_TLS_CERTIFICATE_FILE: the certificate cannot be read");
    refused(&["--tls-certificate-file", &certificate, "--tls-key-file", "/nowhere"], "CREDENCE_TLS_KEY_FILE: the key cannot be read");
    assert!(!identity.folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_client_that_never_agrees_on_tls_is_let_go_and_holds_up_no_stop() {
    let (identity, certificate) = Identity::new();
    let tls = Tls::load(Files { certificate: identity.certificate(), key: identity.key() }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let patience = Patience { handshake: Duration::from_millis(300), ..Patience::default() };
    let server = Server { router: axum::Router::new(), tls: Some(Arc::new(tls)), patience };
    let serving = tokio::spawn(serve::serve(listener, server, stop.clone(), Duration::from_secs(30)));

    let start = Instant::now();
    let mut silent = TcpStream::connect(address).await.unwrap();
    // The first bytes of a TLS record, and never the rest.
    silent.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(start.elapsed() >= Duration::from_millis(250));
    // Others are not held up meanwhile.
    let _silent = TcpStream::connect(address).await.unwrap();
    let agreed = connect(address, &certificate).await.unwrap();
    drop(agreed);
    let _another = TcpStream::connect(address).await.unwrap();
    stop.cancel();
    assert!(tokio::time::timeout(Duration::from_millis(250), serving).await.expect("at once").unwrap());
}
