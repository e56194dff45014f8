//! Log lines in the layout of ZooKeeper's log4j.properties (B§9.7), set up by the same properties.
//!
//! 1. Logging never holds the server up: lines go through a bounded queue to a thread per destination; when a full disk
//!    or a stalled terminal fills it, lines are dropped and counted.
//! 2. Nothing here panics or ends the process, whatever happens to the files.
//! 3. CONSOLE is stderr (log4j: stdout), so that stdout stays for what a command prints.
//!
//! The files are rolled by own lines: the file-rotate crate asserts that its old files still exist, and an operator who
//! deletes one would take the server down with it.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Defines;
use crate::config::numbers::{parse_int, parse_long, trim};
use crate::config::properties::Properties;
use crate::ids::Sid;

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// First word of zookeeper.root.logger.
    pub root_level: LevelFilter,
    /// CONSOLE in zookeeper.root.logger, with zookeeper.console.threshold.
    pub console: Option<LevelFilter>,
    /// ROLLINGFILE: zookeeper.log.dir, .file, .threshold, .maxfilesize, .maxbackupindex.
    pub rolling_file: Option<FileOptions>,
    /// TRACEFILE: zookeeper.tracelog.dir, .file.
    pub trace_file: Option<FileOptions>,
    /// What was wrong with the properties; `init` logs it.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    pub path: PathBuf,
    pub threshold: LevelFilter,
    /// Bytes after which a file becomes `<path>.1`; none = never.
    pub max_size: Option<u64>,
    /// How many of those are kept.
    pub max_backups: usize,
}

impl LogOptions {
    /// From the -D properties; what they leave open is taken from the contents of a log4j.properties, where there is
    /// one, and else from those of the shipped file.
    pub fn from_sources(defines: &Defines, log4j_properties: Option<&[u8]>) -> LogOptions {
        let mut warnings = Vec::new();
        let file = match log4j_properties.map(Properties::from_bytes) {
            None => Properties::default(),
            Some(Ok(properties)) => properties,
            Some(Err(e)) => {
                warnings.push(format!("log4j.properties is not used: line {}: {e}", e.line));
                Properties::default()
            }
        };
        let mut from = LogProperties { defines, file: &file, warnings };
        let mut options = from.options();
        options.warnings = from.warnings;
        options
    }
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions::from_sources(&Defines::default(), None)
    }
}

struct LogProperties<'a> {
    defines: &'a Defines,
    file: &'a Properties,
    warnings: Vec<String>,
}

