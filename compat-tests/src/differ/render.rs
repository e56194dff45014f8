//! Requests and replies as text: what is compared and what a report shows. Nothing is left out: bytes that no field
//! explains are printed in hex.

use std::fmt::Write as _;

use anyhow::Result;

use super::names::{Names, password_of};
use super::step::hex;
use crate::wire::{ConnectReply, Dec, op};

pub fn op_name(op: i32) -> String {
    let name = match op {
        op::NOTIFICATION => "notification",
        op::CREATE => "create",
        op::DELETE => "delete",
        op::EXISTS => "exists",
        op::GET_DATA => "getData",
        op::SET_DATA => "setData",
        op::GET_ACL => "getACL",
        op::SET_ACL => "setACL",
        op::GET_CHILDREN => "getChildren",
        op::SYNC => "sync",
        op::PING => "ping",
        op::GET_CHILDREN2 => "getChildren2",
        op::CHECK => "check",
        op::MULTI => "multi",
        op::CREATE2 => "create2",
        op::RECONFIG => "reconfig",
        op::CHECK_WATCHES => "checkWatches",
        op::REMOVE_WATCHES => "removeWatches",
        op::CREATE_CONTAINER => "createContainer",
        op::DELETE_CONTAINER => "deleteContainer",
        op::CREATE_TTL => "createTTL",
        op::MULTI_READ => "multiRead",
        op::AUTH => "auth",
        op::SET_WATCHES => "setWatches",
        op::SASL => "sasl",
        op::GET_EPHEMERALS => "getEphemerals",
        op::GET_ALL_CHILDREN_NUMBER => "getAllChildrenNumber",
        op::SET_WATCHES2 => "setWatches2",
        op::ADD_WATCH => "addWatch",
        op::WHO_AM_I => "whoAmI",
        op::CREATE_SESSION => "createSession",
        op::CLOSE_SESSION => "closeSession",
        _ => return format!("op {op}"),
    };
    name.to_string()
}

/// A request for a report; bodies that do not decode are shown in hex.
pub fn request(frame: &[u8]) -> String {
    let mut d = Dec(frame);
    let (Ok(xid), Ok(op)) = (d.int(), d.int()) else { return format!("short frame {}", hex(frame)) };
    let body = d.0;
    let mut text = format!("xid={xid} {}", op_name(op));
    let mark = text.len();
    let decoded = request_fields(op, &mut d, &mut text);
    if decoded.is_err() || !d.is_empty() {
        if decoded.is_err() {
            text.truncate(mark);
        }
        let rest = if decoded.is_err() { body } else { d.0 };
        let _ = write!(text, " +{}B {}", rest.len(), short_hex(rest));
    }
    text
}

