//! The small world the transcripts live in: few paths so that requests collide, and every class of what is refused.

use fastrand::Rng;

/// Ordinary nodes.
pub const PATHS: &[&str] = &[
    "/a",
    "/b",
    "/c",
    "/a/b",
    "/a/c",
    "/b/a",
    "/a/b/c",
    "/a/b/d",
    "/b/a/d",
    "/e",
    "/e/f",
    "/s",
    "/s/q-",
    "/s/",
    "/a/x-",
    "/locked",
    "/locked/in",
    "/q",
    "/q/r",
    "/\u{e9}t\u{e9}",
    "/\u{65e5}\u{672c}",
];

pub const SPECIAL: &[&str] =
    &["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x", ""];

/// Limits and stats of /a, /q and /q/r. The root of the quota tree gets none: Java dies of it (see `deliberate`).
pub const QUOTA: &[&str] = &[
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/q",
    "/zookeeper/quota/q/zookeeper_limits",
    "/zookeeper/quota/q/zookeeper_stats",
    "/zookeeper/quota/q/r",
    "/zookeeper/quota/q/r/zookeeper_limits",
    "/zookeeper/quota/q/r/zookeeper_stats",
];

/// One of every class of B§2.6, below parents that exist and that do not; some are not UTF-8.
pub const BAD: &[&[u8]] = &[
    b"",
    b"a",
    b"a/b",
    b"/a/",
    b"//",
    b"//a",
    b"/a//b",
    b"/.",
    b"/..",
    b"/a/.",
    b"/a/..",
    b"/a/./b",
    b"/a/../b",
    b"/nowhere/./b",
    b"/a/.b",
    b"/a/b.",
    b"/a/...",
    b"/a\0b",
    b"/\0",
    b"\0",
    b"/a/\x01",
    b"/a/\x1f",
    b"/a/\x20",
    b"/a/\x7f",
    "/a/\u{80}".as_bytes(),
    "/a/\u{9f}".as_bytes(),
    "/a/\u{a0}".as_bytes(),
    "/a/\u{d7ff}".as_bytes(),
    "/a/\u{e000}".as_bytes(),
    "/a/\u{f8ff}".as_bytes(),
    "/a/\u{f900}".as_bytes(),
    "/a/\u{ffef}".as_bytes(),
    "/a/\u{fff0}".as_bytes(),
    "/a/\u{ffff}".as_bytes(),
    "/a/\u{1f600}".as_bytes(),
    b"/a/\xff",
    b"/a/\xed\xa0\xbd\xed\xb8\x80",
    b"/a/\xc0\x80",
    b"/a/\xe2\x82",
    b"/a/\xf0\x9f\x98",
    b"/zookeeper/",
    b"/zookeeper/quota/",
    b"/zookeeper/config/",
];

/// Raw pieces of ACL entries: a null is written where None stands.
pub type Entry = (i32, Option<&'static [u8]>, Option<&'static [u8]>);

pub const OPEN: Entry = (31, Some(b"world"), Some(b"anyone"));

/// Entries a server accepts from somebody.
pub const ENTRIES: &[Entry] = &[
    OPEN,
    (1, Some(b"world"), Some(b"anyone")),
    (15, Some(b"world"), Some(b"anyone")),
    (16, Some(b"world"), Some(b"anyone")),
    (14, Some(b"world"), Some(b"anyone")),
    (0, Some(b"world"), Some(b"anyone")),
    (-1, Some(b"world"), Some(b"anyone")),
    (31, Some(b"auth"), Some(b"")),
    (17, Some(b"auth"), Some(b"whatever")),
    (31, Some(b"auth"), None),
    (31, Some(b"digest"), Some(b"u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")),
    (1, Some(b"digest"), Some(b"v:Mfy8apI9YguGKmh+AxUmAFSwkII=")),
    (31, Some(b"digest"), Some(b":b")),
    (31, Some(b"digest"), Some(b"a:b:")),
    (31, Some(b"digest"), Some(b"a:b\nc:d")),
    (31, Some(b"digest"), Some("\u{1f600}:x".as_bytes())),
    (31, Some(b"digest"), Some(b"\xff:x")),
    (31, Some(b"digest"), Some(b"\xed\xa0\xbd\xed\xb8\x80:x")),
    (31, Some(b"ip"), Some(b"127.0.0.1")),
    (3, Some(b"ip"), Some(b"127.0.0.0/8")),
    (31, Some(b"ip"), Some(b"10.1.2.3/16")),
    (31, Some(b"ip"), Some(b"0.0.0.0/0")),
    (31, Some(b"ip"), Some(b"127.0.0.1/32")),
    (31, Some(b"ip"), Some(b"127.0.0.2/31")),
];

