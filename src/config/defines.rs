//! The system properties of the Java server: the `-D` options of JVMFLAGS and SERVER_JVMFLAGS, then every key of zoo.cfg
//! that is not a configuration key, as `zookeeper.<key>` (`QuorumPeerConfig.parseProperties`). The file wins.

use std::collections::BTreeMap;
use std::fmt;

/// Property names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Defines {
    map: BTreeMap<String, Define>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Define {
    pub value: String,
    /// The line of zoo.cfg; none for a `-D`.
    pub line: Option<usize>,
}

impl Defines {
    /// Takes the `-D` options out of JVM flags. What else they hold (heap, collector, agents, modules) means nothing
    /// here and is handed back, for one log line.
    pub fn from_jvm_flags<'a>(flags: impl Iterator<Item = &'a str>) -> (Defines, Vec<String>) {
        let mut defines = Defines::default();
        let mut ignored = Vec::new();
        for flag in flags {
            let Some(property) = flag.strip_prefix("-D").filter(|p| !p.is_empty() && !p.starts_with('='))
            else {
                ignored.push(flag.to_string());
                continue;
            };
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            defines.set(key, value);
        }
        (defines, ignored)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.map.get(key).map(|d| d.value.as_str())
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.map.insert(key.into(), Define { value: value.into(), line: None });
    }

    pub(super) fn set_from_line(&mut self, key: String, value: &str, line: usize) {
        self.map.insert(key, Define { value: value.into(), line: Some(line) });
    }

    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.map.get(key).and_then(|d| d.line)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Define)> {
        self.map.iter().map(|(key, define)| (key.as_str(), define))
    }
}

impl fmt::Debug for Defines {
    /// Names only: values may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.map.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defines_are_taken_and_other_jvm_options_handed_back() {
        let flags = "-Xmx1000m -Dzookeeper.log.dir=/var/log/zk -XX:+UseG1GC -Dempty -Deq=a=b -verbose:gc \
                     -agentlib:jdwp=x -javaagent:jmx.jar -ea -da -server -client --add-opens=a/b=ALL -Dempty= \
                     -Deq=c=d -D -D=x -Dspaced=\u{20}v";
        let (defines, ignored) = Defines::from_jvm_flags(flags.split(' ').filter(|f| !f.is_empty()));
        assert_eq!(defines.get("zookeeper.log.dir"), Some("/var/log/zk"));
        assert_eq!(defines.get("empty"), Some(""));
        assert_eq!(defines.get("eq"), Some("c=d"), "the last one counts");
        assert_eq!(defines.get("absent"), None);
        let expected = [
            "-Xmx1000m",
            "-XX:+UseG1GC",
            "-verbose:gc",
            "-agentlib:jdwp=x",
            "-javaagent:jmx.jar",
            "-ea",
            "-da",
            "-server",
            "-client",
            "--add-opens=a/b=ALL",
            "-D",
            "-D=x",
            "v",
        ];
        assert_eq!(ignored, expected);
    }

    #[test]
    fn debug_output_shows_no_values() {
        let mut defines = Defines::default();
        defines.set("zookeeper.DigestAuthenticationProvider.superDigest", "super:hunter2");
        assert!(!format!("{defines:?}").contains("hunter2"));
    }
}
