//! Everything a server shows of its tree, read through the raw wire client: path, data, ACL, Stat.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use compat_tests::wire::{Acl, Client, Stat};

/// With the super user every node can be read and no digest is masked.
pub const SUPER_FLAG: &str =
    "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const SUPER: &[u8] = b"super:test";
/// Long enough to be alive whenever a test looks again.
pub const SESSION_MS: i32 = 400_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Acl>,
    pub stat: Stat,
}

pub type Tree = BTreeMap<String, Node>;

pub fn super_client(addr: SocketAddr) -> Result<Client> {
    let mut client = Client::connect(addr, SESSION_MS)?;
    client.auth("digest", SUPER)?.map_err(|code| anyhow!("auth answered {code}"))?;
    Ok(client)
}

pub fn dump(addr: SocketAddr) -> Result<Tree> {
    let mut client = super_client(addr)?;
    let mut tree = Tree::new();
    let mut paths = vec!["/".to_string()];
    while let Some(path) = paths.pop() {
        let failed = |code: i32| anyhow!("{path} answered {code}");
        let (data, stat) = client.get_data(&path, false)?.map_err(failed)?;
        let (acl, _) = client.get_acl(&path)?.map_err(failed)?;
        for child in client.get_children(&path, false)?.map_err(failed)? {
            paths.push(if path == "/" { format!("/{child}") } else { format!("{path}/{child}") });
        }
        tree.insert(path, Node { data, acl, stat });
    }
    client.close().context("closing the session of the dump")?;
    Ok(tree)
}

/// One line for each node that differs; the data of long ones is cut.
pub fn differences(left: &Tree, right: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        match (left.get(path), right.get(path)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => found.push(format!("{path}: {} | {}", show(a), show(b))),
            (a, b) => found.push(format!("{path}: {:?} | {:?}", a.map(show), b.map(show))),
        }
    }
    found
}

fn show(node: &Node) -> String {
    let data = node.data.as_deref().map(|d| {
        let head: String = String::from_utf8_lossy(d).chars().take(24).collect();
        format!("{} bytes {head:?}", d.len())
    });
    format!("{data:?} {:?} {:?}", node.stat, node.acl)
}
