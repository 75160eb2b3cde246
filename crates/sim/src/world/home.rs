//! Where a device's database is, and what a power cut leaves of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use engine::{Database, MemoryHandle};

use crate::violation::Violation;

/// Where a device's database is.
pub enum Home {
    /// In memory, under a name. What was committed is there after a crash, whether anybody had it synced or not.
    Memory {
        /// The database's name, unique in this process.
        name: String,
        /// Keeps it while no engine does.
        held: MemoryHandle,
    },
    /// In files, as people have it.
    Files(Profile),
}

impl Home {
    /// In memory.
    pub fn in_memory(name: String) -> Result<Self, Violation> {
        let held = MemoryHandle::new(&name).map_err(|error| Violation::new("I9", error.to_string()))?;
        Ok(Self::Memory { name, held })
    }

    /// How an engine opens it.
    pub(super) fn database(&self) -> Database {
        match self {
            Self::Memory { name, .. } => Database::Memory { name: name.clone() },
            Self::Files(profile) => Database::File { directory: profile.directory.clone(), passphrase: None },
        }
    }
}

/// A profile's directory, in a process whose calls to `fsync` are watched: `tests/scenarios/shim/cut.c` keeps in `synced` what was on the
/// disk at each of them.
#[derive(Debug, Clone)]
pub struct Profile {
    directory: PathBuf,
    synced: PathBuf,
    cuts: u32,
}

impl Profile {
    /// An empty one at `directory`; `synced` is where the shim keeps what was synced.
    pub fn new(directory: PathBuf, synced: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, synced, cuts: 0 })
    }

    /// What is there after a power cut at this moment, in a directory of its own: the names that the directory had when it was last
    /// synced, each file with the bytes that it had when it was, and nothing in a file that never was.
    pub fn after_power_cut(&self) -> io::Result<Self> {
        let cuts = self.cuts + 1;
        let directory = self.directory.with_extension(cuts.to_string());
        fs::create_dir_all(&directory)?;
        let names = fs::read_to_string(self.kept("names", &self.directory)?)?;
        for (inode, name) in names.lines().filter_map(|line| line.split_once(' ')) {
            let file = directory.join(name);
            match fs::read(self.synced.join("bytes").join(inode)) {
                Ok(bytes) => fs::write(&file, bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(&file, [])?,
                Err(error) => return Err(error),
            }
            // This is what is on the disk now.
            File::open(&file)?.sync_all()?;
        }
        File::open(&directory)?.sync_all()?;
        Ok(Self { directory, synced: self.synced.clone(), cuts })
    }

    fn kept(&self, kind: &str, of: &Path) -> io::Result<PathBuf> {
        Ok(self.synced.join(kind).join(fs::metadata(of)?.ino().to_string()))
    }
}
