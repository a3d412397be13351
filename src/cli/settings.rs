//! Where settings come from: flags over `INNKEEPER_*` variables over the `--config` file over defaults.
//!
//! A wrong flag is a usage error (clap ends the process with 2); a wrong variable or file is bad configuration (78),
//! which a supervisor takes as "don't restart".

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::failure::Failure;
use super::output::Format;

/// What `--config` may hold. One file may serve all subcommands: each takes what it knows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub log: Option<LogFilter>,
    pub output: Option<Format>,
    pub endpoint: Option<Endpoints>,
    pub node_id: Option<u64>,
    pub data_dir: Option<PathBuf>,
    pub client_addr: Option<Address>,
    pub peer_addr: Option<Address>,
    pub initial_cluster: Option<InitialCluster>,
    pub history_days: Option<u64>,
    pub history_mib: Option<u64>,
    pub nodes: Option<u16>,
    pub base_port: Option<u16>,
}

type Variable = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The variables and the file; flags are handed to [`Sources::pick`].
pub(super) struct Sources {
    variable: Box<Variable>,
    file: File,
    has_file: bool,
}

impl Sources {
    /// Those of this process. `config` is the file that the flag names.
    pub fn of_process(config: Option<PathBuf>) -> Result<Sources, Failure> {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Sources::new(config, variable)
    }

    fn new(
        config: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Sources, Failure> {
        // An empty variable is an unset one: that is how service managers and compose files unset.
        let variable = move |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = config.or_else(|| variable("INNKEEPER_CONFIG").map(PathBuf::from));
        let file = match &path {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Failure::Configuration(format!("{} can't be read: {error}", path.display()))
                })?;
                toml::from_str(&text)
                    .map_err(|error| Failure::Configuration(format!("{}: {error}", path.display())))?
            }
        };
        Ok(Sources { variable: Box::new(variable), file, has_file: path.is_some() })
    }

    /// The first source that has the setting.
    pub fn pick<T>(
        &self,
        flag: Option<T>,
        variable: &str,
        in_file: impl FnOnce(&File) -> Option<T>,
    ) -> Result<Option<T>, Failure>
    where
        T: FromStr<Err: Display>,
    {
        if flag.is_some() {
            return Ok(flag);
        }
        match (self.variable)(variable) {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|error| Failure::Configuration(format!("{variable} is `{text}`: {error}"))),
            None => Ok(in_file(&self.file)),
        }
    }

    /// What to say when no source has a setting that is needed.
    pub fn missing(&self, flag: &str, variable: &str) -> Failure {
        let key = flag.trim_start_matches('-').replace('-', "_");
        if self.has_file {
            Failure::Configuration(format!(
                "{key} is missing; set it in the file, as {variable}, or with {flag}"
            ))
        } else {
            Failure::Usage(format!(
                "{flag} is required, or {variable}, or {key} in the file that --config names"
            ))
        }
    }
}

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(pub String);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let good = text.rsplit_once(':').is_some_and(|(host, port)| {
            let host_good = !host.is_empty()
                && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | ',' | '='))
                && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
            host_good && port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+')
        });
        if good {
            Ok(Address(text.to_owned()))
        } else {
            Err("expected host:port, as in 127.0.0.1:7101".to_owned())
        }
    }
}

/// `1=host:port,2=host:port,…`: every member's peer address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InitialCluster(pub BTreeMap<u64, String>);

impl FromStr for InitialCluster {
    type Err = String;

    fn from_str(text: &str) -> Result<InitialCluster, String> {
        let mut members = BTreeMap::new();
        for member in text.split(',').map(str::trim) {
            let (id, address) = member
                .split_once('=')
                .ok_or_else(|| format!("`{member}` is no member; expected 1=host:port,2=host:port,…"))?;
            let id: u64 =
                id.trim().parse().map_err(|_| format!("`{id}` is no node id; expected a number"))?;
            let Address(address) =
                address.trim().parse().map_err(|error| format!("the address of node {id}: {error}"))?;
            if members.values().any(|other| *other == address) {
                return Err(format!("{address} is given to two nodes"));
            }
            if members.insert(id, address).is_some() {
                return Err(format!("node {id} is given twice"));
            }
        }
        Ok(InitialCluster(members))
    }
}

/// Client addresses: comma-separated in a flag or a variable, an array or one such text in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints(pub Vec<String>);

impl FromStr for Endpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoints, String> {
        Ok(Endpoints(
            text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect(),
        ))
    }
}

impl<'de> Deserialize<'de> for Endpoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Endpoints, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a URL or an array of URLs")]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => text.parse().map_err(de::Error::custom),
            OneOrMany::Many(all) => Ok(Endpoints(all)),
        }
    }
}

/// Directives of `tracing`, which were understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogFilter(pub String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFilter, String> {
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(error) => Err(format!("expected a filter as `info` or `innkeeper=debug`: {error}")),
        }
    }
}

macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

