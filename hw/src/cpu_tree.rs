//! CPU time of a process and all it starts, from `/proc/PID/stat`.
//!
//! A process that ends hands its time to the parent that waits for it, so the time of a tree is, over its living
//! processes, that of each and of the children it has waited for. What this cannot see: a process whose parent
//! ignores its end, between the last look and the end; and one that leaves the tree (a daemon) before it was seen.
//! The kernel counts in steps of 10 ms.

use crate::cpu::TICKS_PER_SECOND;
use crate::cpu_time::CpuTimeSource;
use crate::error::Result;
use crate::root::{Root, parse_number};
use crate::units::Seconds;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Children are looked for this often; one that comes and goes in between counts when its parent has waited for it.
const LIST_PERIOD: Duration = Duration::from_millis(100);

/// The process at the root of a tree, which may begin later than those who watch it.
#[derive(Clone, Debug, Default)]
pub struct TreeRoot(Arc<AtomicU32>);

impl TreeRoot {
    /// From now on the tree is that of this process.
    pub fn set(&self, pid: u32) {
        self.0.store(pid, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }
}

/// The CPU time of a tree of processes.
#[derive(Debug)]
pub struct TreeCpuTime {
    root: Root,
    first: TreeRoot,
    members: BTreeMap<u32, Member>,
    listed: Option<Instant>,
    /// Ticks of processes that ended and whose parent is not in the tree.
    ended: u64,
    total: u64,
}

/// What was last seen of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Member {
    parent: u32,
    /// Its time and that of the children it has waited for, in ticks.
    ticks: u64,
    /// When it began, which tells it from a later process with its number.
    began: u64,
}

impl TreeCpuTime {
    /// The tree below `first`, read below `root` (`/proc` of the running system: processes are always real).
    pub fn new(root: Root, first: TreeRoot) -> Self {
        Self {
            root,
            first,
            members: BTreeMap::new(),
            listed: None,
            ended: 0,
            total: 0,
        }
    }

    fn look(&mut self) {
        if let Some(first) = self.first.get() {
            self.adopt(first);
        }
        self.refresh();
        if self.listed.is_none_or(|listed| listed.elapsed() >= LIST_PERIOD) {
            self.list();
            self.listed = Some(Instant::now());
        }
        let living: u64 = self.members.values().map(|member| member.ticks).sum();
        // Between two looks at a parent and its child, the child's time may be seen nowhere for once.
        self.total = self.total.max(self.ended + living);
    }

    /// Reads every member again and lets go of those that ended.
    fn refresh(&mut self) {
        let pids: Vec<u32> = self.members.keys().copied().collect();
        for pid in pids {
            let now = self.stat(pid);
            let Some(member) = self.members.get_mut(&pid) else {
                continue;
            };
            match now.filter(|now| now.began == member.began) {
                Some(now) => *member = now,
                None => {
                    let gone = *member;
                    self.members.remove(&pid);
                    // A parent in the tree has waited for it and holds its time by now.
                    if !self.members.contains_key(&gone.parent) {
                        self.ended += gone.ticks;
                    }
                }
            }
        }
    }

    /// Looks for new children of every member, and theirs.
    fn list(&mut self) {
        let mut to_visit: Vec<u32> = self.members.keys().copied().collect();
        while let Some(pid) = to_visit.pop() {
            for child in self.children(pid) {
                if self.adopt(child) {
                    to_visit.push(child);
                }
            }
        }
    }

    /// True if the process was not known.
    fn adopt(&mut self, pid: u32) -> bool {
        if self.members.contains_key(&pid) {
            return false;
        }
        let Some(member) = self.stat(pid) else {
            return false;
        };
        self.members.insert(pid, member);
        true
    }

    /// The children of all threads of a process; none where the kernel does not tell (`CONFIG_PROC_CHILDREN`).
    fn children(&self, pid: u32) -> Vec<u32> {
        let tasks = PathBuf::from(format!("/proc/{pid}/task"));
        let threads = self.root.list(&tasks).unwrap_or_default();
        let lists = threads
            .iter()
            .filter_map(|thread| self.root.read(tasks.join(thread).join("children")).ok());
        lists.flat_map(|list| numbers(&list)).collect()
    }

    fn stat(&self, pid: u32) -> Option<Member> {
        parse_stat(&self.root.read(format!("/proc/{pid}/stat")).ok()?)
    }
}

impl CpuTimeSource for TreeCpuTime {
    /// Nothing before the tree's first process has begun. Never goes back.
    fn read(&mut self) -> Result<Seconds> {
        self.look();
        Ok(Seconds(self.total as f64 / TICKS_PER_SECOND as f64))
    }
}

