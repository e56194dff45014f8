//! Tests that need a peer this machine may lack: they say so where it is seen, or fail when the peers are required.
//!
//! libtest captures what goes through `eprintln!`; a skipped test must not look like a passed one, so the line is written to
//! the file descriptor and also collected in `target/skipped-tests.txt`.

use std::fs::OpenOptions;
use std::io::Write;

use crate::java::target_dir;

/// With this variable set to 1 a missing peer is a failure: a build machine must not skip in silence.
pub const REQUIRE_PEERS: &str = "FERROKEEPER_REQUIRE_PEERS";

/// Says loudly that `test` did not run. Panics when peers are required.
pub fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    if std::env::var(REQUIRE_PEERS).is_ok_and(|v| v == "1") {
        panic!("{line}{REQUIRE_PEERS}=1 makes that a failure");
    }
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Ok(mut file) =
        OpenOptions::new().append(true).create(true).open(target_dir().join("skipped-tests.txt"))
    {
        let _ = file.write_all(line.as_bytes());
    }
}

/// The name of the function this stands in, for `skipped`.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        name.strip_suffix("::here").unwrap_or(name)
    }};
}

/// `let home = need_java!("3.5.7");` in a test: the Java home, or a loud return.
#[macro_export]
macro_rules! need_java {
    ($version:expr) => {
        match $crate::java::JavaHome::find($version) {
            Ok(home) => home,
            Err(why) => {
                $crate::need::skipped($crate::test_name!(), &why);
                return;
            }
        }
    };
}

/// `need_program!("python3", "apt-get install python3");` in a test: returns loudly where the program cannot be started.
#[macro_export]
macro_rules! need_program {
    ($program:expr, $install:expr) => {
        if !$crate::java::runs($program) {
            $crate::need::skipped($crate::test_name!(), &format!("needs {}: {}", $program, $install));
            return;
        }
    };
}