fn request_fields(op: i32, d: &mut Dec, out: &mut String) -> Result<()> {
    match op {
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
            write!(out, " {} data={}", quoted(d.buffer()?), data(d.buffer()?))?;
            acls(d, out)?;
            write!(out, " flags={}", d.int()?)?;
            if op == op::CREATE_TTL {
                write!(out, " ttl={}", d.long()?)?;
            }
        }
        op::DELETE | op::CHECK => write!(out, " {} version={}", quoted(d.buffer()?), d.int()?)?,
        op::EXISTS | op::GET_DATA | op::GET_CHILDREN | op::GET_CHILDREN2 => {
            write!(out, " {} watch={}", quoted(d.buffer()?), d.byte()?)?
        }
        op::SET_DATA => {
            write!(out, " {} data={} version={}", quoted(d.buffer()?), data(d.buffer()?), d.int()?)?
        }
        op::SET_ACL => {
            write!(out, " {}", quoted(d.buffer()?))?;
            acls(d, out)?;
            write!(out, " version={}", d.int()?)?;
        }
        op::GET_ACL | op::SYNC | op::GET_EPHEMERALS | op::GET_ALL_CHILDREN_NUMBER => {
            write!(out, " {}", quoted(d.buffer()?))?
        }
        op::CHECK_WATCHES | op::REMOVE_WATCHES => write!(out, " {} type={}", quoted(d.buffer()?), d.int()?)?,
        op::ADD_WATCH => write!(out, " {} mode={}", quoted(d.buffer()?), d.int()?)?,
        op::AUTH => write!(out, " type={} {} {}", d.int()?, quoted(d.buffer()?), quoted(d.buffer()?))?,
        op::SET_WATCHES | op::SET_WATCHES2 => {
            write!(out, " since=0x{:x}", d.long()?)?;
            let lists: &[&str] = match op {
                op::SET_WATCHES => &["data", "exist", "child"],
                _ => &["data", "exist", "child", "persistent", "recursive"],
            };
            for list in lists {
                write!(out, " {list}=[{}]", path_list(d)?.join(" "))?;
            }
        }
        op::RECONFIG => {
            write!(out, " join={} leave={}", quoted(d.buffer()?), quoted(d.buffer()?))?;
            write!(out, " members={} id={}", quoted(d.buffer()?), d.long()?)?;
        }
        op::MULTI | op::MULTI_READ => loop {
            let (kind, done, err) = (d.int()?, d.byte()?, d.int()?);
            if done != 0 {
                if (kind, done, err) != (-1, 1, -1) {
                    write!(out, " | end({kind},{done},{err})")?;
                }
                break;
            }
            write!(out, "\n        | {}", op_name(kind))?;
            request_fields(kind, d, out)?;
        },
        _ => {}
    }
    Ok(())
}

/// A reply to a request of type `op`, for comparison.
pub fn reply(asked: i32, frame: &[u8], names: &mut Names) -> String {
    let mut text = String::new();
    let mut d = Dec(frame);
    if asked == op::CREATE_SESSION
        && frame.len() < 45
        && let Ok(reply) = ConnectReply::decode(frame)
        && reply.password.len() == 16
    {
        return format!("{}B {}", frame.len(), connect_reply(&reply, names));
    }
    let (Ok(xid), Ok(zxid), Ok(err)) = (d.int(), d.long(), d.int()) else {
        return format!("short {}", hex(frame));
    };
    let _ = write!(text, "xid={xid} zxid=0x{zxid:x} err={err}");
    let body = d.0;
    let mark = text.len();
    if !d.is_empty() && reply_fields(asked, err, &mut d, &mut text, names).is_err() {
        text.truncate(mark);
        d = Dec(body);
    }
    if !d.is_empty() {
        let _ = write!(text, " +{}", hex(d.0));
    }
    text
}

pub fn event(frame: &[u8], with_zxid: bool) -> String {
    let mut d = Dec(frame);
    let mut text = "event".to_string();
    let mut fields = || -> Result<()> {
        let (_, zxid, _) = (d.int()?, d.long()?, d.int()?);
        if with_zxid {
            write!(text, " zxid=0x{zxid:x}")?;
        }
        write!(text, " type={} state={} {}", d.int()?, d.int()?, quoted(d.buffer()?))?;
        Ok(())
    };
    match fields() {
        Ok(()) if d.is_empty() => text,
        _ => format!("event +{}", hex(frame)),
    }
}

pub fn connect_reply(reply: &ConnectReply, names: &Names) -> String {
    let password = match reply.password.as_slice() {
        p if p == password_of(reply.session) => "derived".to_string(),
        p => hex(p),
    };
    format!(
        "session {} protocol={} timeout={} password={password} readOnly={:?}",
        names.session(reply.session),
        reply.protocol,
        reply.timeout_ms,
        reply.read_only
    )
}

