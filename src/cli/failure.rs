//! Why a subcommand did not do what it was asked, and the exit code that says so.

use crate::client::ClientError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Refused by the cluster, or tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The command line can't be meant.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// The environment, the configuration file or what they name can't be right.
    #[error("bad configuration: {0}")]
    Configuration(String),
}

impl Failure {
    /// 1, 2, or 78 (`EX_CONFIG` of sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Configuration(_) => 78,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let advice = match &error {
            ClientError::Malformed { .. } => {
                "\nIs --endpoint a client address, and not that for the peers?".to_owned()
            }
            ClientError::Unreachable { .. } => {
                "\nIs it running, and is --endpoint one of its client addresses?".to_owned()
            }
            ClientError::OutcomeUnknown { key: Some(key), .. } => {
                format!("\nThe same command with --idempotency-key {key} tells, and can't do it twice.")
            }
            _ => String::new(),
        };
        Failure::Failed(format!("{error}{advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_contract_s() {
        let text = || "x".to_owned();
        let codes = [Failure::Failed(text()), Failure::Usage(text()), Failure::Configuration(text())];
        assert_eq!(codes.map(|failure| failure.exit_code()), [1, 2, 78]);
    }

    #[test]
    fn an_unknown_outcome_names_the_key_that_makes_a_retry_safe() {
        let error = ClientError::OutcomeUnknown { key: Some("k-1".into()), reason: "no answer".into() };
        let failure = Failure::from(error);
        assert!(failure.to_string().contains("--idempotency-key k-1"), "{failure}");
        assert_eq!(failure.exit_code(), 1);
    }
}
