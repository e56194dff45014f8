//! The operator scripts of bin/, run the way an operator runs them: as files of an unpacked home, by bash, on a real server.
//!
//! Expected texts are those of ZooKeeper 3.5.7's scripts (B§9.1-9.5) with the differences of docs/scripts.md; the three lines
//! of `status` are the ones of the installation guide our users follow.
//! Every home lies in a folder with a blank in its name, has a loopback address of its own, and no environment is inherited.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

const SCRIPTS: [&str; 5] = ["zkEnv.sh", "zkServer.sh", "zkServer-initialize.sh", "zkCleanup.sh", "zkUse.sh"];
const MODE: &str = "Mode: standalone\n";

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("compat-tests lies in the workspace")
}

/// `FERROKEEPER_BIN`, or the binary that the same `cargo test --workspace` has built beside this test.
fn ferrokeeper_bin() -> PathBuf {
    if let Some(path) = std::env::var_os("FERROKEEPER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let path = profile.join("ferrokeeper");
    assert!(path.is_file(), "{} is missing: run cargo build first", path.display());
    path
}

/// What a command said. `code` is None when a signal ended it.
#[derive(Debug, PartialEq)]
struct Said {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn run(command: &mut Command) -> Said {
    let output = loop {
        match command.stdin(Stdio::null()).output() {
            // Another test's thread forked while a script was being written, and its child still holds that file open.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => break other.expect("the command can be started"),
        }
    };
    Said {
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        code: output.status.code(),
    }
}

/// A folder of its own per test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name} {}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// An address nobody else uses: 127.<from our pid>.<nth of this process>.
fn loopback_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let pid = std::process::id();
    format!("127.{}.{}.{}", 101 + pid / 251 % 100, 1 + pid % 251, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An installed server. Dropping it stops what its pid file names, if that is still a server.
struct Home {
    dir: PathBuf,
    address: String,
    _folder: Option<Folder>,
}

impl Home {
    /// bin/, lib/, conf/zoo.cfg as after unpacking and editing; the binary is a link to save disk.
    fn new(name: &str) -> Home {
        let folder = Folder::new(name);
        let dir = folder.0.join("zookeeper 3.5.7");
        for part in ["bin", "conf", "lib"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        for script in SCRIPTS {
            fs::copy(workspace().join("bin").join(script), dir.join("bin").join(script)).unwrap();
        }
        symlink(ferrokeeper_bin(), dir.join("lib/ferrokeeper")).unwrap();
        let home = Home { dir, address: loopback_address(), _folder: Some(folder) };
        home.write_cfg("zoo.cfg", &home.cfg());
        home
    }

    fn cfg(&self) -> String {
        format!(
            "tickTime=2000\ndataDir = {}\nclientPortAddress={}\nclientPort=2181\nadmin.enableServer=false\n",
            self.data_dir().display(),
            self.address
        )
    }

    fn write_cfg(&self, name: &str, text: &str) {
        fs::write(self.dir.join("conf").join(name), text).unwrap();
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("zkData")
    }

    fn pid_file(&self) -> PathBuf {
        self.data_dir().join("zookeeper_server.pid")
    }

    /// The script by relative path from the home, with an empty environment.
    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(format!("bin/{script}"));
        command.env_clear().current_dir(&self.dir).args(arguments);
        command
    }

    fn server(&self, arguments: &[&str]) -> Said {
        run(&mut self.command("zkServer.sh", arguments))
    }

    fn server_with(&self, env: &[(&str, &str)], arguments: &[&str]) -> Said {
        run(self.command("zkServer.sh", arguments).envs(env.iter().copied()))
    }

    fn banner(&self) -> String {
        format!("JMX enabled by default\nUsing config: {}/bin/../conf/zoo.cfg\n", self.dir.display())
    }

    /// `stdout` and `code`, with the banner and nothing else on stderr.
    #[track_caller]
    fn expect(&self, arguments: &[&str], stdout: &str, code: i32) {
        let expected = Said { stdout: stdout.to_string(), stderr: self.banner(), code: Some(code) };
        assert_eq!(self.server(arguments), expected, "zkServer.sh {arguments:?}");
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    fn start(&self) {
        self.expect(&["start"], "Starting zookeeper ... STARTED\n", 0);
        self.wait_for_status(MODE);
    }

    #[track_caller]
    fn wait_for_status(&self, stdout: &str) {
        let mut said = self.server(&["status"]);
        for _ in 0..100 {
            if said.stdout == stdout {
                return;
            }
            sleep(Duration::from_millis(100));
            said = self.server(&["status"]);
        }
        panic!("status never said {stdout:?}, last {said:?}");
    }

    /// The process whose last argument is a configuration of this home, whatever the pid file says.
    fn running_server(&self) -> Option<String> {
        let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        pids.filter(|pid| pid.parse::<u32>().is_ok()).find(|pid| {
            let arguments = command_line(pid);
            arguments.iter().any(|word| word == "server")
                && arguments.last().is_some_and(|config| Path::new(config).starts_with(&self.dir))
        })
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.pid_file()).unwrap()
    }
}

impl Drop for Home {
    /// Also ends a server that no pid file knows: started in the foreground, or by a script that failed halfway.
    fn drop(&mut self) {
        if self.pid_file().exists() {
            self.server(&["stop"]);
        }
        if let Some(pid) = self.running_server() {
            run(Command::new("kill").arg(&pid));
        }
    }
}

fn command_line(pid: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_string).collect()
}

fn is_gone(pid: &str) -> bool {
    (0..100).any(|_| {
        let gone = command_line(pid).is_empty();
        if !gone {
            sleep(Duration::from_millis(50));
        }
        gone
    })
}

/// A stranger's process that is ended with the test. The last arguments show in its command line only.
struct Stranger(Child);

impl Stranger {
    fn new(arguments: &[&str]) -> Stranger {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", "read -r line"]).args(arguments).stdin(Stdio::piped());
        let child = command.spawn().unwrap();
        // Until the child has called exec its command line is still that of this test.
        let pid = child.id().to_string();
        while !command_line(&pid).contains(&"read -r line".to_string()) {
            sleep(Duration::from_millis(5));
        }
        Stranger(child)
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn make_dist(out: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new("bash");
    command.arg(workspace().join("bin/make-dist.sh")).arg(out).args(arguments);
    run(command.env("FERROKEEPER_BIN", ferrokeeper_bin()))
}

/// Packs a stand-in of two lines where only the layout matters: compressing the binary takes a second each time.
fn make_small_dist(out: &Path) -> PathBuf {
    let stand_in = out.join("small-binary");
    fs::write(&stand_in, "#!/bin/sh\nexit 9\n").unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("bash");
    command.arg(workspace().join("bin/make-dist.sh")).arg(out).env("FERROKEEPER_BIN", &stand_in);
    let said = run(&mut command);
    assert_eq!(said.code, Some(0), "{said:?}");
    PathBuf::from(said.stdout.trim_end())
}

#[track_caller]
fn unpack(tarball: &Path, into: &Path, options: &[&str]) {
    let said = run(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(into).args(options));
    assert_eq!(said, Said { stdout: String::new(), stderr: String::new(), code: Some(0) });
}

#[test]
fn the_installation_guide_works_to_the_letter() {
    let folder = Folder::new("guide");
    let said = make_dist(&folder.0, &["--as", "apache-zookeeper-3.5.7-bin"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    unpack(&folder.0.join("apache-zookeeper-3.5.7-bin.tar.gz"), &folder.0, &[]);
    let dir = folder.0.join("zookeeper-3.5.7");
    fs::rename(folder.0.join("apache-zookeeper-3.5.7-bin"), &dir).unwrap();
    let home = Home { dir, address: loopback_address(), _folder: Some(folder) };
    fs::create_dir(home.data_dir()).unwrap();
    fs::write(home.data_dir().join("myid"), "2\n").unwrap();
    let cfg = home.dir.join("conf/zoo.cfg");
    fs::rename(home.dir.join("conf/zoo_sample.cfg"), &cfg).unwrap();
    // The guide changes dataDir alone; the address only keeps this test to itself.
    let text = fs::read_to_string(&cfg).unwrap();
    let sample = "dataDir=/tmp/zookeeper\n";
    assert!(text.contains(sample) && text.contains("\nclientPort=2181\n"), "{text}");
    let mut text = text.replace(sample, &format!("dataDir={}\n", home.data_dir().display()));
    text.push_str(&format!("clientPortAddress={}\nadmin.enableServer=false\n", home.address));
    fs::write(&cfg, text).unwrap();

    home.expect(&["start"], "Starting zookeeper ... STARTED\n", 0);
    home.wait_for_status(MODE);
    let together = Command::new("/bin/sh")
        .args(["-c", "bin/zkServer.sh status 2>&1"])
        .current_dir(&home.dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let expected = format!(
        "JMX enabled by default\nUsing config: {}/bin/../conf/zoo.cfg\nMode: standalone\n",
        home.dir.display()
    );
    assert_eq!(String::from_utf8_lossy(&together.stdout), expected);
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
}

#[test]
fn a_server_is_started_asked_and_stopped() {
    let home = Home::new("life");
    let silence = "Error contacting service. It is probably not running.\n";
    home.expect(&["status"], silence, 1);
    let pid_file = home.dir.join("zkData/zookeeper_server.pid");
    let nothing =
        format!("Stopping zookeeper ... no zookeeper to stop (could not find file {})\n", pid_file.display());
    home.expect(&["stop"], &nothing, 0);

    home.start();
    let pid = home.pid();
    assert!(pid.bytes().all(|b| b.is_ascii_digit()), "pid file holds {pid:?}");
    home.expect(&["start"], &format!("Starting zookeeper ... already running as process {pid}.\n"), 1);
    home.expect(&["status", "zoo.cfg"], MODE, 0);
    assert!(home.dir.join("logs").read_dir().unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("zookeeper-") && name.contains("-server-") && name.ends_with(".out")
    }));

    // The outer call, its stop and its start announce themselves, as in 3.5.7; unlike there --config holds for all three.
    let said = home.server(&["--config", "conf", "restart"]);
    assert_eq!(said.stdout, "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n");
    let banner = "JMX enabled by default\nUsing config: conf/zoo.cfg\n";
    assert_eq!((said.stderr, said.code), (banner.repeat(3), Some(0)));
    assert_ne!(home.pid(), pid);
    assert!(is_gone(&pid));
    home.wait_for_status(MODE);

    let pid = home.pid();
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
    assert!(is_gone(&pid) && !home.pid_file().exists());
    home.expect(&["status"], silence, 1);
}

#[test]
fn a_server_that_dies_at_once_failed_to_start() {
    let home = Home::new("dies");
    let _taken = TcpListener::bind((home.address.as_str(), 2181)).unwrap();
    home.expect(&["start"], "Starting zookeeper ... FAILED TO START\n", 1);
}

#[test]
fn a_pid_that_cannot_be_written_is_said() {
    let home = Home::new("unwritable");
    let blocked = home.dir.join("blocked");
    fs::create_dir(&blocked).unwrap();
    let said = home.server_with(&[("ZOOPIDFILE", blocked.to_str().unwrap())], &["start"]);
    assert_eq!((said.stdout.as_str(), said.code), ("Starting zookeeper ... FAILED TO WRITE PID\n", Some(1)));
    // As in 3.5.7 the server itself runs on; it is found by what it was told, once nohup has become it.
    let server = (0..100).find_map(|_| {
        sleep(Duration::from_millis(50));
        home.running_server()
    });
    let pid = server.expect("the server runs");
    run(Command::new("kill").arg(&pid));
    assert!(is_gone(&pid));
}

#[test]
fn the_foreground_server_takes_the_scripts_place() {
    let home = Home::new("foreground");
    let mut command = home.command("zkServer.sh", &["start-foreground"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    home.wait_for_status(MODE);
    let arguments = command_line(&pid);
    assert!(arguments[0].ends_with("/bin/../lib/ferrokeeper"), "{arguments:?}");
    assert_eq!(arguments[1], "server");
    assert_eq!(arguments.last().unwrap(), &format!("{}/bin/../conf/zoo.cfg", home.dir.display()));
    assert!(!home.pid_file().exists());
    run(Command::new("kill").arg(&pid));
    let status = child.wait().unwrap();
    assert!(status.signal() == Some(15) || status.code().is_some(), "{status}");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "JMX enabled by default");
}

#[test]
fn the_foreground_servers_exit_code_is_the_scripts() {
    let home = Home::new("exit code");
    for env in [&[][..], &[("ZOO_NOEXEC", "1")]] {
        let said = home.server_with(env, &["start-foreground", "missing.cfg"]);
        assert_eq!(said.code, Some(2), "B§7.2: a bad configuration ends with 2; {said:?}");
        assert!(said.stderr.ends_with("Invalid config, exiting abnormally\n"), "{said:?}");
    }
}

#[test]
fn any_path_to_the_script_will_do() {
    let home = Home::new("paths");
    home.start();
    let folder = home.dir.parent().unwrap();
    let real = home.dir.join("bin/zkServer.sh");
    symlink(&home.dir, folder.join("home link")).unwrap();
    symlink(home.dir.join("bin"), home.dir.join("bin link")).unwrap();
    symlink(&real, folder.join("script link")).unwrap();
    let config_of = |bin: PathBuf| format!("{}/../conf/zoo.cfg", bin.display());
    let ways = [
        ("/", real.clone(), config_of(home.dir.join("bin"))),
        ("/", folder.join("home link/bin/zkServer.sh"), config_of(folder.join("home link/bin"))),
        ("/", home.dir.join("bin link/zkServer.sh"), config_of(home.dir.join("bin link"))),
        ("/", folder.join("script link"), config_of(home.dir.join("bin"))),
        (
            folder.to_str().unwrap(),
            "home link/bin/zkServer.sh".into(),
            config_of(folder.join("home link/bin")),
        ),
    ];
    for (cwd, script, config) in ways {
        let said = run(Command::new(&script).arg("status").env_clear().current_dir(cwd));
        let stderr = format!("JMX enabled by default\nUsing config: {config}\n");
        assert_eq!(said, Said { stdout: MODE.into(), stderr, code: Some(0) }, "{}", script.display());
    }
    for shell in ["sh", "bash"] {
        let said = run(Command::new(shell).args(["zkServer.sh", "status"]).current_dir(home.dir.join("bin")));
        assert_eq!(said, Said { stdout: MODE.into(), stderr: home.banner(), code: Some(0) }, "{shell}");
    }
}

#[test]
fn the_config_is_found_where_it_was_named() {
    let home = Home::new("config");
    let elsewhere = home.dir.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(home.dir.join("conf/zoo.cfg"), elsewhere.join("zoo.cfg")).unwrap();
    fs::write(elsewhere.join("zookeeper-env.sh"), "echo $UNSET_VARIABLE; ZOO_LOG_DIR=/nowhere/a\n").unwrap();
    fs::write(elsewhere.join("java.env"), "export SERVER_JVMFLAGS=-Dfrom=java.env\n").unwrap();
    home.write_cfg("other.cfg", &home.cfg());
    let conf = format!("{}/bin/../conf", home.dir.display());
    let cases: [(&[&str], String); 6] = [
        (&["print-cmd"], format!("{conf}/zoo.cfg")),
        (&["print-cmd", "other.cfg"], format!("{conf}/other.cfg")),
        (&["print-cmd", "conf/other.cfg"], "conf/other.cfg".into()),
        (&["--config", "elsewhere", "print-cmd"], "elsewhere/zoo.cfg".into()),
        (&["--config", "elsewhere/", "print-cmd"], "elsewhere/zoo.cfg".into()),
        (&["--config", "conf", "print-cmd", "other.cfg"], "conf/other.cfg".into()),
    ];
    for (arguments, config) in cases {
        let said = home.server(arguments);
        assert!(said.stderr.contains(&format!("\nUsing config: {config}\n")), "{arguments:?} {said:?}");
        assert!(said.stdout.contains(&format!(" \"{config}\" > ")), "{arguments:?} {said:?}");
        let sourced = config.starts_with("elsewhere");
        assert_eq!(said.stdout.contains(" -Dfrom=\"java.env\" "), sourced, "{said:?}");
        assert_eq!(said.stdout.contains("-Dzookeeper.log.dir=\"/nowhere/a\""), sourced, "{said:?}");
    }
}

#[test]
fn the_command_is_printed_with_its_flags_in_order() {
    let home = Home::new("print");
    let env = [
        ("JVMFLAGS", "-Dsecond=2 -Xss1m --add-opens java.base/java.lang=ALL-UNNAMED -Dglob=*"),
        ("SERVER_JVMFLAGS", "-Xmx4g -Dfirst=1"),
        ("ZK_SERVER_HEAP", "2000"),
        ("USER", "zoo"),
        ("HOSTNAME", "hadoop102"),
        ("ZOO_LOG_DIR", "/var/log/zk"),
        ("ZOO_LOG4J_PROP", "WARN,ROLLINGFILE"),
    ];
    let said = home.server_with(&env, &["print-cmd"]);
    let dir = home.dir.display();
    let expected = format!(
        "\"{dir}/bin/../lib/ferrokeeper\" server -Dzookeeper.log.dir=\"/var/log/zk\" \
         -Dzookeeper.log.file=\"zookeeper-zoo-server-hadoop102.log\" \
         -Dzookeeper.root.logger=\"WARN,ROLLINGFILE\" -Dfirst=\"1\" -Dsecond=\"2\" -Dglob=\"*\" \
         \"{dir}/bin/../conf/zoo.cfg\" \
         > \"/var/log/zk/zookeeper-zoo-server-hadoop102.out\" 2>&1 < /dev/null\n"
    );
    assert_eq!((said.stdout, said.code), (expected, Some(0)));
}

#[test]
fn jmx_settings_are_announced() {
    let home = Home::new("jmx");
    let config = format!("Using config: {}/bin/../conf/zoo.cfg\n", home.dir.display());
    let usage = "Usage: bin/zkServer.sh [--config <conf-dir>] \
                 {start|start-foreground|stop|restart|status|print-cmd}\n";
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("JMXDISABLE", "true")], "JMX disabled by user request\n"),
        (&[("JMXDISABLE", "false")], "JMX enabled by default\n"),
        (
            &[("JMXPORT", "9999")],
            "JMX enabled by default\nZooKeeper remote JMX Port set to 9999\n\
             ZooKeeper remote JMX authenticate set to false\nZooKeeper remote JMX ssl set to false\n\
             ZooKeeper remote JMX log4j set to true\n",
        ),
        (
            &[("JMXPORT", "9999"), ("JMXAUTH", "true"), ("JMXSSL", "true"), ("JMXLOG4J", "false")],
            "JMX enabled by default\nZooKeeper remote JMX Port set to 9999\n\
             ZooKeeper remote JMX authenticate set to true\nZooKeeper remote JMX ssl set to true\n\
             ZooKeeper remote JMX log4j set to false\n",
        ),
    ];
    for (env, jmx) in cases {
        for arguments in [&[][..], &["launch"]] {
            let said = home.server_with(env, arguments);
            let stderr = format!("{jmx}{config}{usage}");
            assert_eq!(said, Said { stdout: String::new(), stderr, code: Some(0) });
        }
    }
}

#[test]
fn a_pid_file_is_not_believed_blindly() {
    let home = Home::new("pids");
    fs::create_dir(home.data_dir()).unwrap();

    let mut stranger = Stranger::new(&["somebody", "else"]);
    let pid = stranger.0.id().to_string();
    fs::write(home.pid_file(), &pid).unwrap();
    let said = home.server(&["stop"]);
    assert_eq!((said.stdout.as_str(), said.code), ("Stopping zookeeper ... STOPPED\n", Some(0)));
    assert!(said.stderr.ends_with("is not a ZooKeeper server any more; it was left alone.\n"), "{said:?}");
    assert!(stranger.is_running() && !home.pid_file().exists());

    fs::write(home.pid_file(), &pid).unwrap();
    home.start();
    assert_ne!(home.pid(), pid);
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);

    for stale in ["", "zookeeper", "0", "-1", "4194305"] {
        fs::write(home.pid_file(), stale).unwrap();
        let said = home.server(&["stop"]);
        assert_eq!(
            (said.stdout.as_str(), said.code),
            ("Stopping zookeeper ... STOPPED\n", Some(0)),
            "{stale:?}"
        );
        assert_ne!(said.stderr, home.banner(), "somebody should hear that {stale:?} was no server");
        assert!(!home.pid_file().exists());
    }
}

#[test]
fn a_java_server_under_the_pid_file_is_recognised_and_stopped() {
    let home = Home::new("java");
    fs::create_dir(home.data_dir()).unwrap();
    let mut java =
        Stranger::new(&["java", "-Xmx1000m", "org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]);
    let pid = java.0.id().to_string();
    fs::write(home.pid_file(), &pid).unwrap();
    home.expect(&["start"], &format!("Starting zookeeper ... already running as process {pid}.\n"), 1);
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
    assert!(!java.is_running());
    assert_eq!(java.0.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_missing_data_directory_is_refused_when_told_so() {
    let home = Home::new("autocreate");
    let disable = [("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")];
    let data_dir = home.data_dir();
    let said = home.server_with(&disable, &["start"]);
    let missing = |what: &str, dir: &Path| {
        format!("ZooKeeper {what} directory is missing at {} fix the path or run initialize\n", dir.display())
    };
    assert_eq!((said.stdout, said.code), (missing("data", &data_dir), Some(1)));
    assert!(!data_dir.exists());

    fs::create_dir_all(data_dir.join("version-2")).unwrap();
    let log_dir = home.dir.join("zkLog");
    home.write_cfg("zoo.cfg", &format!("{}dataLogDir={}\n", home.cfg(), log_dir.display()));
    let said = home.server_with(&disable, &["start"]);
    assert_eq!((said.stdout, said.code), (missing("txnlog", &log_dir), Some(1)));

    fs::create_dir_all(log_dir.join("version-2")).unwrap();
    let said = home.server_with(&disable, &["print-cmd"]);
    assert!(said.stdout.contains("\" server -Dzookeeper.datadir.autocreate=\"false\" -D"), "{said:?}");
}

#[test]
fn status_finds_the_client_port_wherever_it_is_written() {
    let home = Home::new("client port");
    home.start();
    let no_port = home.cfg().replace("clientPort=2181\n", "").replace("clientPortAddress=", "#");
    let address = &home.address;
    home.write_cfg("no-port.cfg", &no_port);
    let said = home.server(&["status", "no-port.cfg"]);
    let no_myid = "clientPort not found and myid could not be determined. Terminating.\n";
    assert_eq!((said.stdout.as_str(), said.code), (no_myid, Some(1)));

    fs::write(home.data_dir().join("myid"), "3\n").unwrap();
    let nowhere = "Client port not found in static config file. Looking in dynamic config file.\n\
                   Client port not found. Terminating.\n";
    let said = home.server(&["status", "no-port.cfg"]);
    assert_eq!((said.stdout.as_str(), said.code), (nowhere, Some(1)));

    let member = format!("server.33=x:1:2;9\nserver.3={address}:2888:3888:participant;{address}:2181\n");
    home.write_cfg("static.cfg", &format!("{no_port}{member}"));
    home.write_cfg("members.dynamic", &member);
    let dynamic = home.dir.join("conf/members.dynamic");
    home.write_cfg("dynamic.cfg", &format!("{no_port}dynamicConfigFile={}\n", dynamic.display()));
    for config in ["static.cfg", "dynamic.cfg"] {
        let said = home.server(&["status", config]);
        assert_eq!((said.stdout.as_str(), said.code), (MODE, Some(0)), "{config}");
    }
}

#[test]
fn status_reaches_a_server_on_an_ipv6_address() {
    let Ok(probe) = TcpListener::bind("[::1]:0") else {
        eprintln!("SKIPPED: this machine has no ::1");
        return;
    };
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let home = Home::new("ipv6");
    let cfg = home.cfg().replace("clientPort=2181", &format!("clientPort={port}"));
    home.write_cfg("zoo.cfg", &cfg.replace(&home.address, "::1"));
    home.start();
    home.write_cfg("brackets.cfg", &cfg.replace(&home.address, "[::1]"));
    let member =
        cfg.replace(&format!("clientPort={port}"), &format!("server.1=[::1]:2888:3888;[::1]:{port}"));
    home.write_cfg("member.cfg", &member);
    fs::write(home.data_dir().join("myid"), "1\n").unwrap();
    for config in ["brackets.cfg", "member.cfg"] {
        let said = home.server(&["status", config]);
        assert_eq!((said.stdout.as_str(), said.code), (MODE, Some(0)), "{config}");
    }
}

#[test]
fn a_missing_binary_is_explained_and_stop_needs_none() {
    let home = Home::new("no binary");
    fs::remove_file(home.dir.join("lib/ferrokeeper")).unwrap();
    for command in ["start", "start-foreground", "status", "print-cmd"] {
        let said = home.server(&[command]);
        assert_eq!((said.stdout.as_str(), said.code), ("", Some(1)), "{command}");
        assert!(said.stderr.contains("cargo build --release"), "{command}: {said:?}");
        assert!(said.stderr.contains("-bin tarball"), "{command}: {said:?}");
    }
    let mut java = Stranger::new(&["java", "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
    fs::write(home.pid_file(), java.0.id().to_string()).unwrap();
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
    assert!(!java.is_running());

    let said = home.server_with(&[("FERROKEEPER_BIN", "/nonexistent/ferrokeeper")], &["start"]);
    assert_eq!((said.stdout.as_str(), said.code), ("", Some(1)));
    assert!(said.stderr.contains("FERROKEEPER_BIN is set to /nonexistent/ferrokeeper"), "{said:?}");
}

#[test]
fn a_source_clone_runs_what_it_has_built() {
    let home = Home::new("clone");
    fs::remove_file(home.dir.join("lib/ferrokeeper")).unwrap();
    for profile in ["debug", "release"] {
        let built = home.dir.join("target").join(profile);
        fs::create_dir_all(&built).unwrap();
        symlink(ferrokeeper_bin(), built.join("ferrokeeper")).unwrap();
        let said = home.server(&["print-cmd"]);
        let expected = format!("\"{}/bin/../target/{profile}/ferrokeeper\" server ", home.dir.display());
        assert!(said.stdout.starts_with(&expected), "{said:?}");
    }
}

#[test]
fn initialize_makes_empty_directories_once() {
    let home = Home::new("initialize");
    let initialize = |arguments: &[&str]| {
        // A variable of that name must not delete anybody's data.
        let mut command = home.command("zkServer-initialize.sh", arguments);
        let said = run(command.env("FORCE", "1"));
        (said.stdout, said.code)
    };
    let (data, log) = (home.data_dir(), home.dir.join("zkLog"));
    home.write_cfg("zoo.cfg", &format!("{}dataLogDir={}\n", home.cfg(), log.display()));
    let again = "(or use --force to force re-initialization)";

    assert_eq!(initialize(&["--myid=7"]), ("Using myid of 7\n".to_string(), Some(0)));
    assert_eq!(fs::read_to_string(data.join("myid")).unwrap(), "7\n");
    assert!(data.join("version-2").is_dir() && log.join("version-2").is_dir() && !log.join("myid").exists());

    fs::write(data.join("version-2/snapshot.0"), "data").unwrap();
    let exists = format!("ZooKeeper data directory already exists at {} {again}\n", data.display());
    assert_eq!(initialize(&["--myid", "8"]), (exists, Some(1)));
    fs::rename(data.join("version-2"), home.dir.join("aside")).unwrap();
    let exists = format!("ZooKeeper txnlog directory already exists at {} {again}\n", log.display());
    assert_eq!(initialize(&[]), (exists, Some(1)));
    fs::rename(home.dir.join("aside"), data.join("version-2")).unwrap();
    assert_eq!(fs::read_to_string(data.join("myid")).unwrap(), "7\n");

    let forced = format!(
        "Force enabled, data/txnlog directories will be re-initialized\n\
         No myid provided, be sure to specify it in {}/myid if using non-standalone\n",
        data.display()
    );
    assert_eq!(initialize(&["--force"]), (forced, Some(0)));
    assert!(!data.join("version-2/snapshot.0").exists() && data.join("version-2").is_dir());
    assert!(!data.join("myid").exists());

    assert_eq!(
        initialize(&["--configfile=/nonexistent.cfg"]),
        ("Unable to find config file at /nonexistent.cfg\n".to_string(), Some(1))
    );
    home.write_cfg("bare.cfg", "clientPort=2181\n");
    assert_eq!(
        initialize(&["--configfile", "conf/bare.cfg"]),
        ("Unable to determine dataDir from conf/bare.cfg\n".to_string(), Some(1))
    );
    for arguments in [&["-h"][..], &["--help"], &["--unknown"], &["--myid"]] {
        let (stdout, code) = initialize(arguments);
        assert!(stdout.starts_with("usage: bin/zkServer-initialize.sh <parameters>\n"), "{stdout}");
        assert_eq!(code, Some(1));
    }
}

#[test]
fn cleanup_purges_the_configured_directories() {
    let home = Home::new("cleanup");
    let (data, log) = (home.data_dir().join("version-2"), home.dir.join("zkLog/version-2"));
    home.write_cfg("zoo.cfg", &format!("{}dataLogDir={}/zkLog\n", home.cfg(), home.dir.display()));
    // Only whole snapshots count, so they are copies of the empty tree that a first start leaves behind.
    home.start();
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
    for zxid in [1, 2, 3, 4, 5] {
        fs::copy(data.join("snapshot.0"), data.join(format!("snapshot.{zxid}"))).unwrap();
        fs::write(log.join(format!("log.{zxid}")), "").unwrap();
    }
    fs::remove_file(data.join("snapshot.0")).unwrap();
    // B§6.8: three snapshots stay, and the logs from the one that holds the oldest snapshot's next change.
    let said = run(&mut home.command("zkCleanup.sh", &["-n", "3"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout.matches("Removing file: ").count(), 4, "{said:?}");
    let names = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("snapshot.") || name.starts_with("log.")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&data), ["snapshot.3", "snapshot.4", "snapshot.5"]);
    assert_eq!(names(&log), ["log.3", "log.4", "log.5"]);

    for arguments in [&[][..], &["-n", "2"], &["-n", "many"]] {
        assert_eq!(run(&mut home.command("zkCleanup.sh", arguments)).code, Some(1), "{arguments:?}");
    }
}

#[test]
fn the_tarball_is_the_same_bytes_each_time() {
    let folder = Folder::new("dist");
    let first = fs::read(make_small_dist(&folder.0)).unwrap();
    let tarball = make_small_dist(&folder.0);
    assert!(first == fs::read(&tarball).unwrap(), "two runs made different tarballs");

    let name = tarball.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap();
    assert_eq!(name, format!("ferrokeeper-{}-bin", env!("CARGO_PKG_VERSION")));
    let said = run(Command::new("tar").arg("-tzf").arg(&tarball));
    let files: Vec<&str> =
        said.stdout.lines().map(|file| file.strip_prefix(&format!("{name}/")).expect(file)).collect();
    for file in
        ["bin/zkServer.sh", "conf/zoo_sample.cfg", "docs/scripts.md", "lib/ferrokeeper", "LICENSE.txt"]
    {
        assert!(files.contains(&file), "{file} is not in {files:?}");
    }
    // A directory entry would change owner and mode of a directory that is there already.
    assert!(files.iter().all(|file| !file.is_empty() && !file.ends_with('/')), "{files:?}");

    let mut command = Command::new("bash");
    command.arg(workspace().join("bin/make-dist.sh")).arg(&folder.0);
    let said = run(command.env("FERROKEEPER_BIN", folder.0.join("missing")));
    assert_eq!((said.stdout.as_str(), said.code), ("", Some(1)));
    assert!(said.stderr.contains("cargo build --release"), "{said:?}");
}

/// A home of the Java server: its own scripts, an edited configuration, jars, data, and a java that prints its arguments.
fn java_home(folder: &Folder) -> Home {
    let dir = folder.0.join("zookeeper 3.5.7");
    for part in ["bin", "conf", "lib", "zkData/version-2", "jdk/bin"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    for script in ["zkEnv.sh", "zkServer.sh", "zkServer-initialize.sh", "zkCleanup.sh", "zkTxnLogToolkit.sh"]
    {
        write_script(&dir.join("bin").join(script), &format!("echo Java has its own {script}\n"));
    }
    // What Java's zkCli.sh takes from zkEnv.sh.
    write_script(
        &dir.join("bin/zkCli.sh"),
        "ZOOBINDIR=\"$(cd \"$(dirname \"$0\")\"; pwd)\"\n. \"$ZOOBINDIR\"/zkEnv.sh\n\
         \"$JAVA\" -cp \"$CLASSPATH\" $CLIENT_JVMFLAGS $JVMFLAGS ZooKeeperMain \"$@\"\n",
    );
    write_script(&dir.join("jdk/bin/java"), "printf '%s\\n' \"$@\"\n");
    for jar in ["zookeeper-3.5.7.jar", "log4j-1.2.17.jar"] {
        fs::write(dir.join("lib").join(jar), jar).unwrap();
    }
    let home = Home { dir, address: loopback_address(), _folder: None };
    home.write_cfg("zoo.cfg", &home.cfg());
    home.write_cfg("log4j.properties", "log4j.rootLogger=WARN\n");
    fs::write(home.dir.join("zkData/myid"), "2\n").unwrap();
    home
}

fn write_script(path: &Path, body: &str) {
    fs::write(path, format!("#!/usr/bin/env bash\n{body}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every file of the home by its relative path.
fn contents(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn unpacked_over_a_java_home_it_leaves_what_is_not_its_own() {
    let folder = Folder::new("over");
    let home = java_home(&folder);
    let before = contents(&home.dir);
    fs::set_permissions(home.dir.join("conf"), fs::Permissions::from_mode(0o750)).unwrap();
    unpack(&make_small_dist(&folder.0), &home.dir, &["--strip-components=1"]);

    let after = contents(&home.dir);
    let changed: Vec<_> = before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)).collect();
    let changed: Vec<_> = changed.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    let ours = ["bin/zkCleanup.sh", "bin/zkEnv.sh", "bin/zkServer-initialize.sh", "bin/zkServer.sh"];
    assert_eq!(changed, ours);
    let mode = fs::metadata(home.dir.join("conf")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    assert!(home.server(&["print-cmd"]).stdout.contains("/lib/ferrokeeper\" server "));

    let java = home.dir.join("jdk");
    let said = run(home
        .command("zkCli.sh", &["-server", "localhost:2181"])
        .env("JAVA_HOME", &java)
        .env("JVMFLAGS", "-Da=b"));
    let arguments: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(
        arguments[2..],
        ["-Xmx256m", "-Da=b", "ZooKeeperMain", "-server", "localhost:2181"],
        "{said:?}"
    );
    let bin = home.dir.join("bin");
    for part in ["lib/zookeeper-3.5.7.jar", "lib/log4j-1.2.17.jar", "conf"] {
        let part = format!("{}/../{part}", bin.display());
        assert!(arguments[1].split(':').any(|path| path == part), "{part} is not in {}", arguments[1]);
    }
}

#[test]
fn java_comes_back_with_one_command_after_a_plain_unpacking() {
    let folder = Folder::new("back");
    let home = java_home(&folder);
    let tarball = make_small_dist(&folder.0);
    unpack(&tarball, &home.dir, &["--strip-components=1"]);
    let java_env = [("JAVA_HOME", home.dir.join("jdk")), ("USER", "zoo".into()), ("HOSTNAME", "h".into())];
    let server = |arguments: &[&str]| {
        run(home.command("zkServer.sh", arguments).envs(java_env.iter().map(|(k, v)| (k, v))))
    };
    let use_server = |which: &str| run(&mut home.command("zkUse.sh", &[which]));

    let said = use_server("java");
    assert_eq!(said.stdout, "The scripts of this home now run the Java server.\n", "{said:?}");
    let said = server(&["start-foreground"]);
    let dir = home.dir.display();
    let banner = format!("ZooKeeper JMX enabled by default\nUsing config: {dir}/bin/../conf/zoo.cfg\n");
    assert_eq!((said.stderr, said.code), (banner, Some(0)));
    let arguments: Vec<&str> = said.stdout.lines().collect();
    let log_dir = format!("-Dzookeeper.log.dir={dir}/bin/../logs");
    assert_eq!(arguments[0], log_dir);
    assert_eq!(arguments[1], "-Dzookeeper.log.file=zookeeper-zoo-server-h.log");
    assert_eq!(arguments[2], "-Dzookeeper.root.logger=INFO,CONSOLE");
    assert_eq!(arguments[3], "-XX:+HeapDumpOnOutOfMemoryError");
    assert_eq!(arguments[4], "-XX:OnOutOfMemoryError=kill -9 %p");
    assert_eq!(arguments[5], "-cp");
    assert_eq!(arguments[7], "-Xmx1000m");
    assert_eq!(arguments[8], "-Dcom.sun.management.jmxremote");
    assert_eq!(arguments[9], "-Dcom.sun.management.jmxremote.local.only=false");
    assert_eq!(arguments[10], "org.apache.zookeeper.server.quorum.QuorumPeerMain");
    assert_eq!(arguments[11..], [format!("{dir}/bin/../conf/zoo.cfg")]);

    let said = run(home.command("zkCleanup.sh", &["-n", "3"]).env("JAVA_HOME", home.dir.join("jdk")));
    assert!(said.stdout.ends_with(&format!("PurgeTxnLog\n{dir}/zkData\n-n\n3\n")), "{said:?}");

    let said = use_server("ferrokeeper");
    assert_eq!(said.stdout, "The scripts of this home now run Ferrokeeper.\n", "{said:?}");
    assert!(server(&["print-cmd"]).stdout.contains("/lib/ferrokeeper\" server "));

    // Unpacking again is the other way to say "use Ferrokeeper".
    use_server("java");
    unpack(&tarball, &home.dir, &["--strip-components=1"]);
    assert!(server(&["print-cmd"]).stdout.contains("/lib/ferrokeeper\" server "));
}

#[test]
fn javas_own_scripts_come_back_when_tar_kept_them() {
    let folder = Folder::new("kept");
    let home = java_home(&folder);
    let before = contents(&home.dir);
    let tarball = make_small_dist(&folder.0);
    let keeping = ["--strip-components=1", "--backup=numbered"];
    unpack(&tarball, &home.dir, &keeping);
    // A second version of ours on top of the first: what tar keeps then is not Java's.
    unpack(&tarball, &home.dir, &keeping);
    let java_is_back = || {
        let after = contents(&home.dir);
        before.iter().all(|(path, bytes)| after.get(path) == Some(bytes))
    };
    let use_server = |which: &str| run(&mut home.command("zkUse.sh", &[which])).code;
    for _ in 0..2 {
        assert!(!java_is_back());
        assert_eq!(use_server("java"), Some(0));
        assert!(java_is_back());
        assert_eq!(
            run(&mut home.command("zkServer.sh", &["status"])).stdout,
            "Java has its own zkServer.sh\n"
        );
        assert_eq!(use_server("ferrokeeper"), Some(0));
        assert!(home.server(&["print-cmd"]).stdout.contains("/lib/ferrokeeper\" server "));
    }
}

#[test]
fn a_home_without_jars_has_no_java_to_go_back_to() {
    let home = Home::new("no jars");
    let said = run(&mut home.command("zkUse.sh", &["java"]));
    assert_eq!((said.stdout.as_str(), said.code), ("", Some(1)));
    assert!(said.stderr.contains("has no Java server to go back to"), "{said:?}");
    assert!(home.server(&["print-cmd"]).stdout.contains("/lib/ferrokeeper\" server "));
    assert_eq!(run(&mut home.command("zkUse.sh", &[])).code, Some(1));
}
