//! Passwords as they are kept: argon2id (RFC 9106) with the parameters that its library recommends, in PHC form.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::AccountError;

/// Blocks of 1 KiB for which there is room: more than the 32 MiB up to which glibc, once such a piece was given back, takes the next
/// ones from the heap, and leaves that in pieces. Only what is used is memory.
const ROOM: usize = 33 * 1024;

/// What it costs to try a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PasswordCost {
    /// What the library recommends: 19 MiB, twice.
    #[default]
    Recommended,
    /// As little as there can be, where there is nobody to try any: in worlds that are made up.
    Least,
}

impl PasswordCost {
    fn params(self) -> Result<Params, AccountError> {
        match self {
            Self::Recommended => Ok(Params::default()),
            Self::Least => {
                Params::new(Params::MIN_M_COST, Params::MIN_T_COST, Params::MIN_P_COST, None).map_err(failed)
            }
        }
    }
}

fn digest(argon: &Argon2<'_>, password: &str, salt: &[u8]) -> Result<Output, AccountError> {
    let length = argon.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let blocks = argon.params().block_count();
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks.max(ROOM)).map_err(failed)?;
    memory.resize_with(blocks, Block::default);
    let mut out = vec![0; length];
    argon
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut out, memory)
        .map_err(failed)?;
    Output::new(&out).map_err(failed)
}

/// A password in the form in which it is kept.
pub(super) fn hash(password: &str, salt: &[u8], cost: PasswordCost) -> Result<String, AccountError> {
    let (algorithm, version, params) = (Algorithm::default(), Version::default(), cost.params()?);
    let kept = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params).map_err(failed)?,
        salt: Some(Salt::new(salt).map_err(failed)?),
        hash: Some(digest(&Argon2::new(algorithm, version, params), password, salt)?),
    };
    Ok(kept.to_string())
}

/// Whether it is the password that is kept in this form; the comparison takes as long for every other one.
pub(super) fn fits(password: &str, kept: &str) -> bool {
    let compare = || {
        let kept = PasswordHash::new(kept).ok()?;
        let algorithm = Algorithm::try_from(kept.algorithm.as_str()).ok()?;
        let version = kept
            .version
            .map_or(Some(Version::default()), |version| version.try_into().ok())?;
        let argon = Argon2::new(algorithm, version, Params::try_from(&kept).ok()?);
        let digest = digest(&argon, password, &kept.salt?).ok()?;
        Some(digest == kept.hash?)
    };
    compare().unwrap_or(false)
}

/// Whether it is the password of somebody who is not here: never, and to say so takes as long as [`fits`] does.
pub(super) fn fits_nobody(password: &str, salt: &[u8], cost: PasswordCost) -> bool {
    // Also where the hash fails, as it does when there is no memory.
    drop(std::hint::black_box(hash(password, salt, cost)));
    false
}

fn failed(error: impl std::fmt::Display) -> AccountError {
    AccountError::Hash(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn what_is_kept_is_what_the_library_itself_makes_and_takes() {
        let kept = hash("correct horse", &[7; 16], PasswordCost::default()).unwrap();
        let theirs: PasswordHash = Argon2::default()
            .hash_password_with_salt(b"correct horse", &[7; 16])
            .unwrap();
        assert_eq!(kept, theirs.to_string());
        Argon2::default()
            .verify_password(b"correct horse", kept.as_str())
            .unwrap();
        assert!(fits("correct horse", &kept));
        assert!(!fits("correct horsf", &kept));
    }

    #[test]
    fn a_password_is_checked_with_the_parameters_that_it_was_kept_with() {
        for (cost, times) in [(64, 3), (128, 1), (32, 2)] {
            let weaker = Argon2::new(
                Algorithm::Argon2id,
                Version::V0x13,
                Params::new(cost, times, 1, None).unwrap(),
            );
            let kept: PasswordHash = weaker.hash_password_with_salt(b"battery", &[9; 16]).unwrap();
            assert!(fits("battery", &kept.to_string()));
            assert!(!fits("staple", &kept.to_string()));
        }
    }

    #[test]
    fn h07_nobody_has_a_password_also_when_none_can_be_hashed() {
        let cost = PasswordCost::Least;
        assert!(!fits_nobody("correct horse", &[0; 16], cost));
        // Too short to be hashed with.
        assert!(hash("correct horse", &[], cost).is_err());
        assert!(!fits_nobody("correct horse", &[], cost));
    }

    #[test]
    fn what_is_no_hash_fits_nothing() {
        for kept in [
            "",
            "correct horse",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$scrypt$ln=1$c2FsdHNhbHQ$aGFzaA",
        ] {
            assert!(!fits("correct horse", kept), "{kept}");
            assert!(!fits("", kept), "{kept}");
        }
    }
}
