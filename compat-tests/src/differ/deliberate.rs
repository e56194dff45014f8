//! What Ferrokeeper does differently on purpose, so what the differ does not send to both sides, each with its reason.
//!
//! Two kinds: requests that break Java (B§13), which would end the comparison, and ops of later releases.

use super::generate::Modern;

pub struct Deliberate {
    pub what: &'static str,
    pub why: &'static str,
}

pub const ALWAYS: &[Deliberate] = &[
    Deliberate {
        what: "check (op 13) outside a multi",
        why: "Java sends no reply and logs a txn of type 13 that it cannot read back: its next start fails (B§1.5)",
    },
    Deliberate {
        what: "createTTL with flags of no TTL mode and a negative ttl",
        why: "Java accepts it, then throws while applying it, at once and on every replay (B§2.2)",
    },
    Deliberate {
        what: "quota nodes with other text than count=N,bytes=M, null data, or directly below /zookeeper/quota",
        why: "Java throws inside txn application and its pipeline ends (B§2.10)",
    },
    Deliberate {
        what: "ACL ids and digest users with characters beyond U+FFFF",
        why: "Java forgets them: it writes surrogates to its log that it reads back as U+FFFD, so the server that took the \
              request answers one thing, followers and the same server after a restart another (B§1.2)",
    },
];

pub const MODERN: Deliberate = Deliberate {
    what: "multiRead 22, getEphemerals 103, getAllChildrenNumber 104, setWatches2 105, addWatch 106, whoAmI 107, watch types 4 and 5",
    why: "Ferrokeeper serves them unless ferrokeeper.modernClientOps=false; 3.5.7 refuses them (B§12.1)",
};

/// The differences that hold for a comparison, for its report.
pub fn holding(modern: Modern) -> impl Iterator<Item = &'static Deliberate> {
    ALWAYS.iter().chain((modern == Modern::Absent).then_some(&MODERN))
}
