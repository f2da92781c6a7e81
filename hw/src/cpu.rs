//! The CPU: how busy it is, which cores there are, and on which of them a thread may run.

use crate::error::{Error, Result};
use crate::root::{Node, Root};
use crate::units::Seconds;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use procfs_core::{FromBufRead, Meminfo};
use std::path::Path;

/// Unit of `/proc/stat`: the kernel's `USER_HZ`, 100 on every architecture Linux boards use.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// Cumulative CPU time of the whole machine since boot, summed over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTimes {
    /// `user + nice + system`: what PowerJoular's models count as busy.
    pub busy: Seconds,
    /// Idle, waiting for I/O included.
    pub idle: Seconds,
    /// Everything else the CPU did: interrupts, and time stolen by a hypervisor.
    pub other: Seconds,
    /// Number of cores the figures cover.
    pub cores: usize,
}

impl CpuTimes {
    /// All time that passed, over all cores.
    pub fn total(&self) -> Seconds {
        self.busy + self.idle + self.other
    }

    /// Share of the time since `earlier` that was not idle, 0 to 1; `None` if no tick passed.
    pub fn utilisation_since(&self, earlier: &CpuTimes) -> Option<f64> {
        let total = (self.total() - earlier.total()).0;
        let idle = (self.idle - earlier.idle).0;
        (total > 0.0).then(|| (1.0 - idle / total).clamp(0.0, 1.0))
    }
}

/// Reads `/proc/stat` again and again.
#[derive(Debug)]
pub struct CpuTimesReader {
    node: Node,
}

impl CpuTimesReader {
    /// Opens `/proc/stat` below `root`.
    pub fn open(root: &Root) -> Result<Self> {
        Ok(Self {
            node: root.open("/proc/stat")?,
        })
    }

    /// The times just now.
    pub fn read(&mut self) -> Result<CpuTimes> {
        match parse_stat(self.node.read()?) {
            Some(times) => Ok(times),
            None => Err(self.node.malformed("the `cpu` lines of /proc/stat")),
        }
    }
}

/// The `cpu` lines of `/proc/stat`, without allocating: the models that follow the load read them at every tick. The
/// rest of the file (interrupt counts, kilobytes of them) is not looked at.
fn parse_stat(bytes: &[u8]) -> Option<CpuTimes> {
    let mut lines = bytes
        .split(|&b| b == b'\n')
        .map_while(|line| line.strip_prefix(b"cpu"));
    let total = lines.next().filter(|rest| rest.starts_with(b" "))?;
    let is_core = |rest: &&[u8]| rest.first().is_some_and(u8::is_ascii_digit);
    let cores = lines.take_while(is_core).count();
    let mut ticks = std::str::from_utf8(total).ok()?.split_ascii_whitespace();
    let mut required = || ticks.next()?.parse::<u64>().ok();
    let [user, nice, system, idle] = [required()?, required()?, required()?, required()?];
    // Kernels of old show fewer columns; one that is there has to be a number.
    let mut optional = || ticks.next().map_or(Some(0), |text| text.parse::<u64>().ok());
    let [iowait, irq, softirq, steal] = [optional()?, optional()?, optional()?, optional()?];
    let seconds = |ticks: u64| Seconds(ticks as f64 / TICKS_PER_SECOND as f64);
    Some(CpuTimes {
        busy: seconds(user.checked_add(nice)?.checked_add(system)?),
        idle: seconds(idle.checked_add(iowait)?),
        other: seconds(irq.checked_add(softirq)?.checked_add(steal)?),
        cores: cores.max(1),
    })
}

/// Memory of the machine in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Installed.
    pub total_bytes: u64,
    /// Available to new programs without swapping.
    pub available_bytes: u64,
}

/// Reads `/proc/meminfo` below `root`.
pub fn memory(root: &Root) -> Result<Memory> {
    let bytes = root.read("/proc/meminfo")?;
    let info = Meminfo::from_buf_read(bytes.as_slice())
        .map_err(|_| Error::malformed(&root.path("/proc/meminfo"), &bytes, "the lines of /proc/meminfo"))?;
    Ok(Memory {
        total_bytes: info.mem_total,
        available_bytes: info.mem_available.unwrap_or(info.mem_free),
    })
}

/// The cores that are online, ascending.
pub fn online_cores(root: &Root) -> Result<Vec<usize>> {
    let path = "/sys/devices/system/cpu/online";
    let text = root.read_text(path)?;
    parse_cpu_list(&text)
        .map_err(|_| Error::malformed(&root.path(path), text.as_bytes(), "a list such as 0-3,5"))
}