impl LogProperties<'_> {
    fn options(&mut self) -> LogOptions {
        let root_logger = self.text("zookeeper.root.logger", "INFO,CONSOLE");
        let mut words = root_logger.split(',').map(trim);
        let root_level = self.level("zookeeper.root.logger", words.next().unwrap_or(""), LevelFilter::DEBUG);
        let mut options = LogOptions {
            root_level,
            console: None,
            rolling_file: None,
            trace_file: None,
            warnings: Vec::new(),
        };
        for appender in words.filter(|word| !word.is_empty()) {
            match appender {
                "CONSOLE" => options.console = Some(self.threshold("zookeeper.console.threshold")),
                "ROLLINGFILE" => options.rolling_file = Some(self.rolling_file()),
                "TRACEFILE" => options.trace_file = Some(self.trace_file()),
                other => self.warnings.push(format!(
                    "zookeeper.root.logger: no appender {other} (there are CONSOLE, ROLLINGFILE and TRACEFILE)"
                )),
            }
        }
        options
    }

    fn rolling_file(&mut self) -> FileOptions {
        let size = self.text("zookeeper.log.maxfilesize", DEFAULT_MAX_SIZE);
        let max_size = file_size(&size).unwrap_or_else(|| {
            let warning = format!(
                "zookeeper.log.maxfilesize: {size:?} is not a size like 256MB, using {DEFAULT_MAX_SIZE}"
            );
            self.warnings.push(warning);
            256 << 20
        });
        let backups = self.text("zookeeper.log.maxbackupindex", "20");
        let max_backups = parse_int(trim(&backups)).unwrap_or_else(|e| {
            self.warnings.push(format!("zookeeper.log.maxbackupindex: {e}, using 20"));
            20
        });
        FileOptions {
            path: self.path("zookeeper.log.dir", "zookeeper.log.file", "zookeeper.log"),
            threshold: self.threshold("zookeeper.log.threshold"),
            max_size: Some(max_size),
            max_backups: usize::try_from(max_backups).unwrap_or(0),
        }
    }

    fn trace_file(&mut self) -> FileOptions {
        let dir = if self.find("zookeeper.tracelog.dir").is_some() {
            "zookeeper.tracelog.dir"
        } else {
            "zookeeper.log.dir"
        };
        FileOptions {
            path: self.path(dir, "zookeeper.tracelog.file", "zookeeper_trace.log"),
            threshold: LevelFilter::TRACE,
            max_size: None,
            max_backups: 0,
        }
    }

    fn path(&self, dir: &str, file: &str, default_file: &str) -> PathBuf {
        Path::new(&self.text(dir, ".")).join(self.text(file, default_file))
    }

    fn threshold(&mut self, property: &str) -> LevelFilter {
        let text = self.text(property, "INFO");
        self.level(property, trim(&text), LevelFilter::INFO)
    }

    fn level(&mut self, property: &str, text: &str, default: LevelFilter) -> LevelFilter {
        level(text).unwrap_or_else(|| {
            let known = "OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE and ALL";
            self.warnings.push(format!("{property}: no level {text:?} (there are {known}), using {default}"));
            default
        })
    }

    fn text(&self, property: &str, default: &str) -> String {
        self.find(property).unwrap_or(default).to_string()
    }

    /// A reference to another property (`zookeeper.tracelog.dir=${zookeeper.log.dir}`) counts as unset: the defaults
    /// here follow the same references.
    fn find(&self, property: &str) -> Option<&str> {
        let in_file = || self.file.get(property).map(|p| p.value.as_str());
        self.defines.get(property).or_else(in_file).filter(|value| !value.contains("${"))
    }
}

const DEFAULT_MAX_SIZE: &str = "256MB";

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_uppercase().as_str() {
        // ZooKeeper logs nothing at FATAL.
        "OFF" | "FATAL" => LevelFilter::OFF,
        "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" | "ALL" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// log4j's OptionConverter.toFileSize: a number with KB, MB, GB or without.
fn file_size(text: &str) -> Option<u64> {
    let text = trim(text).to_ascii_uppercase();
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let unit = units.iter().find_map(|&(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((&text, 0));
    let bytes = u64::try_from(parse_long(number).ok()?).ok()?;
    bytes.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

/// Starts logging; once in the life of a process, later calls change nothing. Options that do not work out are
/// reported as warnings in the log: a server is not refused its start for them.
pub fn init(options: LogOptions) {
    let mut warnings = options.warnings;
    let mut layers = Vec::new();
    let mut destinations = Vec::new();
    let mut add = |threshold: LevelFilter, destination: Destination| {
        layers.push(layer(destination.clone(), threshold.min(options.root_level)).boxed());
        destinations.push(destination);
    };
    if let Some(threshold) = options.console {
        add(threshold, Destination::start("log-console", Box::new(Console)));
    }
    for (name, file) in [("log-file", options.rolling_file), ("log-trace", options.trace_file)] {
        let Some(file) = file else { continue };
        let threshold = file.threshold;
        let mut rolling = RollingFile::new(file);
        match rolling.open() {
            Ok(()) => {}
            // As log4j, go on without; say it where it will be seen.
            Err(e) => warnings.push(format!(
                "the log file {} cannot be opened ({e}); trying again with every line",
                rolling.options.path.display()
            )),
        }
        add(threshold, Destination::start(name, Box::new(rolling)));
    }
    if tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layers)).is_err() {
        return;
    }
    let _ = DESTINATIONS.set(destinations);
    log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
        if options.console.is_none() {
            let _ = writeln!(io::stderr(), "{warning}");
        }
    }
}

/// The number that `[myid:…]` shows from now on; before, and without a myid file, it is empty.
pub fn set_myid(sid: Sid) {
    MYID.store(sid.0, Ordering::Relaxed);
    MYID_KNOWN.store(true, Ordering::Release);
}

/// Waits, a second at most, until all that was logged so far is written: to be called before the process ends.
pub fn flush() {
    for destination in DESTINATIONS.get().into_iter().flatten() {
        destination.flush();
    }
}

static DESTINATIONS: OnceLock<Vec<Destination>> = OnceLock::new();
static MYID: AtomicI64 = AtomicI64::new(0);
static MYID_KNOWN: AtomicBool = AtomicBool::new(false);

/// A panic ends the process at once; its message belongs into the log file as well.
fn log_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        flush();
        print(panic);
        // A debug build would unwind, and go on without the task or thread that panicked.
        std::process::abort();
    }));
}

