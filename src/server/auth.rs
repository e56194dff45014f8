//! Who a connection is: the ids it starts with and those that auth packets add (B§2.7; `AuthenticationProvider`s).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use base64::Engine;
use sha1::{Digest, Sha1};

use crate::{
    config::{ConnectionFactory, Settings},
    jute::{self, Limits},
    proto::{client::AuthPacket, data::AclId},
};

/// NIO knows the address from the start; Netty in 3.5.7 only once the client asks for it.
pub fn initial(settings: &Settings, peer: SocketAddr) -> Arc<[AclId]> {
    match settings.connection_factory {
        ConnectionFactory::Nio => Arc::from([AclId::new("ip", host_address(peer.ip()))]),
        ConnectionFactory::Netty => Arc::from([]),
    }
}

/// The ids an auth packet earns; `None`: authentication failed.
pub fn authenticate(
    body: &[u8],
    limits: Limits,
    settings: &Settings,
    peer: IpAddr,
) -> Result<Option<Vec<AclId>>, jute::Error> {
    let packet: AuthPacket<'_> = jute::from_bytes(body, limits)?;
    Ok(match packet.scheme.as_deref() {
        Some("ip") => Some(vec![AclId::new("ip", host_address(peer))]),
        // A null credential is an exception in Java's provider, which counts as a failure.
        Some("digest") => packet.auth.map(|secret| digest(&jute::java_string(secret), settings)),
        _ => None,
    })
}

fn digest(credential: &str, settings: &Settings) -> Vec<AclId> {
    let id = digest_id(credential);
    let mut ids = Vec::with_capacity(2);
    if settings.super_digest.as_deref() == Some(id.as_str()) {
        ids.push(AclId::new("super", ""));
    }
    ids.push(AclId::new("digest", id));
    ids
}

/// `user:base64(sha1(user:password))` (`DigestAuthenticationProvider.generateDigest`).
pub fn digest_id(credential: &str) -> String {
    let user = credential.split(':').next().unwrap_or("");
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(credential.as_bytes()));
    format!("{user}:{hash}")
}

/// What one connection may collect; Java has no limit, and every permission check walks the whole list.
pub const MOST_IDS: usize = 1000;

/// The list with what is new in it, in order; `None` where that would be more than [`MOST_IDS`].
pub fn with(known: &Arc<[AclId]>, ids: Vec<AclId>) -> Option<Arc<[AclId]>> {
    let new: Vec<AclId> = ids.into_iter().filter(|id| !known.contains(id)).collect();
    match known.len() + new.len() {
        _ if new.is_empty() => Some(known.clone()),
        n if n > MOST_IDS => None,
        _ => Some(known.iter().cloned().chain(new).collect()),
    }
}

/// `InetAddress.getHostAddress()`.
fn host_address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|s| format!("{s:x}")).join(":"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_ids_are_javas() {
        // B§2.7
        assert_eq!(digest_id("u:p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        assert!(digest_id("nocolon").starts_with("nocolon:"));
    }
}
