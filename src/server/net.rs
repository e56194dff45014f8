//! Everything this server says to others of its ensemble.

use std::sync::Arc;

use super::shared::Shared;
use crate::{db::Database, zab};

pub struct Net {}

impl Net {
    pub fn carry_out(&mut self, _output: zab::Output, _shared: &Arc<Shared>, _db: Option<&mut Database>) {}
    pub fn flush(&mut self) {}
}