fn reply_fields(asked: i32, err: i32, d: &mut Dec, out: &mut String, names: &mut Names) -> Result<()> {
    match asked {
        op::CREATE | op::SYNC => write!(out, " path={}", quoted(d.buffer()?))?,
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
            write!(out, " path={}", quoted(d.buffer()?))?;
            stat(d, out, names)?;
        }
        op::EXISTS | op::SET_DATA | op::SET_ACL => stat(d, out, names)?,
        op::GET_DATA | op::RECONFIG => {
            write!(out, " data={}", data(d.buffer()?))?;
            stat(d, out, names)?;
        }
        op::GET_ACL => {
            acls(d, out)?;
            stat(d, out, names)?;
        }
        op::GET_CHILDREN => children(d, out)?,
        op::GET_CHILDREN2 => {
            children(d, out)?;
            stat(d, out, names)?;
        }
        op::GET_EPHEMERALS => children(d, out)?,
        op::GET_ALL_CHILDREN_NUMBER => write!(out, " number={}", d.int()?)?,
        op::WHO_AM_I => {
            // 3.9 keeps them in a hash set.
            let n = d.int()?;
            let ids: Result<Vec<String>> =
                (0..n).map(|_| Ok(format!("{}:{}", quoted(d.buffer()?), quoted(d.buffer()?)))).collect();
            let mut ids = ids?;
            ids.sort();
            write!(out, " ids=[{}]", ids.join(" "))?;
        }
        op::MULTI | op::MULTI_READ => results(d, out, names)?,
        _ if err == 0 => {}
        _ => {}
    }
    Ok(())
}

fn results(d: &mut Dec, out: &mut String, names: &mut Names) -> Result<()> {
    loop {
        let (kind, done, err) = (d.int()?, d.byte()?, d.int()?);
        write!(out, "\n        | ({},{done},{err})", op_name(kind))?;
        if done != 0 {
            return Ok(());
        }
        match kind {
            -1 => write!(out, " code={}", d.int()?)?,
            op::DELETE | op::CHECK => {}
            _ => reply_fields(kind, 0, d, out, names)?,
        }
    }
}

fn stat(d: &mut Dec, out: &mut String, names: &mut Names) -> Result<()> {
    let s = d.stat()?;
    write!(out, " czxid=0x{:x} mzxid=0x{:x} pzxid=0x{:x}", s.czxid, s.mzxid, s.pzxid)?;
    write!(out, " ctime={} mtime={}", names.time(s.czxid, s.ctime), names.time(s.mzxid, s.mtime))?;
    write!(out, " version={} cversion={} aversion={}", s.version, s.cversion, s.aversion)?;
    write!(out, " owner={}", names.session(s.ephemeral_owner))?;
    write!(out, " length={} children={}", s.data_length, s.num_children)?;
    Ok(())
}

/// The order of children is that of a hash table: compared as a set, with duplicates shown.
fn children(d: &mut Dec, out: &mut String) -> Result<()> {
    let mut names = path_list(d)?;
    names.sort();
    write!(out, " children=[{}]", names.join(" "))?;
    Ok(())
}

fn path_list(d: &mut Dec) -> Result<Vec<String>> {
    let n = d.int()?;
    (0..n).map(|_| Ok(quoted(d.buffer()?))).collect()
}

fn acls(d: &mut Dec, out: &mut String) -> Result<()> {
    let n = d.int()?;
    if n < 0 {
        write!(out, " acl=count {n}")?;
        return Ok(());
    }
    out.push_str(" acl=[");
    for i in 0..n {
        let blank = if i == 0 { "" } else { " " };
        write!(out, "{blank}{}:{}:{}", d.int()?, quoted(d.buffer()?), quoted(d.buffer()?))?;
    }
    out.push(']');
    Ok(())
}

/// A string as the bytes that came: escapes for what is not plain text, so that CESU-8 and UTF-8 look different.
fn quoted(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_string() };
    if bytes.len() > 300 {
        return data(Some(bytes));
    }
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for &b in bytes {
        match b {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(b));
            }
            0x20..=0x7e => text.push(char::from(b)),
            _ => {
                let _ = write!(text, "\\x{b:02x}");
            }
        }
    }
    text.push('"');
    text
}

fn data(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_string(),
        Some(b) if b.len() <= 40 => quoted(Some(b)),
        Some(b) => format!("{}B:{:016x}", b.len(), fnv(b)),
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

fn short_hex(bytes: &[u8]) -> String {
    if bytes.len() <= 120 { hex(bytes) } else { format!("{}…", hex(&bytes[..120])) }
}
