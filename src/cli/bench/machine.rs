//! How busy this machine is, from Linux's `/proc`. Nothing is known elsewhere.

/// Counters of the processor since the start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    all: u64,
    idle: u64,
    /// Of the idle ones, those in which something waited for a disk.
    waiting: u64,
}

/// Parts of a time span, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Busy {
    pub processor: f64,
    pub waiting_for_disk: f64,
}

impl Use {
    pub fn now() -> Option<Use> {
        Use::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    fn read(stat: &str) -> Option<Use> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|text| text.parse().ok()).collect();
        let (idle, waiting) = (*ticks.get(3)?, *ticks.get(4)?);
        Some(Use { all: ticks.iter().sum(), idle: idle + waiting, waiting })
    }

    pub fn since(self, before: Use) -> Busy {
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        let part = |now: u64, before: u64| now.saturating_sub(before) as f64 / all;
        Busy {
            processor: (1.0 - part(self.idle, before.idle)).max(0.0),
            waiting_for_disk: part(self.waiting, before.waiting),
        }
    }
}

/// Whether an endpoint is on this machine.
pub(super) fn is_here(endpoint: &reqwest::Url) -> bool {
    match endpoint.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_did_between_two_looks() {
        let before = Use::read("cpu  100 0 50 800 50 0 0 0 9 9\ncpu0 1 1 1 1 1\n").unwrap();
        let after = Use::read("cpu  160 0 90 820 130 0 0 0 9 9\n").unwrap();
        assert_eq!(after.since(before), Busy { processor: 0.5, waiting_for_disk: 0.4 });
        assert_eq!(Use::read("intr 1 2 3"), None);
        assert_eq!(Use::read("cpu  1 2"), None);
        let here = |text: &str| is_here(&text.parse().unwrap());
        assert!(here("http://127.0.0.1:7101") && here("http://localhost:1") && here("http://[::1]:1"));
        assert!(!here("http://10.0.0.1:7101") && !here("http://node-1:7101"));
    }
}
