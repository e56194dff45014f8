//! The command line. Exit codes are ZooKeeper's (B§7.3): 0, 1 unexpected, 2 configuration or arguments, 3 data directory.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use ferrokeeper::{
    cli,
    config::{Config, ConfigError, Defines},
    server::{self, fatal, logging},
    version,
};

#[derive(Parser)]
#[command(name = "ferrokeeper", version = version::OWN, about = "A ZooKeeper 3.5 server")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server: with a configuration file, or PORT DATADIR [TICKTIME] [MAXCNXNS], or what conf/zoo.cfg says.
    ///
    /// JVM flags may stand anywhere: -Dkey=value is a setting, -X… and the like are ignored.
    Server {
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        arguments: Vec<String>,
    },
    /// Ask a server one four-letter word.
    FourLetterWord { host: String, port: u16, word: String },
    /// Show how a server's last elections went, running or not: who voted for whom, what the server made of it, who won.
    ElectionLog {
        /// The server's configuration file [default: conf/zoo.cfg]
        #[arg(short, long, conflicts_with = "data_dir")]
        config: Option<PathBuf>,
        /// Its dataDir instead
        #[arg(short, long)]
        data_dir: Option<PathBuf>,
        /// How many elections, the newest at the end (16 are kept)
        #[arg(short = 'n', long, default_value_t = 1)]
        count: usize,
    },
    /// Remove old snapshots and logs: DATALOGDIR [SNAPDIR] -n COUNT (COUNT at least 3).
    Cleanup {
        data_log_dir: PathBuf,
        snap_dir: Option<PathBuf>,
        #[arg(short = 'n', long)]
        count: usize,
    },
    /// Print the version that clients see, and Ferrokeeper's own.
    Version,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            let _ = e.print();
            // PurgeTxnLog ends with 1 when it is called wrongly, the servers with 2 (B§6.9, B§7.2).
            let cleaning = std::env::args().nth(1).is_some_and(|command| command == "cleanup");
            return match e.use_stderr() {
                true if cleaning => ExitCode::FAILURE,
                true => ExitCode::from(fatal::INVALID_CONFIG as u8),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match arguments.command {
        Command::Server { arguments } => serve(&arguments),
        Command::FourLetterWord { host, port, word } => shown(cli::four_letter_word::ask(&host, port, &word)),
        Command::ElectionLog { config, data_dir, count } => shown(match data_dir {
            Some(dir) => cli::election_log::of_data_dir(&dir, count),
            None => {
                let config = config.unwrap_or_else(|| DEFAULT_FILES[0].into());
                cli::election_log::of_configuration(&config, count)
            }
        }),
        Command::Cleanup { data_log_dir, snap_dir, count } => {
            let snap_dir = snap_dir.unwrap_or_else(|| data_log_dir.clone());
            cleanup(&data_log_dir, &snap_dir, count)
        }
        Command::Version => {
            println!("Zookeeper version: {}", version::FULL);
            println!("Ferrokeeper version: {}", version::OWN);
            ExitCode::SUCCESS
        }
    }
}

fn shown(text: anyhow::Result<String>) -> ExitCode {
    match text {
        Ok(text) => {
            // Whoever reads may have had enough, as `head` has.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[String]) -> ExitCode {
    let (flags, words): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|word| word.starts_with('-'));
    let (defines, ignored) = Defines::from_jvm_flags(flags.into_iter());
    logging::init(logging::LogOptions::from_sources(&defines, None));
    if !ignored.is_empty() {
        tracing::info!("ignoring what only a JVM needs: {}", ignored.join(" "));
    }
    let (source, config) = match configuration(&words, &defines) {
        Ok(found) => found,
        Err(Refusal::Usage) => {
            eprintln!("Usage: ferrokeeper server [configfile | port datadir [ticktime] [maxcnxns]]");
            return ExitCode::from(fatal::INVALID_CONFIG as u8);
        }
        Err(Refusal::Config(e)) => {
            tracing::error!("Invalid config, exiting abnormally: {e}");
            logging::flush();
            eprintln!("Invalid config, exiting abnormally");
            return ExitCode::from(e.exit_code as u8);
        }
    };
    tracing::info!("Ferrokeeper {}, as ZooKeeper {}", version::OWN, version::FULL);
    tracing::info!("Reading configuration from: {source}");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{:#}", e.error);
            logging::flush();
            if e.code == fatal::DATA_DIR {
                eprintln!("Unable to access datadir, exiting abnormally");
            }
            ExitCode::from(e.code as u8)
        }
    }
}

enum Refusal {
    Usage,
    Config(ConfigError),
}

impl From<ConfigError> for Refusal {
    fn from(e: ConfigError) -> Self {
        Refusal::Config(e)
    }
}

/// Where the configuration came from, in words, and what it says.
fn configuration(words: &[&str], defines: &Defines) -> Result<(String, Config), Refusal> {
    Ok(match words {
        [] => match DEFAULT_FILES.iter().map(Path::new).find(|path| path.is_file()) {
            Some(path) => (path.display().to_string(), Config::load(path, defines)?),
            None => {
                let source = format!(
                    "built-in defaults, as of conf/zoo_sample.cfg (there is no {})",
                    DEFAULT_FILES[0]
                );
                (source, Config::builtin_defaults(defines)?)
            }
        },
        [path] => ((*path).to_owned(), Config::load(Path::new(path), defines)?),
        [port, data_dir, rest @ ..] if rest.len() <= 2 => {
            let config =
                Config::from_args(port, data_dir, rest.first().copied(), rest.get(1).copied(), defines)?;
            ("the command line".to_owned(), config)
        }
        _ => return Err(Refusal::Usage),
    })
}

const DEFAULT_FILES: [&str; 1] = ["conf/zoo.cfg"];

fn cleanup(data_log_dir: &Path, snap_dir: &Path, count: usize) -> ExitCode {
    if count < 3 {
        eprintln!("count should be greater than or equal to 3");
        return ExitCode::FAILURE;
    }
    match server::snapshot_job::purge(data_log_dir, snap_dir, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
