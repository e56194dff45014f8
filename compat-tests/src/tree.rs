//! The whole tree of a server as one of its clients sees it, and the first difference between two of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wire::{Acl, Client, Conn, ConnectRequest, Dec, Enc, Incoming, Reply, Stat, op};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub stat: Stat,
    pub acl: Vec<Acl>,
}

/// Path to node, the root included. `/zookeeper/config` is left out: behind a faulty network its text differs by intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Node>);

impl Tree {
    /// Reads everything, after a sync. What others delete meanwhile is left out.
    pub fn read(addr: SocketAddr) -> Result<Tree> {
        let mut conn = Conn::open(addr)?;
        // A read as super user would need a secret; trees of these tests are readable by the world.
        let reply = conn.handshake(&ConnectRequest::new(30_000))?;
        let session = reply.filter(|r| r.session != 0).with_context(|| format!("{addr} gave no session"))?;
        let mut reader = Reader { conn, xid: 1 };
        reader.ask(op::SYNC, &["/".to_string()])?;
        let mut tree = Tree::default();
        let mut level = vec!["/".to_string()];
        while !level.is_empty() {
            let nodes = reader.nodes(&level)?;
            let children = reader.children(&level)?;
            tree.0.extend(level.into_iter().zip(nodes).filter_map(|(path, node)| Some((path, node?))));
            level = children;
        }
        reader.close().with_context(|| format!("session 0x{:x}", session.session))?;
        Ok(tree)
    }

    /// What differs, a line for each node.
    pub fn difference(&self, other: &Tree) -> String {
        let mut text = String::new();
        for path in self.0.keys().chain(other.0.keys().filter(|p| !self.0.contains_key(*p))) {
            let (here, there) = (self.0.get(path), other.0.get(path));
            if here != there && text.len() < 4000 {
                let _ = writeln!(text, "{path}:\n  {here:?}\n  {there:?}");
            }
        }
        text
    }
}

/// Waits until the trees of all servers are equal (a follower may be a moment behind, sessions may just have ended), and
/// gives that tree.
pub fn equal_trees(addrs: &[SocketAddr], patience: Duration) -> Result<Tree> {
    let deadline = Instant::now() + patience;
    loop {
        let trees: Vec<Tree> = addrs.iter().map(|addr| Tree::read(*addr)).collect::<Result<_>>()?;
        let (first, rest) = trees.split_first().context("no server was named")?;
        let Some(at) = rest.iter().position(|tree| tree != first) else { return Ok(first.clone()) };
        if Instant::now() > deadline {
            bail!("the trees of {} and {} differ:\n{}", addrs[0], addrs[at + 1], first.difference(&rest[at]));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Reads with many requests in flight: a walk with one at a time takes seconds.
struct Reader {
    conn: Conn,
    xid: i32,
}

impl Reader {
    fn nodes(&mut self, paths: &[String]) -> Result<Vec<Option<Node>>> {
        let data = self.ask(op::GET_DATA, paths)?;
        let acls = self.ask(op::GET_ACL, paths)?;
        data.into_iter().zip(acls).map(|(data, acl)| node(data, acl)).collect()
    }

    fn children(&mut self, paths: &[String]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (path, reply) in paths.iter().zip(self.ask(op::GET_CHILDREN, paths)?) {
            let Some(reply) = reply else { continue };
            let parent = path.trim_end_matches('/');
            for name in Dec(&reply.body).strings()? {
                let child = format!("{parent}/{name}");
                if child != "/zookeeper/config" {
                    all.push(child);
                }
            }
        }
        Ok(all)
    }

    /// A reply for each path; None where the node is gone.
    fn ask(&mut self, op: i32, paths: &[String]) -> Result<Vec<Option<Reply>>> {
        let mut replies = Vec::with_capacity(paths.len());
        for batch in paths.chunks(IN_FLIGHT) {
            for (path, xid) in batch.iter().zip(self.xid..) {
                let body = Enc::new().string(path);
                let with_watch = matches!(op, op::GET_DATA | op::GET_CHILDREN);
                let body = if with_watch { body.bool(false) } else { body };
                self.conn.send_request(xid, op, &body.bytes())?;
            }
            for path in batch {
                replies.push(self.reply(op, path)?);
            }
        }
        Ok(replies)
    }

    fn reply(&mut self, op: i32, path: &str) -> Result<Option<Reply>> {
        let Incoming::Frame(frame) = self.conn.read_frame(Duration::from_secs(20))? else {
            bail!("no answer to op {op} on {path}");
        };
        let reply = Reply::decode(&frame)?;
        if reply.xid != self.xid {
            bail!("a reply to xid {} while {} was awaited", reply.xid, self.xid);
        }
        self.xid += 1;
        match reply.err {
            0 => Ok(Some(reply)),
            // Not ours to read: it counts as a node without data.
            NO_AUTH if op == op::GET_DATA => {
                Ok(Some(Reply { body: Enc::new().int(-1).raw(&[0; 68]).bytes(), ..reply }))
            }
            NO_AUTH if op != op::SYNC => Ok(Some(Reply { body: vec![0; 4], ..reply })),
            NO_NODE => Ok(None),
            err => bail!("op {op} on {path}: error {err}"),
        }
    }

    fn close(mut self) -> Result<()> {
        self.conn.send_request(self.xid, op::CLOSE_SESSION, &[])?;
        match self.conn.read_frame(Duration::from_secs(20))? {
            Incoming::Frame(_) => Ok(()),
            other => bail!("closeSession was answered with {other:?}"),
        }
    }
}

fn node(data: Option<Reply>, acl: Option<Reply>) -> Result<Option<Node>> {
    let (Some(data), Some(acl)) = (data, acl) else { return Ok(None) };
    let mut d = Dec(&data.body);
    let (bytes, stat) = (d.buffer()?.map(<[u8]>::to_vec), d.stat()?);
    Ok(Some(Node { data: bytes, stat, acl: Dec(&acl.body).acls()? }))
}

/// Whether the session has ended on the server: what its client would read.
pub fn has_ephemerals_of(tree: &Tree, session: i64) -> bool {
    tree.0.values().any(|node| node.stat.ephemeral_owner == session)
}

/// A client on `addr` that sees everything acknowledged before the call.
pub fn synced_client(addr: SocketAddr) -> Result<Client> {
    let mut client = Client::connect(addr, 30_000)?;
    match client.sync("/")? {
        Ok(_) => Ok(client),
        Err(code) => bail!("sync on {addr}: error {code}"),
    }
}

const IN_FLIGHT: usize = 200;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