/// Entries nobody can use.
pub const BAD_ENTRIES: &[Entry] = &[
    (31, Some(b"world"), Some(b"someone")),
    (31, Some(b"world"), Some(b"")),
    (31, Some(b"world"), None),
    (31, Some(b"digest"), Some(b"a")),
    (31, Some(b"digest"), Some(b"a:")),
    (31, Some(b"digest"), Some(b"a:b:c")),
    (31, Some(b"digest"), Some(b"")),
    (31, Some(b"digest"), Some(b":")),
    (31, Some(b"digest"), None),
    (31, Some(b"ip"), Some(b"127.0.0.1/33")),
    (31, Some(b"ip"), Some(b"127.0.0.1/-1")),
    (31, Some(b"ip"), Some(b"127.0.0.1/x")),
    (31, Some(b"ip"), Some(b"127.0.0.1/8/8")),
    (31, Some(b"ip"), Some(b"127.0.0")),
    (31, Some(b"ip"), Some(b"256.0.0.1")),
    (31, Some(b"ip"), Some(b"1.2.3.4.5")),
    (31, Some(b"ip"), Some(b"::1")),
    (31, Some(b"ip"), Some(b"")),
    (31, Some(b"ip"), Some(b"/8")),
    (31, Some(b"ip"), None),
    (31, Some(b"super"), Some(b"x")),
    (31, Some(b"sasl"), Some(b"x")),
    (31, Some(b"x509"), Some(b"CN=x")),
    (31, Some(b"foo"), Some(b"x")),
    (31, Some(b""), Some(b"")),
    (31, None, Some(b"anyone")),
    (31, None, None),
];

/// What an auth request says: scheme, data, and whether the server closes after refusing it.
pub type Auth = (Option<&'static [u8]>, Option<&'static [u8]>, bool);

pub const AUTHS: &[Auth] = &[
    (Some(b"digest"), Some(b"u:p"), false),
    (Some(b"digest"), Some(b"u:p"), false),
    (Some(b"digest"), Some(b"v:q"), false),
    (Some(b"digest"), Some(b"super:secret"), false),
    (Some(b"digest"), Some(b"no colon"), false),
    (Some(b"digest"), Some(b""), false),
    (Some(b"digest"), Some(b":"), false),
    (Some(b"digest"), Some(b"a:b:c"), false),
    (Some(b"digest"), Some("\u{1f600}:pw".as_bytes()), false),
    (Some(b"digest"), Some(b"\xff\xfe:pw"), false),
    (Some(b"ip"), Some(b""), false),
    (Some(b"ip"), None, false),
    (Some(b"digest"), None, true),
    (Some(b"sasl"), Some(b"x"), true),
    (Some(b"world"), Some(b"anyone"), true),
    (Some(b"foo"), Some(b"x"), true),
    (Some(b""), Some(b""), true),
    (None, Some(b"x"), true),
];

/// Four-letter words; stmk carries its argument.
pub const WORDS: &[&[u8]] = &[
    b"ruok",
    b"ruok\n",
    b"srvr",
    b"srvr",
    b"stat",
    b"conf",
    b"dirs",
    b"mntr",
    b"mntr",
    b"wchs",
    b"wchc",
    b"wchp",
    b"dump",
    b"dump",
    b"cons",
    b"cons",
    b"envi",
    b"isro",
    b"crst",
    b"srst",
    b"gtmk",
    b"stmk\0\0\0\0\0\0\x01\x32",
    b"stmk\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"\xff\xf4\xff\xfd",
];

/// What a connection that is no client's says first; the server closes, with or without an answer.
pub fn stranger(rng: &mut Rng) -> Vec<u8> {
    let short_connect = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x75, 0x30];
    let whole: &[u8] = match rng.u8(..12) {
        0 => b"\0\0\0\0",
        1 => b"\xff\xff\xff\xff",
        2 => b"\x80\0\0\0",
        3 => b"\0\x10\0\0",
        4 => b"\x7f\xff\xff\xff",
        5 => b"GET / HTTP/1.1\r\n\r\n",
        6 => b"quit",
        7 => b"RUOK",
        // hash is a word of 3.9; to 3.5.7 it is a length.
        8 => b"hash",
        9 => b"\0\0\0\x04abcd",
        // A password whose length lies.
        10 => b"\0\0\0\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\x7f\xff\xff\xff",
        _ => {
            let length = rng.usize(..short_connect.len());
            return crate::wire::frame(&short_connect[..length]);
        }
    };
    whole.to_vec()
}
