//! Several events in one piece of memory.
use super::event::{EventHeader, RawEvent};

/// Several events, copied out of the buffer that they were received in.
#[derive(Clone, Default)]
pub struct EventBatch {
    events: Vec<(EventHeader, usize)>,
    bodies: Vec<u8>,
}

impl EventBatch {
    /// Adds an event behind the others.
    pub fn push(&mut self, event: &RawEvent<'_>) {
        self.bodies.extend_from_slice(event.body);
        self.events.push((event.header, self.bodies.len()));
    }

    /// Returns the events in order.
    pub fn events(&self) -> impl Iterator<Item = RawEvent<'_>> {
        self.events.iter().scan(0, |start, &(header, end)| {
            let body = self.bodies.get(*start..end)?;
            *start = end;
            Some(RawEvent { header, body })
        })
    }

    /// Returns how many bytes the bodies have.
    pub fn byte_count(&self) -> usize {
        self.bodies.len()
    }

    /// Returns whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Shows sizes only: bodies are row content.
impl std::fmt::Debug for EventBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventBatch")
            .field("events", &self.events.len())
            .field("bytes", &self.bodies.len())
            .finish()
    }
}
