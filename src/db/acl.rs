//! Access control: schemes, matching, fix-up and the table of interned lists (B§2.7).

use std::sync::Arc;

use super::{Map, Set};
use crate::proto::{Acl, AclId, ErrorCode, data::WireAcl, data::perms};

/// The key of built-in nodes: open to everybody, without an entry in the table.
pub const OPEN: AclKey = AclKey(-1);

/// An interned ACL list, as a snapshot names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclKey(pub i64);

/// Lists in use, each once (`ReferenceCountedACLCache`). Keys start at 1 and are never given out twice.
#[derive(Debug)]
pub struct AclTable {
    lists: Map<AclKey, Entry>,
    keys: Map<Arc<[Acl]>, AclKey>,
    last_key: i64,
    open: Arc<[Acl]>,
}

#[derive(Debug)]
struct Entry {
    list: Arc<[Acl]>,
    uses: usize,
}

impl Default for AclTable {
    fn default() -> Self {
        AclTable {
            lists: Map::default(),
            keys: Map::default(),
            last_key: 0,
            open: Arc::from([Acl::new(perms::ALL, "world", "anyone")]),
        }
    }
}

impl AclTable {
    /// The key of `list`, counted as used once more.
    pub fn intern(&mut self, list: &[Acl]) -> AclKey {
        if let Some(key) = self.keys.get(list) {
            let key = *key;
            self.add_use(key);
            return key;
        }
        // A snapshot may have brought any key.
        self.last_key = self.last_key.wrapping_add(1);
        let key = AclKey(self.last_key);
        self.insert(key, Arc::from(list), 1);
        key
    }

    /// `None` where a snapshot's node names a list that the snapshot does not hold: nobody can be let in by it.
    pub fn get(&self, key: AclKey) -> Option<&Arc<[Acl]>> {
        if key == OPEN { Some(&self.open) } else { self.lists.get(&key).map(|e| &e.list) }
    }

    pub fn add_use(&mut self, key: AclKey) {
        if let Some(entry) = self.lists.get_mut(&key) {
            entry.uses += 1;
        }
    }

    pub fn remove_use(&mut self, key: AclKey) {
        let Some(entry) = self.lists.get_mut(&key) else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses == 0
            && let Some(entry) = self.lists.remove(&key)
        {
            self.keys.remove(&entry.list);
        }
    }

    /// A list read from a snapshot, not in use yet. The last one of a key counts; the open list's key is not to be had, or
    /// whoever asks for this list later would get the open one.
    pub fn load(&mut self, key: AclKey, list: Vec<Acl>) {
        if key == OPEN {
            return;
        }
        if let Some(earlier) = self.lists.remove(&key) {
            self.keys.remove(&earlier.list);
        }
        self.last_key = self.last_key.max(key.0);
        self.insert(key, list.into(), 0);
    }

