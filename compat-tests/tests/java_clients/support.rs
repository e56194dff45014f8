//! The Java clients of `java/clients` as class paths, and how a main class of theirs is run.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::java::{runs, target_dir};
use rustix::process::{Pid, Signal, kill_process_group};

pub const PATIENCE: Duration = Duration::from_secs(80);

/// `let clients = need_clients!();` in a test: the folder of the class paths, or a loud return.
macro_rules! need_clients {
    () => {{
        need_java!("3.5.7");
        match $crate::support::lay_out() {
            Ok(path) => path,
            Err(why) => {
                compat_tests::need::skipped(compat_tests::test_name!(), &why);
                return;
            }
        }
    }};
}

pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("java/clients")
}

/// Runs to the end, stdout and stderr in `log`.
pub fn run(mut command: Command, log: &Path, patience: Duration) {
    let file = File::create(log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    // A group of its own: servers that a client starts end with it.
    command.process_group(0);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + patience;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
            panic!("{command:?} does not end; its output:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder with `3.5/` and `3.9/`, made once and again when a source is newer.
pub fn lay_out() -> Result<PathBuf, String> {
    if !runs("javac") || !runs("mvn") {
        return Err("needs javac+mvn: apt-get install default-jdk-headless maven".to_string());
    }
    let target = target_dir().join("java-clients");
    fs::create_dir_all(&target).map_err(|e| format!("cannot create {}: {e}", target.display()))?;
    let lock = File::create(target.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let script = sources().join("lay-out.sh");
    let out = Command::new("bash").arg(&script).arg(&target).output().map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(target);
    }
    Err(format!(
        "needs jars of Maven Central: {} ended with {}: {}",
        script.display(),
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    ))
}
