//! Machines of an ensemble as an operator has them: a home each with scripts, conf/zoo.cfg and zkData/myid, nothing inherited
//! from the environment.
#![allow(dead_code)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use compat_tests::java::workspace_dir;
use compat_tests::process::{ferrokeeper_bin, loopback_address};
use tempfile::TempDir;

const SCRIPTS: [&str; 3] = ["zkEnv.sh", "zkServer.sh", "zkCluster.sh"];

/// What a command said.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

pub fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the command can be started");
    Said {
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        code: output.status.code(),
    }
}

#[derive(Debug)]
pub struct Home {
    pub id: u64,
    pub dir: PathBuf,
    pub address: Ipv4Addr,
}

/// The homes lie side by side in a folder with a blank in its name; dropping them stops what their pid files name.
#[derive(Debug)]
pub struct Homes {
    homes: Vec<Home>,
    folder: TempDir,
}

impl Homes {
    /// Servers of these ids, named `names` of zoo.cfg's server lines where the name is an address; `more` is added to zoo.cfg.
    pub fn new(ids: &[u64], more: &str) -> Homes {
        let folder = tempfile::Builder::new().prefix("zk homes ").tempdir().unwrap();
        let homes: Vec<Home> = ids
            .iter()
            .map(|id| Home {
                id: *id,
                dir: folder.path().join(format!("host{id}/zookeeper-3.5.7")),
                address: loopback_address(),
            })
            .collect();
        let servers: String =
            homes.iter().map(|h| format!("server.{}={}:2888:3888\n", h.id, h.address)).collect();
        for home in &homes {
            home.lay_out(&format!(
                "{more}\n#######################cluster##########################\n\n{servers}"
            ));
        }
        Homes { homes, folder }
    }

    pub fn get(&self, id: u64) -> &Home {
        self.homes.iter().find(|h| h.id == id).expect("there is such a server")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Home> {
        self.homes.iter()
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        for home in &self.homes {
            if home.pid_file().exists() {
                home.server(&["stop"]);
            }
        }
    }
}

impl Home {
    fn lay_out(&self, cluster: &str) {
        for part in ["bin", "conf", "lib", "zkData"] {
            fs::create_dir_all(self.dir.join(part)).unwrap();
        }
        for script in SCRIPTS {
            fs::copy(workspace_dir().join("bin").join(script), self.dir.join("bin").join(script)).unwrap();
        }
        symlink(ferrokeeper_bin().unwrap(), self.dir.join("lib/ferrokeeper")).unwrap();
        fs::write(self.dir.join("zkData/myid"), format!("{}\n", self.id)).unwrap();
        let cfg = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort=2181\nclientPortAddress={}\n\
             admin.enableServer=false\n{cluster}",
            self.dir.join("zkData").display(),
            self.address
        );
        fs::write(self.dir.join("conf/zoo.cfg"), cfg).unwrap();
    }

    pub fn client_addr(&self) -> SocketAddr {
        SocketAddr::from((self.address, 2181))
    }

    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("zkData/zookeeper_server.pid")
    }

    pub fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(format!("bin/{script}"));
        command.env_clear().current_dir(&self.dir).args(arguments);
        command
    }

    pub fn server(&self, arguments: &[&str]) -> Said {
        run(&mut self.command("zkServer.sh", arguments))
    }

    /// The guide's two lines, which go to stderr.
    pub fn banner(&self) -> String {
        format!("JMX enabled by default\nUsing config: {}/bin/../conf/zoo.cfg\n", self.dir.display())
    }

    #[track_caller]
    pub fn expect(&self, arguments: &[&str], stdout: &str, code: i32) {
        let expected = Said { stdout: stdout.to_string(), stderr: self.banner(), code: Some(code) };
        assert_eq!(self.server(arguments), expected, "server {}: zkServer.sh {arguments:?}", self.id);
    }

    /// Waits until `status` says so.
    #[track_caller]
    pub fn comes_to(&self, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let said = self.server(&["status"]);
            if said.stdout == status {
                assert_eq!(said.stderr, self.banner());
                return;
            }
            assert!(
                Instant::now() < deadline,
                "server {} never came to {status:?}: {said:?}\n{}",
                self.id,
                self.log()
            );
            sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        let Ok(files) = fs::read_dir(self.dir.join("logs")) else { return String::new() };
        files.flatten().filter_map(|f| fs::read_to_string(f.path()).ok()).collect()
    }
}
