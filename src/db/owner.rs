//! What an `ephemeralOwner` stands for (B§2.4; `EphemeralType`).

/// The owner of every container.
pub const CONTAINER: i64 = i64::MIN;
/// The longest time to live, in ms: 40 bits.
pub const MAX_TTL: i64 = 0xff_ffff_ffff;

const EXTENDED_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;
const FEATURE_MASK: i64 = 0x00ff_ff00_0000_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    None,
    Session,
    Container,
    Ttl,
}

/// `zookeeper.extendedTypesEnabled` and `zookeeper.emulate353TTLNodes`. With the first off, a stored TTL node looks like
/// the ephemeral of a dead session, as it does in Java.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerRules {
    pub extended_types: bool,
    pub emulate_353: bool,
}

impl OwnerRules {
    /// Java throws on a feature code other than TTL's; such a node is nobody's here and stays until it is deleted.
    #[inline]
    pub fn classify(self, raw: i64) -> Owner {
        match raw {
            0 => Owner::None,
            CONTAINER => Owner::Container,
            _ if self.extended_types && self.emulate_353 && raw < 0 => Owner::Ttl,
            _ if self.extended_types && raw & EXTENDED_MASK == EXTENDED_MASK => {
                if raw & FEATURE_MASK == 0 {
                    Owner::Ttl
                } else {
                    Owner::None
                }
            }
            _ => Owner::Session,
        }
    }

    /// ms from the last write until a TTL node may go.
    pub fn ttl(self, raw: i64) -> i64 {
        raw & MAX_TTL
    }
}

/// The owner of a TTL node; `None` for a ttl that no node can have.
pub fn of_ttl(ttl: i64) -> Option<i64> {
    (1..=MAX_TTL).contains(&ttl).then_some(EXTENDED_MASK | ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let plain = OwnerRules::default();
        let extended = OwnerRules { extended_types: true, emulate_353: false };
        let old = OwnerRules { extended_types: true, emulate_353: true };
        let ttl = of_ttl(5000).unwrap();
        assert_eq!(ttl as u64, 0xff00_0000_0000_1388);
        assert_eq!(plain.classify(ttl), Owner::Session);
        assert_eq!(extended.classify(ttl), Owner::Ttl);
        assert_eq!(extended.ttl(ttl), 5000);
        assert_eq!(extended.classify(0x0100_0000_0000_0001), Owner::Session);
        assert_eq!(extended.classify(i64::MIN), Owner::Container);
        assert_eq!(extended.classify(i64::MIN | 9), Owner::Session);
        assert_eq!(old.classify(i64::MIN | 9), Owner::Ttl);
        assert_eq!(of_ttl(0), None);
        assert_eq!(of_ttl(MAX_TTL + 1), None);
    }
}
