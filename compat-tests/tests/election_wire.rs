//! Elections between Java ZooKeeper 3.5.7 and Ferrokeeper's part of them alone: the votes and the election port, without the
//! rest of a server. Java is the judge: its log and its `srvr` say whom it takes for the leader.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use compat_tests::need_java;
use compat_tests::process::{Builder, Kind, Server, loopback_address, tail};
use ferrokeeper::config::Ensemble;
use ferrokeeper::ids::{Epoch, Sid, Zxid};
use ferrokeeper::proto::quorum::ServerState;
use ferrokeeper::replica;
use ferrokeeper::server::election_net::{ElectionNet, NetSettings};
use ferrokeeper::server::shared::CoreMsg;
use ferrokeeper::zab;
use ferrokeeper::zab::election::{Election, ElectionConfig, Output};
use ferrokeeper::zab::quorum::{Quorums, Voters};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

/// The members of one ensemble: `server.N` lines with an address of its own for each.
struct Members {
    addresses: Vec<(i64, Ipv4Addr, &'static str)>,
}

impl Members {
    fn new(roles: &[(i64, &'static str)]) -> Members {
        let addresses = roles.iter().map(|(sid, role)| (*sid, loopback_address(), *role)).collect();
        Members { addresses }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(sid, ip, role): &(i64, Ipv4Addr, &str)| format!("server.{sid}={ip}:2888:3888:{role}");
        self.addresses.iter().map(line).collect()
    }

    fn java(&self, sid: i64) -> Server {
        let (_, address, _) = self.addresses.iter().find(|(s, ..)| *s == sid).expect("a member");
        let builder = Builder::new(Kind::java("3.5.7")).addr(*address).myid(sid as u64);
        let builder = builder.line("initLimit=10").line("syncLimit=5");
        self.lines().into_iter().fold(builder, Builder::line).spawn().expect("Java starts")
    }
}

/// Ferrokeeper as far as an election goes.
struct Voter {
    net: ElectionNet,
    inbox: mpsc::Receiver<CoreMsg>,
    election: Election,
    began: Instant,
}

impl Voter {
    async fn new(members: &Members, sid: i64) -> Voter {
        let ensemble = Ensemble::parse(&members.lines().join("\n")).expect("server lines");
        let (core, inbox) = mpsc::channel(64);
        let config = ElectionConfig {
            sid: Sid(sid),
            role: ensemble.servers[&Sid(sid)].role,
            quorums: Quorums::new(Voters::of(&ensemble)),
            config: Bytes::from(ensemble.to_string()),
            config_version: 0,
        };
        let settings = NetSettings {
            sid: Sid(sid),
            ensemble,
            last_seen: None,
            connect_timeout: Duration::from_secs(5),
            greeting_timeout: Duration::from_secs(10),
            bind_retry: 3,
            listen_on_all_ips: false,
            tcp_keep_alive: false,
        };
        let net = ElectionNet::bind(settings, core).await.expect("the election port is free");
        Voter { net, inbox, election: Election::new(config), began: Instant::now() }
    }

    fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn look(&mut self, zxid: i64, epoch: u32) {
        let now = self.now();
        self.election.look(now, Zxid(zxid), Epoch(epoch));
    }

    /// Takes part for so long, or until it has decided.
    async fn run(&mut self, patience: Duration) -> Option<Sid> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(output) = self.election.poll_output() {
                match output {
                    Output::Send { to, notification } => self.net.send(to, &notification),
                    Output::Reconnect => self.net.connect_all(),
                    Output::Decided { leader } => return Some(leader),
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let due =
                self.election.poll_timeout().map(|at| Duration::from_millis((at - self.now()).max(0) as u64));
            match tokio::time::timeout(due.unwrap_or(left).min(left), self.inbox.recv()).await {
                Ok(message) => self.hear(message),
                Err(_) => {
                    let now = self.now();
                    self.election.handle_timeout(now);
                }
            }
        }
    }

    fn hear(&mut self, message: Option<CoreMsg>) {
        let now = self.now();
        match message {
            Some(CoreMsg::Input(replica::Input::Zab(zab::Input::Notification { from, notification }))) => {
                self.election.handle(now, from, &notification);
            }
            Some(CoreMsg::Input(replica::Input::Zab(zab::Input::ElectionLink { sid, up }))) => {
                self.election.link(now, sid, up);
            }
            other => panic!("{other:?}"),
        }
    }

    async fn decides(&mut self, java: &Server) -> (ServerState, i64) {
        let leader = self.run(PATIENCE).await;
        let story: Vec<String> = self.election.story().iter().map(|line| line.to_string()).collect();
        let leader =
            leader.unwrap_or_else(|| panic!("no leader:\n{}\n{}", story.join("\n"), tail(&java.log(), 40)));
        println!("{}\n", story.join("\n"));
        (self.election.state(), leader.0)
    }

    /// Answers who asks until Java's log has `words`.
    async fn until_java_says(&mut self, java: &Server, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !java.log().contains(words) {
            assert!(Instant::now() < deadline, "{words:?} is not in\n{}", tail(&java.log(), 60));
            self.run(Duration::from_millis(50)).await;
        }
    }
}

const JAVA_FOLLOWS: &str = "FOLLOWING - LEADER ELECTION TOOK";
const JAVA_LEADS: &str = "LEADING - LEADER ELECTION TOOK";

#[tokio::test]
async fn java_follows_the_larger_sid() {
    need_java!("3.5.7");
    let members = Members::new(&[(1, "participant"), (2, "participant")]);
    let java = members.java(1);
    let mut voter = Voter::new(&members, 2).await;
    voter.look(0, 0);
    assert_eq!(voter.decides(&java).await, (ServerState::Leading, 2));
    voter.until_java_says(&java, JAVA_FOLLOWS).await;
}

#[tokio::test]
async fn java_leads_as_the_larger_sid() {
    need_java!("3.5.7");
    let members = Members::new(&[(1, "participant"), (2, "participant")]);
    let mut voter = Voter::new(&members, 1).await;
    voter.look(0, 0);
    let java = members.java(2);
    assert_eq!(voter.decides(&java).await, (ServerState::Following, 2));
    voter.until_java_says(&java, JAVA_LEADS).await;
}

#[tokio::test]
async fn a_higher_zxid_in_a_later_round_wins_against_the_larger_sid() {
    need_java!("3.5.7");
    let members = Members::new(&[(1, "participant"), (2, "participant")]);
    let mut voter = Voter::new(&members, 1).await;
    for _ in 0..5 {
        voter.look(0x1_0000_0003, 1);
    }
    let java = members.java(2);
    assert_eq!(voter.decides(&java).await, (ServerState::Leading, 1));
    assert_eq!(voter.election.vote().round, 5);
    voter.until_java_says(&java, JAVA_FOLLOWS).await;
}

#[tokio::test]
async fn ferrokeeper_joins_an_ensemble_of_java() {
    need_java!("3.5.7");
    let roles = [(1, "participant"), (2, "participant"), (3, "participant"), (9, "observer")];
    let members = Members::new(&roles);
    let (java1, java3) = (members.java(1), members.java(3));
    for (java, mode) in [(&java1, "follower"), (&java3, "leader")] {
        java.wait_serving(PATIENCE).expect("an ensemble of two");
        assert_eq!(java.mode().as_deref(), Some(mode));
    }
    // The larger sid dials, the smaller is dialed: 2 is in the middle.
    let mut voter = Voter::new(&members, 2).await;
    voter.look(0, 0);
    assert_eq!(voter.decides(&java3).await, (ServerState::Following, 3));
    // The epoch that 3 leads, not the one it was elected in.
    assert_eq!(voter.election.vote().peer_epoch, 1);
    let mut observer = Voter::new(&members, 9).await;
    observer.look(0, 0);
    assert_eq!(observer.decides(&java3).await, (ServerState::Observing, 3));
    // Votes of the observer moved nobody.
    assert_eq!(java3.mode().as_deref(), Some("leader"));
}

#[tokio::test]
async fn java_joins_an_ensemble_of_ferrokeeper() {
    need_java!("3.5.7");
    let members = Members::new(&[(1, "participant"), (2, "participant"), (3, "participant")]);
    let (mut one, mut three) = (Voter::new(&members, 1).await, Voter::new(&members, 3).await);
    one.look(0x7_0000_0009, 7);
    three.look(0x7_0000_0009, 7);
    let (first, third) = tokio::join!(one.run(PATIENCE), three.run(PATIENCE));
    assert_eq!((first, third), (Some(Sid(3)), Some(Sid(3))));
    one.election.established(Epoch(8));
    three.election.established(Epoch(8));
    let java = members.java(2);
    tokio::join!(one.until_java_says(&java, JAVA_FOLLOWS), three.until_java_says(&java, JAVA_FOLLOWS));
    // As its leader's vote was told: 3, of epoch 8.
    assert!(java.log().contains("3 (n.leader), 0x700000009 (n.zxid)"), "{}", tail(&java.log(), 60));
}

#[tokio::test]
async fn java_that_comes_back_is_heard_again() {
    need_java!("3.5.7");
    let members = Members::new(&[(1, "participant"), (2, "participant")]);
    let mut java = members.java(1);
    let mut voter = Voter::new(&members, 2).await;
    for _ in 0..2 {
        voter.look(0, 0);
        assert_eq!(voter.decides(&java).await, (ServerState::Leading, 2));
        voter.until_java_says(&java, JAVA_FOLLOWS).await;
        java.kill9().expect("it runs");
        std::fs::remove_file(java.log_file()).expect("its log");
        voter.run(Duration::from_millis(300)).await;
        java.restart().expect("it starts again");
    }
}
