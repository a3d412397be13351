//! openraft's own suite for storage.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::support::open;
use crate::replication::{LogStore, StateMachine, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path()).unwrap();
        Ok((dir, storage.log, storage.state_machine))
    }
}

#[tokio::test]
async fn storage_conforms() {
    Suite::test_all(Builder).await.unwrap();
}
