//! Whose data directory this is: cluster, node and disk.
//!
//! A node that lost its disk must not vote again under its old id, so every directory gets a disk id of its own when it
//! is first used. One process at a time uses a directory.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::{self, CodecError, Kind};
use super::durable;
use super::open::GroupDirs;
use super::types::{DiskId, NodeId};

const IDENTITY: &str = "identity";
const LOCK: &str = "lock";

/// What the directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `None` until the node belongs to a cluster.
    pub cluster_id: Option<Uuid>,
    pub node_id: NodeId,
    pub disk_id: DiskId,
    /// The disks that this node knows the members by.
    #[serde(default)]
    pub members: BTreeMap<NodeId, DiskId>,
}

/// What to do where a node's data is lost. There is no other way yet to have as many nodes again.
pub const GO_ON_WITHOUT: &str = "The others go on without this node while they are a majority. It must start neither with an \
     empty directory nor with an older copy of its own: it would have forgotten what it promised them. To have as many \
     nodes again, export from the cluster and import into a new one";

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the data directory (--data-dir) can't be used: {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{dir} is in use by another process: stop that one first")]
    InUse { dir: PathBuf },
    #[error(
        "{path} can't be read: {source}. Check the disk; the file can't be made again from anything else"
    )]
    Damaged { path: PathBuf, source: CodecError },
    #[error(
        "{dir} belongs to node {found}, and this is node {configured}: give the node its own --data-dir, or start it \
         with --node-id {found}"
    )]
    OtherNode { dir: PathBuf, found: NodeId, configured: NodeId },
    #[error(
        "{dir} holds a log or snapshots, but not the file that says whose they are: put {IDENTITY} back. {GO_ON_WITHOUT}"
    )]
    IdentityLost { dir: PathBuf },
    #[error("{dir} is no data directory of a node: it holds no file {IDENTITY}")]
    NoDataDir { dir: PathBuf },
}

impl IdentityError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> IdentityError + '_ {
        |source| IdentityError::Io { path: path.to_owned(), source }
    }
}

/// Keeps other processes from a data directory as long as it lives.
#[derive(Debug)]
pub struct DataDirLock {
    /// The lock is the open file's: the system gives it back when the process ends, however it ends.
    _file: File,
}

