//! Signatures of modules: a key of one's own, modules that are signed with it, and a kernel that trusts it.
//!
//! The machines of these tests have no firmware whose owner could enrol a key. So its certificate takes the
//! place of the one that the distribution built into the image.

use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use linker::KernelImage;
use std::path::{Path, PathBuf};

/// A key and its certificate, in PEM.
#[derive(Debug)]
pub struct Key {
    dir: tempfile::TempDir,
}

impl Key {
    /// A new key of somebody with this name.
    ///
    /// # Errors
    /// When openssl(1) cannot make it.
    pub fn new(owner: &str) -> Result<Self> {
        let key = Self { dir: tempfile::tempdir()? };
        Cmd::new("openssl")
            .args([
                "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "3650", "-subj",
            ])
            .arg(format!("/CN={owner}"))
            .arg("-keyout")
            .arg(key.private())
            .arg("-out")
            .arg(key.certificate())
            .run()?
            .ok()?;
        Ok(key)
    }

    /// The private key's file.
    pub fn private(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// The certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    /// Signs a module with the program of a prepared source tree.
    ///
    /// # Errors
    /// When that fails.
    pub fn sign(&self, tree: &Path, module: &Path) -> Result<()> {
        let program = Cmd::new(tree.join("scripts/sign-file")).arg("sha256");
        program.arg(self.private()).arg(self.certificate()).arg(module).run()?.ok().map(drop)
    }

    /// An unpacked image that trusts this key in place of the one that it was built with.
    ///
    /// # Errors
    /// When the image has no certificates, or none as long as this one.
    pub fn trusted_by(&self, image: &[u8]) -> Result<Vec<u8>> {
        let der = self.dir.path().join("certificate.der");
        Cmd::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(self.certificate())
            .arg("-out")
            .arg(&der)
            .run()?
            .ok()?;
        let certificate = std::fs::read(der)?;
        let read = KernelImage::read(image)?;
        // certs/system_certificates.S of the kernel's source.
        let place = |name: &str, length: u64| -> Result<usize> {
            let symbol = read.named(name).next().with_context(|| format!("no {name}"))?;
            let bytes = read.bytes(symbol.address, length).context("not in the image")?;
            Ok(bytes.as_ptr() as usize - image.as_ptr() as usize)
        };
        let (list, size) = (place("system_certificate_list", 8)?, place("system_certificate_list_size", 8)?);
        let room = u64::from_le_bytes(image[size..size + 8].try_into()?);
        ensure!((certificate.len() as u64) <= room, "{} bytes for {room}", certificate.len());
        let mut image = image.to_vec();
        image[list..list + certificate.len()].copy_from_slice(&certificate);
        let length = (certificate.len() as u64).to_le_bytes();
        image[size..size + 8].copy_from_slice(&length);
        // How much of the list is the certificate that the modules were signed with.
        let modules = place("module_cert_size", 8)?;
        image[modules..modules + 8].copy_from_slice(&length);
        Ok(image)
    }
}
