//! Processes that wait for a patch, and are not to get it any more.

use crate::{
    catalog::Known,
    manage::{Context, Inventory, ProcessOutcome, ProcessResult, Results, Survey, comm},
    state::{Event, ProcessKey, append},
};
use patchfile::{Uuid, exit::ManageExit};

/// The named processes, and those among them that wait for the patch and are not to get it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) named: Vec<ProcessKey>,
    pending: Vec<ProcessKey>,
}

impl Waiting {
    pub(super) fn find(
        ctx: &Context<'_>,
        inventory: &Inventory,
        uuid: Uuid,
        survey: &Survey,
        pids: &[i32],
    ) -> Self {
        let named: Vec<ProcessKey> = pids.iter().filter_map(|p| ctx.backend.key(*p)).collect();
        let Some(record) = inventory.state.get(uuid).filter(|r| r.state.is_active()) else {
            return Self { named, pending: Vec::new() };
        };
        let unknown = survey.unknown();
        let carries = |key: &ProcessKey| survey.carriers(uuid).any(|p| p.key == *key);
        let has_file =
            |key: &ProcessKey| survey.processes.iter().any(|p| p.key == *key && !p.targets.is_empty());
        let listed = |key: &ProcessKey| record.only.as_ref().is_some_and(|only| only.contains(key));
        let waits = |key: &&ProcessKey| {
            record.covers(**key)
                && !unknown.contains(&key.pid)
                && !carries(key)
                && (listed(key) || has_file(key))
        };
        let pending = named.iter().filter(waits).copied().collect();
        Self { named, pending }
    }

    pub(super) fn count(&self) -> usize {
        self.pending.len()
    }

    /// The intention is not everybody's to change, and the service goes by it.
    pub(super) fn not_ours(&self, inventory: &Inventory) -> Results {
        let why = "this system's state wants the patch in this process, and only root can change that";
        let line = |key: &ProcessKey| ProcessResult {
            key: *key,
            comm: comm(key.pid),
            outcome: ProcessOutcome::Refused(why.into(), ManageExit::NotPermitted),
        };
        let pending = self.pending.iter().filter(|_| !inventory.writable);
        Results { lines: pending.map(line).collect(), ..Results::default() }
    }

    /// Forgets why these processes wait, and logs that they no longer wait.
    pub(super) fn withdraw(
        &self,
        ctx: &mut Context<'_>,
        inventory: &mut Inventory,
        verb: &str,
        known: &Known,
    ) {
        if !inventory.writable {
            return;
        }
        let (id, uuid) = (&known.id, known.uuid);
        let mut events = Vec::new();
        for key in &self.pending {
            inventory.attempts.clear(uuid, Some(*key));
            let event = Event::new(verb, id, uuid, "withdrawn before it was patched");
            events.push(event.on(key.pid, &comm(key.pid)));
        }
        if let Err(error) = append(&ctx.root, &events) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
    }
}
