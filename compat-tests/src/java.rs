//! Java ZooKeeper homes, laid out once per version under `target/java-homes` by `java/get-java-zookeeper.sh`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A complete home: `conf/`, `lib/` with the jars, `bin/` with two small scripts.
#[derive(Clone, Debug)]
pub struct JavaHome {
    pub version: String,
    pub path: PathBuf,
}

impl JavaHome {
    pub fn get(version: &str) -> Option<JavaHome> {
        JavaHome::find(version).ok()
    }

    /// The home, or why there is none and what to install. Several processes may ask at once: one lays it out.
    pub fn find(version: &str) -> Result<JavaHome, String> {
        let path = target_dir().join("java-homes").join(version);
        let home = JavaHome { version: version.to_string(), path };
        if !runs("java") {
            return Err("needs java+mvn: apt-get install default-jdk-headless maven".to_string());
        }
        if home.is_complete() {
            return Ok(home);
        }
        if !runs("mvn") {
            return Err("needs java+mvn: apt-get install default-jdk-headless maven".to_string());
        }
        home.lay_out()?;
        Ok(home)
    }

    pub fn classpath(&self) -> String {
        format!("{0}/conf:{0}/lib/*", self.path.display())
    }

    fn is_complete(&self) -> bool {
        self.path.join(".laid-out").exists()
    }

    fn lay_out(&self) -> Result<(), String> {
        let parent = self.path.parent().ok_or("no target folder")?;
        fs::create_dir_all(parent).map_err(|e| format!("cannot create {}: {e}", parent.display()))?;
        let _lock = lock_file(&parent.join(format!("{}.lock", self.version)))?;
        if self.is_complete() {
            return Ok(());
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/get-java-zookeeper.sh");
        let out = Command::new("bash")
            .arg(&script)
            .arg(&self.version)
            .arg(&self.path)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cannot run bash: {e}"))?;
        if out.status.success() && self.is_complete() {
            return Ok(());
        }
        Err(format!(
            "needs the jars of ZooKeeper {} from Maven Central: {} ended with {}: {}",
            self.version,
            script.display(),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        ))
    }
}

/// Whether `program` is on the PATH and can be started at all.
pub fn runs(program: &str) -> bool {
    let quiet = |arg: &str| {
        Command::new(program)
            .arg(arg)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    quiet("--version").is_ok()
}

/// cargo's target folder: where the running test executable lies, whatever made cargo choose that place.
pub fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        let dir = PathBuf::from(dir);
        return if dir.is_absolute() { dir } else { workspace_dir().join(dir) };
    }
    let tagged = |dir: &&Path| dir.join("CACHEDIR.TAG").exists();
    match std::env::current_exe() {
        Ok(exe) => {
            exe.ancestors().find(tagged).map_or_else(|| workspace_dir().join("target"), Path::to_path_buf)
        }
        Err(_) => workspace_dir().join("target"),
    }
}

pub fn workspace_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// An exclusive lock between processes, held until the file is dropped.
pub(crate) fn lock_file(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
    file.lock().map_err(|e| format!("cannot lock {}: {e}", path.display()))?;
    Ok(file)
}
