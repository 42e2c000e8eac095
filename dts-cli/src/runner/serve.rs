//! What a runner does when another process asks: see [`request`](crate::store::request) for the way it comes.
//!
//! `set` is done at once. `pause`, `stop`, `complete`, `cutover` and `rollback` end the present round of work and are answered when the task is where
//! it was wanted. Everything else is a [`Service`], done in a thread beside the work.
use std::thread::Scope;

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{Action, State};
use dts_core::progress::{ProgressSnapshot, Step};
use dts_core::stop::StopToken;
use serde_json::{Value, json};

use super::service::{Call, Service, services};
use super::{Runner, lock};
use crate::config::Settings;
use crate::store::{Answer, Request, RequestId};

/// What a round of work is ended for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The task rests.
    Pause,
    /// The task ends for good.
    Stop,
    /// The task ends as planned.
    Complete {
        /// Without applying what is still missing.
        immediately: bool,
    },
    /// The writers go over to the target.
    CutOver,
    /// The writers come back to the source.
    RollBack,
}

/// Why a round of work is ended, and who waits for it.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) what: What,
    /// What else the action needs to know.
    pub(super) payload: Value,
    pub(super) request: Option<RequestId>,
}

/// Something that is done beside the work.
pub(super) struct Served {
    id: RequestId,
    kind: String,
    asker: String,
    stop: StopToken,
}

impl Runner<'_> {
    /// Takes what others ask for, and breaks off what they do not want any more.
    pub(super) fn take_requests<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        snapshot: &ProgressSnapshot,
    ) {
        loop {
            let taken = {
                let mut desk = self.desk();
                if desk.lease_lost.is_some() {
                    return;
                }
                for served in &desk.served {
                    if desk.store.is_cancelled(served.id).unwrap_or(false) {
                        served.stop.stop();
                    }
                }
                desk.store.take_request(self.job.task, &self.token)
            };
            match taken {
                Ok(None) => return,
                Ok(Some(request)) => self.take(scope, request, snapshot),
                Err(error) => {
                    log::warn!("requests could not be looked for: {error}");
                    return;
                }
            }
        }
    }

    fn take<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        request: Request,
        snapshot: &ProgressSnapshot,
    ) {
        log::info!("task {}: {} asks for {}", self.job.task, request.asker, request.kind);
        let id = request.id;
        let done = match request.kind.as_str() {
            "pause" => self.end_for(What::Pause, Action::Pause, &request, snapshot),
            "stop" => self.end_for(What::Stop, Action::Stop, &request, snapshot),
            "complete" => {
                let immediately = request.payload["immediately"] == true;
                self.end_for(What::Complete { immediately }, Action::Complete, &request, snapshot)
            }
            "cutover" if request.payload["dry_run"] != true => {
                self.end_for(What::CutOver, Action::Cutover, &request, snapshot)
            }
            "rollback" if request.payload["dry_run"] != true => {
                self.end_for(What::RollBack, Action::Rollback, &request, snapshot)
            }
            "set" => self.set(&request.payload).map(Some),
            kind => match services().iter().find(|service| service.kind() == kind) {
                Some(service) => self.begin_service(scope, *service, request).map(|()| None),
                None => Err(Error::invalid("the request", kind, "an action that this version of dts knows")),
            },
        };
        match done {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(id, &answer),
            Err(error) => self.answer(id, &Answer::failed(&error)),
        }
    }

    /// Ends the round for a request, which is answered when that is done.
    fn end_for(
        &self,
        what: What,
        action: Action,
        request: &Request,
        snapshot: &ProgressSnapshot,
    ) -> Result<Option<Answer>> {
        let (state, busy) = {
            let desk = self.desk();
            (
                desk.state,
                desk.served.first().map(|served| format!("{} (asked by {})", served.kind, served.asker)),
            )
        };
        // Behind for a moment, but past the copy: completing and cutting over begin with catching up.
        let is_behind = state == State::Running && snapshot.step == Some(Step::InSync);
        if !(matches!(action, Action::Complete | Action::Cutover | Action::Rollback) && is_behind) {
            state.allow(action)?;
        }
        if let Some(busy) = busy {
            return Err(ErrorKind::IllegalState {
                action: action.name().to_owned(),
                state: format!("busy with {busy}"),
                allowed: "waiting until it ends, or ending it with Ctrl-C where it was typed".to_owned(),
            }
            .into());
        }
        let reason = format!("dts {action} by {}", request.asker);
        let payload = request.payload.clone();
        self.end_round(Ending { what, payload, request: Some(request.id) }, &reason)?;
        Ok(None)
    }

    /// Changes limits of the run at once, and for later runs.
    fn set(&self, payload: &Value) -> Result<Answer> {
        let changes = Settings::from_json(payload);
        changes.apply(self.job.limits);
        let mut desk = self.desk();
        let all = desk.store.change_settings(self.job.task, &changes)?;
        Ok(Answer::done(json!({ "task": self.job.task, "settings": all.to_json(), "running": true }), ""))
    }

    fn begin_service<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        service: &'static dyn Service,
        request: Request,
    ) -> Result<()> {
        let (state, busy) = {
            let desk = self.desk();
            (desk.state, desk.served.iter().any(|served| served.kind == request.kind))
        };
        service.allow(state)?;
        if busy {
            return Err(ErrorKind::IllegalState {
                action: request.kind.clone(),
                state: format!("busy with another {}", request.kind),
                allowed: "waiting until it ends".to_owned(),
            }
            .into());
        }
        let stop = self.desk().round.child();
        let store = self.desk().store.reopen()?;
        self.desk().served.push(Served {
            id: request.id,
            kind: request.kind.clone(),
            asker: request.asker.clone(),
            stop: stop.clone(),
        });
        scope.spawn(move || {
            let mut call = Call {
                task: self.job.task,
                payload: &request.payload,
                engine: self.job.engine,
                check: &self.job.check,
                stop: &stop,
                store,
                request: request.id,
            };
            let answer = service.serve(&mut call).unwrap_or_else(|error| Answer::failed(&error));
            self.desk().served.retain(|served| served.id != request.id);
            self.answer(request.id, &answer);
        });
        Ok(())
    }

    /// Answers whoever waits for the end of the round.
    pub(super) fn answer_ending(&self, request: Option<RequestId>, answer: &Answer) {
        if let Some(id) = request {
            self.answer(id, answer);
        }
    }

    fn answer(&self, id: RequestId, answer: &Answer) {
        if let Err(error) = self.desk().store.answer(id, answer) {
            log::warn!("a request could not be answered: {error}");
        }
    }

    /// Returns what the present round was ended for, once.
    pub(super) fn take_ending(&self) -> Option<Ending> {
        lock(&self.desk).ending.take()
    }
}