impl DataDirLock {
    /// Does not wait: fails with [`IdentityError::InUse`].
    pub fn acquire(data_dir: &Path) -> Result<DataDirLock, IdentityError> {
        let path = data_dir.join(LOCK);
        let options = File::options().write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(IdentityError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(IdentityError::InUse { dir: data_dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(IdentityError::Io { path, source }),
        }
    }
}

/// The identity, and the right to use its directory.
#[derive(Debug)]
pub struct IdentityFile {
    path: PathBuf,
    identity: Identity,
    _lock: DataDirLock,
}

impl IdentityFile {
    /// Locks the directory and reads its identity, or makes both where there is nothing yet, with `new_disk`. Blocks on the disk.
    pub fn open(data_dir: &Path, node_id: NodeId, new_disk: DiskId) -> Result<IdentityFile, IdentityError> {
        durable::create_dir(data_dir).map_err(IdentityError::io(data_dir))?;
        let lock = DataDirLock::acquire(data_dir)?;
        durable::remove_temporary_files(data_dir).map_err(IdentityError::io(data_dir))?;
        let path = data_dir.join(IDENTITY);
        let Some(identity) = read(&path)? else {
            if GroupDirs::of(data_dir).hold_data().map_err(IdentityError::io(data_dir))? {
                return Err(IdentityError::IdentityLost { dir: data_dir.to_owned() });
            }
            let identity =
                Identity { cluster_id: None, node_id, disk_id: new_disk, members: BTreeMap::new() };
            write(&path, &identity)?;
            return Ok(IdentityFile { path, identity, _lock: lock });
        };
        if identity.node_id != node_id {
            let (found, configured) = (identity.node_id, node_id);
            return Err(IdentityError::OtherNode { dir: data_dir.to_owned(), found, configured });
        }
        Ok(IdentityFile { path, identity, _lock: lock })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Replaces the identity, durably. Blocks on the disk.
    pub fn store(&mut self, identity: Identity) -> Result<(), IdentityError> {
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

/// Locks the directory of a stopped node and reads its identity; changes nothing.
pub fn inspect(data_dir: &Path) -> Result<(Identity, DataDirLock), IdentityError> {
    let path = data_dir.join(IDENTITY);
    if !path.exists() {
        return Err(IdentityError::NoDataDir { dir: data_dir.to_owned() });
    }
    let lock = DataDirLock::acquire(data_dir)?;
    let identity = read(&path)?.ok_or_else(|| IdentityError::NoDataDir { dir: data_dir.to_owned() })?;
    Ok((identity, lock))
}

fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let frame = match fs::read(path) {
        Ok(frame) => frame,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Io { path: path.to_owned(), source }),
    };
    let identity = codec::decode(Kind::Identity, &frame);
    identity.map(Some).map_err(|source| IdentityError::Damaged { path: path.to_owned(), source })
}

fn write(path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let frame = codec::encode(Kind::Identity, identity)
        .map_err(|source| IdentityError::Damaged { path: path.to_owned(), source })?;
    durable::write(path, &frame).map_err(IdentityError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: DiskId = DiskId(Uuid::from_u128(1));
    const OTHER_DISK: DiskId = DiskId(Uuid::from_u128(2));

    #[test]
    fn a_directory_keeps_its_identity_and_gets_a_disk_of_its_own() {
        let one = tempfile::tempdir().unwrap();
        let mut file = IdentityFile::open(one.path(), 1, DISK).unwrap();
        let mut identity = file.identity().clone();
        assert_eq!(identity.disk_id, DISK);
        identity.cluster_id = Some(Uuid::from_u128(7));
        identity.members = BTreeMap::from([(1, identity.disk_id), (2, DiskId(Uuid::from_u128(2)))]);
        file.store(identity.clone()).unwrap();
        drop(file);
        assert_eq!(IdentityFile::open(one.path(), 1, OTHER_DISK).unwrap().identity(), &identity);
        assert_eq!(inspect(one.path()).unwrap().0, identity);
    }

    #[test]
    fn one_process_uses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = IdentityFile::open(dir.path(), 1, DISK).unwrap();
        assert!(matches!(IdentityFile::open(dir.path(), 1, DISK), Err(IdentityError::InUse { .. })));
        assert!(matches!(inspect(dir.path()), Err(IdentityError::InUse { .. })));
        drop(file);
        assert!(IdentityFile::open(dir.path(), 1, DISK).is_ok());
    }

    #[test]
    fn another_nodes_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(IdentityFile::open(dir.path(), 1, DISK).unwrap());
        let refused = IdentityFile::open(dir.path(), 2, DISK).unwrap_err();
        assert!(matches!(refused, IdentityError::OtherNode { found: 1, configured: 2, .. }), "{refused}");
    }

    #[test]
    fn data_without_an_identity_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(IdentityFile::open(dir.path(), 1, DISK).unwrap());
        drop(super::super::tests::support::open(dir.path()).unwrap());
        fs::remove_file(dir.path().join(IDENTITY)).unwrap();
        let refused = IdentityFile::open(dir.path(), 1, DISK).unwrap_err();
        assert!(matches!(refused, IdentityError::IdentityLost { .. }), "{refused}");
        assert!(matches!(inspect(dir.path()), Err(IdentityError::NoDataDir { .. })));
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(IdentityFile::open(dir.path(), 1, DISK).unwrap());
        let path = dir.path().join(IDENTITY);
        let mut frame = fs::read(&path).unwrap();
        *frame.last_mut().unwrap() ^= 1;
        fs::write(&path, frame).unwrap();
        assert!(matches!(IdentityFile::open(dir.path(), 1, DISK), Err(IdentityError::Damaged { .. })));
    }
}
