//! bin/zkCluster.sh without ssh: ZK_SSH names a program that runs the command for the host's home on this machine.
#![cfg(target_os = "linux")]

#[path = "ensembles/homes.rs"]
mod homes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::java::workspace_dir;
use homes::{Home, Homes, Said, run};

/// Writes an executable script.
fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Says what it was asked; the host `down` refuses as ssh does.
const ECHO: &str = r#"if [ "$2" = down ]; then echo "ssh: connect to host down" >&2; exit 255; fi
printf '<%s>' "$@"; echo; cat"#;

/// A home with a configuration of its own, and the pretended ssh.
struct Console {
    homes: Homes,
    ssh: PathBuf,
}

impl Console {
    fn new(more: &str) -> Console {
        let homes = Homes::new(&[1], more);
        let ssh = homes.folder().join("ssh");
        script(&ssh, ECHO);
        Console { homes, ssh }
    }

    fn home(&self) -> &Home {
        self.homes.get(1)
    }

    fn cluster(&self, env: &[(&str, &str)], arguments: &[&str]) -> Said {
        let mut command = self.home().command("zkCluster.sh", arguments);
        // By PATH, and with an argument of its own.
        let path = format!("{}:/usr/bin:/bin", self.ssh.parent().unwrap().display());
        run(command.env("PATH", path).env("ZK_SSH", "ssh -q").envs(env.iter().copied()))
    }

    fn remote(&self, host: &str, command: &str) -> String {
        let dir = self.home().dir.display().to_string().replace(' ', "\\ ");
        format!("<-q><{host}><{dir}/bin/zkServer.sh {command}>\n")
    }
}

#[test]
fn every_host_of_the_arguments_is_asked_in_turn() {
    let console = Console::new("");
    for command in ["start", "stop", "status"] {
        let said = console.cluster(&[("ZK_HOSTS", "not these")], &[command, "hadoop102", "hadoop103"]);
        let stdout: String = ["hadoop102", "hadoop103"]
            .map(|host| {
                format!("----------zookeeper {host} {command}----------\n{}", console.remote(host, command))
            })
            .concat();
        assert_eq!(said, Said { stdout, stderr: String::new(), code: Some(0) });
    }
}

#[test]
fn banners_are_in_the_language_of_the_locale() {
    let console = Console::new("");
    let banner = |env: &[(&str, &str)], command| {
        let said = console.cluster(env, &[command, "hadoop102"]);
        said.stdout.lines().next().unwrap().to_string()
    };
    let chinese = ("LANG", "zh_CN.UTF-8");
    assert_eq!(banner(&[chinese], "start"), "----------zookeeper hadoop102 启动----------");
    assert_eq!(banner(&[chinese], "stop"), "----------zookeeper hadoop102 停止----------");
    assert_eq!(banner(&[chinese], "status"), "----------zookeeper hadoop102 状态----------");
    let english = "----------zookeeper hadoop102 start----------";
    assert_eq!(banner(&[("LANG", "en_US.UTF-8")], "start"), english);
    assert_eq!(banner(&[], "start"), english);
    assert_eq!(banner(&[chinese, ("LC_ALL", "C")], "start"), english);
}

