//! Everything this server says to others of its ensemble, on the election port and on the quorum port.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    election_net::{BindError, ElectionNet, NetSettings},
    learner_net::{LearnerNet, NetOptions},
    shared::{CoreMsg, Shared},
};
use crate::{
    config::{ClientAddress, Config},
    db::{Database, DbOptions},
    ids::Sid,
    replica::Input,
    zab::{self, Output},
};

pub struct Net {
    election: ElectionNet,
    links: LearnerNet,
    core: mpsc::Sender<CoreMsg>,
    sid: Sid,
}

impl Net {
    /// Listens for votes; for learners only while this server leads.
    pub async fn open(
        config: &Config,
        sid: Sid,
        db: DbOptions,
        core: mpsc::Sender<CoreMsg>,
    ) -> Result<Net, BindError> {
        let settings = &config.settings;
        let millis = |ms: i64| Duration::from_millis(ms.max(1).unsigned_abs());
        let election = NetSettings {
            sid,
            ensemble: config.ensemble.clone(),
            last_seen: config.last_seen_ensemble.clone(),
            connect_timeout: millis(settings.cnx_timeout_ms),
            greeting_timeout: millis(config.tick_time_ms.saturating_mul(config.sync_limit.into())),
            bind_retry: settings.election_port_bind_retry,
            listen_on_all_ips: config.quorum_listen_on_all_ips,
            tcp_keep_alive: settings.tcp_keep_alive,
        };
        let election = ElectionNet::bind(election, core.clone()).await?;
        let links = LearnerNet::new(core.clone(), NetOptions::new(config, db, super::real_disk()));
        Ok(Net { election, links, core, sid })
    }

    /// `db`: the write lock, where the caller has it.
    pub fn carry_out(&mut self, output: Output, shared: &Arc<Shared>, db: Option<&mut Database>) {
        match output {
            Output::SendNotification { to, notification } => self.election.send(to, &notification),
            Output::ReconnectElection => self.election.connect_all(),
            Output::OpenQuorumPort => self.open_port(&shared.config),
            Output::CloseQuorumPort => self.links.close_port(),
            Output::DialLeader { link, leader } => match shared.config.ensemble.servers.get(&leader) {
                Some(server) => self.links.dial(link, leader, &server.host, server.quorum_port),
                None => {
                    let why = format!("server {leader} is in no server line of this server's configuration");
                    self.report(zab::Input::LeaderClosed { link, why });
                }
            },
            Output::CloseLeader { link } => self.links.close_leader(link),
            Output::SendToLearner { link, packet } => self.links.send(link, &packet),
            Output::CloseLearner { link, why } => self.links.close(link, &why),
            Output::SendToLeader { link, packet } => self.links.send_to_leader(link, &packet),
            Output::ProbeLog { link, from, until } => self.links.probe_log(link, from, until),
            Output::StreamLog { link, after, through } => self.links.stream_log(link, after, through),
            Output::StreamSnapshot { link, zxid } => {
                let capture = match db {
                    Some(db) => db.begin_capture(),
                    None => shared.db.write().begin_capture(),
                };
                self.links.stream_snapshot(link, zxid, shared.clone(), capture);
            }
            Output::Persist { .. } => debug_assert!(false, "the disk is the core's"),
        }
    }

    fn open_port(&mut self, config: &Config) {
        let Some(server) = config.ensemble.servers.get(&self.sid) else {
            let why = format!("server.{} is in no server line", self.sid);
            return self.report(zab::Input::QuorumPort(Err(why)));
        };
        let host = (!config.quorum_listen_on_all_ips).then(|| server.host.clone());
        self.links.open_port(ClientAddress { host, port: server.quorum_port });
    }

    /// Into the core's own inbox; a full one must not be waited for.
    fn report(&self, input: zab::Input) {
        let core = self.core.clone();
        #[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
        tokio::spawn(async move {
            let _ = core.send(CoreMsg::Input(Input::Zab(input))).await;
        });
    }

    /// At the end of a batch.
    pub fn flush(&mut self) {
        self.links.flush();
    }
}
