//! The certificate that people's programs are shown, which is renewed while it is shown.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use crate::identity::Certificate;

/// A certificate in whose place another one may come. Cheap to clone; clones share what is shown.
#[derive(Debug, Clone)]
pub struct Renewable(Arc<RwLock<(Certificate, Arc<CertifiedKey>)>>);

impl Renewable {
    /// Shows this one.
    ///
    /// # Errors
    /// [`TlsError`] when the certificate and its key do not fit.
    pub fn new(certificate: Certificate) -> Result<Self, TlsError> {
        let held = held(&certificate)?;
        Ok(Self(Arc::new(RwLock::new((certificate, held)))))
    }

    /// What is shown.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        let (certificate, _) = &*self.0.read().unwrap_or_else(PoisonError::into_inner);
        certificate.clone()
    }

    /// Shows another one, from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError`] when the certificate and its key do not fit; the old one is shown on.
    pub fn renew(&self, certificate: Certificate) -> Result<(), TlsError> {
        let held = held(&certificate)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (certificate, held);
        Ok(())
    }
}

fn held(certificate: &Certificate) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, key) = (certificate.chain().to_vec(), certificate.key().clone_key());
    let held = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    Ok(Arc::new(held))
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (_, held) = &*self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(held.clone())
    }
}
