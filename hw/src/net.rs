//! Network interfaces: byte counters, and the throughput they show between two looks.
//!
//! Format, from `Documentation/ABI/testing/sysfs-class-net-statistics`: `/sys/class/net/IF/statistics/rx_bytes` and
//! `tx_bytes`, since the interface came up. The default route stands in `/proc/net/route`.

use crate::error::Result;
use crate::root::{Node, Root};
use crate::units::Seconds;

const CLASS_DIR: &str = "/sys/class/net";

/// Bytes that have passed an interface since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// What passed per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Bits received per second.
    pub received_bps: f64,
    /// Bits sent per second.
    pub sent_bps: f64,
}

impl Traffic {
    /// What passed since `earlier`; `None` if the interface was reset in between.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            received_bytes: self.received_bytes.checked_sub(earlier.received_bytes)?,
            sent_bytes: self.sent_bytes.checked_sub(earlier.sent_bytes)?,
        })
    }

    /// The mean throughput since `earlier`, `elapsed` ago; `None` if the interface was reset or no time has passed.
    ///
    /// It is passive: it tells what was sent, which is at most what the link could have carried.
    pub fn throughput_since(&self, earlier: &Self, elapsed: Seconds) -> Option<Throughput> {
        let passed = self.since(earlier)?;
        let bps = |bytes: u64| bytes as f64 * 8.0 / elapsed.0;
        (elapsed.0 > 0.0).then(|| Throughput {
            received_bps: bps(passed.received_bytes),
            sent_bps: bps(passed.sent_bytes),
        })
    }
}

/// One interface's counters, kept open.
#[derive(Debug)]
pub struct Interface {
    name: String,
    received: Node,
    sent: Node,
}

impl Interface {
    /// Opens the counters of the interface `name`, such as `wlan0`.
    pub fn open(root: &Root, name: &str) -> Result<Self> {
        let node = |file: &str| root.open(format!("{CLASS_DIR}/{name}/statistics/{file}"));
        Ok(Self {
            name: name.to_owned(),
            received: node("rx_bytes")?,
            sent: node("tx_bytes")?,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The counters just now.
    pub fn read(&mut self) -> Result<Traffic> {
        Ok(Traffic {
            received_bytes: self.received.read_number()?,
            sent_bytes: self.sent.read_number()?,
        })
    }
}

/// The names of all interfaces, loopback included.
pub fn interfaces(root: &Root) -> Result<Vec<String>> {
    // `bonding_masters` is a plain file among the interfaces.
    let is_interface = |name: &String| root.exists(format!("{CLASS_DIR}/{name}/statistics"));
    Ok(root.list(CLASS_DIR)?.into_iter().filter(is_interface).collect())
}

/// The interface of the default route with the lowest metric, if there is one.
pub fn default_interface(root: &Root) -> Result<Option<String>> {
    Ok(default_route(&root.read_text("/proc/net/route")?).map(str::to_owned))
}

/// The table of `/proc/net/route`: `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, numbers in hexadecimal
/// except the metric.
fn default_route(table: &str) -> Option<&str> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_default = columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000");
        let metric: u32 = columns.get(6)?.parse().ok()?;
        is_default.then_some((metric, *columns.first()?))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_bits_per_second_and_a_reset_is_none() {
        let earlier = Traffic {
            received_bytes: 1000,
            sent_bytes: 5000,
        };
        let now = Traffic {
            received_bytes: 2000,
            sent_bytes: 5000,
        };
        let throughput = now.throughput_since(&earlier, Seconds(0.5)).unwrap();
        assert_eq!(
            throughput,
            Throughput {
                received_bps: 16000.0,
                sent_bps: 0.0
            }
        );
        assert_eq!(earlier.throughput_since(&now, Seconds(0.5)), None);
        assert_eq!(now.throughput_since(&earlier, Seconds(0.0)), None);
    }

    #[test]
    fn the_default_route_is_the_one_with_the_lowest_metric() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t1\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_route(table), Some("eth0"));
        for junk in ["", "Iface\n", "a\nb c d\n", "h\nx 00000000 0 0 0 0 y 00000000\n"] {
            assert_eq!(default_route(junk), None);
        }
    }

    #[test]
    fn counters_are_read_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let statistics = root.path("/sys/class/net/wlan0/statistics");
        std::fs::create_dir_all(&statistics).unwrap();
        std::fs::write(statistics.join("rx_bytes"), "12\n").unwrap();
        std::fs::write(statistics.join("tx_bytes"), "34\n").unwrap();
        std::fs::write(root.path("/sys/class/net/bonding_masters"), "").unwrap();
        assert_eq!(interfaces(&root).unwrap(), ["wlan0"]);
        let mut interface = Interface::open(&root, "wlan0").unwrap();
        assert_eq!(
            interface.read().unwrap(),
            Traffic {
                received_bytes: 12,
                sent_bytes: 34
            }
        );
        assert!(Interface::open(&root, "eth0").is_err());
        for junk in ["", "x", "-1", "99999999999999999999"] {
            std::fs::write(statistics.join("tx_bytes"), junk).unwrap();
            assert!(interface.read().is_err(), "{junk:?}");
        }
    }
}
