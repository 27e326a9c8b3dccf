#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::SystemRandomness;

#[test]
fn one_key_is_peer_id_certificate_and_pin() {
    let identity = Identity::from_seed(&[7; 32]);
    let id = ClientId::parse("_cb.bar.test").unwrap();
    let now = Timestamp::from_seconds(1_796_389_501);
    let certificate = identity.certificate(&id, now).unwrap();
    assert_eq!(certificate.spki_sha256(), identity.spki_sha256());
    assert_eq!(certificate.der(), identity.certificate(&id, now).unwrap().der());
    assert!(identity.peer_id().to_string().starts_with("12D3Koo"));
    assert_eq!(spki(certificate.der()).unwrap(), identity.spki());
}

#[test]
fn a_key_file_is_private_kept_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.pem");
    let made = Identity::open_or_create(&path, &SystemRandomness).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        Identity::open_or_create(&path, &SystemRandomness).unwrap().seed(),
        made.seed()
    );
    assert!(matches!(
        Identity::create(&path, &SystemRandomness),
        Err(IdentityError::File { .. })
    ));
    assert_eq!(Identity::open(&path).unwrap().seed(), made.seed());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Identity::open(&path),
        Err(IdentityError::TooOpen { mode: 0o640, .. })
    ));
}

#[test]
fn a_file_without_an_ed25519_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    Certificate::for_people(folder.path(), &names, Timestamp::from_seconds(1_796_389_501)).unwrap();
    let wrong = Identity::open(&folder.path().join("web-key.pem"));
    assert!(matches!(wrong, Err(IdentityError::NotAKey { .. })));
}

#[test]
fn the_certificate_for_people_is_kept_until_its_end_or_its_names_change() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["mailbox.test".to_owned(), "127.0.0.1".to_owned()];
    let now = Timestamp::from_seconds(1_796_389_501);
    let first = Certificate::for_people(folder.path(), &names, now).unwrap();
    let later = now.plus(std::time::Duration::from_secs(3600));
    let again = Certificate::for_people(folder.path(), &names, later).unwrap();
    assert_eq!(first.der(), again.der());
    let near_its_end = now.plus(std::time::Duration::from_secs(380 * 24 * 3600));
    let renewed = Certificate::for_people(folder.path(), &names, near_its_end).unwrap();
    assert_ne!(first.der(), renewed.der());
    assert_eq!(first.spki_sha256(), renewed.spki_sha256());
}