fn layer<S>(destination: Destination, threshold: LevelFilter) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .event_format(Layout)
        .with_ansi(false)
        // It would be printed to stderr with a macro that panics when stderr is closed.
        .log_internal_errors(false)
        .with_writer(destination)
        .with_filter(threshold)
}

/// `2020-02-10 11:30:00,123 [myid:1] - INFO  [thread:module@line] - message`
struct Layout;

impl<S, N> FormatEvent<S, N> for Layout
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(160);
        write_date(&mut line, &jiff::ZonedDateTime::now())?;
        write_origin(&mut line, event.metadata())?;
        let mut text = Text { message: String::new(), fields: String::new() };
        event.record(&mut text);
        line.push_str(&text.message);
        line.push_str(&text.fields);
        write_printable(&mut out, &line)
    }
}

fn write_date(line: &mut String, now: &jiff::ZonedDateTime) -> fmt::Result {
    let (year, month, day) = (now.year(), now.month(), now.day());
    let (hour, minute, second, ms) = (now.hour(), now.minute(), now.second(), now.millisecond());
    write!(line, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{ms:03}")
}

fn write_origin(line: &mut String, metadata: &Metadata<'_>) -> fmt::Result {
    line.push_str(" [myid:");
    if MYID_KNOWN.load(Ordering::Acquire) {
        write!(line, "{}", MYID.load(Ordering::Relaxed))?;
    }
    let level = match *metadata.level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN ",
        Level::INFO => "INFO ",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    };
    let thread = std::thread::current();
    let module = metadata.module_path().unwrap_or(metadata.target()).rsplit("::").next().unwrap_or("");
    write!(line, "] - {level} [{}:{module}@", thread.name().unwrap_or("unnamed"))?;
    match metadata.line() {
        Some(number) => write!(line, "{number}] - "),
        None => line.write_str("?] - "),
    }
}

/// The message, and the fields as ` name=value` behind it.
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail; a Debug that does leaves its beginning.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Line ends and tabs pass, they make stack traces; other control characters could steer a terminal.
fn write_printable(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        let (plain, tail) = rest.split_at(at);
        let mut chars = tail.chars();
        out.write_str(plain)?;
        write!(out, "{}", chars.next().unwrap_or(' ').escape_default())?;
        rest = chars.as_str();
    }
    out.write_str(rest)?;
    out.write_char('\n')
}

/// The queue to one thread that writes lines.
#[derive(Clone)]
struct Destination {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// About a megabyte and a half of lines.
const QUEUE_LINES: usize = 8192;

impl Destination {
    fn start(thread: &str, sink: Box<dyn Sink>) -> Destination {
        let (queue, entries) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        // Without the thread the queue has no reader, and every line is counted as dropped.
        let _ = std::thread::Builder::new()
            .name(thread.into())
            .spawn(move || write_entries(&entries, sink, &count));
        Destination { queue, dropped }
    }