from_text!(Address, InitialCluster, LogFilter);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn sources(text: &str, variables: &[(&'static str, &'static str)]) -> Result<Sources, Failure> {
        let file = file(text);
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Sources::new(Some(file.path().to_owned()), move |name| {
            variables.get(name).map(|text| (*text).to_owned())
        })
    }

    #[test]
    fn flags_go_before_variables_and_variables_before_the_file() {
        let pick = |flag, variables, text| {
            sources(text, variables).unwrap().pick(flag, "INNKEEPER_NODE_ID", |file| file.node_id).unwrap()
        };
        let variable: &[(&str, &str)] = &[("INNKEEPER_NODE_ID", "2")];
        let empty: &[(&str, &str)] = &[("INNKEEPER_NODE_ID", "")];
        assert_eq!(pick(Some(1), variable, "node_id = 3"), Some(1));
        assert_eq!(pick(None, variable, "node_id = 3"), Some(2));
        assert_eq!(pick(None, empty, "node_id = 3"), Some(3));
        assert_eq!(pick(None, &[], "node_id = 3"), Some(3));
        assert_eq!(pick(None, &[], ""), None);
    }

    #[test]
    fn a_variable_that_can_t_be_read_is_bad_configuration_unless_a_flag_hides_it() {
        let sources = sources("node_id = 3", &[("INNKEEPER_NODE_ID", "two")]).unwrap();
        let failure = sources.pick(None, "INNKEEPER_NODE_ID", |file| file.node_id).unwrap_err();
        assert_eq!(failure.exit_code(), 78);
        assert!(failure.to_string().contains("INNKEEPER_NODE_ID is `two`"), "{failure}");
        assert_eq!(sources.pick(Some(1), "INNKEEPER_NODE_ID", |file| file.node_id).unwrap(), Some(1));
    }

    #[test]
    fn a_wrong_file_is_bad_configuration_that_names_it() {
        for (text, named) in [
            ("node-id = 1", "node-id"),
            ("join = \"http://a:1\"", "join"),
            ("node_id = \"one\"", "node_id"),
            ("node_id = 1\nnode_id = 2", "node_id"),
            ("client_addr = \"nowhere\"", "host:port"),
            ("initial_cluster = \"1\"", "1=host:port"),
            ("output = \"xml\"", "output"),
            ("log = \"=/=\"", "filter"),
            ("endpoint = 7", "URL"),
            ("[[[", "3"),
        ] {
            let Err(failure) = sources(text, &[]) else { panic!("`{text}` was taken") };
            assert_eq!(failure.exit_code(), 78, "{text}");
            assert!(failure.to_string().contains(named), "`{text}`: {failure}");
        }
        let Err(failure) = Sources::new(Some("/nowhere/at/all.toml".into()), |_| None) else {
            panic!("a missing file was taken")
        };
        assert_eq!(failure.exit_code(), 78);
        assert!(failure.to_string().contains("/nowhere/at/all.toml"), "{failure}");
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = r#"
            log = "innkeeper=debug"
            output = "json"
            endpoint = ["http://a:1", "http://b:2"]
            node_id = 1
            data_dir = "/data"
            client_addr = "127.0.0.1:1"
            peer_addr = "[::1]:2"
            initial_cluster = "1=[::1]:2, 2=b:2"
        "#;
        let file = sources(text, &[]).unwrap().file;
        assert_eq!(file.endpoint, Some(Endpoints(vec!["http://a:1".into(), "http://b:2".into()])));
        assert_eq!(file.output, Some(Format::Json));
        assert_eq!(file.peer_addr, Some(Address("[::1]:2".into())));
        let members = BTreeMap::from([(1, "[::1]:2".to_owned()), (2, "b:2".to_owned())]);
        assert_eq!(file.initial_cluster, Some(InitialCluster(members)));
    }

    #[test]
    fn the_file_may_be_named_by_a_variable() {
        let file = file("node_id = 9");
        let path = file.path().to_string_lossy().into_owned();
        let sources =
            Sources::new(None, move |name| (name == "INNKEEPER_CONFIG").then(|| path.clone())).unwrap();
        assert_eq!(sources.pick(None, "INNKEEPER_NODE_ID", |file| file.node_id).unwrap(), Some(9));
    }

    #[test]
    fn what_is_missing_is_a_usage_error_without_a_file_and_bad_configuration_with_one() {
        let with = sources("", &[]).unwrap();
        let without = Sources::new(None, |_| None).unwrap();
        assert_eq!(with.missing("--node-id", "INNKEEPER_NODE_ID").exit_code(), 78);
        let failure = without.missing("--node-id", "INNKEEPER_NODE_ID");
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("node_id in the file"), "{failure}");
    }

    #[test]
    fn addresses_and_members_are_whole() {
        for good in ["127.0.0.1:7101", "node-1.example:1", "[::1]:65535", "localhost:80"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "::1:80", "a b:1", "http://a:1", "a:1,b:1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        for bad in ["", "1", "1=", "x=a:1", "1=a:1,", "1=a:1,1=b:1", "1=a:1,2=a:1", "-1=a:1"] {
            assert!(bad.parse::<InitialCluster>().is_err(), "{bad}");
        }
    }
}
