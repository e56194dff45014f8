//! Three servers under measure on one machine, each with an address, a folder and a process of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::bench::Settings;
use crate::bench::procfs::Memory;
use crate::bench::subject::{Member, Plan, Subject, fresh_folder};
use crate::process::{Kind, loopback_address};

pub const SIZE: usize = 3;

#[derive(Debug)]
pub struct Cluster {
    plans: Vec<Plan>,
    /// None: killed.
    subjects: Vec<Option<Subject>>,
}

impl Cluster {
    /// Starts all of them at once and waits until each gives sessions.
    pub fn start(settings: &Settings, kinds: &[Kind; SIZE], folder: &str) -> Result<Cluster> {
        let addrs: Vec<_> = kinds.iter().map(|_| loopback_address()).collect();
        let folder = fresh_folder(folder)?;
        let plan = |(id, kind): (u64, &Kind)| Plan {
            kind: kind.clone(),
            folder: folder.join(format!("server{id}")),
            snap_count: None,
            java_heap_mb: settings.java_heap_mb,
            member: Some(Member { id, addrs: addrs.clone() }),
        };
        let plans: Vec<Plan> = (1..).zip(kinds).map(plan).collect();
        let subjects = plans.iter().map(|p| p.spawn().map(Some)).collect::<Result<_>>()?;
        let mut cluster = Cluster { plans, subjects };
        cluster.wait_serving()?;
        Ok(cluster)
    }

    pub fn wait_serving(&mut self) -> Result<()> {
        self.subjects.iter_mut().flatten().try_for_each(|s| s.wait_session(None).map(drop))
    }

    /// Places, not ids, here and below.
    pub fn running(&self) -> Vec<usize> {
        (0..self.plans.len()).filter(|n| self.subjects[*n].is_some()).collect()
    }

    /// kill -9 that does not wait: `kill` is to follow.
    pub fn begin_to_kill(&mut self, n: usize) -> Result<()> {
        self.subjects[n].as_mut().ok_or_else(|| anyhow!("server {} is dead", n + 1))?.kill()
    }

    pub fn subject(&self, n: usize) -> Result<&Subject> {
        self.subjects[n].as_ref().ok_or_else(|| anyhow!("server {} has been killed", n + 1))
    }

    /// Of those that run.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.subjects.iter().flatten().map(Subject::client_addr).collect()
    }

    /// Of those that run.
    pub fn pids(&self) -> Vec<u32> {
        self.subjects.iter().flatten().map(Subject::pid).collect()
    }

    pub fn memory(&self, n: usize) -> Result<Memory> {
        self.subject(n)?.memory()
    }

    /// Who leads, once everybody that runs has a role.
    pub fn leader(&self) -> Result<usize> {
        let start = Instant::now();
        loop {
            let modes: Vec<(usize, Option<String>)> = self
                .running()
                .into_iter()
                .map(|n| (n, self.subjects[n].as_ref().and_then(Subject::mode)))
                .collect();
            let leads = modes.iter().find(|(_, mode)| mode.as_deref() == Some("leader"));
            if let Some((leader, _)) = leads
                && modes.iter().all(|(_, mode)| mode.is_some())
            {
                return Ok(*leader);
            }
            if start.elapsed() > PATIENCE {
                bail!("no leader within {PATIENCE:?}: {modes:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9; returns once the process is gone.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        let subject = self.subjects[n].take().ok_or_else(|| anyhow!("server {} is dead", n + 1))?;
        subject.stop().with_context(|| format!("cannot kill server {}", n + 1))
    }

    /// Starts a killed server on what it has on disk. How long it took to give a session and to answer a read of `path`.
    pub fn restart(&mut self, n: usize, path: Option<&str>) -> Result<Duration> {
        let mut subject = self.plans[n].spawn()?;
        let took = subject.wait_session(path);
        self.subjects[n] = Some(subject);
        took
    }

    /// Everybody at once, on what they have on disk.
    pub fn restart_all(&mut self) -> Result<()> {
        self.subjects.iter_mut().filter_map(Option::take).try_for_each(Subject::stop)?;
        for (place, plan) in self.subjects.iter_mut().zip(&self.plans) {
            *place = Some(plan.spawn()?);
        }
        self.wait_serving()
    }

    pub fn stop(mut self) -> Result<()> {
        self.subjects.iter_mut().filter_map(Option::take).try_for_each(Subject::stop)
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
