//! Shows the last elections of a server as tables, from what the server has written down (`server::election_log`).

use std::{
    fmt::{self, Write},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    config::properties::Properties,
    ids::Millis,
    server::election_log::{Account, FILE_NAME, Line, parse},
};

/// The last `count` elections of the server whose configuration this is.
pub fn of_configuration(file: &Path, count: usize) -> anyhow::Result<String> {
    let bytes = std::fs::read(file)
        .with_context(|| format!("{} cannot be read; name the server's zoo.cfg with -c", file.display()))?;
    let properties = Properties::from_bytes(&bytes)
        .map_err(|e| anyhow::anyhow!("{}: line {}: {e}", file.display(), e.line))?;
    let data_dir = properties.iter().filter(|p| p.key.trim() == "dataDir").last();
    let data_dir = data_dir.with_context(|| format!("{} has no dataDir", file.display()))?;
    of_data_dir(&PathBuf::from(data_dir.value.trim()), count)
}

/// The same for a dataDir.
pub fn of_data_dir(dir: &Path, count: usize) -> anyhow::Result<String> {
    let file = dir.join(FILE_NAME);
    let text = std::fs::read_to_string(&file).map_err(|e| match e.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "there is no {}: no Ferrokeeper has run here as a member of an ensemble (a standalone server elects nobody)",
            file.display()
        ),
        _ => anyhow::anyhow!("{} cannot be read: {e}", file.display()),
    })?;
    let accounts = parse(&text);
    anyhow::ensure!(!accounts.is_empty(), "{} tells of no election", file.display());
    let mut out = String::new();
    for (nth, account) in accounts[accounts.len().saturating_sub(count)..].iter().enumerate() {
        let gap = if nth == 0 { "" } else { "\n\n" };
        write!(out, "{gap}{}", Table(account))?;
    }
    Ok(out)
}

struct Table<'a>(&'a Account);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { began_wall, sid, lines } = self.0;
        writeln!(f, "Election of server {sid}, begun {}", date(*began_wall))?;
        writeln!(f)?;
        let heads = ["time", "from", "state", "vote for", "epoch", "zxid", "round"];
        let rows: Vec<[String; 7]> = lines.iter().map(cells).collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].len()).chain([heads[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        row(f, &heads.map(str::to_owned), &widths, &format!("what server {sid} made of it"))?;
        for (cells, line) in rows.iter().zip(lines) {
            row(f, cells, &widths, &line.did)?;
        }
        writeln!(f)?;
        match self.0.decided() {
            Some(line) => {
                writeln!(f, "Server {} {}. Server {sid} is {}.", line.leader, line.did, line.state)
            }
            None => writeln!(f, "Nobody is elected so far."),
        }
    }
}

fn cells(line: &Line) -> [String; 7] {
    let Line { at, from, state, leader, epoch, zxid, round, .. } = line;
    let leader = if leader == "-" { leader.clone() } else { format!("server {leader}") };
    [
        format!("{at} ms"),
        format!("server {from}"),
        state.clone(),
        leader,
        epoch.clone(),
        zxid.clone(),
        round.clone(),
    ]
}

/// Words to the left, numbers to the right.
fn row(f: &mut fmt::Formatter<'_>, cells: &[String; 7], widths: &[usize; 7], did: &str) -> fmt::Result {
    let [time, from, state, leader, epoch, zxid, round] = cells;
    let [w0, w1, w2, w3, w4, w5, w6] = *widths;
    writeln!(
        f,
        "{time:>w0$}  {from:<w1$}  {state:<w2$}  {leader:<w3$}  {epoch:>w4$}  {zxid:>w5$}  {round:>w6$}  {did}"
    )
}

/// Local time, as in the log.
fn date(wall: Millis) -> String {
    match jiff::Timestamp::from_millisecond(wall) {
        Ok(time) => {
            time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string()
        }
        Err(_) => wall.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# …\nelection\t1582000000000\t1\n\
        said\t0\t1\tLOOKING\t1\t1\t0x100000008\t2\ta new election begins\n\
        said\t3\t10\tLOOKING\t-\t-\t-\t2\tno voter, told my vote for server 1\n\
        decided\t212\t1\tFOLLOWING\t2\t1\t0x100000007\t2\tis elected by servers 1, 2, by the higher sid; the \
        election took 212 ms\n\
        said\t999\t3\tLOOKING\t3\t0\t0x0\t1\ttold that server 2 leads\n\
        election\t1582000009000\t1\nsaid\t0\t1\tLOOKING\t1\t1\t0x100000009\t3\ta new election begins\n";

    #[test]
    fn an_election_is_a_table_that_ends_with_who_won() {
        let accounts = parse(FILE);
        let table = Table(&accounts[0]).to_string();
        let (head, rest) = table.split_once('\n').unwrap();
        assert!(head.starts_with("Election of server 1, begun 2020-02-1"), "{head}");
        assert_eq!(
            rest,
            "\n  time  from       state      vote for  epoch         zxid  round  what server 1 made of it\n\
             \x20 0 ms  server 1   LOOKING    server 1      1  0x100000008      2  a new election begins\n\
             \x20 3 ms  server 10  LOOKING    -             -            -      2  no voter, told my vote for server 1\n\
             212 ms  server 1   FOLLOWING  server 2      1  0x100000007      2  is elected by servers 1, 2, by the higher \
             sid; the election took 212 ms\n\
             999 ms  server 3   LOOKING    server 3      0          0x0      1  told that server 2 leads\n\
             \nServer 2 is elected by servers 1, 2, by the higher sid; the election took 212 ms. Server 1 is FOLLOWING.\n"
        );
    }

    #[test]
    fn the_newest_come_last_and_a_server_without_elections_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = of_data_dir(dir.path(), 1).unwrap_err().to_string();
        assert!(wrong.contains("a standalone server elects nobody"), "{wrong}");
        std::fs::write(dir.path().join(FILE_NAME), FILE).unwrap();
        let cfg = dir.path().join("zoo.cfg");
        std::fs::write(&cfg, format!("dataDir = {} \n", dir.path().display())).unwrap();
        let last = of_configuration(&cfg, 1).unwrap();
        assert!(last.ends_with("\nNobody is elected so far.\n"), "{last}");
        assert!(!last.contains("Server 2 is elected"), "{last}");
        let both = of_configuration(&cfg, 7).unwrap();
        assert!(both.contains("Server 2 is elected") && both.ends_with(&last), "{both}");
    }
}