    fn send(&self, line: &[u8]) {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let mut entry = Entry::Flush(done);
        for _ in 0..100 {
            match self.queue.try_send(entry) {
                Ok(()) => {
                    let _ = wait.recv_timeout(Duration::from_secs(1));
                    return;
                }
                Err(TrySendError::Full(back)) => {
                    entry = back;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

fn write_entries(entries: &Receiver<Entry>, mut sink: Box<dyn Sink>, dropped: &AtomicU64) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    sink.write_line(format!("({lost} log lines were dropped here)\n").as_bytes());
                }
                sink.write_line(&line);
            }
            // Nobody waits any more when this fails.
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl<'a> MakeWriter<'a> for Destination {
    type Writer = LineWriter<'a>;
    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// The fmt layer hands over one whole line in one write.
struct LineWriter<'a>(&'a Destination);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.send(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a line or loses it.
trait Sink: Send {
    fn write_line(&mut self, line: &[u8]);
}

struct Console;

impl Sink for Console {
    fn write_line(&mut self, line: &[u8]) {
        let _ = io::stderr().write_all(line);
    }
}

/// `<path>`, `<path>.1` … `<path>.N`, newest first, as log4j's RollingFileAppender names them.
struct RollingFile {
    options: FileOptions,
    file: Option<File>,
    size: u64,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl RollingFile {
    fn new(options: FileOptions) -> RollingFile {
        RollingFile { options, file: None, size: 0, torn: false }
    }

    fn open(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// What cannot be renamed stays where it is: then the current file just grows on.
    fn roll(&mut self) {
        self.file = None;
        let FileOptions { path, max_backups, .. } = &self.options;
        let numbered = |n: usize| {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        if *max_backups == 0 {
            let _ = std::fs::remove_file(path);
        } else {
            for n in (1..*max_backups).rev() {
                let _ = std::fs::rename(numbered(n), numbered(n + 1));
            }
            let _ = std::fs::rename(path, numbered(1));
        }
        let _ = self.open();
        // After a failed rename, wait for another full size before the next attempt.
        self.size = 0;
    }
}

impl Sink for RollingFile {
    fn write_line(&mut self, line: &[u8]) {
        if self.file.is_none() && self.open().is_err() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        let written = if self.torn { file.write_all(b"\n") } else { Ok(()) };
        self.torn = written.and_then(|()| file.write_all(line)).is_err();
        self.size += line.len() as u64;
        if self.options.max_size.is_some_and(|max| self.size >= max) {
            self.roll();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    fn options(flags: &[&str]) -> LogOptions {
        let (defines, ignored) = Defines::from_jvm_flags(flags.iter().copied());
        assert!(ignored.is_empty());
        LogOptions::from_sources(&defines, None)
    }

    #[test]
    fn without_properties_info_goes_to_the_console() {
        let default = LogOptions::default();
        assert_eq!(default.root_level, LevelFilter::INFO);
        assert_eq!(default.console, Some(LevelFilter::INFO));
        assert_eq!((default.rolling_file, default.trace_file), (None, None));
        assert_eq!(default.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_root_logger_names_level_and_appenders() {
        for (text, level, console, file) in [
            ("INFO,CONSOLE", LevelFilter::INFO, true, false),
            ("debug, ROLLINGFILE", LevelFilter::DEBUG, false, true),
            ("WARN,CONSOLE,ROLLINGFILE", LevelFilter::WARN, true, true),
            ("ERROR, CONSOLE", LevelFilter::ERROR, true, false),
            ("ALL,CONSOLE", LevelFilter::TRACE, true, false),
            ("TRACE,CONSOLE", LevelFilter::TRACE, true, false),
            ("OFF,CONSOLE", LevelFilter::OFF, true, false),
            ("FATAL,CONSOLE", LevelFilter::OFF, true, false),
            ("INFO", LevelFilter::INFO, false, false),
        ] {
            let options = options(&[&format!("-Dzookeeper.root.logger={text}")]);
            assert_eq!(options.root_level, level, "{text}");
            assert_eq!(
                (options.console.is_some(), options.rolling_file.is_some()),
                (console, file),
                "{text}"
            );
            assert!(options.warnings.is_empty(), "{text}");
        }
        let wrong = options(&["-Dzookeeper.root.logger=LOUD,CONSOLE,SYSLOG"]);
        assert_eq!((wrong.root_level, wrong.console), (LevelFilter::DEBUG, Some(LevelFilter::INFO)));
        assert_eq!(wrong.warnings.len(), 2);
    }

    #[test]
    fn the_files_follow_their_properties() {
        let options = options(&[
            "-Dzookeeper.root.logger=DEBUG,ROLLINGFILE,TRACEFILE",
            "-Dzookeeper.log.dir=/var/log/zk",
            "-Dzookeeper.log.file=zk.log",
            "-Dzookeeper.log.threshold=DEBUG",
            "-Dzookeeper.log.maxfilesize=10kb",
            "-Dzookeeper.log.maxbackupindex=3",
        ]);
        let file = options.rolling_file.unwrap();
        assert_eq!(
            (file.path.as_path(), file.threshold),
            (Path::new("/var/log/zk/zk.log"), LevelFilter::DEBUG)
        );
        assert_eq!((file.max_size, file.max_backups), (Some(10240), 3));
        let trace = options.trace_file.unwrap();
        assert_eq!(trace.path, Path::new("/var/log/zk/zookeeper_trace.log"));
        assert_eq!((trace.threshold, trace.max_size), (LevelFilter::TRACE, None));
    }

    #[test]
    fn a_log4j_properties_file_gives_what_the_command_line_leaves_open() {
        let file = b"zookeeper.root.logger=WARN, ROLLINGFILE, TRACEFILE\nzookeeper.log.dir=/l\n\
                     zookeeper.log.maxfilesize=1GB\nzookeeper.tracelog.dir=${zookeeper.log.dir}\n";
        let mut defines = Defines::default();
        defines.set("zookeeper.log.maxfilesize", "5");
        let options = LogOptions::from_sources(&defines, Some(file));
        assert_eq!(options.root_level, LevelFilter::WARN);
        let rolling = options.rolling_file.unwrap();
        assert_eq!((rolling.path.as_path(), rolling.max_size), (Path::new("/l/zookeeper.log"), Some(5)));
        assert_eq!(options.trace_file.unwrap().path, Path::new("/l/zookeeper_trace.log"));
    }

    #[test]
    fn sizes_are_read_as_log4j_does() {
        for (text, bytes) in [
            ("256MB", Some(256 << 20)),
            (" 10kb ", Some(10 << 10)),
            ("1GB", Some(1 << 30)),
            ("4096", Some(4096)),
            ("0", None),
            ("-1MB", None),
            ("5 MB", None),
            ("10M", None),
            ("9999999999999GB", None),
            ("", None),
        ] {
            assert_eq!(file_size(text), bytes, "{text:?}");
        }
    }

    /// Keeps what it is given, and can be made to wait.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Sink for Kept {
        fn write_line(&mut self, line: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(line);
        }
    }

    fn logged(threshold: LevelFilter, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let destination = Destination::start("test", Box::new(kept.clone()));
        let subscriber = tracing_subscriber::registry().with(layer(destination.clone(), threshold));
        tracing::subscriber::with_default(subscriber, log);
        destination.flush();
        kept.text()
    }

    /// The one test that sets the global myid.
    #[test]
    fn lines_have_log4js_layout() {
        let line_number = line!() + 1;
        let log = || tracing::warn!(peer = 3, why = %"it\u{1b}[31m left", "lost\ta\nlink");
        let thread = std::thread::current().name().unwrap().to_string();
        let expected = |myid: &str| {
            format!(
                " [myid:{myid}] - WARN  [{thread}:tests@{line_number}] - lost\ta\nlink peer=3 \
                 why=it\\u{{1b}}[31m left\n"
            )
        };
        assert_eq!(&logged(LevelFilter::INFO, log)[23..], expected(""));
        set_myid(Sid(7));
        assert_eq!(&logged(LevelFilter::INFO, log)[23..], expected("7"));
    }

    #[test]
    fn dates_are_iso8601_with_a_comma() {
        let time: jiff::ZonedDateTime = "2020-02-10T11:30:00.0079+01:00[+01:00]".parse().unwrap();
        let mut date = String::new();
        write_date(&mut date, &time).unwrap();
        assert_eq!(date, "2020-02-10 11:30:00,007");
    }

    #[test]
    fn levels_below_the_threshold_are_silent() {
        let log = || {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
        };
        let levels = |threshold| -> Vec<String> {
            let text = logged(threshold, log);
            text.lines().filter_map(|l| Some(l.rsplit_once(" - ")?.1.to_string())).collect()
        };
        assert_eq!(levels(LevelFilter::WARN), ["e", "w"]);
        assert_eq!(levels(LevelFilter::TRACE), ["e", "w", "i", "d"]);
        assert_eq!(levels(LevelFilter::OFF), Vec::<String>::new());
    }

    #[test]
    fn a_stalled_destination_loses_lines_and_counts_them() {
        struct Stalled(Kept, std::sync::mpsc::Receiver<()>);
        impl Sink for Stalled {
            fn write_line(&mut self, line: &[u8]) {
                // An error means that the test has let go.
                let _ = self.1.recv();
                self.0.write_line(line);
            }
        }
        let (go, wait) = channel();
        let kept = Kept::default();
        let destination = Destination::start("test", Box::new(Stalled(kept.clone(), wait)));
        for _ in 0..QUEUE_LINES + 100 {
            destination.send(b"x\n");
        }
        drop(go);
        destination.flush();
        destination.send(b"after\n");
        destination.flush();
        let text = kept.text();
        let lines = text.lines().filter(|&l| l == "x").count();
        // The thread may have taken one line out of the queue before it filled.
        assert!((QUEUE_LINES..=QUEUE_LINES + 1).contains(&lines), "{lines}");
        let note = format!("({} log lines were dropped here)", QUEUE_LINES + 100 - lines);
        assert!(text.contains(&note), "lacks {note}");
        assert!(text.ends_with("after\n"));
    }

    fn rolling(path: PathBuf, max_size: u64, max_backups: usize) -> RollingFile {
        let threshold = LevelFilter::INFO;
        RollingFile::new(FileOptions { path, threshold, max_size: Some(max_size), max_backups })
    }

    #[test]
    fn files_roll_by_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/zookeeper.log");
        let mut file = rolling(path.clone(), 10, 2);
        for n in 1..=7 {
            file.write_line(format!("line{n}\n").as_bytes());
        }
        let read = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", path.display())).ok();
        assert_eq!(read("").as_deref(), Some("line7\n"));
        assert_eq!(read(".1").as_deref(), Some("line5\nline6\n"));
        assert_eq!(read(".2").as_deref(), Some("line3\nline4\n"));
        assert_eq!(read(".3"), None);

        // What was there counts after a restart, and a deleted old file harms nobody.
        std::fs::remove_file(dir.path().join("logs/zookeeper.log.1")).unwrap();
        let mut file = rolling(path.clone(), 10, 2);
        file.write_line(b"line8\n");
        assert_eq!(read(".1").as_deref(), Some("line7\nline8\n"));

        let mut file = rolling(path.clone(), 1, 0);
        file.write_line(b"line9\n");
        assert_eq!((read("").as_deref(), read(".1").as_deref()), (Some(""), Some("line7\nline8\n")));
    }

    #[test]
    fn a_file_that_cannot_be_written_loses_its_lines_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = rolling(dir.path().to_path_buf(), 10, 2);
        assert!(file.open().is_err());
        file.write_line(b"lost\n");
        std::fs::write(dir.path().join("file"), "").unwrap();
        rolling(dir.path().join("file/zookeeper.log"), 10, 2).write_line(b"lost\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_tears_a_line_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = rolling(dir.path().join("log"), 1000, 2);
        file.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        file.write_line(b"lost\n");
        assert!(file.torn);
        file.file = None;
        file.write_line(b"kept\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "\nkept\n");
        assert!(!file.torn);
    }
}
