//! Stories in `../testdata/election_*.txt`, played by several machines under a virtual clock, and a storm of random ones.
//!
//! A story is made of blocks: commands, a line of four dashes, and what the servers' logs say then, each line with the time in
//! ms and the server. `ELECTION_STORIES=rewrite` writes down what was said instead of comparing it; read the difference.

mod storm;
mod world;

use std::{collections::BTreeMap, path::Path};

use self::world::{Members, World};
use super::*;
use crate::{
    config::{Ensemble, Hierarchy, ServerSpec},
    zab::quorum::Voters,
};

#[test]
fn five_servers_are_started_one_after_the_other() {
    tell("five_servers");
}

#[test]
fn the_leader_and_another_die() {
    tell("leader_dies");
}

#[test]
fn the_end_of_the_leader_is_noticed_earlier_by_one() {
    tell("noticed_earlier");
}

#[test]
fn the_rules_in_their_order() {
    tell("rules");
}

/// B§14 #35: what makes votes equal when the election is over, and the epoch that is told afterwards.
#[test]
fn late_joiners() {
    tell("late_joiner");
}

/// B§14 #34: who is no voter is told the vote with its round, and not counted.
#[test]
fn observers_and_strangers() {
    tell("observers_and_strangers");
}

#[test]
fn rounds_that_differ() {
    tell("rounds");
}

#[test]
fn weight_0() {
    tell("weight_0");
}

#[test]
fn two_elections_merge() {
    tell("merge");
}

#[test]
fn nobody_answers() {
    tell("silence");
}

fn tell(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/zab/testdata/election_{name}.txt"));
    let script = std::fs::read_to_string(&path).unwrap();
    let mut world = World::default();
    let said: Vec<String> = script.split("\n\n").map(|block| play(&mut world, block)).collect();
    let said = said.join("\n\n") + "\n";
    if std::env::var("ELECTION_STORIES").is_ok_and(|v| v == "rewrite") {
        return std::fs::write(&path, said).unwrap();
    }
    for (line, (expected, said)) in script.lines().zip(said.lines()).enumerate() {
        assert_eq!(said, expected, "line {} of election_{name}.txt", line + 1);
    }
    assert_eq!(said.lines().count(), script.lines().count(), "election_{name}.txt: something is missing");
}

/// The block as it should read: its commands and what was said.
fn play(world: &mut World, block: &str) -> String {
    let Some((commands, _)) = block.split_once("\n----") else { return block.trim_end().to_owned() };
    for command in commands.lines().filter(|line| !line.starts_with('#')) {
        run(world, command);
    }
    let mut text = format!("{commands}\n----");
    for line in world.take_trace() {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

fn run(world: &mut World, command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (verb, rest) = words.split_first().unwrap_or_else(|| panic!("empty command"));
    match *verb {
        "voters" => world.members.voters = sids(rest).collect(),
        "observers" => world.members.observers = sids(rest).collect(),
        "group" => {
            let hierarchy = world.members.hierarchy.get_or_insert_default();
            let group = rest[0].parse().unwrap();
            for sid in sids(&rest[1..]) {
                hierarchy.group_of.insert(sid, group);
                hierarchy.weights.entry(sid).or_insert(1);
            }
        }
        "weight" => {
            let hierarchy = world.members.hierarchy.as_mut().expect("groups come first");
            hierarchy.weights.insert(sid(rest[0]), rest[1].parse().unwrap());
        }
        "history" => {
            let history = history(rest);
            for sid in sids(rest) {
                world.history.insert(sid, history);
            }
        }
        "rounds" => drop(world.rounds.insert(sid(rest[0]), rest[1].parse().unwrap())),
        "start" => sids(rest).for_each(|sid| world.start(sid)),
        "kill" => sids(rest).for_each(|sid| world.kill(sid)),
        "look" => sids(rest).for_each(|sid| world.look(sid)),
        "cut" => world.cut(sid(rest[0]), sid(rest[1])),
        "heal" => world.heal(sid(rest[0]), sid(rest[1])),
        "mute" => world.mute = sids(rest).collect(),
        "wait" => world.wait(rest[0].parse().unwrap()),
        "established" => {
            let (_, epoch) = history(rest);
            sids(rest).for_each(|sid| world.machine(sid).established(epoch));
        }
        "say" => say(world, rest),
        "states" => world.trace_states(),
        _ => panic!("unknown command: {command}"),
    }
}

fn sid(word: &str) -> Sid {
    Sid(word.parse().unwrap_or_else(|_| panic!("{word} is no sid")))
}

/// The leading numbers.
fn sids<'a>(words: &'a [&'a str]) -> impl Iterator<Item = Sid> + 'a {
    words.iter().map_while(|word| word.parse().ok().map(Sid))
}

/// `… epoch E zxid Z`, either of them 0 where it is missing.
fn history(words: &[&str]) -> (Zxid, Epoch) {
    (Zxid(number(words, "zxid")), Epoch(number(words, "epoch") as u32))
}

fn number(words: &[&str], name: &str) -> i64 {
    let word = words.iter().skip_while(|word| **word != name).nth(1);
    word.map_or(0, |word| match word.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    })
}

/// `say FROM to TO STATE leader L epoch E zxid Z round R`: a message that no machine of this story has sent.
fn say(world: &mut World, words: &[&str]) {
    let state = match words[3] {
        "LOOKING" => ServerState::Looking,
        "FOLLOWING" => ServerState::Following,
        "LEADING" => ServerState::Leading,
        "OBSERVING" => ServerState::Observing,
        other => panic!("{other} is no state"),
    };
    let (zxid, epoch) = history(words);
    let vote = Vote {
        leader: Sid(number(words, "leader")),
        zxid,
        round: number(words, "round"),
        peer_epoch: epoch.0.into(),
    };
    let old = words.contains(&"old");
    let version = if old { 0 } else { Notification::VERSION };
    world.say(sid(words[0]), sid(words[2]), Notification { state, vote, version, config: Bytes::new() });
}

fn config(sid: Sid, members: &Members) -> ElectionConfig {
    let spec = |sid: &Sid, role| {
        let spec = format!("host{sid}:2888:3888:{role}");
        (*sid, ServerSpec::parse(*sid, &spec).unwrap())
    };
    let voters = members.voters.iter().map(|sid| spec(sid, PeerType::Participant));
    let observers = members.observers.iter().map(|sid| spec(sid, PeerType::Observer));
    let servers = voters.chain(observers).collect();
    let ensemble = Ensemble { servers, hierarchy: members.hierarchy.clone(), version: 0 };
    let role = match members.observers.contains(&sid) {
        true => PeerType::Observer,
        false => PeerType::Participant,
    };
    ElectionConfig {
        sid,
        role,
        quorums: Quorums::new(Voters::of(&ensemble)),
        config: ensemble.to_string().into(),
        config_version: 0,
    }
}