/// Whether this kernel tells the children of a process.
pub fn is_supported(root: &Root) -> bool {
    let pid = std::process::id();
    root.exists(format!("/proc/{pid}/task/{pid}/children"))
}

fn numbers(list: &[u8]) -> Vec<u32> {
    list.split(u8::is_ascii_whitespace)
        .filter_map(parse_number)
        .collect()
}

/// A `/proc/PID/stat` line. The name, in parentheses, may hold anything; what counts stands after the last one.
fn parse_stat(line: &[u8]) -> Option<Member> {
    let end_of_name = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(end_of_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) counts from 1, and the first two stand before: field n is the one at n - 3.
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let times = [field(14)?, field(15)?, field(16)?, field(17)?];
    Some(Member {
        parent: u32::try_from(field(4)?).ok()?,
        ticks: times
            .iter()
            .try_fold(0u64, |sum, &ticks| sum.checked_add(ticks))?,
        began: field(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up `/proc` of processes that a test changes.
    struct Proc {
        dir: tempfile::TempDir,
        times: TreeCpuTime,
        first: TreeRoot,
    }

    impl Proc {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let first = TreeRoot::default();
            let times = TreeCpuTime::new(Root::new(dir.path()), first.clone());
            Self { dir, times, first }
        }

        fn process(&self, pid: u32, parent: u32, own: u64, waited_for: u64, children: &str) {
            let dir = self.dir.path().join(format!("proc/{pid}"));
            let task = dir.join(format!("task/{pid}"));
            std::fs::create_dir_all(&task).unwrap();
            let line = format!(
                "{pid} (a ) S 1) R {parent} 1 1 0 -1 0 0 0 0 0 {own} 0 {waited_for} 0 20 0 1 0 {pid}00 0 0\n"
            );
            std::fs::write(dir.join("stat"), line).unwrap();
            std::fs::write(task.join("children"), children).unwrap();
        }

        fn end(&self, pid: u32) {
            std::fs::remove_dir_all(self.dir.path().join(format!("proc/{pid}"))).unwrap();
        }

        fn seconds(&mut self) -> f64 {
            self.times.listed = None; // as if the time to list had come
            self.times.read().unwrap().0
        }
    }

    #[test]
    fn a_tree_is_the_sum_of_its_processes_and_of_those_that_ended() {
        let mut proc = Proc::new();
        assert_eq!(proc.seconds(), 0.0, "before it begins");
        proc.process(10, 1, 100, 0, "11 12 ");
        proc.process(11, 10, 50, 0, "13 ");
        proc.process(12, 10, 0, 0, "");
        proc.process(13, 11, 25, 0, "");
        proc.first.set(10);
        assert_eq!(proc.seconds(), 1.75);
        // 11 ends and 10 waits for it, which brings its time and a little more; its child 13 is an orphan and goes on.
        proc.end(11);
        proc.process(10, 1, 100, 55, "12 ");
        proc.process(13, 1, 30, 0, "");
        assert_eq!(proc.seconds(), 1.85);
        // The orphan ends: nobody in the tree has waited for it.
        proc.end(13);
        assert_eq!(proc.seconds(), 1.85);
        proc.process(10, 1, 110, 55, "12 ");
        assert_eq!(proc.seconds(), 1.95);
    }

    #[test]
    fn time_stays_after_the_tree_has_ended_and_a_new_process_of_its_number_is_another() {
        let mut proc = Proc::new();
        proc.process(10, 1, 100, 0, "");
        proc.first.set(10);
        assert_eq!(proc.seconds(), 1.0);
        proc.end(10);
        assert_eq!(proc.seconds(), 1.0);
        proc.first.set(20);
        proc.process(20, 1, 7, 0, "");
        assert!((proc.seconds() - 1.07).abs() < 1e-12, "a second run adds to it");
    }

    #[test]
    fn junk_is_no_process() {
        for junk in ["", "10 (x", "10 (x) R 1", "10 (x) R one two", ") ) )"] {
            assert_eq!(parse_stat(junk.as_bytes()), None, "{junk}");
        }
        assert_eq!(numbers(b"1 22  x 3\n"), [1, 22, 3]);
    }

    #[test]
    fn children_of_this_very_process_are_seen() {
        if !is_supported(&Root::default()) {
            eprintln!("skipped: this kernel has no CONFIG_PROC_CHILDREN");
            return;
        }
        let first = TreeRoot::default();
        let mut times = TreeCpuTime::new(Root::default(), first.clone());
        // A shell that lets a child of its own work for a while and waits for it.
        let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done' && sleep 60";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        first.set(shell.id());
        let give_up = Instant::now() + Duration::from_secs(20);
        let mut seen = 0.0;
        while seen < 0.05 && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(20));
            seen = times.read().unwrap().0;
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(seen >= 0.05, "{seen}");
    }
}
