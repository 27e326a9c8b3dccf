//! Callers that do not use the client of this program.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
struct BelievesEverybody;

impl ServerCertVerifier for BelievesEverybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn config(
    versions: &[&'static rustls::SupportedProtocolVersion],
    certificate: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesEverybody));
    match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
            let signer = provider.key_provider.load_private_key(key).unwrap();
            let held = SingleCertAndKey::from(CertifiedKey::new(chain, signer));
            builder.with_client_cert_resolver(Arc::new(held))
        }
    }
}

async fn connect(to: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("mailbox.insurance.test").unwrap();
    TlsConnector::from(config.clone())
        .connect(name, TcpStream::connect(to).await?)
        .await
}

/// What the server answers to a request over HTTP/1.1; empty when it closes without a word.
async fn ask(to: SocketAddr, config: &Arc<ClientConfig>, request: &[u8]) -> std::io::Result<String> {
    let mut stream = connect(to, config).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const WHO: &[u8] = b"GET /who HTTP/1.1\r\nHost: mailbox.insurance.test\r\nConnection: close\r\n\r\n";

fn tls13(params: CertificateParams, key: &KeyPair) -> Arc<ClientConfig> {
    let certificate = params.self_signed(key).unwrap();
    let chain = vec![certificate.der().clone()];
    Arc::new(config(
        &[&rustls::version::TLS13],
        Some((chain, key.serialize_der())),
    ))
}

fn named(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params
}

fn good() -> (CertificateParams, KeyPair) {
    (
        named("_cb.bar.test"),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    )
}

#[tokio::test]
async fn d07_a_sane_certificate_of_either_kind_of_key_is_let_in() {
    let world = serve(ServingLimits::default()).await;
    for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
        let key = KeyPair::generate_for(kind).unwrap();
        let answer = ask(
            world.serving.local_addr(),
            &tls13(named("_cb.bar.test"), &key),
            WHO,
        )
        .await
        .unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("_cb.bar.test"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn d07_every_certificate_that_is_not_sane_is_refused() {
    let world = serve(ServingLimits::default()).await;
    let (mut expired, key) = good();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut early = named("_cb.bar.test");
    early.not_before = rcgen::date_time_ymd(2200, 1, 1);
    early.not_after = rcgen::date_time_ymd(2201, 1, 1);
    let mut authority = named("_cb.bar.test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut for_servers = named("_cb.bar.test");
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut nameless = named("x");
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let mut large = named("_cb.bar.test");
    let many = (0..400).map(|n| rcgen::SanType::DnsName(format!("{n}.bar.test").try_into().unwrap()));
    large.subject_alt_names = many.collect();
    let mut two = named("_cb.bar.test");
    two.distinguished_name
        .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "_cb.evil.test");
    let cases = [
        ("expired", expired),
        ("early", early),
        ("authority", authority),
        ("for servers", for_servers),
        ("nameless", nameless),
        ("two names", two),
        ("large", large),
        ("NUL in its name", named("_cb.bar.test\0.evil.test")),
        ("blank in its name", named("_cb.bar.test _cb.evil.test")),
        ("empty name", named("")),
    ];
    for (what, params) in cases {
        assert!(
            ask(world.serving.local_addr(), &tls13(params, &key), WHO)
                .await
                .is_err(),
            "{what}"
        );
    }
    let foreign = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(
        ask(
            world.serving.local_addr(),
            &tls13(named("_cb.bar.test"), &foreign),
            WHO
        )
        .await
        .is_err()
    );
    let none = Arc::new(config(&[&rustls::version::TLS13], None));
    assert!(
        ask(world.serving.local_addr(), &none, WHO).await.is_err(),
        "none at all"
    );
}

#[tokio::test]
async fn t06_a_stolen_certificate_without_its_key_fails_in_the_handshake() {
    let world = serve(ServingLimits::default()).await;
    let (_, other) = good();
    let stolen = broker().chain().to_vec();
    let thief = Arc::new(config(
        &[&rustls::version::TLS13],
        Some((stolen, other.serialize_der())),
    ));
    assert!(ask(world.serving.local_addr(), &thief, WHO).await.is_err());
}

#[tokio::test]
async fn d08_tls_1_2_is_refused_and_no_session_is_resumed() {
    let world = serve(ServingLimits::default()).await;
    let (params, key) = good();
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let old = config(&[&rustls::version::TLS12], Some((chain, key.serialize_der())));
    assert!(connect(world.serving.local_addr(), &Arc::new(old)).await.is_err());
    let config = tls13(params, &key);
    for _ in 0..2 {
        let mut stream = connect(world.serving.local_addr(), &config).await.unwrap();
        stream.write_all(WHO).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_ne!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(!stream.get_ref().1.is_early_data_accepted());
    }
}

fn impatient() -> ServingLimits {
    ServingLimits {
        handshake: Duration::from_millis(500),
        header: Duration::from_millis(500),
        stalled: Duration::from_millis(700),
        ..ServingLimits::default()
    }
}

#[tokio::test]
async fn h01_a_header_that_drips_is_cut_off_while_an_honest_client_is_served() {
    let world = serve(impatient()).await;
    let (params, key) = good();
    let config = tls13(params, &key);
    let mut slow = connect(world.serving.local_addr(), &config).await.unwrap();
    let mut silent = TcpStream::connect(world.serving.local_addr()).await.unwrap();
    let dripping = tokio::spawn(async move {
        let begin = std::time::Instant::now();
        let _ = slow.write_all(b"GET /who HTTP/1.1\r\nX-A: ").await;
        loop {
            let mut octet = [0];
            let wait = Duration::from_millis(50);
            match tokio::time::timeout(wait, slow.read(&mut octet)).await {
                Ok(Ok(0) | Err(_)) => return begin.elapsed(),
                _ => drop(slow.write_all(b"b").await),
            }
        }
    });
    let answer = ask(world.serving.local_addr(), &config, WHO).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(dripping.await.unwrap() < Duration::from_secs(5));
    // Whoever never begins the handshake is gone as well.
    let mut nothing = Vec::new();
    let ended = silent.read_to_end(&mut nothing);
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn h01_a_body_that_stands_still_is_cut_off() {
    let world = serve(impatient()).await;
    let (params, key) = good();
    let request = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc";
    let config = tls13(params, &key);
    let cut = ask(world.serving.local_addr(), &config, request);
    let cut = tokio::time::timeout(Duration::from_secs(5), cut).await.unwrap();
    assert!(cut.is_err() || cut.is_ok_and(|answer| !answer.contains(" 200 ")));
}

#[tokio::test]
async fn h01_one_address_has_so_many_connections_and_the_next_is_closed() {
    let world = serve(ServingLimits {
        per_address: 2,
        ..ServingLimits::default()
    })
    .await;
    let (params, key) = good();
    let config = tls13(params, &key);
    let first = connect(world.serving.local_addr(), &config).await.unwrap();
    let _second = connect(world.serving.local_addr(), &config).await.unwrap();
    assert!(connect(world.serving.local_addr(), &config).await.is_err());
    drop(first);
    while connect(world.serving.local_addr(), &config).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn h03_ambiguous_and_oversized_requests_are_refused() {
    let world = serve(ServingLimits::default()).await;
    let (params, key) = good();
    let config = tls13(params, &key);
    let huge = format!(
        "GET /who HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    let many = format!("GET /who HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    for request in [
        "GET /who HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost : x\r\n\r\n",
        "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        &huge,
        &many,
    ] {
        let answer = ask(world.serving.local_addr(), &config, request.as_bytes())
            .await
            .unwrap_or_default();
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?} -> {answer}", &request[..request.len().min(80)]);
    }
}

/// One HTTP/2 frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What opens a connection of HTTP/2 (RFC 9113 §3.4).
fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
}

#[tokio::test]
async fn h01_a_connection_of_http_2_on_which_nothing_is_asked_is_closed_whatever_else_is_said() {
    let world = serve(impatient()).await;
    let (params, key) = good();
    let mut two = (*tls13(params, &key)).clone();
    two.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(world.serving.local_addr(), &Arc::new(two)).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let asking = tokio::spawn(async move {
        let mut said = write.write_all(&preface()).await;
        while said.is_ok() {
            // Whether somebody is there.
            said = write.write_all(&frame(6, 0, 0, &[0; 8])).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut heard = Vec::new();
    let ended = read.read_to_end(&mut heard);
    let _ = tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("the connection is closed");
    asking.abort();
}

#[tokio::test]
async fn h02_a_rapid_reset_ends_its_connection_and_others_are_served() {
    let world = serve(ServingLimits::default()).await;
    let (params, key) = good();
    let plain = tls13(params, &key);
    let mut two = (*plain).clone();
    two.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(world.serving.local_addr(), &Arc::new(two)).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let flooding = tokio::spawn(async move {
        write.write_all(&preface()).await?;
        // GET https://x/who, and CANCEL at once, ten thousand times.
        let header = [&[0x82, 0x87, 0x04, 4][..], b"/who", &[0x41, 1], b"x"].concat();
        for number in 0..10_000_u32 {
            let stream = 2 * number + 1;
            write.write_all(&frame(1, 5, stream, &header)).await?;
            write
                .write_all(&frame(3, 0, stream, &8_u32.to_be_bytes()))
                .await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    });
    let mut heard = Vec::new();
    let ended = read.read_to_end(&mut heard);
    let _ = tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("the flood is ended");
    flooding.abort();
    let answer = ask(world.serving.local_addr(), &plain, WHO).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
