//! Agreement: of two servers that have delivered different txns, one has delivered what the other has.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for a in w.serving() {
        for b in w.serving().filter(|b| b.sid > a.sid) {
            let (a_shown, b_shown) = (a.shown(), b.shown());
            let (Some(x), Some(y)) = (a_shown.checked_sub(1), b_shown.checked_sub(1)) else { continue };
            let (x, y) = (a.history.list()[x], b.history.list()[y]);
            let has = |list: &[super::Logged], l| {
                list.binary_search_by_key(&(l as super::Logged).zxid, |k| k.zxid).is_ok_and(|n| list[n] == l)
            };
            if !has(&a.history.list()[..a_shown], y) && !has(&b.history.list()[..b_shown], x) {
                return Err(format!("server {} has delivered {x:?} and server {} {y:?}", a.sid, b.sid));
            }
        }
    }
    Ok(())
}
