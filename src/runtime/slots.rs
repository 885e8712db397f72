//! A table whose places are used again, under names that are not.

use crate::session::ConnectionId;

/// Invariant: a name (index and generation) names at most one thing, ever, until the generation wraps after 4 billion
/// uses of one place.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    thing: Option<Box<T>>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, make: impl FnOnce(ConnectionId) -> T) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                thing: None,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        let id = ConnectionId {
            index,
            generation: slot.generation,
        };
        slot.thing = Some(Box::new(make(id)));
        id
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation == id.generation {
            slot.thing.as_deref_mut()
        } else {
            None
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let thing = slot.thing.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(*thing)
    }

    /// Everything that is here.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.thing.as_deref())
    }

    /// Everything that is here, with its name.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut T)> {
        self.slots.iter_mut().zip(0..).filter_map(|(slot, index)| {
            let generation = slot.generation;
            let thing = slot.thing.as_deref_mut()?;
            Some((ConnectionId { index, generation }, thing))
        })
    }

    /// The name of what is at this place now.
    pub(super) fn current(&self, index: u32) -> Option<ConnectionId> {
        let slot = self.slots.get(index as usize)?;
        slot.thing.as_ref().map(|_| ConnectionId {
            index,
            generation: slot.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert(|_| 1);
        assert_eq!(slots.get_mut(first), Some(&mut 1));
        assert_eq!(slots.remove(first), Some(1));
        let second = slots.insert(|_| 2);
        assert_eq!(second.index, first.index);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.current(first.index), Some(second));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&2]);
        assert_eq!(slots.iter_mut().collect::<Vec<_>>(), [(second, &mut 2)]);
    }
}