    /// Drops what a snapshot brought and no node uses.
    pub fn purge_unused(&mut self) {
        let keys = &mut self.keys;
        self.lists.retain(|_, entry| {
            if entry.uses == 0 {
                keys.remove(&entry.list);
            }
            entry.uses > 0
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = (AclKey, &Arc<[Acl]>)> {
        self.lists.iter().map(|(key, entry)| (*key, &entry.list))
    }

    pub fn len(&self) -> usize {
        self.lists.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    fn insert(&mut self, key: AclKey, list: Arc<[Acl]>, uses: usize) {
        self.keys.insert(list.clone(), key);
        self.lists.insert(key, Entry { list, uses });
    }
}

/// Whether one of `ids` may do `wanted` on a node with this list (`PrepRequestProcessor.checkACL`).
pub fn allows(list: &[Acl], wanted: i32, ids: &[AclId]) -> bool {
    if list.is_empty() || ids.iter().any(|id| id.scheme == "super") {
        return true;
    }
    list.iter().filter(|acl| acl.perms & wanted != 0).any(|acl| {
        (acl.id.scheme == "world" && acl.id.id == "anyone")
            || ids.iter().any(|id| id.scheme == acl.id.scheme && matches(id, &acl.id))
    })
}

/// [`allows`] as a request asks it: `zookeeper.skipACL` lets everybody in, and where a foreign snapshot has lost the list
/// only super passes.
pub fn check(list: Option<&[Acl]>, wanted: i32, ids: &[AclId], skip: bool) -> Result<(), ErrorCode> {
    let allowed = match list {
        _ if skip => true,
        Some(list) => allows(list, wanted, ids),
        None => ids.iter().any(|id| id.scheme == "super"),
    };
    if allowed { Ok(()) } else { Err(ErrorCode::NO_AUTH) }
}

fn matches(id: &AclId, expression: &AclId) -> bool {
    match expression.scheme.as_str() {
        "digest" => id.id == expression.id,
        "ip" => ip_matches(&id.id, &expression.id),
        _ => false,
    }
}

/// The list a txn carries for the list a client sent: duplicates dropped, `auth` expanded, ids checked
/// (`PrepRequestProcessor.fixupACL`). The errors' order is Java's, including the NullPointerExceptions that a client
/// sees as MarshallingError.
pub fn fix_up(sent: Option<&[WireAcl<'_>]>, ids: &[AclId], most_bytes: usize) -> Result<Vec<Acl>, ErrorCode> {
    let mut fixed = Vec::new();
    let mut bytes = 0;
    for acl in without_duplicates(sent.ok_or(ErrorCode::MARSHALLING_ERROR)?)? {
        let scheme = acl.scheme.as_deref().ok_or(ErrorCode::INVALID_ACL)?;
        if scheme == "auth" {
            let before = fixed.len();
            for id in ids.iter().filter(|id| id.scheme == "digest") {
                // Entries times identities: such a list is refused before it is made, since no txn could hold it.
                bytes += id.scheme.len() + id.id.len() + 12;
                if bytes > most_bytes {
                    return Err(ErrorCode::MARSHALLING_ERROR);
                }
                fixed.push(Acl { perms: acl.perms, id: id.clone() });
            }
            if fixed.len() == before {
                return Err(ErrorCode::INVALID_ACL);
            }
            continue;
        }
        let id = match (scheme, acl.id.as_deref()) {
            ("world" | "digest" | "ip", None) => return Err(ErrorCode::MARSHALLING_ERROR),
            ("world", Some("anyone")) => "anyone",
            ("digest", Some(id)) if is_digest_id(id) => id,
            ("ip", Some(id)) if Cidr::parse(id).is_some() => id,
            _ => return Err(ErrorCode::INVALID_ACL),
        };
        fixed.push(Acl::new(acl.perms, scheme, id));
    }
    if fixed.is_empty() { Err(ErrorCode::INVALID_ACL) } else { Ok(fixed) }
}

/// Java compares each entry with those it kept; a null of the later one, once reached, is an exception.
fn without_duplicates<'s, 'a>(sent: &'s [WireAcl<'a>]) -> Result<Vec<&'s WireAcl<'a>>, ErrorCode> {
    // By hash: a frame has room for eighty thousand entries, and Java's comparisons would keep every client waiting.
    let mut perms = Set::default();
    let mut schemes = Set::default();
    let mut whole = Set::default();
    let mut kept = Vec::with_capacity(sent.len().min(16));
    for acl in sent {
        let (scheme, id) = (acl.scheme.as_deref(), acl.id.as_deref());
        let is_compared = !perms.insert(acl.perms);
        if is_compared && scheme.is_none() {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        let has_namesake = !schemes.insert((acl.perms, scheme));
        if has_namesake && id.is_none() {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        if whole.insert((acl.perms, scheme, id)) {
            kept.push(acl);
        }
    }
    Ok(kept)
}

/// `String.split(":")` gives two parts after trailing empty ones are dropped.
fn is_digest_id(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// What a caller without ADMIN sees: the hash of a digest id hidden.
pub fn masked(list: &[Acl]) -> Vec<Acl> {
    list.iter()
        .map(|acl| match acl.id.id.find(':') {
            Some(at) if acl.id.scheme == "digest" => {
                Acl::new(acl.perms, "digest", format!("{}:x", &acl.id.id[..at]))
            }
            _ => acl.clone(),
        })
        .collect()
}

fn ip_matches(address: &str, expression: &str) -> bool {
    match (v4(address), Cidr::parse(expression)) {
        (Some(address), Some(cidr)) => cidr.mask(address) == cidr.mask(cidr.address),
        _ => false,
    }
}

/// An `ip` ACL id: a dotted quad, then perhaps `/bits`. IPv6 is never valid in 3.5.7.
struct Cidr {
    address: u32,
    bits: u32,
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (address, bits) = match text.split_once('/') {
            None => (text, 32),
            Some((address, bits)) => {
                (address, bits.parse::<i32>().ok().filter(|b| (0..=32).contains(b))? as u32)
            }
        };
        Some(Cidr { address: v4(address)?, bits })
    }

    fn mask(&self, address: u32) -> u32 {
        address.checked_shr(32 - self.bits).unwrap_or(0)
    }
}

/// Four decimal numbers as `Integer.parseInt` reads them (a sign and leading zeros are fine there).
fn v4(text: &str) -> Option<u32> {
    let mut address = 0u32;
    let mut parts = 0;
    for part in text.split('.') {
        let n = part.parse::<i32>().ok().filter(|n| (0..=255).contains(n))?;
        address = (address << 8) | n as u32;
        parts += 1;
    }
    (parts == 4).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Ustring;

    fn wire<'a>(perms: i32, scheme: Option<&'a str>, id: Option<&'a str>) -> WireAcl<'a> {
        WireAcl { perms, scheme: scheme.map(Ustring::from), id: id.map(Ustring::from) }
    }

    fn digest(id: &str) -> AclId {
        AclId::new("digest", id)
    }

    #[test]
    fn fix_up_follows_java() {
        use ErrorCode as E;
        type Case<'a> = (Option<Vec<WireAcl<'a>>>, Result<usize, E>);
        let cases: [Case<'_>; 16] = [
            (None, Err(E::MARSHALLING_ERROR)),
            (Some(vec![]), Err(E::INVALID_ACL)),
            (Some(vec![wire(31, Some("world"), Some("anyone"))]), Ok(1)),
            (Some(vec![wire(31, Some("world"), Some("anyone")); 2]), Ok(1)),
            (Some(vec![wire(31, Some("world"), Some("me"))]), Err(E::INVALID_ACL)),
            (Some(vec![wire(31, Some("world"), None)]), Err(E::MARSHALLING_ERROR)),
            (Some(vec![wire(31, None, Some("x"))]), Err(E::INVALID_ACL)),
            (
                Some(vec![wire(31, Some("world"), Some("anyone")), wire(31, None, Some("x"))]),
                Err(E::MARSHALLING_ERROR),
            ),
            (
                Some(vec![wire(31, Some("world"), Some("anyone")), wire(1, None, Some("x"))]),
                Err(E::INVALID_ACL),
            ),
            (Some(vec![wire(31, Some("auth"), None)]), Ok(2)),
            (Some(vec![wire(1, Some("digest"), Some(":b"))]), Ok(1)),
            (Some(vec![wire(1, Some("digest"), Some("a:b:"))]), Ok(1)),
            (Some(vec![wire(1, Some("digest"), Some("a:"))]), Err(E::INVALID_ACL)),
            (Some(vec![wire(1, Some("digest"), Some("a:b:c"))]), Err(E::INVALID_ACL)),
            (Some(vec![wire(1, Some("sasl"), Some("a"))]), Err(E::INVALID_ACL)),
            (Some(vec![wire(1, Some("ip"), Some("10.0.0.0/8"))]), Ok(1)),
        ];
        let ids = [AclId::new("ip", "127.0.0.1"), digest("u:1"), digest("v:2")];
        for (sent, expected) in cases {
            assert_eq!(fix_up(sent.as_deref(), &ids, 1000).map(|l| l.len()), expected, "{sent:?}");
        }
    }

    #[test]
    fn auth_needs_an_authenticated_scheme() {
        let sent = [wire(31, Some("auth"), Some(""))];
        assert_eq!(fix_up(Some(&sent), &[AclId::new("ip", "127.0.0.1")], 1000), Err(ErrorCode::INVALID_ACL));
    }

    #[test]
    fn an_expansion_that_no_txn_could_hold_is_refused_before_it_is_made() {
        let sent: Vec<WireAcl<'_>> = (0..1000).map(|perms| wire(perms, Some("auth"), None)).collect();
        let ids: Vec<AclId> = (0..1000).map(|n| digest(&format!("user{n}:hash"))).collect();
        assert_eq!(fix_up(Some(&sent), &ids, 1 << 20), Err(ErrorCode::MARSHALLING_ERROR));
    }

    #[test]
    fn ip_expressions() {
        let id = [AclId::new("ip", "10.1.2.3")];
        for (expression, expected) in [
            ("10.1.2.3", true),
            ("10.0.0.0/8", true),
            ("10.1.2.2/31", true),
            ("10.1.2.2", false),
            ("0.0.0.0/0", true),
            ("11.0.0.0/8", false),
            ("::1", false),
        ] {
            assert_eq!(allows(&[Acl::new(1, "ip", expression)], 1, &id), expected, "{expression}");
        }
        for bad in ["10.1.2", "10.1.2.3.4", "10.1.2.256", "10.1.2.3/33", "10.1.2.3/", "::1", "10.1.2.-1"] {
            assert!(Cidr::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_empty_list_and_super_let_everybody_in() {
        assert!(allows(&[], 31, &[]));
        let closed = [Acl::new(31, "digest", "a:b")];
        assert!(!allows(&closed, 1, &[digest("a:c")]));
        assert!(allows(&closed, 1, &[AclId::new("super", "")]));
        assert!(allows(&closed, 1, &[digest("a:b")]));
    }

    #[test]
    fn masking_hides_hashes_only() {
        let list = [Acl::new(1, "digest", "u:hash:more"), Acl::new(1, "ip", "1.2.3.4")];
        let seen = masked(&list);
        assert_eq!(seen[0].id.id, "u:x");
        assert_eq!(seen[1], list[1]);
    }

    #[test]
    fn the_table_counts_uses_and_never_reuses_a_key() {
        let mut table = AclTable::default();
        let a = [Acl::new(1, "world", "anyone")];
        let first = table.intern(&a);
        assert_eq!(first, AclKey(1));
        assert_eq!(table.intern(&a), first);
        table.remove_use(first);
        assert!(table.get(first).is_some());
        table.remove_use(first);
        assert!(table.get(first).is_none());
        assert_eq!(table.intern(&a), AclKey(2));
    }

    /// No Java server writes such tables, but a checksum proves no more than that somebody meant them.
    #[test]
    fn a_snapshots_keys_give_nobody_another_list() {
        let list = |id: &str| vec![Acl::new(perms::READ, "ip", id)];
        let mut table = AclTable::default();
        table.load(OPEN, list("1.1.1.1"));
        table.load(AclKey(1), list("2.2.2.2"));
        table.load(AclKey(1), list("3.3.3.3"));
        table.load(AclKey(i64::MAX), list("4.4.4.4"));
        for id in ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4", "5.5.5.5"] {
            let key = table.intern(&list(id));
            assert_eq!(table.get(key).map(|l| l.to_vec()), Some(list(id)), "{key:?}");
        }
        assert_eq!(table.get(OPEN).map(|l| l.to_vec()), Some(vec![Acl::new(perms::ALL, "world", "anyone")]));
    }
}
