//! Keys: one form for each key, the same hash as other hands compute, and no point that verifies what nobody signed.

use data_encoding::BASE64URL_NOPAD;

use super::super::{KeyError, PublicKey};
use super::*;

#[test]
fn keys_of_other_hands_have_the_same_forms_hash_and_record() {
    for (name, vector) in &vectors().keys {
        let public = vector.jwk.key().unwrap();
        assert_eq!(HEXLOWER.encode(&public.spki()), vector.spki, "{name}");
        assert_eq!(public.hash().to_string(), vector.hash, "{name}");
        assert_eq!(public.jwk(), vector.jwk, "{name}");
        assert_eq!(Record(public.hash()).to_string(), vector.record, "{name}");
        assert_eq!(PublicKey::from_spki(&hex(&vector.spki)), Ok(public), "{name}");
        if vector.r#type == "Ed25519" {
            let own = key(name);
            assert_eq!(own.public(), &public, "{name}");
            assert_eq!(
                format!("{own:?}"),
                format!("NodeKey({})", vector.hash),
                "no secret is shown"
            );
        }
    }
}

#[test]
fn a_node_key_is_read_from_pkcs8_of_both_versions() {
    let seed = hex(&vectors().keys["bar"].secret);
    let first = [hex("302e020100300506032b657004220420"), seed.clone()].concat();
    assert_eq!(NodeKey::from_pkcs8(&first).unwrap().hash(), key("bar").hash());
    let public = *key("bar").public().as_ed25519().unwrap();
    let second = [
        hex("3051020101300506032b657004220420"),
        seed,
        hex("812100"),
        public.to_vec(),
    ]
    .concat();
    assert_eq!(NodeKey::from_pkcs8(&second).unwrap().hash(), key("bar").hash());
    for bad in [
        Vec::new(),
        vec![0x30],
        first[..47].to_vec(),
        hex(&vectors().keys["p256"].spki),
    ] {
        assert_eq!(NodeKey::from_pkcs8(&bad).unwrap_err(), KeyError::Private);
    }
}

#[test]
fn what_is_no_key_in_its_one_form_is_refused() {
    let ed = hex(&vectors().keys["bar"].spki);
    let p256 = hex(&vectors().keys["p256"].spki);
    for spki in [&ed, &p256] {
        for end in 0..spki.len() {
            assert!(PublicKey::from_spki(&spki[..end]).is_err(), "cut off at {end}");
        }
        assert!(PublicKey::from_spki(&[spki.as_slice(), &[0]].concat()).is_err());
        for at in 0..12 {
            let mut changed = spki.clone();
            changed[at] ^= 1;
            assert!(PublicKey::from_spki(&changed).is_err(), "octet {at}");
        }
    }
    let mut point: Vec<u8> = p256[26..].to_vec();
    assert!(PublicKey::p256(&point).is_ok());
    point[64] ^= 1;
    assert_eq!(PublicKey::p256(&point), Err(KeyError::Point));
    point[0] = 2;
    assert_eq!(
        PublicKey::p256(&point[..33]),
        Err(KeyError::Form),
        "a compressed point"
    );
    assert_eq!(PublicKey::p256(&point), Err(KeyError::Form));
}

#[test]
fn t04_every_point_of_small_order_is_refused_in_every_spelling() {
    let mut ys = vec![[0_u8; 32], [0; 32], [0xff; 32], [0xff; 32], [0xff; 32]];
    ys[1][0] = 1;
    for (index, low) in [(2, 0xec), (3, 0xed), (4, 0xee)] {
        ys[index][0] = low;
        ys[index][31] = 0x7f;
    }
    for text in [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        ys.push(hex(text).try_into().unwrap());
    }
    for mut y in ys {
        for sign in [0, 0x80] {
            y[31] = y[31] & 0x7f | sign;
            assert_eq!(
                PublicKey::ed25519(y),
                Err(KeyError::Point),
                "{}",
                HEXLOWER.encode(&y)
            );
        }
    }
}

#[test]
fn a_key_hash_is_64_hexadecimal_digits_and_nothing_else() {
    let text = &vectors().keys["bar"].hash;
    assert_eq!(KeyHash::parse(text), Some(key("bar").hash()));
    assert_eq!(KeyHash::parse(&text.to_uppercase()), Some(key("bar").hash()));
    for bad in [
        "",
        &text[1..],
        &format!("{text}0"),
        &format!(" {}", &text[1..]),
        &"é".repeat(32),
    ] {
        assert_eq!(KeyHash::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_digest_has_one_text_form() {
    let digest = Digest::of(b"");
    let text = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(digest.to_string(), text);
    assert_eq!(Digest::parse(text), Some(digest));
    for bad in [
        "",
        &text.to_uppercase(),
        &text[..58],
        &format!("{text}="),
        "bafybeigrcxzb2fqdm6cm4tschyyl3yhsizbhmpexm2bv7milbmcvgs2oqm",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        &format!("{}z", &text[..58]),
    ] {
        assert_eq!(Digest::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_signature_has_64_octets_and_is_the_same_every_time() {
    let own = key("bar");
    let signature = own.sign(b"octets");
    assert_eq!(signature, own.sign(b"octets"));
    assert!(own.public().verify(b"octets", &signature));
    assert!(!own.public().verify(b"octet", &signature));
    assert!(!key("foo").public().verify(b"octets", &signature));
    for length in [0, 63] {
        assert!(!own.public().verify(b"octets", &signature[..length]));
    }
    assert!(
        !own.public()
            .verify(b"octets", &[signature.as_slice(), &[0]].concat())
    );
    assert_eq!(own.public().jwk(), vectors().keys["bar"].jwk);
    assert_eq!(
        BASE64URL_NOPAD.encode(own.public().as_ed25519().unwrap()).len(),
        43,
        "x of a JWK"
    );
}