/// A list of cores as the kernel writes it and `--cpus` takes it: `0-3,5`.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>> {
    let wrong = || {
        Error::unsupported(
            format!("CPU list {text:?}"),
            "write cores and ranges separated by commas, such as 0-3,5",
        )
    };
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= CpuSet::count() {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

/// Keeps the calling thread (and threads and processes it starts from now on) on some cores; the previous
/// set is restored on drop.
#[derive(Debug)]
pub struct Affinity {
    thread: Pid,
    previous: CpuSet,
}

impl Affinity {
    /// Pins the calling thread to `cores`. Cores that do not exist or may not be used are an error.
    pub fn pin(cores: &[usize]) -> Result<Self> {
        let what = || format!("pinning to CPUs {cores:?}");
        let thread = nix::unistd::gettid();
        let previous = sched_getaffinity(thread).map_err(|e| Error::os(what(), e))?;
        let mut wanted = CpuSet::new();
        for &core in cores {
            let allowed = previous.is_set(core).unwrap_or(false);
            if !allowed {
                let why = format!(
                    "CPU {core} is offline or not allowed to this process; see `nproc` and `taskset -p $$`"
                );
                return Err(Error::unsupported(what(), why));
            }
            wanted.set(core).map_err(|e| Error::os(what(), e))?;
        }
        sched_setaffinity(thread, &wanted).map_err(|e| Error::os(what(), e))?;
        Ok(Self { thread, previous })
    }

    /// The set that is restored on drop.
    pub(crate) fn previous(&self) -> &CpuSet {
        &self.previous
    }

    /// The cores the calling thread may run on, ascending.
    pub fn current() -> Result<Vec<usize>> {
        let set =
            sched_getaffinity(nix::unistd::gettid()).map_err(|e| Error::os("reading the CPU affinity", e))?;
        Ok((0..CpuSet::count())
            .filter(|&core| set.is_set(core).unwrap_or(false))
            .collect())
    }
}

impl Drop for Affinity {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(self.thread, &self.previous) {
            tracing::warn!("cannot restore the CPU affinity: {error}");
        }
    }
}

/// What `probe` says about the CPU.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CpuInfo {
    /// Model name, where the kernel gives one.
    pub model: Option<String>,
    /// Number of online cores.
    pub cores: usize,
    /// The frequency governor of the first core, where there is frequency scaling.
    pub governor: Option<String>,
    /// Highest frequency in hertz, where it is known.
    pub max_hz: Option<f64>,
    /// Installed memory in bytes, where it is known.
    pub memory_bytes: Option<u64>,
}

impl CpuInfo {
    /// Looks at the CPU below `root`.
    pub fn read(root: &Root) -> Self {
        let cpuinfo = root.read_text("/proc/cpuinfo").unwrap_or_default();
        let field = |name| crate::board::cpuinfo_field(&cpuinfo, name);
        let cpufreq = Path::new("/sys/devices/system/cpu/cpu0/cpufreq");
        let max_khz = root.read_number::<f64>(cpufreq.join("cpuinfo_max_freq")).ok();
        Self {
            model: field("model name").or_else(|| field("Hardware")),
            cores: core_count(root),
            governor: root.read_text(cpufreq.join("scaling_governor")).ok(),
            max_hz: max_khz.map(|khz| khz * 1e3).or_else(|| {
                field("cpu MHz")
                    .and_then(|mhz| mhz.parse::<f64>().ok())
                    .map(|mhz| mhz * 1e6)
            }),
            memory_bytes: memory(root).ok().map(|m| m.total_bytes),
        }
    }
}

/// Number of online cores: from sysfs, else the `processor` lines of `/proc/cpuinfo`, else 1.
pub fn core_count(root: &Root) -> usize {
    if let Ok(cores) = online_cores(root) {
        return cores.len();
    }
    let cpuinfo = root.read_text("/proc/cpuinfo").unwrap_or_default();
    let listed = cpuinfo
        .lines()
        .filter(|line| line.split(':').next().map(str::trim) == Some("processor"))
        .count();
    listed.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 80 700 50 5 15 30 0 0\ncpu0 50 10 40 350 25 3 7 15 0 0\n\
        cpu1 50 10 40 350 25 2 8 15 0 0\nintr 12345 0 0\n";

    #[test]
    fn times_are_split_into_busy_idle_and_other() {
        let times = parse_stat(STAT.as_bytes()).unwrap();
        assert_eq!(times.busy, Seconds(2.0));
        assert_eq!(times.idle, Seconds(7.5));
        assert_eq!(times.other, Seconds(0.5));
        assert_eq!(times.cores, 2);
    }

    #[test]
    fn utilisation_is_none_when_no_tick_passed_and_never_nan() {
        let a = parse_stat(b"cpu  100 0 100 800\n").unwrap();
        let b = parse_stat(b"cpu  150 0 100 850\n").unwrap();
        assert_eq!(b.utilisation_since(&a), Some(0.5));
        assert_eq!(a.utilisation_since(&a), None);
    }

    #[test]
    fn junk_is_no_times() {
        for junk in [
            "",
            "cpu",
            "cpu x y z w",
            "intr 1 2 3\n",
            "cpu  99999999999999999999999 0 0 0\n",
            "cpu  1 2 3 4 5 x\n",
            "cpu  18446744073709551615 1 0 0\n",
            "cpu0 1 2 3 4\n",
        ] {
            assert!(parse_stat(junk.as_bytes()).is_none(), "{junk:?}");
        }
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,5\n").unwrap(), [0, 1, 2, 3, 5]);
        assert_eq!(parse_cpu_list("2").unwrap(), [2]);
        for bad in ["", "a", "3-1", "1-", "-1", "99999999"] {
            assert!(parse_cpu_list(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn affinity_is_restored_on_drop() {
        let before = Affinity::current().unwrap();
        {
            let _pinned = Affinity::pin(&before[..1]).unwrap();
            assert_eq!(Affinity::current().unwrap(), before[..1]);
            let error = Affinity::pin(&[CpuSet::count() - 1]).unwrap_err();
            assert!(error.to_string().contains("not allowed"), "{error}");
        }
        assert_eq!(Affinity::current().unwrap(), before);
    }
}
