#![allow(clippy::unwrap_used)]
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::grip::KeyHash;
use cargomail_protocol::notification;

use super::*;
use crate::cli::exit::CheckFailed;
use crate::cli::out::Out;
use crate::clock::SystemRandomness;
use crate::dns::{Record, Zone};
use crate::grip::Signer;
use crate::identity::Identity;

fn signer(identity: &Identity) -> Signer {
    Signer::new(identity, Arc::new(SystemClock), Arc::new(SystemRandomness)).unwrap()
}

/// Token 1 and around it token 2, of bar.test's broker and of insurance.test's agent.
fn tokens(identity: &Identity) -> (String, String) {
    let signer = signer(identity);
    let digest = Digest::of(b"notification");
    let bob = Address::parse("bob@bar.test").unwrap();
    let destination = "mailbox.insurance.test".parse().unwrap();
    let stamp = signer.stamp();
    let expires = stamp.now.plus(std::time::Duration::from_secs(300));
    let one = notification::token(signer.key(), &bob, &destination, digest, expires, stamp).unwrap();
    let service = Domain::parse("insurance.test").unwrap();
    let origin = "mailbox.hospital.test".parse().unwrap();
    let two =
        notification::fetch_token(signer.key(), &service, &origin, digest, &one, signer.stamp()).unwrap();
    (one, two)
}

/// A DNS in which the key may speak for these names.
async fn dns(names: &[&str], identity: &Identity) -> (Zone, Resolver) {
    let zone = Zone::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let hash = KeyHash::from_bytes(identity.spki_sha256());
    for name in names {
        zone.add(
            name,
            Record::Txt(cargomail_protocol::grip::Record(hash).to_string()),
        );
    }
    let options = ResolverOptions {
        servers: vec![zone.local_addr()],
        ..ResolverOptions::default()
    };
    let resolver = Resolver::new(&options, Arc::new(SystemClock)).unwrap();
    (zone, resolver)
}

#[tokio::test]
async fn a_chain_is_verified_against_the_dns_and_the_first_failed_check_is_named() {
    let identity = Identity::from_seed(&[3; 32]);
    let (one, two) = tokens(&identity);
    let all = ["_rra.insurance.test", "_cb.bar.test"];
    let (_zone, both) = dns(&all, &identity).await;
    let out = Out::new(true);
    verify::run(out, &both, &one, None, None).await.unwrap();
    verify::run(out, &both, &two, None, None).await.unwrap();
    let digest = Some(Digest::of(b"notification"));
    let audience = Some(Domain::parse("mailbox.hospital.test").unwrap());
    verify::run(out, &both, &two, audience.clone(), digest)
        .await
        .unwrap();
    let (_zone, agent) = dns(&all[..1], &identity).await;
    let (_zone, nobody) = dns(&[], &identity).await;
    let other = Some(Digest::of(b"another"));
    let (head, signature) = two.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let altered = format!("{head}.{first}{}", &signature[1..]);
    for (dns, token, audience, digest, name) in [
        (&nobody, &two, None, None, "token: NotBound"),
        (&agent, &two, None, None, "nested token: NotBound"),
        (&both, &one, audience, None, "WrongAudience"),
        (&both, &two, None, other, "DigestMismatch"),
        (&both, &altered, None, None, "BadSignature"),
    ] {
        let error = verify::run(out, dns, token, audience, digest).await.unwrap_err();
        assert!(
            error.is::<CheckFailed>() && error.to_string().contains(name),
            "{error}"
        );
    }
}

#[test]
fn a_token_is_shown_with_the_record_that_it_needs() {
    let (_, two) = tokens(&Identity::from_seed(&[3; 32]));
    let text = people(&grip::inspect(&two).unwrap(), 0);
    for part in [
        "token 2",
        "token 1",
        "_rra.insurance.test TXT \"v=grip1",
        "_cb.bar.test TXT",
        "around:",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_token_is_read_from_a_file_too() {
    let (one, _) = tokens(&Identity::from_seed(&[3; 32]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token.txt");
    std::fs::write(&file, format!("{one}\n")).unwrap();
    assert_eq!(token_of(file.to_str().unwrap()).unwrap(), one);
    assert_eq!(token_of(&one).unwrap(), one);
    assert!(token_of("absent").is_err());
}
