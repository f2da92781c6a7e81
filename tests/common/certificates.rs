//! Certificates for tests, right and wrong ones.
#![allow(clippy::unwrap_used, dead_code)]

use hwmeter::serve::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An authority, and a folder with what it has signed.
pub struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("An authority")
    }

    pub fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), cert.pem()).unwrap();
        Self {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    /// What `--ca` takes.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Signs a certificate for `name`.
    pub fn sign(&self, name: &str) -> TlsFiles {
        self.sign_between(name, 2020, 2100)
    }

    /// One that is valid from the beginning of one year to that of another.
    pub fn sign_between(&self, name: &str, from: i32, to: i32) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        self.keep(&format!("{name}-{from}-{to}"), &cert.pem(), &key)
    }

    /// An authority's certificate where a server's is due.
    pub fn sign_itself(&self, name: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.keep("itself", &params.self_signed(&key).unwrap().pem(), &key)
    }

    /// A file with a token that only its owner may read.
    pub fn token(&self, token: &str) -> PathBuf {
        let path = self.dir.path().join(format!("token-{}", token.len()));
        private(&path, token);
        path
    }

    fn keep(&self, name: &str, cert: &str, key: &KeyPair) -> TlsFiles {
        let signed = TlsFiles {
            cert: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        std::fs::write(&signed.cert, cert).unwrap();
        private(&signed.key, &key.serialize_pem());
        signed
    }
}

/// A file that only its owner may read.
pub fn private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
