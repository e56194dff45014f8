//! A Java member in a container beside two Ferrokeepers: the interop tests for anyone with Docker.
//!
//! The image is `zookeeper:3.5.7`; FERROKEEPER_ZOOKEEPER_IMAGE and FERROKEEPER_ZOOKEEPER_TAG name another. The container is on the
//! host's network, so it listens on its own loopback address like every other server of these tests; that takes Linux.
#![cfg(target_os = "linux")]

#[path = "ensembles/support.rs"]
mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use compat_tests::ensemble::{Ensemble, Plan};
use compat_tests::need::skipped;
use compat_tests::test_name;
use support::{PATIENCE, load, serves_everywhere, verify_members};
use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

/// The member that runs in the container.
const JAVA: u64 = 3;

fn env_or(key: &str, default: &str) -> String {
    std::env::var(key).unwrap_or_else(|_| default.to_string())
}

/// Why no container can be started.
fn no_engine() -> Option<String> {
    if std::env::var_os("DOCKER_HOST").is_some() {
        return None;
    }
    let socket = "/var/run/docker.sock";
    UnixStream::connect(socket).err().map(|e| {
        format!("no container engine answers at {socket} ({e}); compat-tests/java/start-docker.sh starts one")
    })
}

/// Starts server 3 of the plan, with an empty data folder of its own.
fn start_java(ensemble: &Ensemble) -> Container<GenericImage> {
    let server = &ensemble[JAVA];
    let cfg = fs::read_to_string(server.cfg_file()).unwrap();
    let inside = cfg.replace(&format!("dataDir={}", server.data_dir().display()), "dataDir=/data");
    assert_ne!(cfg, inside, "zoo.cfg names the folder on this machine");
    let file = server.dir().join("inside.cfg");
    fs::write(&file, inside).unwrap();
    let image = GenericImage::new(
        env_or("FERROKEEPER_ZOOKEEPER_IMAGE", "zookeeper"),
        env_or("FERROKEEPER_ZOOKEEPER_TAG", "3.5.7"),
    );
    let request = image
        .with_wait_for(WaitFor::message_on_either_std("binding to port"))
        .with_network("host")
        .with_env_var("ZOO_MY_ID", JAVA.to_string())
        .with_mount(Mount::bind_mount(file.display().to_string(), "/conf/zoo.cfg"));
    request.start().expect("the container starts")
}

#[test]
fn a_java_member_in_a_container_leads_dies_and_comes_back() {
    if let Some(why) = no_engine() {
        return skipped(test_name!(), &why);
    }
    // The letter of server 3 only has to be something: its process is the container's.
    let mut ensemble = Plan::new("FFJ").prepare().unwrap();
    let container = start_java(&ensemble);
    ensemble.launch(&[2]).unwrap();
    assert_eq!(ensemble.settled_among(&[2, 3], PATIENCE).unwrap(), JAVA, "the larger sid leads");
    ensemble.launch(&[1]).unwrap();
    let all = [1, 2, JAVA];
    assert_eq!(ensemble.settled_among(&all, PATIENCE).unwrap(), JAVA);
    serves_everywhere(&ensemble, "Java leads");

    let load = load(&ensemble);
    load.progress(100, PATIENCE).unwrap();
    drop(container);
    load.progress(100, PATIENCE).unwrap();
    assert_eq!(ensemble.settled().unwrap(), 2);
    // With nothing on its disk: it is sent a snapshot.
    let container = start_java(&ensemble);
    assert_eq!(ensemble.settled_among(&all, PATIENCE).unwrap(), 2);
    load.progress(100, PATIENCE).unwrap();

    ensemble.kill9(&[2]).unwrap();
    load.progress(100, PATIENCE).unwrap();
    ensemble.launch(&[2]).unwrap();
    ensemble.settled_among(&all, PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    verify_members(&ensemble, &all, load, "Java in a container");
    drop(container);
}
