//! The sandbox of a real server, from inside and from outside.
#![allow(clippy::unwrap_used)]

mod common;

use common::child::{Started, started};
use common::{PLENTY, SMALL, until};
use hwmeter::offload::{Client, Url};
use hwmeter::serve::sandbox::{Rights, Sandbox, enter};
use hwmeter::serve::{Role, ServeConfig, bind};
use hwmeter_hw::Root;
use nix::errno::Errno;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr::null_mut;

/// A child process with its piped stdout, killed when dropped.
struct Running(Started);

impl Running {
    fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(started(command))
    }

    /// Where it listens: the end of the first line of its stdout that names an address.
    fn url(&mut self) -> Url {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        let told = lines.map_while(Result::ok).find_map(|line| {
            let (_, address) = line.rsplit_once("http://")?;
            Some(format!("http://{address}").parse().unwrap())
        });
        match told {
            Some(url) => url,
            None => panic!("no address; it said: {}", self.stderr()),
        }
    }

    /// All it says on stderr until it ends.
    fn stderr(&mut self) -> String {
        self.0.kill();
        let mut text = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// What `/proc/PID/status` says in this field, of every thread.
    fn field_of_threads(&self, field: &str) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let of_thread = |dir: io::Result<fs::DirEntry>| {
            let status = fs::read_to_string(dir.unwrap().path().join("status")).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.unwrap().trim().to_owned()
        };
        threads.map(of_thread).collect()
    }
}

fn serve(args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwmeter"));
    Running::start(
        command
            .args(["serve", "--role", "mec", "--workers", "2", "--training", "off"])
            .args(args),
    )
}

#[test]
fn every_thread_of_a_server_is_locked_in_and_it_serves() {
    let mut server = serve(&[]);
    let mut client = Client::new(server.url()).unwrap();
    until("the load is known", || client.load(PLENTY).is_ok());
    client.submit(&SMALL, b"x", PLENTY).unwrap();
    let [no_new_privileges, filtered] = ["NoNewPrivs", "Seccomp"].map(|field| server.field_of_threads(field));
    assert!(no_new_privileges.len() > 4, "{no_new_privileges:?}");
    assert!(
        no_new_privileges.iter().all(|flag| flag == "1"),
        "{no_new_privileges:?}"
    );
    // 2: with a filter.
    assert!(filtered.iter().all(|mode| mode == "2"), "{filtered:?}");
    let said = server.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("hwmeter serve: sandbox: no new privileges"),
        "{said}"
    );
}

#[test]
fn without_a_sandbox_the_server_warns() {
    let mut server = serve(&["--no-sandbox"]);
    server.url();
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    if ours.contains("Seccomp:\t0") {
        assert!(server.field_of_threads("Seccomp").iter().all(|mode| mode == "0"));
    }
    assert!(server.stderr().contains("no sandbox"));
}

#[test]
fn nothing_else_can_be_done_inside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "s").unwrap();
    let mut inside = Running::start(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "inside", "--ignored", "--nocapture"])
            .env("SANDBOX_TEST_DIR", dir.path()),
    );
    let mut client = Client::new(inside.url()).unwrap();
    client.submit(&SMALL, b"x", PLENTY).unwrap();
    until("the load is known", || client.load(PLENTY).is_ok());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
#[ignore = "locks in the process it runs in: another test runs it in one of its own"]
fn inside() {
    let dir = std::env::var_os("SANDBOX_TEST_DIR").unwrap();
    let server = bind(ServeConfig::new(Role::Mec)).unwrap();
    let sandbox = enter(&Root::default(), &Rights::default());
    // What holds must hold for threads that come later.
    std::thread::scope(|scope| {
        scope
            .spawn(|| everything_is_refused(Path::new(&dir), &sandbox))
            .join()
            .unwrap();
    });
    server
        .run(
            |address| println!("listening on http://{address}"),
            std::future::pending(),
        )
        .unwrap();
}