#[test]
fn hosts_come_from_the_environment_or_from_the_server_lines() {
    let lines = "server.10=ten:2888:3888\n server.2 = two:2888:3888:observer;2181\nserver.3=[::3]:2888:3888\n\
                 #server.4=four:2888:3888\nserver.5=two:2889:3889\n";
    let console = Console::new(lines);
    let hosts = |env: &[(&str, &str)]| -> Vec<String> {
        let said = console.cluster(env, &["status"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let banners = said.stdout.lines().filter_map(|l| l.strip_prefix("----------zookeeper "));
        banners.map(|l| l.split(' ').next().unwrap().to_string()).collect()
    };
    let own = console.home().address.to_string();
    assert_eq!(hosts(&[]), [&own, "two", "::3", "ten"]);
    assert_eq!(hosts(&[("ZK_HOSTS", "a b,c  a")]), ["a", "b", "c"]);

    // The lines may be in the file of dynamicConfigFile instead.
    let dynamic = console.homes.folder().join("zoo.cfg.dynamic");
    fs::write(&dynamic, "server.7=seven:2888:3888;2181\nserver.6=six:2888:3888;2181\n").unwrap();
    let cfg = format!("dynamicConfigFile={}\n", dynamic.display());
    fs::write(console.home().dir.join("conf/zoo.cfg"), cfg).unwrap();
    assert_eq!(hosts(&[]), ["six", "seven"]);
}

#[test]
fn a_host_that_fails_is_named_and_the_others_are_still_asked() {
    let console = Console::new("");
    let said = console.cluster(&[], &["stop", "hadoop102", "down", "hadoop104"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.stderr,
        "ssh: connect to host down\nError: stop failed on down (exit code 255).\n\
         Error: stop failed on 1 of 3 hosts: down\n"
    );
    assert!(said.stdout.ends_with(&console.remote("hadoop104", "stop")), "{said:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let console = Console::new("");
    for arguments in [&[][..], &["restart"], &["start", "-oProxyCommand=x"], &["start", ""]] {
        let said = console.cluster(&[], arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(
            said.stderr
                .contains("Usage: bin/zkCluster.sh [--config <conf-dir>] {start|stop|status} [host...]")
        );
    }
    fs::write(console.home().dir.join("conf/zoo.cfg"), "clientPort=2181\n").unwrap();
    let said = console.cluster(&[], &["start"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.starts_with("Error: no hosts: name them, set ZK_HOSTS, or write server.N lines into ")
    );
}

#[test]
fn the_home_of_the_hosts_may_be_another() {
    let console = Console::new("");
    let said =
        console.cluster(&[("ZK_CLUSTER_HOME", "/opt/module/zookeeper-3.5.7")], &["start", "hadoop102"]);
    assert!(said.stdout.ends_with("<-q><hadoop102></opt/module/zookeeper-3.5.7/bin/zkServer.sh start>\n"));
}

/// The guide's cluster: three hosts, whose homes are folders here.
#[test]
fn three_real_servers_are_started_questioned_and_stopped() {
    let homes = Homes::new(&[2, 3, 4], "");
    let bin = homes.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    let mut table = String::new();
    for home in homes.iter() {
        table += &format!("  {}) home='{}' ;;\n", home.address, home.dir.display());
    }
    script(
        &bin.join("ssh"),
        &format!(
            "case $1 in\n{table}esac\nexec env -i bash -c \"${{2//\\/opt\\/module\\/zookeeper-3.5.7/\"${{home// /\\\\ }}\"}}\""
        ),
    );
    let cluster = |command: &str| {
        let mut ran = homes.get(2).command("zkCluster.sh", &[command]);
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let env = [
            ("PATH", path.as_str()),
            ("ZK_CLUSTER_HOME", "/opt/module/zookeeper-3.5.7"),
            ("LANG", "zh_CN.UTF-8"),
        ];
        run(ran.envs(env))
    };
    let said = |verb: &str, line: &dyn Fn(&Home) -> String| -> String {
        homes
            .iter()
            .map(|h| format!("----------zookeeper {} {verb}----------\n{}", h.address, line(h)))
            .collect()
    };
    let banners: String = homes.iter().map(Home::banner).collect();

    let started = cluster("start");
    let stdout = said("启动", &|_| "Starting zookeeper ... STARTED\n".to_string());
    assert_eq!(started, Said { stdout, stderr: banners.clone(), code: Some(0) });
    for home in homes.iter() {
        home.comes_to(if home.id == 3 { "Mode: leader\n" } else { "Mode: follower\n" });
    }
    let status = cluster("status");
    let mode = |home: &Home| format!("Mode: {}\n", if home.id == 3 { "leader" } else { "follower" });
    assert_eq!(status, Said { stdout: said("状态", &mode), stderr: banners.clone(), code: Some(0) });
    let stopped = cluster("stop");
    let stdout = said("停止", &|_| "Stopping zookeeper ... STOPPED\n".to_string());
    assert_eq!(stopped, Said { stdout, stderr: banners, code: Some(0) });

    let status = cluster("status");
    assert_eq!(status.code, Some(1));
    assert!(status.stderr.contains("Error: status failed on 3 of 3 hosts: "), "{status:?}");
}

#[test]
fn the_script_is_in_the_tarball() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = folder.path().join("binary");
    script(&stand_in, "exit 9");
    let mut command = Command::new("bash");
    command
        .arg(workspace_dir().join("bin/make-dist.sh"))
        .arg(folder.path())
        .env("FERROKEEPER_BIN", &stand_in);
    let said = run(&mut command);
    assert_eq!(said.code, Some(0), "{said:?}");
    let listed = run(Command::new("tar").args(["-tvzf", said.stdout.trim_end()]));
    let line = listed.stdout.lines().find(|l| l.ends_with("/bin/zkCluster.sh")).expect("it is listed");
    assert!(line.starts_with("-rwxr-xr-x"), "{line}");
}
