//! Which object of a kernel exports which symbol: `Module.symvers`.

use std::collections::HashMap;

use crate::error::LinkError;

/// The exports of a kernel and of its modules.
#[derive(Clone, Debug, Default)]
pub struct Symvers {
    /// The object of each symbol, and its name space.
    exporters: HashMap<String, (String, String)>,
}

impl Symvers {
    /// Reads the text of `Module.symvers`: a line has the CRC, the symbol, the object without its ending, the
    /// kind of export, and its name space, with tabs between them.
    ///
    /// # Errors
    /// When a line has another form.
    pub fn read(text: &str) -> Result<Self, LinkError> {
        let mut exporters = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let mut fields = line.split('\t').skip(1);
            let (Some(symbol), Some(object)) = (fields.next(), fields.next()) else {
                return Err(LinkError::Elf {
                    file: "Module.symvers".to_owned(),
                    why: format!("line {} is not `CRC symbol object kind`", number + 1),
                });
            };
            let name_space = fields.nth(1).unwrap_or_default();
            exporters.insert(symbol.to_owned(), (object.to_owned(), name_space.to_owned()));
        }
        Ok(Self { exporters })
    }

    /// Which object exports a symbol.
    pub fn exporter(&self, symbol: &str) -> Option<KernelObject> {
        self.exporters.get(symbol).map(|(object, _)| KernelObject::of_path(object))
    }

    /// Does the kernel export a symbol to every module, without a name space that a module has to import?
    pub(super) fn is_open(&self, symbol: &str) -> bool {
        let exporter = self.exporters.get(symbol);
        exporter.is_some_and(|(object, name_space)| object == "vmlinux" && name_space.is_empty())
    }
}

/// An object that functions are patched in, or that has a symbol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelObject {
    /// The kernel itself.
    Kernel,
    /// A module, by the name that the kernel knows it by: without folder and ending, with `_` for `-`.
    Module(String),
}

impl KernelObject {
    /// The object at a path such as `drivers/net/dummy`, `dummy.ko` or `vmlinux`.
    pub fn of_path(path: &str) -> Self {
        let base = path.rsplit('/').next().unwrap_or(path);
        let base = base.split(".ko").next().unwrap_or(base);
        if base == "vmlinux" { Self::Kernel } else { Self::Module(base.replace('-', "_")) }
    }

    /// Its name in live patches.
    pub fn name(&self) -> &str {
        match self {
            Self::Kernel => "vmlinux",
            Self::Module(name) => name,
        }
    }
}