#[test]
fn a_trainer_writes_below_its_folder_and_connects_to_its_broker_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "s").unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside
        .args(["--exact", "inside_a_trainer", "--ignored", "--nocapture"])
        .env("SANDBOX_TEST_DIR", dir.path());
    let output = inside.output().unwrap();
    let said = [output.stderr, output.stdout]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat();
    assert!(output.status.success(), "{said}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
#[ignore = "locks in the process it runs in: another test runs it in one of its own"]
fn inside_a_trainer() {
    let dir = PathBuf::from(std::env::var_os("SANDBOX_TEST_DIR").unwrap());
    let state = dir.join("state");
    let [broker, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let rights = Rights {
        writable: vec![state.clone()],
        connect: vec![address(&broker).port()],
        names: false,
    };
    let sandbox = enter(&Root::default(), &rights);
    assert_eq!(sandbox.system_calls, Ok(()));
    let inside = move || {
        fs::create_dir(state.join("pi")).unwrap();
        let mut file = File::create(state.join("pi/new")).unwrap();
        file.write_all(b"checkpoint").unwrap();
        file.sync_all().unwrap();
        fs::rename(state.join("pi/new"), state.join("pi/dqn")).unwrap();
        File::open(state.join("pi")).unwrap().sync_all().unwrap();
        assert_eq!(fs::read(state.join("pi/dqn")).unwrap(), b"checkpoint");
        fs::hard_link(state.join("pi/dqn"), state.join("pi/link")).unwrap();
        fs::remove_file(state.join("pi/link")).unwrap();
        fs::remove_file(state.join("pi/dqn")).unwrap();
        fs::remove_dir(state.join("pi")).unwrap();
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
        TcpStream::connect(address(&broker)).unwrap();

        assert!(Command::new("/bin/true").status().is_err());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(UnixStream::connect("/run/x").is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        let Ok(version) = sandbox.files else {
            eprintln!("skipped in part: {:?}", sandbox.files);
            return;
        };
        let denied = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        denied(File::create(dir.join("new")).map(drop));
        denied(fs::read(dir.join("secret")).map(drop));
        denied(fs::remove_file(dir.join("secret")));
        denied(fs::create_dir(dir.join("folder")));
        denied(File::create(state.join("../new")).map(drop));
        // Ports came with the fourth version.
        if version >= 4 {
            denied(TcpStream::connect(address(&other)).map(drop));
        }
    };
    std::thread::spawn(inside).join().unwrap();
}

fn everything_is_refused(dir: &Path, sandbox: &Sandbox) {
    assert_eq!(sandbox.system_calls, Ok(()));
    assert_eq!(sandbox.no_new_privileges, Ok(()));
    let refused = |what: &str, result: io::Result<()>| match result {
        Ok(()) => panic!("allowed: {what}"),
        Err(e) => assert_eq!(e.raw_os_error(), Some(libc::EPERM), "{what}: {e}"),
    };
    let secret = dir.join("secret");
    refused("to create a file", File::create(dir.join("new")).map(drop));
    refused(
        "to write to a file",
        File::options().write(true).open(&secret).map(drop),
    );
    refused(
        "to append to a file",
        File::options().append(true).open(&secret).map(drop),
    );
    refused("to remove a file", fs::remove_file(&secret));
    refused("to make a folder", fs::create_dir(dir.join("folder")));
    refused("to rename a file", fs::rename(&secret, dir.join("other")));
    refused("to start a program", Command::new("/bin/true").status().map(drop));
    refused(
        "to open a connection",
        TcpStream::connect("127.0.0.1:9").map(drop),
    );
    refused("to open a UDP socket", UdpSocket::bind("127.0.0.1:0").map(drop));
    refused("to open a UNIX socket", UnixStream::connect("/run/x").map(drop));
    let parent = nix::unistd::getppid();
    refused(
        "to signal another process",
        nix::sys::signal::kill(parent, None).map_err(io::Error::from),
    );
    for (what, call) in forbidden_calls() {
        refused(what, call);
    }
    let code_and_data = map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    refused("memory both writable and executable", code_and_data.map(drop));
    assert!(
        map(libc::PROT_READ | libc::PROT_EXEC).is_ok(),
        "WebAssembly could not run"
    );

    // Reading is Landlock's.
    assert!(fs::read("/proc/stat").is_ok());
    if let Err(why) = &sandbox.files {
        eprintln!("skipped in part: {why}");
        return;
    }
    for path in [&secret, Path::new("/etc/passwd"), Path::new("/proc/1/cmdline")] {
        let error = fs::read(path).expect_err("it should not be readable");
        assert_eq!(
            error.kind(),
            io::ErrorKind::PermissionDenied,
            "{}: {error}",
            path.display()
        );
    }
    assert!(fs::read_dir("/etc").is_err());
}

/// Calls with arguments that do nothing, should the kernel let them through.
fn forbidden_calls() -> Vec<(&'static str, io::Result<()>)> {
    // SAFETY: no argument is a pointer to memory of ours but null, and nothing comes of any of these calls: a trace
    // of the parent, and a filter, program, module or mount from address 0.
    unsafe {
        vec![
            (
                "ptrace",
                done(libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0)),
            ),
            ("fork", done(i64::from(fork()))),
            ("mount", done(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0))),
            ("init_module", done(libc::syscall(libc::SYS_init_module, 0, 0, 0))),
            ("bpf", done(libc::syscall(libc::SYS_bpf, 0, 0, 0))),
            (
                "unshare",
                done(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            ),
            ("setuid", done(libc::syscall(libc::SYS_setuid, libc::getuid()))),
            (
                "io_uring_setup",
                done(libc::syscall(libc::SYS_io_uring_setup, 0, 0)),
            ),
            ("setrlimit", done(i64::from(raise_own_limit()))),
            ("another filter", done(libc::syscall(libc::SYS_seccomp, 1, 0, 0))),
        ]
    }
}

/// Like the C library's, but a child that should not be ends at once.
unsafe fn fork() -> libc::pid_t {
    // SAFETY: the child calls nothing but `_exit`.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            result => result,
        }
    }
}

fn raise_own_limit() -> libc::c_int {
    let limit = libc::rlimit {
        rlim_cur: 100,
        rlim_max: 100,
    };
    // SAFETY: the pointer is to a value that lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }
}

fn done(result: i64) -> io::Result<()> {
    if result < 0 {
        Err(Errno::last().into())
    } else {
        Ok(())
    }
}

fn map(protection: libc::c_int) -> io::Result<()> {
    // SAFETY: a new mapping, which nothing else refers to.
    let address = unsafe {
        libc::mmap(
            null_mut(),
            4096,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
